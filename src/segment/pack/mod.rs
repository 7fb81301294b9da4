//! A pack: old sealed segments in one file, sorted by user and compressed.
//!
//! Owns where a record lies in it and whether its block is intact. A record's key is handed in: must not know users,
//! indexes or other packs.

pub(crate) mod input;
pub(crate) mod restore;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::format::bytes::u32_at;
use crate::format::compression::Decompressor;
use crate::format::located;
use crate::format::pack::{
    BlockEntry, ENTRY_BYTES, PACK_HEADER_BYTES, PAGE_BYTES, PAGE_ENTRIES, PackHeader, Part, Summary,
    bits_range, block_crc, unpack_bits,
};
use crate::format::pack_block::{BLOCK_BYTES_MAX, Leaves};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::io::mmap::SegmentMap;
use crate::io::{Access, Disk};

/// The name of a pack.
pub(crate) fn pack_path(shard_dir: &Path, number: u64) -> PathBuf {
    shard_dir.join(format!("{number:016}.pack"))
}

/// How many blocks are asked for at a time by somebody who reads them all.
const AHEAD_BLOCKS: u32 = 64;

/// How many blocks before a user's newest are asked for at most, in each pack: a user may have all of them in another.
const BLOCKS_AT_ONCE: u64 = 16;

/// An immutable pack, readable by any thread.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    map: Arc<SegmentMap>,
    header: PackHeader,
    summary: Summary,
    decompressor: Decompressor,
    /// One bit for each page of the index that was compared with its checksum.
    checked: Box<[AtomicU64]>,
}

/// Some records of a pack, decompressed. Whoever holds it can lend their leaves.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) number: u32,
    /// Where it lies in the file.
    pub(crate) offset: u64,
    leaves: Leaves,
}

/// A block that was looked up: where it lies, and which records it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) number: u32,
    /// Key and ordinal of its first record, and of the next block's.
    from: (u64, u32),
    to: (u64, u32),
    pub(crate) offset: u64,
    compressed_bytes: u32,
}

impl Found {
    /// Whether the record of this key and ordinal lies in it, if the pack has it.
    #[inline]
    pub(crate) fn holds(&self, place: (u64, u32)) -> bool {
        self.from <= place && place < self.to
    }
}

impl Block {
    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// A leaf.
    #[inline]
    pub(crate) fn leaf(&self, index: usize) -> Option<&[u8]> {
        self.leaves.get(index)
    }

    /// The sequence of a leaf.
    #[inline]
    pub(crate) fn sequence(&self, index: usize) -> Option<u64> {
        self.leaves.sequence(index)
    }

    /// Which of the leaves has the sequence. A user's records stand side by side: it is looked for at `near` and beside it
    /// first.
    #[inline]
    pub(crate) fn find(&self, sequence: u64, near: usize) -> Option<usize> {
        let beside = [near, near.wrapping_sub(1), near.wrapping_add(1)];
        let has = |index: &usize| self.sequence(*index) == Some(sequence);
        beside.into_iter().find(has).or_else(|| (0..self.len()).find(has))
    }
}

impl Pack {
    /// Reads header, summary, dictionary and checksums; the rest when it is asked for.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = disk.open(path, Access::Read).map_err(|error| match error.io_kind() {
            Some(std::io::ErrorKind::NotFound) => Error::corruption(path, 0, "the pack's file is missing"),
            _ => error,
        })?;
        let map = file.map(0, file.len(), Access::Read)?;
        map.advise_random();
        let damaged = |offset, message| Error::corruption(path, offset, message);
        let head = map.get(0, PACK_HEADER_BYTES).ok_or_else(|| damaged(0, "the pack is cut short"))?;
        let header = PackHeader::decode(head, file.len()).map_err(located(path, 0))?;
        let pages = (header.checksums_offset - header.directory_offset) / PAGE_BYTES as u64;
        let table = to_usize(header.checksums_offset).zip(to_usize(pages * 4));
        let checksums = table.and_then(|(offset, length)| map.get(offset, length)).unwrap_or_default();
        if crc32c::crc32c(checksums) != header.checksums_crc {
            return Err(damaged(header.checksums_offset, "the pack's table of checksums is damaged"));
        }
        // A bit for each page.
        let words = checksums.as_chunks::<4>().0.len().div_ceil(64);
        let mut pack = Self {
            path: path.to_owned(),
            map,
            header,
            summary: Summary::default(),
            decompressor: Decompressor::new(None).map_err(located(path, 0))?,
            checked: (0..words).map(|_| AtomicU64::new(0)).collect(),
        };
        pack.ask_for_summary();
        let summary = pack.index(header.summary.offset, header.summary.bytes)?;
        pack.summary = Summary::decode(summary, &header).map_err(located(path, header.summary.offset))?;
        if header.dictionary.bytes > 0 {
            let dictionary = pack.index(header.dictionary.offset, header.dictionary.bytes)?;
            pack.decompressor =
                Decompressor::new(Some(dictionary)).map_err(located(path, header.dictionary.offset))?;
        }
        Ok(pack)
    }

    /// Asks the disk for dictionary and summary, which lie side by side; doesn't wait.
    fn ask_for_summary(&self) {
        let (begin, end) = (self.header.dictionary.offset, self.header.checksums_offset);
        self.map.will_need(
            to_usize(begin).unwrap_or_default(),
            to_usize(end.saturating_sub(begin)).unwrap_or_default(),
        );
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &PackHeader {
        &self.header
    }

    /// The segments that it stands for, oldest first.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.summary.parts
    }

    /// The first record's shard sequence.
    pub(crate) fn base(&self) -> u64 {
        self.header.base
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u64 {
        self.header.records
    }

    /// One past the last record's shard sequence.
    pub(crate) fn end(&self) -> u64 {
        self.header.base + self.header.records
    }

    /// The bytes of memory that it takes, besides the mapping.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.checked)
            + size_of_val(&*self.summary.parts)
            + size_of_val(&*self.summary.pages)
            + self.decompressor.memory_bytes()
    }

    /// Bytes of the index, their pages checked.
    fn index(&self, offset: u64, length: u64) -> Result<&[u8]> {
        let beyond = || self.damaged(offset, "the pack points beyond its end");
        let (begin, bytes) = to_usize(offset).zip(to_usize(length)).ok_or_else(beyond)?;
        let bytes = self.map.get(begin, bytes).ok_or_else(beyond)?;
        let first = offset.checked_sub(self.header.directory_offset).ok_or_else(beyond)? / PAGE_BYTES as u64;
        let last = (offset + length.saturating_sub(1) - self.header.directory_offset) / PAGE_BYTES as u64;
        for page in first..=last {
            self.check_page(page)?;
        }
        Ok(bytes)
    }

    fn check_page(&self, page: u64) -> Result<()> {
        let offset = self.header.directory_offset + page * PAGE_BYTES as u64;
        let beyond = || self.damaged(offset, "the pack points beyond its end");
        let index = to_usize(page).ok_or_else(beyond)?;
        let bit = 1_u64 << (index % 64);
        let word = self.checked.get(index / 64).ok_or_else(beyond)?;
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let table = to_usize(self.header.checksums_offset).unwrap_or(usize::MAX);
        let stored = self.map.get(table.saturating_add(index * 4), 4).and_then(|bytes| u32_at(bytes, 0));
        let page = to_usize(offset).and_then(|offset| self.map.get(offset, PAGE_BYTES));
        let matches = stored.is_some() && stored == page.map(crc32c::crc32c);
        #[cfg(test)]
        let matches = matches || has(Bug::PackIndexUnchecked);
        if !matches {
            return Err(self.damaged(offset, "a page of the pack's index does not match its checksum"));
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    pub(crate) fn damaged(&self, offset: u64, message: &str) -> Error {
        Error::corruption(&self.path, offset, message)
    }

    fn blocks(&self) -> u32 {
        u32::try_from(self.header.blocks).unwrap_or(u32::MAX)
    }

    /// A block's entry in the directory.
    fn entry(&self, number: u32) -> Result<BlockEntry> {
        if number >= self.blocks() {
            return Err(self.damaged(self.header.directory_offset, "the pack has no such block"));
        }
        let offset = self.header.directory_offset + u64::from(number) * ENTRY_BYTES as u64;
        let entry = BlockEntry::decode(self.index(offset, ENTRY_BYTES as u64)?);
        let sound = |entry: &BlockEntry| {
            let end = entry.offset.checked_add(u64::from(entry.compressed_bytes));
            entry.offset >= PAGE_BYTES as u64
                && end.is_some_and(|end| end <= self.header.blocks_end)
                && entry.bytes <= BLOCK_BYTES_MAX
        };
        entry.filter(sound).ok_or_else(|| self.damaged(offset, "a directory entry is damaged"))
    }

    /// Asks the disk for what [`Self::block_of`] and [`Self::ask_back`] look at for a key's newest records: their page of the
    /// directory, and the one before it if the key's blocks begin there; doesn't wait.
    pub(crate) fn ask_for_directory(&self, key: u64) {
        let (first, last) = self.newest_pages(key);
        let directory = to_usize(self.header.directory_offset).unwrap_or(usize::MAX);
        self.map.will_need(directory.saturating_add(first * PAGE_BYTES), (last - first + 1) * PAGE_BYTES);
    }

    /// The pages of the directory for a key's newest blocks, so many that [`BLOCKS_AT_ONCE`] of them are there.
    pub(super) fn newest_pages(&self, key: u64) -> (usize, usize) {
        const { assert!(BLOCKS_AT_ONCE <= PAGE_ENTRIES as u64) };
        let last = self.page_of((key, u32::MAX));
        let oldest = self.summary.pages.partition_point(|page| page.key < key).saturating_sub(1);
        (oldest.max(last.saturating_sub(1)), last)
    }

    /// Whether a key's newest blocks have their entries in two pages of the directory.
    #[cfg(test)]
    pub(crate) fn is_over_two_pages(&self, key: u64) -> bool {
        let (first, last) = self.newest_pages(key);
        first < last
    }

    /// Where the directory lies, for [`Self::map`].
    pub(crate) fn directory(&self) -> Option<std::ops::Range<usize>> {
        let begin = self.header.directory_offset;
        Some(to_usize(begin)?..to_usize(begin + self.header.blocks * ENTRY_BYTES as u64)?)
    }

    /// The file, mapped.
    pub(crate) fn map(&self) -> &SegmentMap {
        &self.map
    }

    /// Asks the disk for the blocks with a key's newest records, about so many, in one read; doesn't wait. Blocks lie side
    /// by side in the order of their keys.
    pub(crate) fn ask_for_newest(&self, key: u64, records: usize) -> Result<()> {
        self.ask_back(&self.block_of(key, u32::MAX)?, key, records)
    }

    /// The same from a block on that was looked up.
    pub(crate) fn ask_back(&self, newest: &Found, key: u64, records: usize) -> Result<()> {
        let (mut first, mut offset) = (newest.from.0, newest.offset);
        let blocks = (records as u64).saturating_mul(self.header.blocks) / self.records().max(1) + 1;
        for number in (0..newest.number).rev().take(to_usize(blocks.min(BLOCKS_AT_ONCE)).unwrap_or_default())
        {
            if first < key {
                break;
            }
            let entry = self.entry(number)?;
            (first, offset) = (entry.key, entry.offset);
        }
        let end = newest.offset + u64::from(newest.compressed_bytes);
        if let Some((offset, length)) = to_usize(offset).zip(to_usize(end.saturating_sub(offset))) {
            self.map.will_need(offset, length);
        }
        Ok(())
    }

    /// Asks the disk for a block, all of its pages in one read; doesn't wait.
    pub(crate) fn ask_for(&self, found: &Found) {
        self.map.will_need(to_usize(found.offset).unwrap_or(usize::MAX), found.compressed_bytes as usize);
    }

    /// Asks the disk for the blocks behind one, for somebody who reads them all; doesn't wait.
    fn ask_ahead(&self, number: u32) -> Result<()> {
        if number.is_multiple_of(AHEAD_BLOCKS) {
            let first = self.entry(number)?;
            let length = first.compressed_bytes as usize * AHEAD_BLOCKS as usize * 2;
            self.map.will_need(to_usize(first.offset).unwrap_or(usize::MAX), length);
        }
        Ok(())
    }

    /// Which page of the directory has the last block that begins at or before a place.
    fn page_of(&self, place: (u64, u32)) -> usize {
        let behind = self.summary.pages.partition_point(|page| (page.key, page.ordinal) <= place);
        behind.saturating_sub(1)
    }

    /// The block that holds the record of this key and ordinal, if the pack has it. Touches one page of the directory, or
    /// two.
    pub(crate) fn block_of(&self, key: u64, ordinal: u32) -> Result<Found> {
        let place = (key, ordinal);
        let page = self.page_of(place);
        let first = u32::try_from(page * PAGE_ENTRIES).unwrap_or(u32::MAX);
        let end = first.saturating_add(u32::try_from(PAGE_ENTRIES).unwrap_or(u32::MAX)).min(self.blocks());
        let (mut low, mut high) = (first, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.place() <= place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let number = low.saturating_sub(1).max(first);
        let entry = self.entry(number)?;
        // What the page doesn't say, the first place of the next page does.
        let next = match self.summary.pages.get(page + 1) {
            Some(next) if low == end => (next.key, next.ordinal),
            _ if low < self.blocks() => self.entry(low)?.place(),
            _ => (u64::MAX, u32::MAX),
        };
        Ok(Found {
            number,
            from: entry.place(),
            to: next,
            offset: entry.offset,
            compressed_bytes: entry.compressed_bytes,
        })
    }

    /// The block that holds a sequence: what the map says. Touches a page of the map.
    fn block_of_sequence(&self, sequence: u64) -> Result<u32> {
        let ordinal = u64::from(self.ordinal(sequence)?);
        let (begin, length) = bits_range(ordinal, self.header.map_bits);
        let offset = self.header.map_offset + begin;
        let number = unpack_bits(self.index(offset, length)?, ordinal, self.header.map_bits);
        number.ok_or_else(|| self.damaged(offset, "the pack's map is damaged"))
    }

    fn ordinal(&self, sequence: u64) -> Result<u32> {
        let ordinal = sequence.checked_sub(self.base()).filter(|ordinal| *ordinal < self.records());
        ordinal
            .and_then(|ordinal| u32::try_from(ordinal).ok())
            .ok_or_else(|| self.damaged(0, "the pack does not hold the record"))
    }

    /// Reads, checks and decompresses a block: all of its pages in one read, should they not be in memory.
    pub(crate) fn block(&self, number: u32) -> Result<Block> {
        let entry = self.entry(number)?;
        self.map.will_need(to_usize(entry.offset).unwrap_or(usize::MAX), entry.compressed_bytes as usize);
        self.asked_block(number)
    }

    /// The same for a block that the disk was asked for.
    pub(crate) fn asked_block(&self, number: u32) -> Result<Block> {
        let entry = self.entry(number)?;
        let damaged = |message| self.damaged(entry.offset, message);
        let place = to_usize(entry.offset).unwrap_or(usize::MAX);
        let compressed = self.map.get(place, entry.compressed_bytes as usize);
        let compressed = compressed.ok_or_else(|| damaged("a block lies beyond the pack's end"))?;
        let matches = block_crc(self.header.salt, number, compressed) == entry.crc;
        #[cfg(test)]
        let matches = matches || has(Bug::PackBlockUnchecked);
        if !matches {
            return Err(damaged("a block does not match its checksum"));
        }
        let bytes = self.decompressor.decompress(compressed, entry.bytes as usize);
        let leaves = bytes.and_then(Leaves::decode).map_err(located(&self.path, entry.offset))?;
        let block = Block { number, offset: entry.offset, leaves };
        if block.sequence(0) != Some(self.base() + u64::from(entry.ordinal)) {
            return Err(damaged("a block begins with another record than its directory says"));
        }
        Ok(block)
    }

    /// The block that holds a sequence, and the record's place in it.
    pub(crate) fn find(&self, sequence: u64) -> Result<(Block, usize)> {
        let block = self.block(self.block_of_sequence(sequence)?)?;
        let index = block.find(sequence, 0).ok_or_else(|| self.missing(&block, sequence))?;
        Ok((block, index))
    }

    #[cold]
    pub(crate) fn missing(&self, block: &Block, sequence: u64) -> Error {
        self.damaged(block.offset, &format!("record {sequence} is not where the pack's index says"))
    }

    /// Reads everything, whether it was before or not: each record must be where directory and map say, and there once.
    /// Hands each leaf to `visit`, by user.
    pub(crate) fn verify(&self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.checked.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.index(
            self.header.directory_offset,
            self.header.checksums_offset - self.header.directory_offset,
        )?;
        let mut seen = Seen::new(self.records());
        let mut before = (0, 0);
        for number in 0..self.blocks() {
            self.ask_ahead(number)?;
            let place = self.entry(number)?.place();
            let block = self.block(number)?;
            if place < before {
                return Err(self.damaged(block.offset, "the pack's blocks are out of order"));
            }
            before = place;
            for index in 0..block.len() {
                let wrong = |message| self.damaged(block.offset, message);
                let leaf = block.leaf(index).ok_or_else(|| wrong("a leaf is cut short"))?;
                let sequence = block.sequence(index).ok_or_else(|| wrong("a leaf is cut short"))?;
                if self.block_of_sequence(sequence)? != number {
                    return Err(wrong("the pack's map leads to another block"));
                }
                if !seen.insert(sequence - self.base()) {
                    return Err(wrong("a record is there twice"));
                }
                visit(leaf)?;
            }
        }
        if seen.is_complete() { Ok(()) } else { Err(self.damaged(0, "records are missing from the pack")) }
    }
}

/// Which ordinals were seen.
#[derive(Debug)]
struct Seen {
    words: Vec<u64>,
    left: u64,
}

impl Seen {
    fn new(records: u64) -> Self {
        let words = to_usize(records.div_ceil(64)).unwrap_or_default();
        Self { words: vec![0; words], left: records }
    }

    /// Whether it is seen for the first time.
    fn insert(&mut self, ordinal: u64) -> bool {
        let bit = 1 << (ordinal % 64);
        match to_usize(ordinal / 64).and_then(|word| self.words.get_mut(word)) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                self.left = self.left.saturating_sub(1);
                true
            }
            _ => false,
        }
    }

    fn is_complete(&self) -> bool {
        self.left == 0
    }
}

fn to_usize(offset: u64) -> Option<usize> {
    usize::try_from(offset).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ordinal_is_seen_once_and_all_of_them_are_all() {
        for records in [1, 63, 64, 65, 6_400, 6_401] {
            let mut seen = Seen::new(records);
            for ordinal in 0..records {
                assert!(!seen.is_complete(), "{ordinal} of {records}");
                assert!(seen.insert(ordinal) && !seen.insert(ordinal), "{ordinal} of {records}");
            }
            assert!(seen.is_complete());
            assert!(
                !seen.insert(records.next_multiple_of(64)) && !seen.insert(u64::MAX),
                "there is no such one"
            );
        }
    }
}
