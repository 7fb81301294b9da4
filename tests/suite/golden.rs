//! Stores that earlier versions of the formats wrote, opened for ever after.
//!
//! `tests/golden/v1.pack` holds the files of a store that was closed, `v1.jsonl` what is in it: segments, and an index run
//! for each that is sealed. `v2` has also what manifests list from version 2 on (merged runs, a segment that recovery has
//! closed, a pack), a head table and an index checkpoint. Each was written by the ignored test below, as it was then: it is run
//! once for each version and never again:
//!
//! ```text
//! cargo test --features full --test tests -- --ignored write_the_golden_store
//! ```
//!
//! `vN.pack` is `GOLDEN1\n`, then for each file: u16 length of its name, the name, u64 length, and its bytes as pieces
//! until the length is reached: u8 0, u32 count, that many bytes as they are; or u8 1, u32 count, one byte that is
//! repeated. Numbers are little-endian. In the lines, an `x` repeated at least a thousand times is written `<x*count>`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use usertrail::{
    Action, ActorId, Category, Details, Durability, Event, EventId, IdempotencyKey, Level, Message, NewEvent,
    Options, Order, PackAfter, RequestId, Resource, ResourceId, Service, SessionId, Status, Store, TenantId,
    Timestamp, UserAgent,
};

use crate::fixture::{user, whole_log};

const MAGIC: &[u8] = b"GOLDEN1\n";
const USERS: [&str; 6] = ["ada", "Bülent", "c e m", "デイジー", "emil@example.com", "0"];
/// How many events each version's store has.
const EVENTS: [(&str, u32); 2] = [("v1", 400), ("v2", 262)];
/// Shorter repetitions are written out.
const REPEATED_MIN: usize = 16;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn pack_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    let mut plain = 0;
    let mut at = 0;
    while at < bytes.len() {
        let same = bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
        if same >= REPEATED_MIN {
            if plain < at {
                out.push(0);
                out.extend_from_slice(&count(at - plain));
                out.extend_from_slice(&bytes[plain..at]);
            }
            out.push(1);
            out.extend_from_slice(&count(same));
            out.push(bytes[at]);
            plain = at + same;
        }
        at += same;
    }
    if plain < bytes.len() {
        out.push(0);
        out.extend_from_slice(&count(bytes.len() - plain));
        out.extend_from_slice(&bytes[plain..]);
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (head, rest) = bytes.split_at(count);
    *bytes = rest;
    head
}

fn take_u32(bytes: &mut &[u8]) -> usize {
    usize::try_from(u32::from_le_bytes(*take(bytes, 4).first_chunk().unwrap())).unwrap()
}

fn unpack(mut pack: &[u8]) -> BTreeMap<String, Vec<u8>> {
    assert_eq!(take(&mut pack, MAGIC.len()), MAGIC);
    let mut files = BTreeMap::new();
    while !pack.is_empty() {
        let name = u16::from_le_bytes(*take(&mut pack, 2).first_chunk().unwrap());
        let name = String::from_utf8(take(&mut pack, usize::from(name)).to_vec()).unwrap();
        let length = u64::from_le_bytes(*take(&mut pack, 8).first_chunk().unwrap());
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let repeated = take(&mut pack, 1) == [1];
            let count = take_u32(&mut pack);
            if repeated {
                let byte = take(&mut pack, 1)[0];
                bytes.resize(bytes.len() + count, byte);
            } else {
                bytes.extend_from_slice(take(&mut pack, count));
            }
        }
        assert_eq!(bytes.len() as u64, length);
        files.insert(name, bytes);
    }
    files
}

fn events(version: &str) -> u32 {
    EVENTS.iter().find(|(name, _)| *name == version).unwrap().1
}

/// Makes the store's directory from its pack.
fn unpack_to(dir: &Path, version: &str) {
    for (name, bytes) in unpack(&fs::read(golden(&format!("{version}.pack"))).unwrap()) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// An event as a line, long repetitions told by their length.
fn line(event: &Event) -> String {
    let text = serde_json::to_string(event).unwrap();
    let mut line = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('x') {
        let repeated = rest[at..].bytes().take_while(|byte| *byte == b'x').count();
        line.push_str(&rest[..at]);
        if repeated >= 1000 {
            let _ = write!(line, "<x*{repeated}>");
        } else {
            line.push_str(&rest[at..at + repeated]);
        }
        rest = &rest[at + repeated..];
    }
    line + rest
}

/// The golden store's lines, each with its event's id and user.
fn lines(version: &str) -> Vec<(String, EventId, Option<String>)> {
    let text = fs::read_to_string(golden(&format!("{version}.jsonl"))).unwrap();
    text.lines()
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let owner = event.get("userId").map(|owner| owner.as_str().unwrap().to_owned());
            (line.to_owned(), event["id"].as_str().unwrap().parse().unwrap(), owner)
        })
        .collect()
}

/// Compares everything; `added` events of each user came later.
fn compare(store: &Store, version: &str, added: usize) {
    let lines = lines(version);
    let events = events(version);
    assert_eq!(lines.len(), events as usize);
    for (expected, id, _) in &lines {
        assert_eq!(line(&store.event(*id).unwrap().unwrap()), *expected);
    }
    for name in USERS {
        let mut found = whole_log(store, &user(name), Order::Oldest, 37).unwrap();
        assert_eq!(store.user_count(&user(name)).unwrap(), found.len() as u64);
        let tail = found.split_off(found.len() - added);
        let own = lines.iter().filter(|(_, _, owner)| owner.as_deref() == Some(name));
        let own: Vec<&String> = own.map(|(line, _, _)| line).collect();
        assert!(own.len() > 10);
        assert_eq!(found.iter().map(line).collect::<Vec<_>>().iter().collect::<Vec<_>>(), own);
        for (event, sequence) in tail.iter().zip(own.len() as u64..) {
            assert_eq!(event.user_sequence(), Some(sequence));
            assert_eq!(event.message(), Some("added later"));
        }
    }
    store.check().unwrap();
    let stats = store.stats().unwrap();
    assert_eq!(stats.events, u64::from(events) + (added * USERS.len()) as u64);
    assert_eq!(stats.users, USERS.len() as u64);
    assert!(stats.runs >= 2 && stats.segments > stats.unsealed_segments && stats.unsealed_segments > 0);
}

/// Opens the store, and appends to it.
fn is_read_and_written_to(dir: &Path, version: &str) {
    unpack_to(dir, version);
    compare(&Options::new().read_only(true).open(dir).unwrap(), version, 0);
    let store = Store::open(dir).unwrap();
    assert_eq!(store.name(), "golden");
    assert!(store.recovery().shards.is_empty(), "it was closed: {:?}", store.recovery());
    compare(&store, version, 0);
    append_one_of_each(&store);
    compare(&store, version, 1);
    store.close().unwrap();
    drop(store);
    compare(&Store::open(dir).unwrap(), version, 1);
}

fn append_one_of_each(store: &Store) {
    for name in USERS {
        let event = NewEvent::builder(Action::AUTH_LOGOUT).user(user(name));
        let event = event.message(Message::new("added later").unwrap()).build().unwrap();
        store.append(&event).unwrap();
    }
}

#[test]
fn the_store_of_format_version_1_is_read_and_written_to() {
    let dir = tempfile::tempdir().unwrap();
    is_read_and_written_to(dir.path(), "v1");
}

#[test]
fn the_store_with_manifests_of_version_2_is_read_and_written_to() {
    let dir = tempfile::tempdir().unwrap();
    is_read_and_written_to(dir.path(), "v2");
    // A repair looks at every byte, and finds nothing.
    let store = Options::new().repair(true).open(dir.path()).unwrap();
    assert!(store.recovery().shards.is_empty(), "{:?}", store.recovery());
    compare(&store, "v2", 1);
    let stats = store.stats().unwrap();
    assert!(stats.packs > 0 && stats.packed_events > 0, "{stats:?}");
    assert_eq!(store.unpack().unwrap().events, stats.packed_events);
    compare(&store, "v2", 1);
    store.pack().unwrap();
    compare(&store, "v2", 1);
}

#[test]
fn a_pack_gives_back_what_was_packed() {
    for bytes in
        [&b""[..], b"a", &[0; 15], &[0; 16], &[7; 5000], b"abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0d"]
    {
        let mut pack = MAGIC.to_vec();
        pack.extend_from_slice(&[1, 0, b'n']);
        pack.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        pack_bytes(&mut pack, bytes);
        assert_eq!(unpack(&pack)["n"], bytes);
    }
}

/// Every field, texts of several lengths and scripts, own and catalogued actions, all levels, categories and statuses.
fn golden_event(number: u32) -> NewEvent<'static> {
    let pick = |count: usize| usize::try_from(number).unwrap() * 7 / 3 % count;
    let actions =
        ["auth.login", "auth.login_failed", "user.role_changed", "billing.refund.made", "ärger.größe"];
    let mut builder = NewEvent::builder(Action::new(actions[pick(5)]).unwrap())
        .level(Level::ALL[pick(Level::ALL.len())])
        .category(Category::ALL[pick(Category::ALL.len())])
        .status(Status::ALL[pick(Status::ALL.len())])
        .occurred_at(Timestamp::from_micros(1_767_225_600_000_000 + i64::from(number) * 1_234_567));
    if !number.is_multiple_of(11) {
        builder = builder.user(user(USERS[usize::try_from(number).unwrap() % USERS.len()]));
    }
    if number.is_multiple_of(2) {
        let address = if number.is_multiple_of(4) {
            format!("203.0.113.{}", number % 256)
        } else {
            format!("2001:db8::{number:x}")
        };
        builder = builder
            .service(Service::new(["gateway", "bïlling"][pick(2)]).unwrap())
            .tenant(TenantId::new(format!("tenant-{}", number % 5)).unwrap())
            .ip(address.parse().unwrap())
            .session(SessionId::new(format!("s-{number}")).unwrap());
    }
    if number.is_multiple_of(3) {
        builder = builder
            .actor(ActorId::new("root").unwrap())
            .resource(Resource::new("user").unwrap())
            .resource_id(ResourceId::new(format!("r/{number}")).unwrap())
            .request_id(RequestId::new(format!("req-{number}")).unwrap())
            .idempotency_key(IdempotencyKey::new(format!("key-{number}")).unwrap())
            .user_agent(UserAgent::new("Mozilla/5.0 (X11; Linux x86_64)").unwrap())
            .message(
                Message::new(if number.is_multiple_of(2) {
                    ""
                } else {
                    "línea\nwith \"quotes\" and \u{1F600}"
                })
                .unwrap(),
            );
    }
    let details = match number % 5 {
        // Large ones, so that segments get full; they pack well.
        0 => Some(format!(r#"{{"number":{number},"padding":"{}"}}"#, "x".repeat(50_000))),
        1 => Some(format!(
            r#"{{"number":{number},"exact":1.50,"big":123456789012345678901234567890,"list":[null,true]}}"#
        )),
        _ => None,
    };
    if let Some(details) = &details {
        builder = builder.details(Details::from_json(details).unwrap());
    }
    builder.build().unwrap().into_owned()
}

/// Ends a writer as a kill does: what it has written goes on in another directory.
fn copy_to(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_to(&path, &copy);
        } else {
            fs::copy(&path, copy).unwrap();
        }
    }
}

/// Writes down the files of a store that was closed, and what is in it.
fn write_golden(path: &Path, version: &str, text: &str) {
    let mut pack = MAGIC.to_vec();
    for dir in ["", "shard-00", "shard-01"] {
        let Ok(entries) = fs::read_dir(path.join(dir)) else { continue };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        // The lock and what readers follow belong to the process, not to the store.
        for file in names
            .into_iter()
            .filter(|file| file.is_file() && !file.ends_with("LOCK") && !file.ends_with("LIVE"))
        {
            let name = file.strip_prefix(path).unwrap().to_str().unwrap();
            let bytes = fs::read(&file).unwrap();
            pack.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
            pack.extend_from_slice(name.as_bytes());
            pack.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            pack_bytes(&mut pack, &bytes);
        }
    }
    fs::write(golden(&format!("{version}.pack")), pack).unwrap();
    fs::write(golden(&format!("{version}.jsonl")), text).unwrap();
}

#[test]
#[ignore = "writes the golden store of a new format version; the one that is there stays as it is"]
fn write_the_golden_store() {
    let version = "v2";
    assert!(!golden("v2.pack").exists(), "the golden store of this version was written long ago");
    let dir = tempfile::tempdir().unwrap();
    let (first, path) = (dir.path().join("first"), dir.path().join("store"));
    let options = Options::new()
        .shards(1)
        .segment_bytes_max(1 << 20)
        .merge_fan_out(2)
        .checkpoint_bytes(64 << 10)
        .pack_after(PackAfter::Never)
        .durability(Durability::Interval(Duration::from_hours(1)))
        .name("golden");
    let mut text = String::new();
    let mut append = |store: &Store, numbers: Range<u32>| {
        for number in numbers {
            // Every other one is large: a multiple of five.
            let odd = number / 2 % 2;
            let kind = if number % 2 == 0 { 5 * (number + odd) } else { 5 * number + 1 + odd };
            let receipt = store.append(&golden_event(kind)).unwrap();
            text.push_str(&line(&store.event(receipt.id).unwrap().unwrap()));
            text.push('\n');
        }
    };
    let store = options.clone().create_new(&first).unwrap();
    append(&store, 0..100);
    store.maintain().unwrap();
    assert!(store.pack().unwrap().events > 0);
    append(&store, 100..150);
    store.flush().unwrap();
    // These are above the durable floor when the writer ends: recovery closes their segment there.
    append(&store, 150..153);
    copy_to(&first, &path);
    let store = options.open(&path).unwrap();
    assert!(store.recovery().shards.iter().any(|shard| shard.rescued == 3), "{:?}", store.recovery());
    append(&store, 153..events(version));
    store.maintain().unwrap();
    store.close().unwrap();
    drop(store);
    let names: Vec<_> =
        fs::read_dir(path.join("shard-00")).unwrap().map(|it| it.unwrap().file_name()).collect();
    let ends_with = |end: &str| names.iter().any(|name| name.to_str().unwrap().ends_with(end));
    assert!(ends_with(".pack") && ends_with(".ckpt") && ends_with("HEADS"), "{names:?}");
    let merged = |name: &str| name.strip_suffix(".run").is_some_and(|name| name.contains('-'));
    assert!(names.iter().any(|name| merged(name.to_str().unwrap())), "{names:?}");
    write_golden(&path, version, &text);
}
