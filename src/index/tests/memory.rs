//! What the tail index takes: at most 16 bytes an event and 64 a user, however the events are spread.

use crate::format::posting::{Posting, Tags};
use crate::format::record::record_bytes;
use crate::index::tail::TailIndex;

use super::fingerprint;

/// Below this the few kilobytes that an empty index takes still count.
const EVENTS_FROM: u32 = 20_000;
const EVENTS: u32 = 400_000;

/// Checks the bound all along: a map that has just doubled is the worst moment.
fn stays_below_the_bound(name: &str, mut next_user: impl FnMut() -> u32) {
    // As a segment of 64 MiB has it, full of the smallest records.
    let records_max = (64 << 20) / record_bytes(96);
    let tail = TailIndex::new(0, records_max);
    for ordinal in 0..EVENTS {
        let user = fingerprint(usize::try_from(next_user()).unwrap());
        let posting = Posting { ordinal, tags: Tags(ordinal) };
        let stored = match tail.slot(user) {
            Some(slot) => tail.push(slot, posting, i64::from(ordinal)),
            None => tail.insert(user, 0, posting, i64::from(ordinal)),
        };
        assert!(stored);
        if ordinal >= EVENTS_FROM && ordinal % 499 == 0 {
            let bound = 16 * (ordinal as usize + 1) + 64 * tail.user_count();
            let (bytes, users) = (tail.bytes(), tail.user_count());
            assert!(bytes <= bound, "{name}: {bytes} bytes for {} events of {users} users", ordinal + 1);
        }
    }
}

/// Deterministic and uniform enough: a multiplicative congruential generator.
fn uniform(users: u32) -> impl FnMut() -> u32 {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((state >> 32) * u64::from(users)) >> 32).unwrap()
    }
}

#[test]
fn uniform_users() {
    for users in [1, 100, 10_000, 30_000, 100_000, 200_000, 1_000_000, 10_000_000] {
        stays_below_the_bound(&format!("{users} users, uniform"), uniform(users));
    }
}

#[cfg(feature = "workload")]
#[test]
fn the_standard_workload() {
    use crate::workload::{Workload, WorkloadConfig};

    for users in [1_000, 100_000, 10_000_000] {
        let mut workload = Workload::new(&WorkloadConfig { users, ..WorkloadConfig::default() });
        stays_below_the_bound(&format!("{users} users, Zipf"), || workload.next_rank());
    }
}
