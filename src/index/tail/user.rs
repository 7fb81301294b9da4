//! One user's postings in a tail: the walk along them.
//!
//! Reads what [`TailIndex`] keeps; owns nothing of it. Must not know records, nor who writes.

use std::ops::ControlFlow;

use super::{SLOT_WORDS, Shape, Slot, TailIndex, low_half, unpack_posting};
use crate::error::Result;
use crate::format::posting::{Posting, TagMask, TimeRange};
#[cfg(test)]
use crate::index::run::BLOCKS_READ;
use crate::index::selection::{Selection, Verdict};
use crate::index::{Block, Direction, Range, Sink, offer};
use crate::io::chunked::Cell;
use crate::io::sync::AtomicU64;

/// A user's postings in a tail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailUser<'t> {
    pub(super) tail: &'t TailIndex,
    pub(super) slot: Slot,
    pub(super) count: u32,
    pub(super) newest: u32,
}

impl TailUser<'_> {
    /// How many events the user had before this tail.
    pub(crate) fn count_before(&self) -> u64 {
        self.tail.slot_word(self.slot, 0)
    }

    /// How many the user has in it.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Offers the postings in the range that pass the selection to the sink.
    pub(crate) fn walk(
        &self,
        range: Range,
        selection: &Selection,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<ControlFlow<()>> {
        match range.direction {
            Direction::NewestFirst => {
                let mut block = self.newest;
                let mut end = self.count;
                while end > 1 {
                    let shape = Shape::holding(end - 1);
                    if shape.first_index < range.to
                        && self.visit(block, shape, range, selection, sink)?.is_break()
                    {
                        return Ok(ControlFlow::Break(()));
                    }
                    if shape.first_index <= range.from {
                        return Ok(ControlFlow::Continue(()));
                    }
                    block = low_half(self.tail.blocks.get(block as usize));
                    end = shape.first_index;
                }
                self.visit_first(range, selection, sink)
            }
            Direction::OldestFirst => {
                if self.visit_first(range, selection, sink)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                // The links lead back only: note the way, then go it in the other direction.
                let mut way = Vec::new();
                let mut block = self.newest;
                let mut end = self.count;
                while end > 1 && end > range.from {
                    let shape = Shape::holding(end - 1);
                    way.push((block, shape));
                    block = low_half(self.tail.blocks.get(block as usize));
                    end = shape.first_index;
                }
                for (block, shape) in way.into_iter().rev() {
                    if shape.first_index >= range.to {
                        break;
                    }
                    if self.visit(block, shape, range, selection, sink)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    fn visit_first(
        &self,
        range: Range,
        selection: &Selection,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<ControlFlow<()>> {
        let cells = self.tail.slots.slice(self.slot.0 as usize * SLOT_WORDS + 2, 1);
        self.offer(cells, 0, self.tail.times(), range, selection, sink)
    }

    /// What stands in the slot and what stands in blocks goes one way, so that the sink is compiled once for both.
    fn offer(
        &self,
        cells: &[AtomicU64],
        first_index: u32,
        times: TimeRange,
        range: Range,
        selection: &Selection,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<ControlFlow<()>> {
        let posting = move |place: usize| unpack_posting(cells[place].get());
        let block = Block { posting, count: cells.len(), first_index, times };
        offer(&block, range, selection, self.tail.base, self.count_before(), sink)
    }

    fn visit(
        &self,
        block: u32,
        shape: Shape,
        range: Range,
        selection: &Selection,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<ControlFlow<()>> {
        let at = block as usize;
        let mask = mask_of(self.tail.blocks.get(at));
        let times = if shape.timed { self.tail.block_times(at) } else { self.tail.times() };
        if !selection.may_match(mask) || selection.judge_times(times) == Verdict::No {
            return Ok(ControlFlow::Continue(()));
        }
        #[cfg(test)]
        BLOCKS_READ.set(BLOCKS_READ.get() + 1);
        let here = (self.count - shape.first_index).min(shape.postings) as usize;
        let cells = self.tail.blocks.slice(at + shape.head_words(), here);
        self.offer(cells, shape.first_index, times, range, selection, sink)
    }

    /// All postings, oldest first.
    pub(crate) fn postings(&self) -> Vec<Posting> {
        let mut postings = Vec::with_capacity(self.count as usize);
        let mut block = self.newest;
        let mut end = self.count;
        while end > 1 {
            let shape = Shape::holding(end - 1);
            for index in (shape.first_index..end).rev() {
                let place = block as usize + shape.head_words() + (index - shape.first_index) as usize;
                postings.push(unpack_posting(self.tail.blocks.get(place)));
            }
            block = low_half(self.tail.blocks.get(block as usize));
            end = shape.first_index;
        }
        postings.push(unpack_posting(self.tail.slot_word(self.slot, 2)));
        postings.reverse();
        postings
    }
}

/// The tag mask in the first word of a block, above the link.
const fn mask_of(head: u64) -> TagMask {
    let [low, high, ..] = (head >> 32).to_le_bytes();
    TagMask(u16::from_le_bytes([low, high]))
}
