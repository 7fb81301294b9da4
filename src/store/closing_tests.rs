//! What a store's shards tell and change where several threads seal, commit and close.

use std::path::Path;
use std::sync::Arc;

use super::open::{Host, WorkersKind, create_new, open};
use super::{Options, Store};
use crate::error::ErrorKind;
use crate::event::{Action, Details, NewEvent};
use crate::io::Disk;
use crate::io::memory::MemoryDisk;
use crate::shard::{Shard, live_word};

/// A store of one shard that nobody works for.
fn store(disk: &MemoryDisk) -> (Store, Arc<Shard>) {
    let host = Host { workers: WorkersKind::Nobody, ..Host::machine(disk.clone()) };
    let options = Options::new().shards(1).segment_bytes_max(1 << 20).checkpoint_bytes(2_000);
    let store = create_new(&options, &host, "memory".into()).unwrap();
    let shard = Arc::clone(&store.0.core.shards[0]);
    (store, shard)
}

/// A commit and the sealing of a segment tell at the same time: here one tells between the other's two steps.
#[test]
fn what_is_told_to_be_durable_is_not_taken_back_from_other_processes() {
    let disk = MemoryDisk::default();
    let (store, shard) = store(&disk);
    let word = live_word(shard.id) + 1;
    shard.context.live.store(word, 10);
    shard.tell_durable(5);
    assert_eq!(shard.context.live.load(word), 10);
    shard.tell_durable(11);
    assert_eq!(shard.context.live.load(word), 11);
    drop((store, shard));
    // What a recovery rolls back was less than that: the next writer says what is true now.
    let host = Host { workers: WorkersKind::Nobody, ..Host::machine(disk) };
    let store = open(&Options::new(), &host, "memory".into()).unwrap();
    let shard = &store.0.core.shards[0];
    assert_eq!((shard.context.live.load(word), shard.durable()), (0, 0));
}

fn files(disk: &MemoryDisk) -> Vec<String> {
    disk.list(Path::new("memory/shard-00")).unwrap()
}

/// A job that found the shard open may have waited for its lock until the shard was closed, and another process may have the
/// store then. This is what such a job does once it has the lock.
#[test]
fn a_job_that_gets_its_lock_when_the_shard_is_closed_changes_nothing() {
    let disk = MemoryDisk::default();
    let (store, shard) = store(&disk);
    let text = serde_json::json!({ "text": "x".repeat(50_000) });
    for _ in 0..30 {
        let event = NewEvent::builder(Action::AUTH_LOGIN).details(Details::from_value(&text).unwrap());
        store.append(&event.build().unwrap()).unwrap();
    }
    store.flush().unwrap();
    shard.establish().unwrap();
    assert!(!shard.frozen.lock().is_empty(), "nothing is to be sealed");
    assert!(shard.wants_checkpoint(), "no checkpoint is to be written");
    let before = (files(&disk), shard.manifest.lock().clone());
    shard.close();
    assert_eq!(shard.seal_oldest().unwrap_err().kind(), ErrorKind::Closed);
    shard.prepare().unwrap();
    shard.write_checkpoint().unwrap();
    shard.merge_due(&mut |_| Ok(())).unwrap();
    shard.pack_due(&mut |_| Ok(())).unwrap();
    assert_eq!((files(&disk), shard.manifest.lock().clone()), before);
}
