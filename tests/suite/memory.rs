//! The memory budget: kept however many users there are, and refused where a store can't work with it.

use usertrail::{Action, Durability, ErrorKind, NewEvent, Options, Store, UserId};

/// The most that the store says it has allocated, while this many users have an event each, and again.
fn peak(store: &Store, users: u32) -> u64 {
    let mut peak = 0;
    for number in 0..2 * users {
        let user = UserId::new(format!("user {}", number % users)).unwrap();
        let event = NewEvent::builder(Action::AUTH_LOGIN).user(user).build().unwrap();
        let receipt = store.append(&event).unwrap();
        assert_eq!(receipt.user_sequence.unwrap().get(), u64::from(number / users));
        if number % 256 == 0 {
            peak = peak.max(store.stats().unwrap().memory.used_bytes);
        }
    }
    peak
}

fn store(budget: u64) -> Store {
    Options::new().shards(1).durability(Durability::Buffered).memory_budget(budget).in_memory().unwrap()
}

#[test]
fn a_small_budget_is_kept_and_a_large_one_is_used() {
    const SMALL: u64 = 12 << 20;
    const USERS: u32 = 60_000;
    let tight = store(SMALL);
    let used = peak(&tight, USERS);
    // What a store takes besides is in the budget, too, and not in the statistics.
    assert!(used <= SMALL - (8 << 20) + (256 << 10), "{used} bytes");
    let stats = tight.stats().unwrap();
    assert_eq!(stats.memory.budget_bytes, SMALL);
    assert_eq!(stats.users, u64::from(USERS));
    assert!(stats.segments > 8, "{} segments: they end with their index", stats.segments);
    tight.check().unwrap();
    assert!(peak(&store(1 << 30), USERS) > 2 * used, "nothing is kept without need");
}

#[test]
fn a_file_is_not_made_larger_than_its_index_lets_it_be_filled() {
    let store = store(12 << 20);
    peak(&store, 60_000);
    let stats = store.stats().unwrap();
    let used = stats.bytes_on_disk - stats.bytes_ahead;
    // Records of some 200 bytes, a run beside them, and the two or three files from before this was learnt.
    assert!(used < stats.events * 400, "{used} bytes for {} events", stats.events);
}

#[test]
fn the_sum_is_that_of_its_parts_and_the_head_table_is_not_in_it() {
    let store = store(64 << 20);
    peak(&store, 20_000);
    let memory = store.stats().unwrap().memory;
    let parts = [
        memory.active_index_bytes,
        memory.frozen_index_bytes,
        memory.record_offset_bytes,
        memory.checksum_mark_bytes,
        memory.run_bytes,
        memory.sealing_bytes,
        memory.rescued_bytes,
    ];
    assert_eq!(parts.iter().sum::<u64>(), memory.used_bytes);
    assert!(memory.active_index_bytes > 0 && memory.record_offset_bytes > 0);
}

#[test]
fn a_budget_that_can_not_work_is_refused_with_the_least_that_can() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trail");
    let options = Options::new().shards(4).create_if_missing(true);
    let error = options.clone().memory_budget((16 << 20) - 1).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("4 shards needs at least 16777216"), "{error}");
    assert!(!path.join("STORE").exists(), "nothing was made");
    options.clone().memory_budget(16 << 20).open(&path).unwrap().close().unwrap();
    for read_only in [false, true] {
        let error = options.clone().memory_budget(1).read_only(read_only).open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
    options.open(&path).unwrap();
}
