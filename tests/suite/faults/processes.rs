//! Other processes and people: a second opener, a child that outlives the store, a directory that is removed.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use usertrail::{Durability, ErrorKind, Options, Store};

use super::{append, assert_holds, event, options, run};

/// Another process, while this one's parent has the store open.
pub(super) fn beside_a_writer(dir: &Path) {
    let error = Store::open(dir).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
    assert!(error.to_string().contains(&format!("process {parent}")), "{error}");
    let reader = Options::new().read_only(true).open(dir).unwrap();
    assert_holds(&reader, 10);
    let error = reader.append(&event(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
}

#[test]
fn one_process_writes_and_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let store = options().create_new(&dir).unwrap();
    append(&store, 0, 10);
    run("locked", &dir, "");
    assert_eq!(Store::open(&dir).unwrap_err().kind(), ErrorKind::Locked, "nor twice in one process");
    append(&store, 10, 1);
    assert_holds(&store, 11);
}

#[test]
fn a_child_that_runs_on_does_not_keep_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let store = options().create_new(&dir).unwrap();
    append(&store, 0, 10);
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    store.close().unwrap();
    drop(store);
    let store = Store::open(&dir).unwrap();
    assert_holds(&store, 10);
    // It was alive all the time.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"alive").unwrap();
    drop(stdin);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "alive");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_removed_directory_ends_what_is_told_to_be_durable() {
    // At once where an append waits; with the next sync where it doesn't.
    for durability in [Durability::Durable, Durability::Interval(std::time::Duration::from_millis(1))] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("store");
        let store = options().durability(durability).create_new(&dir).unwrap();
        append(&store, 0, 10);
        store.flush().unwrap();
        // A file that is made ahead meanwhile is in the way once.
        while let Err(error) = std::fs::remove_dir_all(&dir) {
            assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        }
        let mut count = 10;
        let error = loop {
            match store.append(&event(count)) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
            assert!(count < 100_000 && durability != Durability::Durable, "{count} events were taken");
        };
        let expected =
            if durability == Durability::Durable { ErrorKind::OutcomeUnknown } else { ErrorKind::Poisoned };
        assert!([expected, ErrorKind::Io].contains(&error.kind()), "{error}");
        assert!(
            error.to_string().contains("removed") || error.to_string().contains("No such file"),
            "{error}"
        );
        assert!(store.append(&event(count)).is_err() && store.flush().is_err());
        // What was shown is shown until it is closed.
        assert!(store.user_log(&crate::fixture::user("alice")).limit(10).page().unwrap().len() == 10);
        assert!(store.close().is_err(), "closing can't keep it either");
        assert_eq!(Store::open(&dir).unwrap_err().kind(), ErrorKind::NotAStore);
    }
}
