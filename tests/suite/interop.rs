//! A store read by a program in another language: `tests/interop/read_store.py`, written from `docs/FORMAT.md`.
//!
//! Owns the comparison, byte for byte, of what it lists with what this crate says. Must not know the format.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use usertrail::event::{Action, UnknownMembers, from_json_line};
use usertrail::{
    ActorId, Category, Details, Durability, IdempotencyKey, Level, Message, NewEvent, Options, Order,
    Receipt, RequestId, Resource, ResourceId, Service, SessionId, Status, Store, TenantId, Timestamp,
    UserAgent, UserId,
};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/read_store.py");

/// Says that a test is skipped where there is no Python.
fn python(test: &str) -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        crate::figures::skipped(format!("{test}: there is no python3"));
    }
    there
}

fn read(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("python3").arg(READER).arg(dir).args(arguments).output().unwrap()
}

/// What the reader lists, and its summary.
fn listed(dir: &Path, arguments: &[&str]) -> (String, serde_json::Value) {
    let output = read(dir, arguments);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{messages}");
    (String::from_utf8(output.stdout).unwrap(), serde_json::from_str(&messages).unwrap())
}

fn odd_users() -> Vec<String> {
    let mut users: Vec<String> = [
        "alice",
        "Alice",
        " ",
        " leading and trailing ",
        "o'brien \"the\" \\ admin",
        "../../etc/passwd",
        "a/b",
        "line\nbreak",
        "tab\tand\u{1}control\u{7f}",
        "nul\0byte",
        "žluťoučký kůň",
        "e\u{301}",
        "\u{e9}",
        "مستخدم",
        "用户",
        "👩‍👩‍👧‍👦",
        "\u{202e}txet",
        "\u{feff}",
        "0",
        "null",
        "-",
    ]
    .map(str::to_owned)
    .into();
    users.push("x".repeat(256));
    users.push("é".repeat(128));
    users
}

/// An event whose fields come and go with `n`.
fn event(n: usize, user: Option<&str>) -> NewEvent<'static> {
    let text = |name: &str| format!("{name} {n} \u{1f511} \"q\" \\ \u{8}\u{1f}");
    let known = usertrail::event::catalogue();
    let action = match n % 7 {
        0 => Action::new(format!("billing.card_{}", n % 5)).unwrap(),
        _ => known[n % known.len()].to_action(),
    };
    let mut event = NewEvent::builder(action)
        .category(Category::ALL[n % Category::ALL.len()])
        .level(Level::ALL[n % Level::ALL.len()])
        .status(Status::ALL[n % Status::ALL.len()]);
    if let Some(user) = user {
        event = event.user(UserId::new(user.to_owned()).unwrap());
    }
    let addresses =
        ["203.0.113.7", "2001:db8::1", "::", "::ffff:198.51.100.9", "fe80::1:0:0:2", "1:0:0:2:0:0:0:3"];
    // Every eleventh event has nothing, every thirteenth everything.
    let has = |bit: usize| !n.is_multiple_of(11) && (n.is_multiple_of(13) || n >> (bit % 6) & 1 == 1);
    if has(0) {
        event =
            event.tenant(TenantId::new(text("tenant")).unwrap()).actor(ActorId::new(text("actor")).unwrap());
    }
    if has(1) {
        let service = Service::new(format!("service-{}", n % 9)).unwrap();
        event = event.service(service).resource(Resource::new(text("resource")).unwrap());
    }
    if has(2) {
        event = event.resource_id(ResourceId::new("r".repeat(1 + n % 256)).unwrap());
        event = event.idempotency_key(IdempotencyKey::new(format!("key-{n}")).unwrap());
    }
    if has(3) {
        let session = SessionId::new(format!("s-{n}")).unwrap();
        event = event.session(session).request_id(RequestId::new(text("request")).unwrap());
    }
    if has(4) {
        event = event.ip(addresses[n % addresses.len()].parse::<IpAddr>().unwrap());
        event = event.user_agent(
            UserAgent::new(if n.is_multiple_of(3) { String::new() } else { text("agent") }).unwrap(),
        );
        event = event.message(Message::new("é".repeat(n % 1000)).unwrap());
    }
    if has(5) {
        let details = format!(
            r#"{{"n":{n},"big":1e400,"one":1.0,"text":"\u0000 é \ud83d\ude00","deep":[[{{}}],null]}}"#
        );
        event = event.details(Details::from_json(&details).unwrap().into_owned());
        let times = [
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "2024-02-29T12:00:00.5+02:00",
            "1969-12-31T23:59:59.999999Z",
        ];
        event = event.occurred_at(Timestamp::parse_rfc3339(times[n % times.len()]).unwrap());
    }
    event.build().unwrap()
}

/// Fills a store, some events in batches and atomic groups. The receipts are those of events without a user.
fn fill(store: &Store, events: usize) -> Vec<Receipt> {
    let users = odd_users();
    let mut others = Vec::new();
    let mut n = 0;
    while n < events {
        let user = (!n.is_multiple_of(17)).then(|| users[n * n % users.len()].as_str());
        match n % 50 {
            // One user's group; a batch of everybody.
            7 => {
                let group = [event(n, user), event(n + 1, user), event(n + 2, user)];
                let receipts = store.append_atomic(&group).unwrap();
                others.extend(receipts.into_iter().filter(|_| user.is_none()));
            }
            13 => {
                let batch: Vec<_> = (0..20).map(|i| event(n + i, Some(&users[i % users.len()]))).collect();
                store.append_batch(&batch).unwrap();
            }
            _ => {
                let receipt = store.append(&event(n, user)).unwrap();
                others.extend(user.is_none().then_some(receipt));
            }
        }
        n += 1;
    }
    others
}

/// The store's own list: user by user in the order of their bytes, then the events without a user.
fn own_list(store: &Store, others: &[Receipt]) -> String {
    let mut lines = Vec::new();
    let users: BTreeSet<String> = odd_users().into_iter().collect();
    for user in &users {
        let id = UserId::new(user.clone()).unwrap();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = store.user_log(&id).limit(500).order(Order::Oldest);
            if let Some(cursor) = cursor {
                query = query.cursor(cursor);
            }
            let page = query.page().unwrap();
            lines.extend(page.iter().map(|event| serde_json::to_string(&event.unwrap()).unwrap()));
            cursor = page.next_cursor();
            if cursor.is_none() {
                break;
            }
        }
    }
    let mut others: Vec<&Receipt> = others.iter().collect();
    others.sort_by_key(|receipt| (receipt.shard, receipt.sequence));
    for receipt in others {
        lines.push(serde_json::to_string(&store.event(receipt.id).unwrap().unwrap()).unwrap());
    }
    lines.join("\n") + "\n"
}

fn assert_same(listed: &str, own: &str) {
    for (line, (theirs, ours)) in listed.lines().zip(own.lines()).enumerate() {
        assert_eq!(theirs, ours, "line {line}");
    }
    assert_eq!(listed.lines().count(), own.lines().count());
}

fn options() -> Options {
    Options::new()
        .shards(4)
        .segment_bytes_max(1 << 20)
        .durability(Durability::Buffered)
        .name("interop")
        .merge_fan_out(2)
}

#[test]
fn python_lists_what_the_store_lists() {
    if !python("interop::python_lists_what_the_store_lists") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("store");
    let store = options().create_new(&dir).unwrap();
    let others = fill(&store, 6_000);
    let own = own_list(&store, &others);
    store.maintain().unwrap();
    store.close().unwrap();
    let (lines, summary) = listed(&dir, &[]);
    assert_same(&lines, &own);
    for kind in ["sealedEvents", "unsealedEvents", "mergedRuns", "postings"] {
        assert!(summary[kind].as_u64().unwrap() > 0, "{kind}: {summary}");
    }
    assert_eq!((&summary["name"], &summary["shards"]), (&"interop".into(), &4.into()));
    // What the reader lists is input again.
    for line in lines.lines().take(200) {
        let event = from_json_line(line.as_bytes(), UnknownMembers::ToDetails);
        assert!(event.is_ok() || line.contains("\"details\""), "{line}");
    }
    for user in ["alice", "line\nbreak", "nobody"] {
        let store = Store::open(&dir).unwrap();
        let count = store.user_count(&UserId::new(user).unwrap()).unwrap();
        store.close().unwrap();
        let (lines, _) = listed(&dir, &["--user", user]);
        assert_eq!(lines.lines().count() as u64, count, "{user}");
    }
}

#[test]
fn python_lists_a_store_whose_writer_was_killed_and_one_that_was_recovered() {
    if !python("interop::python_lists_a_store_whose_writer_was_killed_and_one_that_was_recovered") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let (dir, killed) = (temporary.path().join("store"), temporary.path().join("killed"));
    // Little enough for the first segments, so that no file is made or sealed while the directory is copied.
    let store = options().create_new(&dir).unwrap();
    let others = fill(&store, 1_500);
    let own = own_list(&store, &others);
    crate::fixture::copy_tree(&dir, &killed).unwrap();
    assert_same(&listed(&killed, &[]).0, &own);
    let recovered = Store::open(&killed).unwrap();
    assert_eq!(own_list(&recovered, &others), own);
    recovered.close().unwrap();
    let (lines, summary) = listed(&killed, &[]);
    assert_same(&lines, &own);
    assert_eq!(summary["epochs"], 1, "an opening after a kill begins an epoch: {summary}");
}

#[test]
fn python_finds_damage() {
    if !python("interop::python_finds_damage") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("store");
    let store = options().shards(1).create_new(&dir).unwrap();
    fill(&store, 2_500);
    store.close().unwrap();
    let (_, summary) = listed(&dir, &[]);
    assert!(summary["sealedEvents"].as_u64().unwrap() > 0, "{summary}");
    let shard = dir.join("shard-00");
    let places: [(PathBuf, usize); 6] = [
        (dir.join("STORE"), 40),
        (shard.join("MANIFEST"), 40),
        (shard.join("0000000000000000.log"), 40),
        (shard.join("0000000000000000.log"), 10_000),
        (shard.join("0000000000000000.run"), 5_000),
        (shard.join("0000000000000001.log"), 10_000),
    ];
    for (path, place) in places {
        let sound = std::fs::read(&path).unwrap();
        let mut damaged = sound.clone();
        damaged[place] ^= 0x10;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &damaged).unwrap();
        let output = read(&dir, &[]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{} at {place}: {message}", path.display());
        assert!(message.contains("at byte"), "{message}");
        std::fs::write(&path, &sound).unwrap();
    }
    listed(&dir, &[]);
}
