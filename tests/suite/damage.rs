//! Random damage of any file of a small store that was closed: the same answers, or an error that names the place.
//!
//! Never a panic, never an event less or another one, and never a silent rollback. A sample; every bit of the index run
//! is tried where the run lives.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use usertrail::{Action, Details, ErrorKind, Event, EventId, NewEvent, Options, Order, Result, Store};

use crate::fixture::{cases, user, whole_log};

const USERS: [&str; 4] = ["a", "b", "c", "nobody yet"];

/// A closed store's files, and what is in it.
struct Sample {
    files: BTreeMap<PathBuf, Vec<u8>>,
    logs: Vec<Vec<Event>>,
    ids: Vec<EventId>,
}

/// One sealed segment with its run, one that is not sealed, one that was only prepared.
fn sample() -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Options::new().shards(1).segment_bytes_max(1 << 20).create_new(&path).unwrap();
    let mut ids = Vec::new();
    for number in 0..1_500 {
        let padding = if number < 600 { 2_000 } else { 20 };
        let details = serde_json::json!({ "number": number, "padding": "p".repeat(padding) });
        let event = NewEvent::builder(Action::new(["auth.login", "own.action"][number % 2]).unwrap())
            .category(usertrail::Category::Auth)
            .level(usertrail::Level::Info)
            .details(Details::from_value(&details).unwrap());
        let event = if number % 10 == 9 { event } else { event.user(user(USERS[number % 3])) };
        ids.push(store.append(&event.build().unwrap()).unwrap().id);
    }
    let logs = USERS.map(|name| whole_log(&store, &user(name), Order::Newest, 500).unwrap());
    store.close().unwrap();
    drop(store);
    let mut files = BTreeMap::new();
    for dir in [path.clone(), path.join("shard-00")] {
        for entry in fs::read_dir(dir).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                files.insert(file.strip_prefix(&path).unwrap().to_owned(), fs::read(&file).unwrap());
            }
        }
    }
    assert!(files.contains_key(Path::new("shard-00/0000000000000000.run")));
    assert!(files.contains_key(Path::new("shard-00/0000000000000001.log")));
    Sample { files, logs: logs.into(), ids }
}

/// Where in a file.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Near the beginning, where the headers are: most of a segment is padding.
    Near(u64),
    Anywhere(u64),
}

impl Place {
    fn within(self, length: usize) -> usize {
        let (Self::Near(place) | Self::Anywhere(place)) = self;
        usize::try_from(place % (length.max(1) as u64)).unwrap()
    }
}

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    FlipBit(Place, u8),
    /// These bytes stand there instead.
    Overwrite(Place, Vec<u8>),
    /// The page of 4 KiB is all zeros.
    ZeroPage(Place),
    Cut(Place),
    Lengthen(Vec<u8>),
    Remove,
    /// Another of the store's files stands in its place.
    Exchange(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || prop_oneof![any::<u64>().prop_map(Place::Anywhere), (0_u64..6_000).prop_map(Place::Near)];
    let bytes = || proptest::collection::vec(any::<u8>(), 1..64);
    prop_oneof![
        6 => (place(), 0_u8..8).prop_map(|(at, bit)| Damage::FlipBit(at, bit)),
        4 => (place(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        2 => place().prop_map(Damage::ZeroPage),
        2 => place().prop_map(Damage::Cut),
        1 => bytes().prop_map(Damage::Lengthen),
        1 => Just(Damage::Remove),
        1 => any::<usize>().prop_map(Damage::Exchange),
    ]
}

fn apply(damage: &Damage, bytes: &[u8], others: &BTreeMap<PathBuf, Vec<u8>>) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let length = bytes.len();
    match damage {
        Damage::FlipBit(place, bit) => {
            if let Some(byte) = bytes.get_mut(place.within(length)) {
                *byte ^= 1 << bit;
            }
        }
        Damage::Overwrite(place, other) => {
            let at = place.within(length);
            bytes.iter_mut().skip(at).zip(other).for_each(|(byte, other)| *byte = *other);
        }
        Damage::ZeroPage(place) => {
            let at = place.within(length) / 4096 * 4096;
            bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = 0);
        }
        Damage::Cut(place) => bytes.truncate(place.within(length)),
        Damage::Lengthen(more) => bytes.extend_from_slice(more),
        Damage::Remove => return None,
        Damage::Exchange(which) => return others.values().nth(which % others.len()).cloned(),
    }
    Some(bytes)
}

/// Asks for everything; the first error ends it.
fn ask_all(store: &Store, sample: &Sample) -> Result<()> {
    for (name, expected) in USERS.iter().zip(&sample.logs) {
        let found = whole_log(store, &user(name), Order::Newest, 100)?;
        assert_eq!(&found, expected, "the log of {name}");
        assert_eq!(store.user_count(&user(name))?, expected.len() as u64);
    }
    for id in sample.ids.iter().step_by(37) {
        assert_eq!(store.event(*id)?.map(|event| event.id()), Some(*id));
    }
    assert_eq!(store.stats()?.events, sample.ids.len() as u64);
    store.check()
}

fn open_and_ask(dir: &Path, read_only: bool, sample: &Sample) -> Result<()> {
    let store = Options::new().read_only(read_only).open(dir)?;
    assert!(!store.recovery().rolled_back(), "rolled back: {:?}", store.recovery());
    // The last records, if nothing vouches for them any more, may be left out by a reader, which then says so.
    if store.recovery().needs_recovery {
        for (name, expected) in USERS.iter().zip(&sample.logs) {
            let found = whole_log(&store, &user(name), Order::Newest, 100)?;
            assert!(expected.ends_with(&found), "the log of {name} is not the beginning of what it was");
        }
        return Ok(());
    }
    ask_all(&store, sample)
}

fn write_all(dir: &Path, sample: &Sample, changed: &Path, content: Option<&[u8]>) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir.join("shard-00")).unwrap();
    for (name, bytes) in &sample.files {
        let bytes = if name == changed { content } else { Some(&bytes[..]) };
        if let Some(bytes) = bytes {
            fs::write(dir.join(name), bytes).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// Whether the damage was told.
fn try_damage(dir: &Path, sample: &Sample, name: &Path, damage: &Damage, read_only: bool) -> bool {
    let content = apply(damage, &sample.files[name], &sample.files);
    write_all(dir, sample, name, content.as_deref());
    let Err(error) = open_and_ask(dir, read_only, sample) else { return false };
    let kinds = [ErrorKind::Corruption, ErrorKind::NotAStore, ErrorKind::NewerFormat];
    let text = error.to_string();
    assert!(kinds.contains(&error.kind()), "{:?}: {text}", error.kind());
    assert!(text.contains(dir.to_str().unwrap()) || text.contains("of shard"), "which place? {text}");
    true
}

#[test]
fn a_closed_store_never_hides_damage() {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let names: Vec<&PathBuf> = sample.files.keys().collect();
    let mut runner = TestRunner::new(cases(250));
    let told = std::cell::Cell::new(0);
    let any = (0..names.len(), damage(), any::<bool>());
    let outcome = runner.run(&any, |(which, damage, read_only)| {
        let was_told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            try_damage(&dir, &sample, names[which], &damage, read_only)
        }));
        match was_told {
            Ok(was_told) => told.set(told.get() + u32::from(was_told)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                return Err(TestCaseError::fail(format!("{}: {text}", names[which].display())));
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(told.get() > 50, "the sample hardly hit anything: {} told", told.get());
}
