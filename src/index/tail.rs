//! The index of a segment that is still written: every user's postings in memory.
//!
//! One writer (the shard's, under its lock) pushes; readers walk without that lock. A user is found in a `DashMap`
//! from fingerprint to slot; the slot holds the first posting itself and leads to blocks of later ones, linked from the
//! newest back. All of it lies in arrays of atomics that never move. A reader decides by the shard's published tail
//! which postings exist for it: whatever was pushed behind that tail is ignored.
//!
//! Memory: 24 bytes a slot, 24 to 48 in the map, and blocks that grow by half, so that few words stay empty.

mod checkpoint;
#[cfg(all(test, loom))]
mod loom_tests;
mod user;
mod users;

use std::sync::atomic::Ordering;

use super::UserHead;
use super::dictionary::Dictionary;
use crate::format::posting::{
    ACTION_CODE_OTHER, ACTION_CODE_OWN_FIRST, BLOCK_POSTINGS_MAX, Posting, SERVICE_CODE_OTHER, Tags,
    TimeRange,
};
use crate::ids::Fingerprint;
use crate::io::chunked::Chunked;
use crate::io::sync::{AtomicI64, AtomicU64, fence};
use users::Users;

pub(crate) use user::TailUser;

/// How many postings the first blocks of a user hold; every later one holds `FULL_BLOCK`.
const BLOCK_SIZES: [u8; 10] = [3, 4, 6, 9, 14, 21, 32, 48, 72, 108];
/// The first block with an earliest and a latest time of its own. For the 37 postings before it those of the whole tail
/// must do: where these don't decide, the records are asked.
const TIMED_FROM: usize = 5;
/// Words of a slot: count before, count and newest block, first posting.
const SLOT_WORDS: usize = 3;
const NO_BLOCK: u32 = u32::MAX;
/// Small enough that two of them, in which the bounds of a time range lie, and the postings that have no times of their
/// own are no more records than two full blocks of a run: what a time range may touch in vain.
const FULL_BLOCK: u32 = 108;
const _: () = assert!((2 * FULL_BLOCK + first_index_of(TIMED_FROM)) as usize <= 2 * BLOCK_POSTINGS_MAX);
/// The index of the first posting in a full block.
const FULL_FROM: u32 = first_index_of(BLOCK_SIZES.len());

/// The index of the first posting in a block; how many postings stand before it.
const fn first_index_of(block: usize) -> u32 {
    let (mut first_index, mut number) = (1, 0);
    while number < block {
        first_index += BLOCK_SIZES[number] as u32;
        number += 1;
    }
    first_index
}

/// Where a block of a user begins among the user's postings, how many it holds, whether it knows its times.
#[derive(Clone, Copy, Debug)]
struct Shape {
    first_index: u32,
    postings: u32,
    timed: bool,
}

impl Shape {
    /// The shape of the block that holds the posting of this index (from 1: the slot holds index 0).
    #[inline]
    fn holding(index: u32) -> Self {
        if index >= FULL_FROM {
            let first_index = index - (index - FULL_FROM) % FULL_BLOCK;
            return Self { first_index, postings: FULL_BLOCK, timed: true };
        }
        let mut first_index = 1;
        for (number, size) in BLOCK_SIZES.iter().enumerate() {
            let postings = u32::from(*size);
            if index < first_index + postings {
                return Self { first_index, postings, timed: number >= TIMED_FROM };
            }
            first_index += postings;
        }
        Self { first_index: FULL_FROM, postings: FULL_BLOCK, timed: true }
    }

    const fn head_words(self) -> usize {
        if self.timed { 3 } else { 1 }
    }

    const fn words(self) -> usize {
        self.head_words() + self.postings as usize
    }
}

/// The postings of a segment that is being written.
#[derive(Debug)]
pub(crate) struct TailIndex {
    base: u64,
    users: Users,
    slots: Chunked<AtomicU64>,
    blocks: Chunked<AtomicU64>,
    /// Slots used (low half) and block words used (high half); the writer's.
    used: AtomicU64,
    /// The earliest and the latest `occurred_at` of all postings; they may be ahead of what is published.
    earliest: AtomicI64,
    latest: AtomicI64,
    pub(crate) actions: Dictionary,
    pub(crate) services: Dictionary,
}

/// A user's place in a tail, found once for an append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot(u32);

impl TailIndex {
    /// For a segment whose first record has the sequence `base`, with at most `records_max` records.
    pub(crate) fn new(base: u64, records_max: usize) -> Self {
        Self::with_users(base, records_max, 0)
    }

    /// The same with room for this many users.
    fn with_users(base: u64, records_max: usize, users: usize) -> Self {
        Self {
            base,
            users: Users::with_capacity(users),
            slots: Chunked::new(records_max.saturating_mul(SLOT_WORDS)),
            // Blocks grow by half and carry up to three words of head: never more than 2.5 words a posting.
            blocks: Chunked::new(records_max.saturating_mul(5) / 2 + BLOCK_POSTINGS_MAX),
            used: AtomicU64::new(0),
            earliest: AtomicI64::new(TimeRange::EMPTY.min),
            latest: AtomicI64::new(TimeRange::EMPTY.max),
            actions: Dictionary::new(ACTION_CODE_OWN_FIRST, ACTION_CODE_OTHER),
            services: Dictionary::new(1, SERVICE_CODE_OTHER),
        }
    }

    /// Finds a user, for an append.
    #[inline]
    pub(crate) fn slot(&self, user: Fingerprint) -> Option<Slot> {
        self.users.get(user).map(Slot)
    }

    /// How many events the user of this slot has had, published or not, and which was the last.
    pub(crate) fn head(&self, slot: Slot) -> UserHead {
        let (count, newest) = self.counts(slot);
        let last = self.posting(slot, newest, count.saturating_sub(1));
        UserHead {
            count: self.slot_word(slot, 0) + u64::from(count),
            last_sequence: self.base + u64::from(last.ordinal),
        }
    }

    /// Adds a user's first posting in this segment. `false` if there is no room, which the sizes rule out.
    #[must_use]
    pub(crate) fn insert(
        &self,
        user: Fingerprint,
        count_before: u64,
        posting: Posting,
        occurred_at: i64,
    ) -> bool {
        self.widen_times(occurred_at);
        let taken = self.used.load(Ordering::Relaxed);
        let slot = low_half(taken);
        let at = slot as usize * SLOT_WORDS;
        let stored = self.slots.set(at, count_before)
            && self.slots.set(at + 1, pack(1, NO_BLOCK))
            && self.slots.set(at + 2, pack_posting(posting));
        self.used.store(taken + 1, Ordering::Relaxed);
        // The map's lock orders the slot before any reader that finds it.
        self.users.insert(user, slot);
        stored
    }

    /// Adds a later posting of a user. `false` if there is no room, which the sizes rule out.
    #[must_use]
    pub(crate) fn push(&self, slot: Slot, posting: Posting, occurred_at: i64) -> bool {
        self.widen_times(occurred_at);
        let (count, mut newest) = self.counts(slot);
        let shape = Shape::holding(count);
        if shape.first_index == count {
            let Some(block) = self.new_block(shape, newest) else { return false };
            newest = block;
        }
        let at = newest as usize;
        let head = self.blocks.get(at);
        let mask = head >> 32 | u64::from(posting.tags.mask().0);
        let mut stored = self.blocks.set(at, pack(low_half(head), low_half(mask)));
        if shape.timed {
            let times = self.block_times(at).with(occurred_at);
            stored &= self.blocks.set(at + 1, times.min.cast_unsigned())
                && self.blocks.set(at + 2, times.max.cast_unsigned());
        }
        let place = at + shape.head_words() + (count - shape.first_index) as usize;
        stored &= self.blocks.set(place, pack_posting(posting));
        // A reader may see the new count before the shard publishes it: then it looks at the posting, to find that it
        // is not published. So the posting must be there. Pairs with the fence in `counts`.
        #[cfg(all(test, loom))]
        if crate::io::sync::is_weakened(crate::io::sync::Weakened::Count) {
            return stored && self.slots.set(slot.0 as usize * SLOT_WORDS + 1, pack(count + 1, newest));
        }
        fence(Ordering::Release);
        stored && self.slots.set(slot.0 as usize * SLOT_WORDS + 1, pack(count + 1, newest))
    }

    fn new_block(&self, shape: Shape, previous: u32) -> Option<u32> {
        let used = self.used.load(Ordering::Relaxed);
        let at = Chunked::<AtomicU64>::place(high_half(used) as usize, shape.words());
        let block = u32::try_from(at).ok().filter(|block| *block != NO_BLOCK)?;
        let end = u32::try_from(at + shape.words()).ok()?;
        self.used.store(pack(low_half(used), end), Ordering::Relaxed);
        let mut stored = self.blocks.set(at, u64::from(previous));
        if shape.timed {
            stored &= self.blocks.set(at + 1, TimeRange::EMPTY.min.cast_unsigned())
                && self.blocks.set(at + 2, TimeRange::EMPTY.max.cast_unsigned());
        }
        stored.then_some(block)
    }

    /// The writer's alone, before the posting is seen.
    fn widen_times(&self, occurred_at: i64) {
        if occurred_at < self.earliest.load(Ordering::Relaxed) {
            self.earliest.store(occurred_at, Ordering::Relaxed);
        }
        if occurred_at > self.latest.load(Ordering::Relaxed) {
            self.latest.store(occurred_at, Ordering::Relaxed);
        }
    }

    /// The earliest and the latest `occurred_at` of all postings.
    fn times(&self) -> TimeRange {
        TimeRange { min: self.earliest.load(Ordering::Relaxed), max: self.latest.load(Ordering::Relaxed) }
    }

    fn block_times(&self, at: usize) -> TimeRange {
        TimeRange { min: self.blocks.get(at + 1).cast_signed(), max: self.blocks.get(at + 2).cast_signed() }
    }

    fn slot_word(&self, slot: Slot, word: usize) -> u64 {
        self.slots.get(slot.0 as usize * SLOT_WORDS + word)
    }

    /// How many postings the user has here, and the newest block: one load, so that they fit each other.
    fn counts(&self, slot: Slot) -> (u32, u32) {
        let packed = self.slot_word(slot, 1);
        // What was stored before the count is seen with it. Pairs with the fence in `push`.
        fence(Ordering::Acquire);
        (low_half(packed), high_half(packed))
    }

    fn posting(&self, slot: Slot, newest_block: u32, index: u32) -> Posting {
        if index == 0 {
            return unpack_posting(self.slot_word(slot, 2));
        }
        let shape = Shape::holding(index);
        let place = newest_block as usize + shape.head_words() + (index - shape.first_index) as usize;
        unpack_posting(self.blocks.get(place))
    }

    /// A user's postings whose ordinal is below `published`, or `None` without any.
    pub(crate) fn user(&self, user: Fingerprint, published: u64) -> Option<TailUser<'_>> {
        self.published(self.slot(user)?, published)
    }

    /// A slot's postings whose ordinal is below `published`.
    fn published(&self, slot: Slot, published: u64) -> Option<TailUser<'_>> {
        let (mut count, mut newest) = self.counts(slot);
        // The writer may be ahead of what it has published, by a batch at most.
        while count > 0 && u64::from(self.posting(slot, newest, count - 1).ordinal) >= published {
            count -= 1;
            if count > 0 && Shape::holding(count).first_index == count {
                newest = low_half(self.blocks.get(newest as usize));
            }
        }
        (count > 0).then_some(TailUser { tail: self, slot, count, newest })
    }

    /// Every user with a slot, in no order.
    pub(crate) fn users(&self) -> Vec<(Fingerprint, Slot)> {
        self.users.all().into_iter().map(|(user, slot)| (user, Slot(slot))).collect()
    }

    /// How many users there are.
    pub(crate) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// A slot's postings without looking at the published tail: for sealing, when nobody writes any more.
    pub(crate) fn sealed_user(&self, slot: Slot) -> TailUser<'_> {
        let (count, newest) = self.counts(slot);
        TailUser { tail: self, slot, count, newest }
    }

    /// About the bytes of memory that the index takes.
    pub(crate) fn bytes(&self) -> usize {
        self.users.bytes()
            + self.slots.bytes()
            + self.blocks.bytes()
            + self.actions.bytes()
            + self.services.bytes()
    }
}

const fn pack(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn low_half(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

const fn high_half(word: u64) -> u32 {
    low_half(word >> 32)
}

const fn pack_posting(posting: Posting) -> u64 {
    pack(posting.ordinal, posting.tags.0)
}

const fn unpack_posting(word: u64) -> Posting {
    Posting { ordinal: low_half(word), tags: Tags(high_half(word)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_says_what_it_takes() {
        let tail = TailIndex::new(0, 1 << 16);
        for user in 0..20_000_u32 {
            let posting = Posting { ordinal: user, tags: Tags(0) };
            // As uniform as fingerprints are.
            let key = (u128::from(user) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            assert!(tail.insert(Fingerprint(key.to_le_bytes()), 0, posting, 0));
        }
        let slot = tail.slot(tail.users()[7].0).unwrap();
        assert!(tail.push(slot, Posting { ordinal: 20_000, tags: Tags(0) }, 0));
        tail.actions.code_or_insert("an.action");
        tail.services.code_or_insert("service");
        let parts = [tail.slots.bytes(), tail.blocks.bytes(), tail.actions.bytes(), tail.services.bytes()];
        assert!(parts.iter().all(|part| *part > 0) && parts[0] >= 20_000 * 24, "{parts:?}");
        // 625 users of 896 in each part of the map, with 1,024 buckets of 16 bytes, 4, and one.
        assert_eq!(tail.bytes(), 32 * 1024 * 21 + parts.iter().sum::<usize>());
    }
}
