//! Who has which events: postings of each user, in memory for the tail of a shard's log and in immutable runs for
//! what is sealed.
//!
//! Owns the way from a user's fingerprint to shard sequences, and what can be decided of a filter on the way. Must not
//! know records or segments: where a sequence lies is not its concern.

pub(crate) mod builder;
pub(crate) mod dictionary;
pub(crate) mod merge;
pub(crate) mod run;
pub(crate) mod selection;
pub(crate) mod tail;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use crate::error::Result;
use crate::format::posting::{Posting, TimeRange};
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
pub(crate) trait Sink: FnMut(Candidate) -> Result<ControlFlow<()>> {}

impl<F: FnMut(Candidate) -> Result<ControlFlow<()>> + ?Sized> Sink for F {}

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
    let all_pass = selection.passes_all_tags();
    for step in begin..end {
        let index = match range.direction {
            Direction::NewestFirst => begin + end - 1 - step,
            Direction::OldestFirst => step,
        };
        let Posting { ordinal, tags } = (block.posting)(index);
        let verdict = if all_pass { Verdict::Yes } else { selection.judge(tags) };
        if verdict == Verdict::No {
            continue;
        }
        let candidate = Candidate {
            sequence: sequence_base + u64::from(ordinal),
            user_sequence: first + index as u64,
            ask: ask_for_time || verdict == Verdict::Ask,
        };
        if sink(candidate)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
