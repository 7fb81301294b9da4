//! Index runs are merged behind a store's back: what it answers stays the same, and so it does when a merged run is
//! damaged and made anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use usertrail::{
    Action, Category, Details, ErrorKind, Level, NewEvent, Options, Order, PackAfter, Service, Store,
};

use crate::fixture::{copy_tree, user, whole_log};

const USERS: usize = 12;

fn options() -> Options {
    Options::new().shards(1).segment_bytes_max(1 << 20).merge_fan_out(2).create_if_missing(true)
}

/// Some segments' worth of events; some segments have nobody's events alone.
fn fill(store: &Store, from: usize, segments: usize) {
    let long = "x".repeat(20_000);
    for n in from..from + segments * 50 {
        let nobodys = n / 50 % 4 == 3;
        let builder = NewEvent::builder(Action::new(format!("own.action_{}", n % 7)).unwrap())
            .category(Category::System)
            .level(Level::Info)
            .service(Service::new(format!("service-{}", n % 5)).unwrap())
            .details(Details::from_value(&serde_json::json!({ "place": n, "long": long })).unwrap());
        let builder = if nobodys { builder } else { builder.user(user(&format!("user {}", n % USERS))) };
        store.append(&builder.build().unwrap()).unwrap();
    }
}

/// All that users can ask, as text.
fn answers(store: &Store) -> Vec<String> {
    let mut answers = Vec::new();
    for n in 0..=USERS {
        let name = user(&format!("user {n}"));
        answers.push(format!("{n}: {}", store.user_count(&name).unwrap()));
        for order in [Order::Newest, Order::Oldest] {
            let log = whole_log(store, &name, order, 7).unwrap();
            answers.extend(log.iter().map(|event| event.id().to_string()));
        }
        let action = Action::new("own.action_3").unwrap();
        let page = store.user_log(&name).action(&action).limit(500).page().unwrap();
        answers.extend(page.to_events().unwrap().iter().map(|event| event.id().to_string()));
    }
    answers
}

fn files(dir: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(dir.join("shard-00")).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).collect()
}

fn merged_runs(dir: &Path) -> Vec<(String, PathBuf)> {
    let merged = |name: &str| name.strip_suffix(".run").is_some_and(|name| name.contains('-'));
    files(dir).into_iter().filter(|(name, _)| merged(name)).collect()
}

#[test]
fn a_store_answers_the_same_with_merged_runs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let plain = options().merge_fan_out(64);
    let store = plain.clone().open(&dir).unwrap();
    fill(&store, 0, 21);
    store.maintain().unwrap();
    let expected = answers(&store);
    assert_eq!(store.stats().unwrap().merges, 0);
    let runs = store.stats().unwrap().runs;
    assert!(runs > 10);
    store.close().unwrap();
    let store = options().open(&dir).unwrap();
    assert_eq!(answers(&store), expected);
    store.maintain().unwrap();
    let stats = store.stats().unwrap();
    assert!(stats.runs <= 5, "{} runs of {runs}", stats.runs);
    assert!(stats.merged_bytes > 0 && stats.merge_waiting_bytes == 0);
    assert_eq!(answers(&store), expected);
    store.check().unwrap();
    fill(&store, 21 * 50, 6);
    store.maintain().unwrap();
    assert!(store.stats().unwrap().runs <= 6);
    let expected = answers(&store);
    store.close().unwrap();
    // What is there is what the manifest names: nothing merged is left.
    let runs = files(&dir).keys().filter(|name| name.strip_suffix(".run").is_some()).count();
    for options in [options(), plain, Options::new().read_only(true)] {
        let store = options.open(&dir).unwrap();
        assert_eq!(store.stats().unwrap().runs, runs as u64);
        assert_eq!(answers(&store), expected);
        store.check().unwrap();
    }
    assert_eq!(
        Options::new().read_only(true).open(&dir).unwrap().maintain().unwrap_err().kind(),
        ErrorKind::ReadOnly
    );
}

#[test]
fn a_damaged_merged_run_is_refused_and_made_anew_from_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let store = options().open(&dir).unwrap();
    fill(&store, 0, 13);
    store.maintain().unwrap();
    let expected = answers(&store);
    store.close().unwrap();
    let damages: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[300] ^= 1;
            bytes[60] ^= 1;
            fs::write(path, bytes).unwrap();
        },
    ];
    for damage in damages {
        let (name, path) = merged_runs(&dir).into_iter().next().unwrap();
        damage(&path);
        for options in [options(), Options::new().read_only(true)] {
            let error = options.open(&dir).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corruption);
            assert!(error.to_string().contains(&name), "{error}");
        }
        let store = options().merge_fan_out(64).repair(true).open(&dir).unwrap();
        assert!(!files(&dir).contains_key(&name));
        assert_eq!(answers(&store), expected);
        store.check().unwrap();
        store.close().unwrap();
        let store = options().open(&dir).unwrap();
        assert_eq!(answers(&store), expected);
        store.maintain().unwrap();
        assert_eq!(answers(&store), expected);
        store.close().unwrap();
    }
}

/// Two stores that were one have the same ids, and here the same numbers of records: the salts tell their runs apart.
#[test]
fn a_run_of_other_segments_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let dirs = [temporary.path().join("a"), temporary.path().join("b")];
    options().open(&dirs[0]).unwrap().close().unwrap();
    copy_tree(&dirs[0], &dirs[1]).unwrap();
    for dir in &dirs {
        // All that is merged is there before anything is: so the same is chosen in both.
        let store = options().merge_fan_out(64).open(dir).unwrap();
        fill(&store, 0, 9);
        store.close().unwrap();
        let store = options().open(dir).unwrap();
        store.maintain().unwrap();
        store.close().unwrap();
    }
    let (name, mine) = merged_runs(&dirs[0]).into_iter().next().unwrap();
    let (other, theirs) = merged_runs(&dirs[1]).into_iter().next().unwrap();
    assert_eq!(name, other);
    fs::copy(theirs, mine).unwrap();
    let error = options().open(&dirs[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.to_string().contains("belongs to other segments"), "{error}");
}

#[test]
fn readers_beside_the_writer_go_on_while_runs_are_merged_and_segments_packed_under_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let writer = options().pack_after(PackAfter::Bytes(2 << 20)).open(&dir).unwrap();
    fill(&writer, 0, 2);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let newcomer = scope.spawn(|| {
            let mut opened = 0;
            while !done.load(Ordering::Relaxed) {
                let store = Options::new().read_only(true).open(&dir).unwrap();
                let log = whole_log(&store, &user("user 1"), Order::Newest, 50).unwrap();
                let sequences = log.iter().map(|event| event.user_sequence().unwrap());
                assert!(sequences.eq((0..log.len() as u64).rev()), "a gap in the log of user 1");
                opened += 1;
            }
            opened
        });
        let readers: Vec<_> = [&Options::new().read_only(true).open(&dir).unwrap(), &writer]
            .into_iter()
            .cloned()
            .map(|store| {
                let done = &done;
                scope.spawn(move || {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        for n in 0..USERS {
                            let log =
                                whole_log(&store, &user(&format!("user {n}")), Order::Newest, 50).unwrap();
                            let sequences = log.iter().map(|event| event.user_sequence().unwrap());
                            assert!(
                                sequences.eq((0..log.len() as u64).rev()),
                                "a gap in the log of user {n}"
                            );
                            last = log.len();
                        }
                    }
                    last
                })
            })
            .collect();
        for part in 0..12 {
            fill(&writer, (2 + 2 * part) * 50, 2);
            writer.maintain().unwrap();
            if part % 4 == 3 {
                assert!(writer.unpack().unwrap().events > 0);
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(newcomer.join().unwrap() > 0);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert!(writer.stats().unwrap().merges > 3);
    let expected = answers(&writer);
    let reader = Options::new().read_only(true).open(&dir).unwrap();
    assert_eq!(answers(&reader), expected);
}
