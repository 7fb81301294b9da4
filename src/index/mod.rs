//! Who has which events: postings of each user, in memory for the tail of a shard's log and in immutable runs for
//! what is sealed.
//!
//! Owns the way from a user's fingerprint to shard sequences, and what can be decided of a filter on the way. Must not
//! know records or segments: where a sequence lies is not its concern.

pub(crate) mod builder;
pub(crate) mod dictionary;
pub(crate) mod heads;
pub(crate) mod merge;
pub(crate) mod run;
pub(crate) mod selection;
pub(crate) mod tail;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use crate::error::Result;
use crate::format::posting::{BLOCK_POSTINGS_MAX, Posting, TimeRange};
use selection::{Selection, Verdict};

/// How many events a user has had, and which was the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UserHead {
    pub(crate) count: u64,
    pub(crate) last_sequence: u64,
}

/// An event that the index lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) sequence: u64,
    pub(crate) user_sequence: u64,
    /// The index couldn't decide all of the filter: the record must be asked.
    pub(crate) ask: bool,
}

/// The direction of a walk along a user's postings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    NewestFirst,
    OldestFirst,
}

/// Takes candidates until it has enough. What walks is compiled for each: nothing is called for a posting.
pub(crate) trait Sink {
    /// Takes one.
    fn take(&mut self, candidate: Candidate) -> Result<ControlFlow<()>>;

    /// Takes some that the index let through, one after the other.
    #[inline]
    fn take_all<P: Fn(usize) -> (usize, u32) + Copy>(
        &mut self,
        passing: Passing<P>,
    ) -> Result<ControlFlow<()>> {
        for step in 0..passing.count {
            if self.take(passing.candidate(step))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<F: FnMut(Candidate) -> Result<ControlFlow<()>> + ?Sized> Sink for F {
    #[inline]
    fn take(&mut self, candidate: Candidate) -> Result<ControlFlow<()>> {
        self(candidate)
    }
}

/// Postings of a block, none of which needs to be asked; in the order of the walk.
#[derive(Clone, Copy)]
pub(crate) struct Passing<P> {
    /// Of each, from 0 to one below `count`: its place in the block, and its ordinal.
    posting: P,
    pub(crate) count: usize,
    /// The sequence of ordinal 0.
    pub(crate) sequence_base: u64,
    /// The user sequence of the block's first posting.
    user_sequence_base: u64,
}

impl<P: Fn(usize) -> (usize, u32)> Passing<P> {
    #[inline]
    pub(crate) fn ordinal(&self, step: usize) -> u32 {
        (self.posting)(step).1
    }

    #[inline]
    pub(crate) fn sequence(&self, step: usize) -> u64 {
        self.sequence_base + u64::from(self.ordinal(step))
    }

    #[inline]
    pub(crate) fn user_sequence(&self, step: usize) -> u64 {
        self.user_sequence_base + (self.posting)(step).0 as u64
    }

    #[inline]
    pub(crate) fn candidate(&self, step: usize) -> Candidate {
        Candidate { sequence: self.sequence(step), user_sequence: self.user_sequence(step), ask: false }
    }
}

/// Which part of a user's postings in one source is walked: indexes `from..to` of them, in this direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) direction: Direction,
}

/// Some consecutive postings of a user, and where they stand.
struct Block<P> {
    /// The posting of a place in the block, from 0 to one below `count`.
    posting: P,
    count: usize,
    /// The index of the first of them among the user's postings in this source.
    first_index: u32,
    /// All of them occurred in this range, the bounds included.
    times: TimeRange,
}

/// Hands the part of a block that lies in the range and passes the selection to the sink.
#[inline]
fn offer<P: Fn(usize) -> Posting>(
    block: &Block<P>,
    range: Range,
    selection: &Selection,
    sequence_base: u64,
    user_sequence_base: u64,
    sink: &mut (impl Sink + ?Sized),
) -> Result<ControlFlow<()>> {
    let ask_for_time = match selection.judge_times(block.times) {
        Verdict::No => return Ok(ControlFlow::Continue(())),
        Verdict::Yes => false,
        Verdict::Ask => true,
    };
    let begin = (range.from.saturating_sub(block.first_index) as usize).min(block.count);
    let end = (range.to.saturating_sub(block.first_index) as usize).min(block.count);
    let first = user_sequence_base + u64::from(block.first_index);
    if begin >= end {
        return Ok(ControlFlow::Continue(()));
    }
    let posting = &block.posting;
    let (origin, stride) = match range.direction {
        Direction::NewestFirst => (end - 1, usize::MAX),
        Direction::OldestFirst => (begin, 1),
    };
    let index_of = move |step: usize| origin.wrapping_add(step.wrapping_mul(stride));
    let count = end - begin;
    if !ask_for_time && selection.passes_all_tags() {
        let posting = move |step| (index_of(step), posting(index_of(step)).ordinal);
        return sink.take_all(Passing { posting, count, sequence_base, user_sequence_base: first });
    }
    if !ask_for_time && selection.asks_no_names() && block.count <= BLOCK_POSTINGS_MAX {
        // Chosen first, in a way that leaves the processor nothing to guess; then taken.
        let mut chosen = [0_u8; BLOCK_POSTINGS_MAX];
        let mut passed = 0;
        for index in (0..count).map(index_of) {
            chosen[passed % BLOCK_POSTINGS_MAX] = index.to_le_bytes()[0];
            passed += usize::from(selection.kinds.contains(posting(index).tags));
        }
        let index_of = |step: usize| usize::from(chosen[step % BLOCK_POSTINGS_MAX]);
        let posting = move |step| (index_of(step), posting(index_of(step)).ordinal);
        return sink.take_all(Passing { posting, count: passed, sequence_base, user_sequence_base: first });
    }
    for index in (0..count).map(index_of) {
        let Posting { ordinal, tags } = posting(index);
        let verdict = selection.judge(tags);
        if verdict == Verdict::No {
            continue;
        }
        let candidate = Candidate {
            sequence: sequence_base + u64::from(ordinal),
            user_sequence: first + index as u64,
            ask: ask_for_time || verdict == Verdict::Ask,
        };
        if sink.take(candidate)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
