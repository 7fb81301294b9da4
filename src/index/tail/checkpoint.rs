//! A tail as of some number of records, into a checkpoint and back. Copies while the writer goes on; builds a tail in
//! bulk, user by user.
//!
//! Must not know files, nor when a checkpoint may be believed.

use std::sync::atomic::Ordering;

use super::{NO_BLOCK, SLOT_WORDS, Shape, TailIndex, low_half, pack, pack_posting};
use crate::format::checkpoint::{Builder, Checkpoint};
use crate::format::posting::{Posting, TagMask, TimeRange};
use crate::format::run::Dictionaries;

use super::user::TailUser;

impl TailIndex {
    /// The earliest and the latest `occurred_at` of all postings, and perhaps of later ones.
    pub(crate) fn occurred(&self) -> TimeRange {
        self.times()
    }

    /// The names behind the codes of all postings, and perhaps of later ones.
    pub(crate) fn dictionaries(&self) -> Dictionaries {
        Dictionaries { actions: self.actions.names(), services: self.services.names() }
    }

    /// Puts every user's postings with an ordinal below `records` into a checkpoint. The writer may go on meanwhile.
    pub(crate) fn save(&self, records: u64, checkpoint: &mut Builder) {
        let mut users = self.users();
        // Slots in the order in which they lie in memory.
        users.sort_unstable_by_key(|(_, slot)| slot.0);
        let (mut way, mut postings, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for (user, slot) in users {
            let Some(found) = self.published(slot, records) else { continue };
            way.clear();
            postings.clear();
            ranges.clear();
            self.gather(&found, &mut way, &mut postings, &mut ranges);
            checkpoint.push(user, found.count_before(), &postings, &ranges);
        }
    }

    /// A user's postings, oldest first, and the times of those blocks that know theirs.
    fn gather(
        &self,
        user: &TailUser<'_>,
        way: &mut Vec<(u32, Shape)>,
        postings: &mut Vec<Posting>,
        ranges: &mut Vec<TimeRange>,
    ) {
        let (mut block, mut end) = (user.newest, user.count);
        while end > 1 {
            let shape = Shape::holding(end - 1);
            way.push((block, shape));
            block = low_half(self.blocks.get(block as usize));
            end = shape.first_index;
        }
        postings.push(self.posting(user.slot, NO_BLOCK, 0));
        for (block, shape) in way.iter().rev() {
            let end = user.count.min(shape.first_index + shape.postings);
            postings.extend((shape.first_index..end).map(|index| self.posting(user.slot, *block, index)));
            if shape.timed {
                ranges.push(self.block_times(*block as usize));
            }
        }
    }

    /// The tail of a segment with at most `records_max` records, as the checkpoint has it. `None` if it has other blocks
    /// than tails have now.
    pub(crate) fn restore(records_max: usize, checkpoint: &Checkpoint) -> Option<Self> {
        let tail = Self::with_users(checkpoint.scope.base, records_max, checkpoint.user_count());
        tail.earliest.store(checkpoint.scope.occurred.min, Ordering::Relaxed);
        tail.latest.store(checkpoint.scope.occurred.max, Ordering::Relaxed);
        let names = &checkpoint.dictionaries;
        for (dictionary, names) in [(&tail.actions, &names.actions), (&tail.services, &names.services)] {
            for name in names {
                dictionary.code_or_insert(name);
            }
        }
        for (user, mut postings, mut ranges) in checkpoint.users() {
            let slot = low_half(tail.used.load(Ordering::Relaxed));
            let newest =
                tail.fill_blocks(user.postings, postings.next()?, slot, &mut postings, &mut ranges)?;
            let at = slot as usize * SLOT_WORDS;
            let stored = tail.slots.set(at, user.count_before)
                && tail.slots.set(at + 1, pack(user.postings, newest))
                && ranges.next().is_none()
                && tail.users.insert(user.fingerprint, slot).is_none();
            if !stored {
                return None;
            }
            tail.used.fetch_add(1, Ordering::Relaxed);
        }
        Some(tail)
    }

    /// Stores a user's first posting in the slot and the others in blocks; returns the newest block.
    fn fill_blocks(
        &self,
        count: u32,
        first: Posting,
        slot: u32,
        postings: &mut impl Iterator<Item = Posting>,
        ranges: &mut impl Iterator<Item = TimeRange>,
    ) -> Option<u32> {
        let mut stored = self.slots.set(slot as usize * SLOT_WORDS + 2, pack_posting(first));
        let mut newest = NO_BLOCK;
        let mut index = 1;
        while index < count && stored {
            let shape = Shape::holding(index);
            let previous = newest;
            newest = self.new_block(shape, previous)?;
            let at = newest as usize;
            let mut mask = TagMask::default();
            let end = count.min(shape.first_index + shape.postings);
            for place in (at + shape.head_words()..).take((end - index) as usize) {
                let posting = postings.next()?;
                mask.0 |= posting.tags.mask().0;
                stored &= self.blocks.set(place, pack_posting(posting));
            }
            stored &= self.blocks.set(at, pack(previous, u32::from(mask.0)));
            if shape.timed {
                let times = ranges.next()?;
                stored &= self.blocks.set(at + 1, times.min.cast_unsigned())
                    && self.blocks.set(at + 2, times.max.cast_unsigned());
            }
            index = end;
        }
        stored.then_some(newest)
    }
}
