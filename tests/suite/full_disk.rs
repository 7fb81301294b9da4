//! A file system that is really full, under the library: typed errors, never a signal; reads go on; room helps.

use std::process::Command;

use usertrail::{Durability, ErrorKind, Message, NewEvent, Options, Order, SessionId, Store, UserId};

/// A small file system in memory, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn login(number: u64) -> NewEvent<'static> {
    let session = SessionId::new(format!("s-{number}")).unwrap();
    let login = NewEvent::login(UserId::new("alice").unwrap(), session);
    login.message(Message::new("m".repeat(2000)).unwrap()).build().unwrap()
}

/// Appends until there is no room; says how many were taken.
fn fill(store: &Store, first: u64) -> u64 {
    for number in first..100_000 {
        match store.append(&login(number)) {
            Ok(receipt) => assert_eq!(receipt.user_sequence.unwrap().get(), number),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                return number;
            }
        }
    }
    panic!("the disk never was full");
}

fn assert_holds(store: &Store, count: u64) {
    let alice = UserId::new("alice").unwrap();
    assert_eq!(store.user_count(&alice).unwrap(), count);
    let mut cursor = None;
    let mut number = 0;
    loop {
        let query = store.user_log(&alice).order(Order::Oldest).limit(500);
        let page = if let Some(cursor) = cursor { query.cursor(cursor) } else { query }.page().unwrap();
        for event in page.iter() {
            assert_eq!(event.unwrap().session_id().unwrap(), Some(format!("s-{number}").as_str()));
            number += 1;
        }
        cursor = page.next_cursor();
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(number, count);
}

#[test]
fn a_full_file_system_is_an_error_that_passes() {
    let Some(disk) = SmallDisk::new("12m") else {
        crate::figures::skipped("a_full_file_system_is_an_error_that_passes: mounting a tmpfs isn't allowed");
        return;
    };
    for durability in [Durability::default(), Durability::Durable] {
        let dir = disk.0.path().join(if durability == Durability::Durable { "durable" } else { "interval" });
        let ballast = disk.0.path().join("ballast");
        std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
        let store = Options::new()
            .shards(1)
            .segment_bytes_max(1 << 20)
            .durability(durability)
            .create_new(&dir)
            .unwrap();
        let mut count = fill(&store, 0);
        assert!(count > 1000, "{count} events");
        assert_holds(&store, count);
        // What the background has begun, and gives back, may be room for some more.
        let still_full = (0..20).any(|_| {
            let before = count;
            count = fill(&store, before);
            count == before
        });
        assert!(still_full, "{count} events");
        store.flush().unwrap();
        std::fs::remove_file(&ballast).unwrap();
        let more = fill(&store, count);
        assert!(more > count, "room helps");
        assert_holds(&store, more);
        store.close().unwrap();
        drop(store);
        // Opening after a clean close takes no more room than there is.
        let store = Store::open(&dir).unwrap();
        assert_holds(&store, more);
        store.check().unwrap();
        drop(store);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
