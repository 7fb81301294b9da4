//! Reading many records of a segment: what is the same for all of them is looked up once.
//!
//! Owns nothing; borrows from a [`Segment`]. Must not decide which records are read.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Checked, Offsets, Segment};
use crate::error::Result;
use crate::format::record;
use crate::format::segment::RECORDS_START;
use crate::io::chunked::Reader;
use crate::io::mmap::Prefetcher;
use crate::io::sync::AtomicU32;

/// How much of a record is asked for ahead: what most records have, but for the end of `details`.
pub(super) const ASKED_BYTES: usize = 6 * LINE_BYTES;
const LINE_BYTES: usize = 64;

/// A segment's records, to be lent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Records<'s> {
    segment: &'s Segment,
    /// What was published of the records when this was made.
    bytes: &'s [u8],
    /// The records below `checked_from` have a bit that says whether their checksum was compared; all others' was.
    checked: &'s [AtomicU64],
    checked_from: u64,
}

impl<'s> Records<'s> {
    /// The leaf of record `ordinal`, which begins at `offset`.
    #[inline]
    pub(crate) fn leaf(&self, ordinal: u64, offset: usize) -> Result<&'s [u8]> {
        match self.known_leaf(ordinal, offset) {
            Some(leaf) => Ok(leaf),
            None => self.segment.new_leaf(ordinal, offset),
        }
    }

    /// The leaf, if its checksum was compared before and it is the one asked for: a few instructions, and no words for what
    /// may be wrong.
    #[inline]
    fn known_leaf(&self, ordinal: u64, offset: usize) -> Option<&'s [u8]> {
        if ordinal < self.checked_from {
            let word = self.checked.get(usize::try_from(ordinal / 64).ok()?)?;
            if word.load(Ordering::Relaxed) & 1 << (ordinal % 64) == 0 {
                return None;
            }
        }
        // Asked each time: a sync may have failed since.
        if self.segment.rescued.get().is_some() {
            return None;
        }
        let start = usize::try_from(RECORDS_START).unwrap_or_default();
        let leaf = record::leaf(self.bytes.get(offset.wrapping_sub(start)..)?).ok()?;
        (u64::from_le_bytes(*leaf.first_chunk()?) == self.segment.base + ordinal).then_some(leaf)
    }
}

/// Where the records of a segment begin, and the way to ask the processor for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'s> {
    pub(crate) offsets: OffsetTable<'s>,
    prefetcher: Prefetcher,
}

/// Where the records of a segment begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OffsetTable<'s> {
    /// In memory, near at hand.
    Growing(Reader<'s, AtomicU32>),
    /// In the file, at this offset.
    Sealed(&'s [[u8; 4]], usize),
}

impl Places<'_> {
    /// Asks the processor for the lines of the record at `offset`.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        for line in (0..ASKED_BYTES).step_by(LINE_BYTES) {
            self.prefetcher.line((offset as usize).wrapping_add(line));
        }
    }

    /// In a sealed segment, asks the processor for the place that says where the record begins.
    #[inline]
    pub(crate) fn prefetch_offset(&self, ordinal: u32) {
        if let OffsetTable::Sealed(_, at) = self.offsets {
            self.prefetcher.line(at.wrapping_add(ordinal as usize * 4));
        }
    }

    /// Where record `ordinal` begins; 0, where none does, if it isn't there.
    #[inline]
    pub(crate) fn offset(&mut self, ordinal: u32) -> u32 {
        match &mut self.offsets {
            OffsetTable::Growing(offsets) => offsets.get(ordinal as usize),
            OffsetTable::Sealed(offsets, _) => {
                offsets.get(ordinal as usize).map_or(0, |offset| u32::from_le_bytes(*offset))
            }
        }
    }
}

impl Segment {
    /// Its records, to read some of them.
    #[inline]
    pub(crate) fn records(&self) -> Records<'_> {
        let start = usize::try_from(RECORDS_START).unwrap_or_default();
        let (checked, checked_from): (&[AtomicU64], _) = match &self.checked {
            Checked::All => (&[], 0),
            Checked::Bits { bits, end } => (bits, *end),
        };
        Records { segment: self, bytes: self.map.get_from(start).unwrap_or_default(), checked, checked_from }
    }

    /// Where its records begin, to look up some of them.
    #[inline]
    pub(crate) fn places(&self) -> Places<'_> {
        let offsets = match &self.offsets {
            Offsets::Growing(offsets) => OffsetTable::Growing(offsets.reader()),
            Offsets::Sealed(_) => {
                let sidecar = self.sidecar().unwrap_or_default();
                let bytes = self.map.get(sidecar.start, sidecar.len()).unwrap_or_default();
                OffsetTable::Sealed(bytes.as_chunks().0, sidecar.start)
            }
        };
        Places { offsets, prefetcher: self.map.prefetcher() }
    }
}
