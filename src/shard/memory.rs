//! What a shard's indexes may take of memory, and what it does to keep to that.
//!
//! Owns the shares and the sums. Must not know how an index is built, nor what the other shards take.
//!
//! The tail index is what grows: up to 16 bytes an event and 64 a user, 80 for each event where every one is of another
//! user. A segment whose index has used up its share ends there, and the next file is made only as large as will be used;
//! before a segment is set aside for sealing, enough of those that wait are sealed.

use std::sync::atomic::Ordering;

use super::view::{ShardView, Source};
use super::{FROZEN_MAX, Frozen, Shard};
use crate::segment::Segment;
use crate::segment::create::SEGMENT_BYTES_MIN;

/// What a store takes besides its shards' indexes: queues, threads' buffers.
const FIXED_BYTES: u64 = 8 << 20;
/// The least that a shard can work with: an index share that a segment of 1 MiB mostly fits.
const SHARD_BYTES_MIN: u64 = 2 << 20;
/// The budget of a store that nobody gave one.
const BUDGET_BYTES_DEFAULT: u64 = 256 << 20;

/// Sealing a record takes about this much besides the index: its time, its place in the sidecar, its posting twice.
const SEALING_RECORD_BYTES: u64 = 28;
/// And each user of the segment: directory entries and fingerprints, and the file that they are copied to.
const SEALING_USER_BYTES: u64 = 120;

/// A shard's part of the budget, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    /// The active segment's index ends here.
    pub(crate) tail_bytes_max: u64,
    /// Indexes of segments that wait to be sealed.
    pub(crate) frozen_bytes_max: u64,
}

/// The least budget that a store of this many shards can work with.
pub(crate) fn budget_min(shards: u16) -> u64 {
    FIXED_BYTES + u64::from(shards) * SHARD_BYTES_MIN
}

/// The budget where none is given.
pub(crate) fn budget_default(shards: u16) -> u64 {
    BUDGET_BYTES_DEFAULT.max(budget_min(shards))
}

impl Shares {
    /// A sixth for the index that is written to, two for those that wait, two for sealing one of them, and one for what
    /// belongs to sealed segments and runs.
    pub(crate) fn of(budget: u64, shards: u16) -> Self {
        let share = budget.saturating_sub(FIXED_BYTES) / u64::from(shards.max(1));
        Self { tail_bytes_max: share / 6, frozen_bytes_max: share / 3 }
    }
}

/// What a shard takes of memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) active_index: u64,
    pub(crate) frozen_indexes: u64,
    pub(crate) record_offsets: u64,
    pub(crate) checksum_marks: u64,
    pub(crate) runs: u64,
    pub(crate) packs: u64,
    pub(crate) sealing: u64,
    pub(crate) rescued: u64,
    /// Not part of the budget: the kernel's to drop.
    pub(crate) heads_mapped: u64,
}

/// What sealing takes of memory besides the index, about.
pub(super) fn sealing_bytes(frozen: &Frozen) -> u64 {
    let users = u64::try_from(frozen.tail.user_count()).unwrap_or(u64::MAX);
    frozen.segment.published() * SEALING_RECORD_BYTES + users * SEALING_USER_BYTES
}

/// What the index of a segment that isn't sealed takes, with the places of its records.
pub(super) fn index_bytes(tail: &crate::index::tail::TailIndex, segment: &Segment) -> u64 {
    (tail.bytes() + segment.memory().offsets) as u64
}

impl Shard {
    /// Whether a segment whose index takes this much must wait for others to be sealed.
    pub(super) fn must_seal_before(&self, index_bytes: u64) -> bool {
        let frozen = self.frozen.lock();
        let waiting: u64 = frozen.iter().map(|frozen| frozen.index_bytes).sum();
        frozen.len() >= FROZEN_MAX
            || !frozen.is_empty() && waiting + index_bytes > self.context.shares.frozen_bytes_max
    }

    /// Learns from a segment that ends: how large a file will be filled before its index is.
    pub(super) fn learn_segment_bytes(&self, used_bytes: u64, index_bytes: u64) {
        let share = u128::from(self.context.shares.tail_bytes_max);
        // A little less: an index that is full early leaves room in the file that nothing will ever use.
        let wanted = u128::from(used_bytes) * share * 9 / 10 / u128::from(index_bytes.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX) / SEGMENT_BYTES_MIN * SEGMENT_BYTES_MIN;
        self.segment_bytes_wanted.store(wanted.max(SEGMENT_BYTES_MIN), Ordering::Relaxed);
    }

    /// What the shard takes of memory.
    pub(crate) fn usage(&self, view: &ShardView) -> Usage {
        let mut usage = Usage { sealing: self.sealing_bytes.load(Ordering::Relaxed), ..Usage::default() };
        for segment in &view.segments {
            let memory = segment.memory();
            usage.record_offsets += memory.offsets as u64;
            usage.checksum_marks += memory.checked as u64;
            usage.rescued += memory.rescued as u64;
        }
        usage.packs = view.packs.iter().map(|pack| pack.memory_bytes() as u64).sum();
        for (place, source) in view.sources.iter().enumerate() {
            match source {
                Source::Run(run) => usage.runs += run.memory_bytes() as u64,
                Source::Tail(tail, _) if place + 1 == view.sources.len() => {
                    usage.active_index += tail.bytes() as u64;
                }
                Source::Tail(tail, _) => usage.frozen_indexes += tail.bytes() as u64,
            }
        }
        usage.heads_mapped = view.heads.as_ref().map_or(0, |heads| heads.file_bytes());
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_shards_are_within_the_budget() {
        for shards in [1, 4, 256, 1 << 14] {
            for budget in [budget_min(shards), budget_default(shards), 1 << 40] {
                let shares = Shares::of(budget, shards);
                let all = (shares.tail_bytes_max + shares.frozen_bytes_max) * u64::from(shards);
                assert!(all <= budget / 2, "{shards} shards, {budget}: {shares:?}");
                assert!(shares.tail_bytes_max >= 256 << 10, "{shards} shards, {budget}: {shares:?}");
            }
        }
    }
}
