//! A store's directory is removed under it. The suite has the same with threads (`tests/suite/faults/processes.rs`).

use std::time::Duration;

use super::open::{Host, WorkersKind, create_new};
use super::{Durability, Options};
use crate::error::{Error, ErrorKind};
use crate::event::{Action, Message, NewEvent};
use crate::figures::{Controls, figure};
use crate::format::seeded::{Bug, seed};
use crate::io::real::RealDisk;

/// What the first durable append says after the directory was removed.
fn told() -> Result<(), Error> {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("store");
    let host = Host { workers: WorkersKind::Caller, ..Host::machine(RealDisk::default()) };
    let options = Options::new().shards(1).durability(Durability::Durable);
    let store = create_new(&options, &host, dir.clone()).unwrap();
    let event = NewEvent::builder(Action::AUTH_LOGIN).build().unwrap();
    store.append(&event).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    store.append(&event).map(drop)
}

/// What those hear who wait for an event whose segment's file was removed, and the segment sealed before any commit: a
/// waiter, a flush, the closing.
fn told_of_a_sealed_one() -> [Result<(), Error>; 3] {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("store");
    let host = Host { workers: WorkersKind::Nobody, ..Host::machine(RealDisk::default()) };
    let options = Options::new()
        .shards(1)
        .segment_bytes_max(1 << 20)
        .durability(Durability::Interval(Duration::from_hours(1)));
    let store = create_new(&options, &host, dir.clone()).unwrap();
    let text = Message::new("m".repeat(1_000)).unwrap();
    let event = NewEvent::builder(Action::AUTH_LOGIN).message(text).build().unwrap();
    let pending = store.append_nowait(&event).unwrap();
    let shard = &store.0.core.shards[0];
    std::fs::remove_file(shard.view().segments[0].path()).unwrap();
    while shard.frozen.lock().is_empty() {
        store.append(&event).unwrap();
    }
    let _ = store.maintain();
    [pending.wait().map(drop), store.flush(), store.close()]
}

#[test]
fn nothing_is_durable_in_a_file_that_was_removed() {
    assert_eq!(told().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    for heard in told_of_a_sealed_one() {
        assert_eq!(heard.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
    let mut controls = Controls::default();
    seed(Some(Bug::RemovalUnchecked));
    controls.add(told().is_ok());
    controls.add(told_of_a_sealed_one().iter().all(Result::is_ok));
    seed(None);
    assert_eq!(controls.caught, controls.seeded);
    figure(
        "nothing is told to be durable in a file that was removed",
        "store::removal_tests::nothing_is_durable_in_a_file_that_was_removed",
        "1 directory, 1 file before its sealing, 0 acknowledgements",
        controls,
    );
}
