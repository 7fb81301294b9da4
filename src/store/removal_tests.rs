//! A store's directory is removed under it. The suite has the same with threads (`tests/suite/faults/processes.rs`).

use super::open::{Host, WorkersKind, create_new};
use super::{Durability, Options};
use crate::error::{Error, ErrorKind};
use crate::event::{Action, NewEvent};
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

#[test]
fn nothing_is_durable_in_a_file_that_was_removed() {
    assert_eq!(told().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let mut controls = Controls::default();
    seed(Some(Bug::RemovalUnchecked));
    controls.add(told().is_ok());
    seed(None);
    assert_eq!(controls.caught, controls.seeded);
    figure(
        "nothing is told to be durable in a file that was removed",
        "store::removal_tests::nothing_is_durable_in_a_file_that_was_removed",
        "1 directory, 0 acknowledgements",
        controls,
    );
}
