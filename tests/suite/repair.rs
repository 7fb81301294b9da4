//! Damage below the durable floor: refused with its place, and repaired where a person asks for it.
//!
//! Owns the damage that a person can do to a closed store's files. Must not know the store's insides beyond file names.

use std::fs;
use std::path::{Path, PathBuf};

use usertrail::{Action, Details, ErrorKind, NewEvent, Options, Store, UserId};

/// Events enough for several sealed segments of 1 MiB.
const EVENTS: usize = 9_000;

fn user() -> UserId<'static> {
    UserId::new("alice").unwrap()
}

fn event(number: usize) -> NewEvent<'static> {
    let details = serde_json::json!({ "number": number, "padding": "x".repeat(200) });
    NewEvent::builder(Action::AUTH_LOGIN)
        .user(user())
        .details(Details::from_value(&details).unwrap())
        .build()
        .unwrap()
}

/// A closed store with one shard, and its shard's directory.
fn closed_store(dir: &Path) -> PathBuf {
    let path = dir.join("store");
    let store = Options::new().shards(1).segment_bytes_max(1 << 20).create_new(&path).unwrap();
    let events: Vec<_> = (0..EVENTS).map(event).collect();
    store.append_batch(&events).unwrap();
    store.close().unwrap();
    let shard = path.join("shard-00");
    assert!(shard.join("0000000000000001.run").exists(), "two segments are sealed");
    shard
}

fn read_all(store: &Store) -> usertrail::Result<usize> {
    let mut cursor: Option<String> = None;
    let mut sum = 0;
    loop {
        let user = user();
        let mut query = store.user_log(&user).limit(500);
        if let Some(cursor) = &cursor {
            query = query.cursor(cursor.clone());
        }
        let page = query.page()?;
        sum += page.to_events()?.len();
        match page.next_cursor() {
            Some(next) => cursor = Some(next),
            None => return Ok(sum),
        }
    }
}

fn flip(path: &Path, offset: usize) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of a temporary directory")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn length(path: &Path) -> usize {
    usize::try_from(fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_damaged_or_missing_run_is_named_and_made_anew() {
    for damage in ["body", "header", "missing"] {
        let dir = tempfile::tempdir().unwrap();
        let shard = closed_store(dir.path());
        let run = shard.join("0000000000000001.run");
        match damage {
            "body" => flip(&run, 4096 + 40),
            "header" => flip(&run, 40),
            _ => fs::remove_file(&run).unwrap(),
        }
        let path = dir.path().join("store");
        let refused = Store::open(&path).and_then(|store| store.check());
        let error = refused.expect_err(damage);
        assert_eq!(
            (error.kind(), error.path()),
            (ErrorKind::Corruption, Some(run.as_path())),
            "{damage}: {error}"
        );
        let store = Options::new().repair(true).open(&path).unwrap();
        store.check().unwrap();
        assert_eq!(read_all(&store).unwrap(), EVENTS, "{damage}");
        assert!(store.recovery().shards.iter().all(|shard| shard.rolled_back_from.is_none()));
    }
}

#[test]
fn a_damaged_footer_is_named_and_made_anew() {
    for from_end in [10, 50, 64] {
        let dir = tempfile::tempdir().unwrap();
        let shard = closed_store(dir.path());
        let log = shard.join("0000000000000000.log");
        flip(&log, length(&log) - from_end);
        let path = dir.path().join("store");
        let error = Store::open(&path).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(log.as_path())), "{error}");
        let store = Options::new().repair(true).open(&path).unwrap();
        store.check().unwrap();
        assert_eq!(read_all(&store).unwrap(), EVENTS);
        store.close().unwrap();
        Store::open(&path).unwrap().check().unwrap();
    }
}

#[test]
fn a_damaged_record_of_a_sealed_segment_is_named_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let shard = closed_store(dir.path());
    let log = shard.join("0000000000000000.log");
    flip(&log, 4096 + 200);
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.user_log(&user()).page().unwrap().len(), 100, "newer records are intact");
    let oldest = store.user_log(&user()).order(usertrail::Order::Oldest).page().unwrap();
    let error = oldest.to_events().unwrap_err();
    assert_eq!(
        (error.kind(), error.path(), error.offset()),
        (ErrorKind::Corruption, Some(log.as_path()), Some(4096))
    );
    assert_eq!(store.check().unwrap_err().offset(), Some(4096));
}

#[test]
fn damage_below_the_floor_is_refused_and_rolled_back_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let shard = closed_store(dir.path());
    let newest = (0..).map(|id| shard.join(format!("{id:016}.log"))).take_while(|path| path.exists());
    let unsealed: Vec<_> = newest.filter(|path| !path.with_extension("run").exists()).collect();
    let active = unsealed.first().unwrap();
    flip(active, 4096 + 200);
    let path = dir.path().join("store");
    for _ in 0..2 {
        let error = Store::open(&path).unwrap_err();
        let place = (error.kind(), error.path(), error.offset());
        assert_eq!(place, (ErrorKind::Corruption, Some(active.as_path()), Some(4096)), "{error}");
    }
    let store = Options::new().repair(true).open(&path).unwrap();
    let report = &store.recovery().shards[0];
    let lost = EVENTS as u64 - report.rolled_back_from.unwrap();
    assert_eq!(report.rolled_back_to, Some(EVENTS as u64));
    assert_eq!(report.epoch, 1);
    assert_eq!(read_all(&store).unwrap() as u64, EVENTS as u64 - lost);
    assert!(lost > 0);
    let kept = fs::read_dir(&shard)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".log.damaged-"));
    assert_eq!(kept.count(), 1, "the damaged file is kept");
    let receipt = store.append(&event(EVENTS)).unwrap();
    assert_eq!(receipt.user_sequence.unwrap().get(), EVENTS as u64 - lost, "the numbering goes on");
    assert_eq!(receipt.epoch.get(), 1);
    store.close().unwrap();
    assert_eq!(read_all(&Store::open(&path).unwrap()).unwrap() as u64, EVENTS as u64 - lost + 1);
}
