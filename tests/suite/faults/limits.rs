//! Limits of the process: how long a file may be, how many descriptors there are.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use usertrail::{ErrorKind, Options, PackAfter, Store};

use super::{
    append, assert_holds, assert_holds_reopened, event, notices_a_loss, options, process, run, user,
};
use crate::figures::{Controls, figure};

fn limit(resource: Resource, soft: Option<u64>) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: soft.or(maximum), maximum }).unwrap();
}

/// Appends until it fails; gives how many there are then.
fn append_to_the_end(store: &Store, first: u64, kind: ErrorKind, message: &str) -> u64 {
    for number in first..first + 100_000 {
        if let Err(error) = store.append(&event(number)) {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(message), "{error}");
            return number;
        }
    }
    panic!("the limit isn't felt");
}

/// The kernel's answer to a file that becomes too long is SIGXFSZ, which ends a process that doesn't ignore it.
pub(super) fn under_a_limit_of_file_sizes(dir: &Path) {
    limit(Resource::Fsize, Some(512 << 10));
    let error = options().create_new(dir.join("refused")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("File too large"), "{error}");
    for byte_count in [0, 4, 100] {
        limit(Resource::Fsize, Some(byte_count));
        let error = options().create_new(dir.join("refused")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
    // Room for small segments: more of them are made.
    limit(Resource::Fsize, Some(1 << 20));
    let small = Options::new().shards(1).create_new(dir.join("small")).unwrap();
    append(&small, 0, 5_000);
    assert_holds(&small, 5_000);
    small.close().unwrap();
    // A store that is open, and a limit that comes later.
    limit(Resource::Fsize, None);
    let store = options().create_new(dir.join("store")).unwrap();
    let count = append(&store, 0, 1_500);
    limit(Resource::Fsize, Some(512 << 10));
    let count = append_to_the_end(&store, count, ErrorKind::StorageFull, "File too large");
    let count = append_to_the_end(&store, count, ErrorKind::StorageFull, "File too large");
    assert_holds(&store, count);
    store.flush().unwrap();
    limit(Resource::Fsize, None);
    let count = append(&store, count, 3_000);
    store.close().unwrap();
    // Opening under the limit: what needs no file serves, or it is refused in words.
    limit(Resource::Fsize, Some(512 << 10));
    match Store::open(dir.join("store")) {
        Ok(store) => assert_holds(&store, count),
        Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
    }
    limit(Resource::Fsize, None);
    let store = Store::open(dir.join("store")).unwrap();
    assert_holds(&store, count);
    store.check().unwrap();
}

/// What a program does that doesn't look at the limit.
pub(super) fn longer_than_allowed(dir: &Path) {
    limit(Resource::Fsize, Some(100));
    std::fs::write(dir.join("file"), [0; 101]).unwrap();
}

#[test]
fn a_limit_of_file_sizes_is_an_error_and_never_a_signal() {
    let mut controls = Controls::default();
    let dir = tempfile::tempdir().unwrap();
    let ended = process("too-long", dir.path(), "").output().unwrap().status;
    controls.add(ended.signal() == Some(Signal::XFSZ.as_raw()));
    assert_eq!(controls.caught, controls.seeded, "{ended}");
    for signal in ["", "trap '' XFSZ;"] {
        let dir = tempfile::tempdir().unwrap();
        run("file-size", dir.path(), signal);
    }
    figure(
        "a limit of the process is an error that passes",
        "faults::limits::a_limit_of_file_sizes_is_an_error_and_never_a_signal",
        "6 moments, the signal ignored or not: no signal, 0 lost",
        controls,
    );
}

fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

pub(super) fn without_descriptors(dir: &Path) {
    let dir = dir.join("store");
    let store = options().create_new(&dir).unwrap();
    let count = append(&store, 0, 20_000);
    store.close().unwrap();
    drop(store);
    // Fewer than a store needs: refused, with the reason, and nothing is kept. How many segments there are doesn't matter.
    for allowed in 4..24 {
        limit(Resource::Nofile, Some(allowed));
        let opened = Store::open(&dir);
        limit(Resource::Nofile, None);
        match opened {
            Ok(store) => assert!(allowed >= 8, "{allowed} descriptors were enough: {:?}", store.stats()),
            Err(error) => {
                assert!(allowed < 20, "{allowed} descriptors were not enough: {error}");
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                assert!(error.to_string().contains("Too many open files"), "{error}");
            }
        }
    }
    let store = Store::open(&dir).unwrap();
    assert_holds(&store, count);
    // None left in a store that is open: it goes on as far as the files that it has.
    limit(Resource::Nofile, Some(3));
    assert!(std::fs::File::open("/dev/null").is_err(), "there is none");
    let count = append_to_the_end(&store, count, ErrorKind::Io, "Too many open files");
    let count = append_to_the_end(&store, count, ErrorKind::Io, "Too many open files");
    // What was stored can become durable, and is read.
    store.flush().unwrap();
    assert_holds(&store, count);
    limit(Resource::Nofile, None);
    assert!(descriptors() < 1000);
    let count = append(&store, count, 5_000);
    store.maintain().unwrap();
    assert_holds_reopened(store, &dir, count);
}

/// Does this in a process of its own; what it stored is there afterwards.
fn passes(task: &str, test: &str, told: &str) {
    let dir = tempfile::tempdir().unwrap();
    run(task, dir.path(), "");
    let store = Store::open(dir.path().join("store")).unwrap();
    let count = store.user_count(&user("alice")).unwrap();
    assert_holds(&store, count);
    figure("a limit of the process is an error that passes", test, told, notices_a_loss(&store, count));
}

#[test]
fn descriptors_that_run_out_are_an_error_that_passes() {
    passes(
        "descriptors",
        "faults::limits::descriptors_that_run_out_are_an_error_that_passes",
        "20 openings with few, 2 appends to the end of the files: typed errors, no shard poisoned, 0 lost",
    );
}

/// How many descriptors the process may have that makes more segments than that.
const FEW: u64 = 64;

pub(super) fn more_segments_than_descriptors(dir: &Path) {
    let dir = dir.join("store");
    limit(Resource::Nofile, Some(FEW));
    let store = options().pack_after(PackAfter::Never).create_new(&dir).unwrap();
    let count = append(&store, 0, 2 * FEW * 1_000);
    store.flush().unwrap();
    store.maintain().unwrap();
    let segments =
        |store: &Store| store.layout().unwrap().iter().map(|shard| shard.segments.len() as u64).sum();
    let made: u64 = segments(&store);
    assert!(made > FEW + FEW / 2, "{made} segments");
    let opened = descriptors();
    assert!(opened < FEW / 2, "{opened} descriptors for {made} segments");
    let holds = |store: &Store| {
        let page = store.user_log(&user("alice")).limit(10).page().unwrap();
        let newest = page.iter().next().unwrap().unwrap();
        assert_eq!(newest.session_id().unwrap(), Some(format!("s-{}", count - 1).as_str()));
        assert_eq!(store.user_count(&user("alice")).unwrap(), count);
    };
    holds(&store);
    store.close().unwrap();
    drop(store);
    let store = Store::open(&dir).unwrap();
    assert!(segments(&store) >= made);
    holds(&store);
    drop(store);
    let reader = Options::new().read_only(true).open(&dir).unwrap();
    holds(&reader);
    drop(reader);
    // As many segments made of one pack.
    let store = Store::open(&dir).unwrap();
    assert!(store.pack().unwrap().events > 0);
    holds(&store);
    store.unpack().unwrap();
    assert!(segments(&store) >= made);
    assert_holds_reopened(store, &dir, count);
}

#[test]
fn a_store_has_more_segments_than_its_process_may_have_descriptors() {
    passes(
        "few-descriptors",
        "faults::limits::a_store_has_more_segments_than_its_process_may_have_descriptors",
        "64 descriptors, more than 96 segments: made, opened, read, packed, unpacked, 0 lost",
    );
}
