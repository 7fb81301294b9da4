//! Reads a run in place, each page checked the first time it is touched.
//!
//! Owns the look-up: filter, directory (by interpolation: fingerprints are uniform), blocks. Must not know records or
//! segments; it is given a mapping and tells a damaged page by file and offset.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::selection::{Selection, Verdict};
use super::{Block, Direction, Range, Sink, UserHead, offer};
use crate::error::{Error, Result};
use crate::format::bytes::u32_at;
use crate::format::located;
use crate::format::posting::{BLOCK_POSTINGS_MAX, DecodedBlock, NameMask};
use crate::format::run::{
    ArchivedDictionaries, BlockSummary, Dictionaries, DirectoryEntry, ENTRY_BYTES, PAGE_BYTES,
    RUN_HEADER_BYTES, RunHeader, TableForm, block_count, filter,
};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::unarchive;
use crate::ids::Fingerprint;
use crate::io::mmap::SegmentMap;

/// How many steps of a look-up trust in the uniformity of fingerprints.
const INTERPOLATIONS: u32 = 4;

/// How far ahead postings are asked for: most of a full block.
const POSTINGS_ASKED: usize = 512;
/// How many entries of a directory to each side of the guess the disk is asked for at most.
const ENTRIES_ASKED_MAX: u64 = 200;
/// A line of the processor's cache.
const LINE_BYTES: usize = 64;

/// An immutable index of a range of the log.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    map: Arc<SegmentMap>,
    header: RunHeader,
    filter_at: usize,
    filter_blocks: u64,
    dictionaries: Dictionaries,
    /// One bit for each page of the body that was compared with its checksum.
    checked: Box<[AtomicU64]>,
}

impl Run {
    /// Reads header, checksums and dictionaries; the rest when it is asked for.
    pub(crate) fn open(path: &Path, map: Arc<SegmentMap>) -> Result<Self> {
        let run = Self::open_own(path, map)?;
        if run.is_empty() {
            return Err(Error::corruption(path, 0, "the run header contradicts the file"));
        }
        Ok(run)
    }

    /// The same of a segment's own run, which may be empty: nobody may look anything up in it then.
    pub(crate) fn open_own(path: &Path, map: Arc<SegmentMap>) -> Result<Self> {
        let damaged = |offset, message| Error::corruption(path, offset, message);
        let head = map.get(0, RUN_HEADER_BYTES).ok_or_else(|| damaged(0, "the run is cut short"))?;
        let header = RunHeader::decode(head).map_err(located(path, 0))?;
        let pages = header.checksums_offset / PAGE_BYTES as u64;
        let sections = [header.filter, header.postings, header.dictionaries];
        let ends = sections.map(|section| section.offset.saturating_add(section.bytes));
        let directory_end = header.users.saturating_mul(ENTRY_BYTES as u64);
        let sound = ends.iter().all(|end| *end <= header.checksums_offset)
            && header.directory_offset.checked_add(directory_end) == Some(header.postings.offset)
            && header.checksums_offset % PAGE_BYTES as u64 == 0
            && header.filter.offset % filter::BLOCK_BYTES as u64 == 0
            && header.filter.bytes % filter::BLOCK_BYTES as u64 == 0
            && header.filter.bytes > 0
            // The first page is the header, which has a checksum of its own.
            && (pages.saturating_sub(1)).checked_mul(4).and_then(|n| n.checked_add(header.checksums_offset))
                == Some(map.len() as u64);
        if !sound {
            return Err(damaged(0, "the run header contradicts the file"));
        }
        let checksums = to_usize(header.checksums_offset).and_then(|at| map.get_from(at)).unwrap_or_default();
        if crc32c::crc32c(checksums) != header.checksums_crc {
            return Err(damaged(header.checksums_offset, "the run's table of checksums is damaged"));
        }
        let words = checksums.len() / 4 / 64 + 1;
        let mut run = Self {
            path: path.to_owned(),
            header,
            filter_at: to_usize(header.filter.offset).unwrap_or_default(),
            filter_blocks: header.filter.bytes / filter::BLOCK_BYTES as u64,
            dictionaries: Dictionaries::default(),
            checked: (0..words).map(|_| AtomicU64::new(0)).collect(),
            map,
        };
        let archive = run.bytes(header.dictionaries.offset, header.dictionaries.bytes)?;
        run.dictionaries =
            unarchive::<Dictionaries, ArchivedDictionaries>(archive, "the run's dictionaries are damaged")
                .map_err(located(path, header.dictionaries.offset))?;
        Ok(run)
    }

    /// Whether no event that it covers has a user.
    pub(crate) fn is_empty(&self) -> bool {
        self.header.users == 0
    }

    /// The header.
    pub(crate) fn header(&self) -> &RunHeader {
        &self.header
    }

    /// One past the last sequence that it covers.
    pub(crate) fn end(&self) -> u64 {
        self.header.base + self.header.records
    }

    /// The names behind the codes.
    pub(crate) fn dictionaries(&self) -> &Dictionaries {
        &self.dictionaries
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let names = self.dictionaries.actions.iter().chain(&self.dictionaries.services);
        size_of_val(&*self.checked) + names.map(|name| name.len() + size_of::<String>()).sum::<usize>()
    }

    /// Compares every page with its checksum, whether it was before or not.
    pub(crate) fn verify(&self) -> Result<()> {
        for word in &self.checked {
            word.store(0, Ordering::Relaxed);
        }
        self.bytes(PAGE_BYTES as u64, self.header.checksums_offset - PAGE_BYTES as u64).map(drop)
    }

    /// Walks the directory, which must be in order. How many users there are, and how many postings.
    pub(crate) fn totals(&self) -> Result<(u64, u64)> {
        let (mut postings, mut before) = (0, None);
        for index in 0..self.header.users {
            let entry = self.entry(index)?;
            if before.is_some_and(|before| before >= entry.user) {
                let offset = self.header.directory_offset + index * ENTRY_BYTES as u64;
                return Err(self.damaged(offset, "the directory is out of order"));
            }
            before = Some(entry.user);
            postings += u64::from(entry.count);
        }
        Ok((self.header.users, postings))
    }

    /// Asks the kernel for bytes that will be read soon.
    pub(crate) fn will_need(&self, offset: u64, length: u64) {
        if let Some((offset, length)) = to_usize(offset).zip(to_usize(length)) {
            self.map.will_need(offset, length);
        }
    }

    /// Takes the pages of `begin..end` out of this process's table: they were read, and are not needed soon.
    pub(crate) fn let_go(&self, begin: u64, end: u64) {
        if let Some((begin, end)) = to_usize(begin).zip(to_usize(end)) {
            self.map.let_go(begin, end.saturating_sub(begin));
        }
    }

    /// Bytes of the body, their pages checked.
    #[inline]
    fn bytes(&self, offset: u64, length: u64) -> Result<&[u8]> {
        let range = to_usize(offset).zip(to_usize(length));
        let (offset, length) = range.ok_or_else(|| self.damaged(offset, "the run points beyond its end"))?;
        let bytes = self.map.get(offset, length);
        let bytes = bytes.ok_or_else(|| self.damaged(offset as u64, "the run points beyond its end"))?;
        let last = offset + length.saturating_sub(1);
        for page in offset / PAGE_BYTES..=last / PAGE_BYTES {
            self.check_page(page)?;
        }
        Ok(bytes)
    }

    #[inline]
    fn check_page(&self, page: usize) -> Result<()> {
        // Page 0 is the header, which was checked when the run was opened.
        let Some(index) = page.checked_sub(1) else { return Ok(()) };
        let bit = 1_u64 << (index % 64);
        match self.checked.get(index / 64) {
            Some(word) if word.load(Ordering::Relaxed) & bit != 0 => Ok(()),
            Some(word) => {
                self.compare_page(page, index)?;
                word.fetch_or(bit, Ordering::Relaxed);
                Ok(())
            }
            None => Err(self.damaged(self.header.checksums_offset, "the run points beyond its end")),
        }
    }

    #[cold]
    fn compare_page(&self, page: usize, index: usize) -> Result<()> {
        let table = to_usize(self.header.checksums_offset).unwrap_or(usize::MAX);
        let stored = self.map.get(table + index * 4, 4).and_then(|bytes| u32_at(bytes, 0));
        let actual = self.map.get(page * PAGE_BYTES, PAGE_BYTES).map(crc32c::crc32c);
        let matches = stored.is_some() && stored == actual;
        #[cfg(test)]
        let matches = matches || has(Bug::RunUnchecked);
        if matches {
            return Ok(());
        }
        Err(self.damaged((page * PAGE_BYTES) as u64, "a page of the index run does not match its checksum"))
    }

    #[cold]
    fn damaged(&self, offset: u64, message: &str) -> Error {
        Error::corruption(&self.path, offset, message)
    }

    /// Where the user's block of the filter lies. It never crosses a page's edge.
    #[inline]
    fn filter_block(&self, user: Fingerprint) -> usize {
        let block = filter::block_of(user, self.filter_blocks);
        self.filter_at + to_usize(block).unwrap_or_default() * filter::BLOCK_BYTES
    }

    /// Asks the processor for what [`Self::user`] looks at first.
    #[inline]
    pub(crate) fn prefetch(&self, user: Fingerprint) {
        self.map.prefetch(self.filter_block(user));
    }

    /// Asks the disk for what [`Self::may_have`] looks at; doesn't wait.
    pub(crate) fn ask_for_filter(&self, user: Fingerprint) {
        self.map.will_need(self.filter_block(user), filter::BLOCK_BYTES);
    }

    /// Asks the disk for what [`Self::user`] looks at; doesn't wait.
    pub(crate) fn ask_for(&self, user: Fingerprint) {
        self.ask_for_filter(user);
        let entry = |index: u64| to_usize(self.header.directory_offset + index * ENTRY_BYTES as u64);
        let guess = filter::block_of(user, self.header.users);
        // The guess is off by half of the root, one time in three by more; a page more costs a tenth of another read. In
        // large runs, where that is far, the look-up finds its way from there.
        let step = self.header.users.isqrt().min(ENTRIES_ASKED_MAX) + 1;
        if let Some((first, end)) = entry(guess.saturating_sub(step)).zip(entry(guess + step + 1)) {
            self.map.will_need(first, end - first);
        }
    }

    /// Where the filter lies, for [`Self::map`].
    pub(crate) fn filter(&self) -> Option<std::ops::Range<usize>> {
        Some(self.filter_at..self.filter_at.checked_add(to_usize(self.header.filter.bytes)?)?)
    }

    /// Where the directory lies, for [`Self::map`].
    pub(crate) fn directory(&self) -> Option<std::ops::Range<usize>> {
        Some(to_usize(self.header.directory_offset)?..to_usize(self.header.postings.offset)?)
    }

    /// Where the postings lie, for [`Self::map`].
    pub(crate) fn postings(&self) -> Option<std::ops::Range<usize>> {
        let begin = to_usize(self.header.postings.offset)?;
        Some(begin..begin.checked_add(to_usize(self.header.postings.bytes)?)?)
    }

    /// The file, mapped.
    pub(crate) fn map(&self) -> &SegmentMap {
        &self.map
    }

    /// Whether the user may have events here: one look at the filter. Of a hundred who have none, one may.
    pub(crate) fn may_have(&self, user: Fingerprint) -> Result<bool> {
        let at = self.filter_block(user);
        self.check_page(at / PAGE_BYTES)?;
        Ok(self.map.get(at, filter::BLOCK_BYTES).is_none_or(|block| filter::may_contain(block, user)))
    }

    /// Finds a user.
    #[inline]
    pub(crate) fn user(&self, user: Fingerprint) -> Result<Option<RunUser<'_>>> {
        let at = self.filter_block(user);
        self.check_page(at / PAGE_BYTES)?;
        match self.map.get(at, filter::BLOCK_BYTES) {
            Some(block) if !filter::may_contain(block, user) => Ok(None),
            _ => self.look_up(user),
        }
    }

    fn look_up(&self, user: Fingerprint) -> Result<Option<RunUser<'_>>> {
        let Some((index, entry)) = self.find(user)? else { return Ok(None) };
        self.user_of(index, entry).map(Some)
    }

    /// The user at a place of the directory, which must be there.
    pub(crate) fn user_at(&self, index: u64) -> Result<RunUser<'_>> {
        self.user_of(index, self.entry(index)?)
    }

    fn user_of(&self, index: u64, entry: DirectoryEntry) -> Result<RunUser<'_>> {
        let end = if index + 1 < self.header.users {
            self.entry(index + 1)?.postings_offset
        } else {
            self.header.postings.bytes
        };
        Ok(RunUser { run: self, entry, end })
    }

    /// Interpolation: fingerprints are uniform, so that the distance of two of them says how many entries lie between, but for
    /// about its square root. A few steps lead into the neighbourhood of any; from there on it is searched as any list.
    fn find(&self, user: Fingerprint) -> Result<Option<(u64, DirectoryEntry)>> {
        let (mut low, mut high) = (0, self.header.users);
        let mut probe = self.guess(user);
        let mut step_min = 1;
        for round in 0_u32.. {
            let found = self.fingerprint(probe)?;
            let between = self.between(found, user);
            if round >= INTERPOLATIONS {
                step_min *= 2;
            }
            let step = between.saturating_add(1).max(step_min);
            match found.cmp(&user) {
                std::cmp::Ordering::Equal => return self.entry(probe).map(|entry| Some((probe, entry))),
                std::cmp::Ordering::Less => {
                    low = probe + 1;
                    probe = probe.saturating_add(step);
                }
                std::cmp::Ordering::Greater => {
                    high = probe;
                    probe = probe.saturating_sub(step);
                }
            }
            if low >= high {
                break;
            }
            if probe < low || probe >= high {
                probe = low + (high - low) / 2;
            }
        }
        Ok(None)
    }

    /// Where a user is, if fingerprints are quite uniform.
    #[inline]
    fn guess(&self, user: Fingerprint) -> u64 {
        filter::block_of(user, self.header.users).min(self.header.users - 1)
    }

    /// How many entries lie between two, if fingerprints are quite uniform.
    #[inline]
    fn between(&self, one: Fingerprint, other: Fingerprint) -> u64 {
        one.prefix().abs_diff(other.prefix()).carrying_mul(self.header.users, 0).1
    }

    /// The first place in the directory at which [`Self::user`] looks, if it looks at any; the processor is asked for it. Like
    /// the two below a hint, to be used for several runs side by side; what is damaged is told by the look-up itself.
    #[inline]
    pub(crate) fn first_probe(&self, user: Fingerprint) -> Option<u64> {
        let at = self.filter_block(user);
        self.check_page(at / PAGE_BYTES).ok()?;
        let probe = self.guess(user);
        filter::may_contain(self.map.get(at, filter::BLOCK_BYTES)?, user).then(|| self.prefetch_entry(probe))
    }

    /// The place after this one.
    #[inline]
    pub(crate) fn next_probe(&self, user: Fingerprint, probe: u64) -> Option<u64> {
        let found = self.fingerprint(probe).ok()?;
        let step = self.between(found, user).saturating_add(1);
        let next = match found.cmp(&user) {
            std::cmp::Ordering::Equal => return Some(probe),
            std::cmp::Ordering::Less => probe.saturating_add(step).min(self.header.users - 1),
            std::cmp::Ordering::Greater => probe.saturating_sub(step),
        };
        Some(self.prefetch_entry(next))
    }

    /// Asks the processor for the user's table and newest postings, if this is the user's place.
    #[inline]
    pub(crate) fn prefetch_postings(&self, user: Fingerprint, probe: u64) {
        let found = self.entry(probe).ok().filter(|entry| entry.user == user);
        let Some(found) = found.and_then(|entry| self.user_of(probe, entry).ok()) else { return };
        let at = |offset: u64| to_usize(self.header.postings.offset.saturating_add(offset));
        if let Some((begin, end)) = at(found.entry.postings_offset).zip(at(found.end)) {
            self.map.prefetch(begin);
            let newest = end.saturating_sub(POSTINGS_ASKED).max(begin.saturating_add(1));
            (newest..end).step_by(LINE_BYTES).for_each(|line| self.map.prefetch(line));
        }
    }

    #[inline]
    fn prefetch_entry(&self, index: u64) -> u64 {
        let at = self.header.directory_offset.wrapping_add(index.wrapping_mul(ENTRY_BYTES as u64));
        if let Some(at) = to_usize(at) {
            self.map.prefetch(at);
        }
        index
    }

    fn fingerprint(&self, index: u64) -> Result<Fingerprint> {
        let offset = self.header.directory_offset + index * ENTRY_BYTES as u64;
        let bytes = self.bytes(offset, size_of::<Fingerprint>() as u64)?;
        let found = bytes.first_chunk().map(|bytes| Fingerprint(*bytes));
        found.ok_or_else(|| self.damaged(offset, "a directory entry is damaged"))
    }

    /// An entry of the directory.
    pub(crate) fn entry(&self, index: u64) -> Result<DirectoryEntry> {
        let offset = self.header.directory_offset + index * ENTRY_BYTES as u64;
        let bytes = self.bytes(offset, ENTRY_BYTES as u64)?;
        DirectoryEntry::decode(bytes).ok_or_else(|| self.damaged(offset, "a directory entry is damaged"))
    }
}

fn to_usize(offset: u64) -> Option<usize> {
    usize::try_from(offset).ok()
}

#[cfg(test)]
thread_local! {
    /// How many blocks of postings this thread has looked into, in runs and tails.
    pub(crate) static BLOCKS_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A user's postings in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunUser<'r> {
    run: &'r Run,
    entry: DirectoryEntry,
    /// Where the user's postings end in the section.
    end: u64,
}

impl RunUser<'_> {
    /// Whose they are.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.entry.user
    }

    /// Where they begin in the run's section of postings.
    pub(crate) fn postings_offset(&self) -> u64 {
        self.entry.postings_offset
    }

    /// The ordinal of the last of them.
    pub(crate) fn last_ordinal(&self) -> u32 {
        self.entry.last_ordinal
    }
    /// How many events the user had before this run.
    pub(crate) fn count_before(&self) -> u64 {
        self.entry.count_before
    }

    /// How many the user has in it.
    pub(crate) fn count(&self) -> u32 {
        self.entry.count
    }

    /// How many events the user has had when the run ends, and which was the last.
    pub(crate) fn head(&self) -> UserHead {
        UserHead {
            count: self.entry.count_before + u64::from(self.entry.count),
            last_sequence: self.run.header.base + u64::from(self.entry.last_ordinal),
        }
    }

    /// Offers the postings in the range that pass the selection to the sink.
    pub(crate) fn walk(
        &self,
        range: Range,
        selection: &Selection,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<ControlFlow<()>> {
        let to = range.to.min(self.entry.count);
        if range.from >= to {
            return Ok(ControlFlow::Continue(()));
        }
        let blocks = self.blocks()?;
        let names = selection.names();
        let first = blocks.holding(range.from)?;
        let last = blocks.holding(to - 1)?;
        for step in 0..=last.saturating_sub(first) {
            let number = match range.direction {
                Direction::NewestFirst => last - step,
                Direction::OldestFirst => first + step,
            };
            if blocks.visit(number, range, (selection, names), sink)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<'r> RunUser<'r> {
    /// The blocks that hold the postings.
    pub(crate) fn blocks(&self) -> Result<Blocks<'r>> {
        let mut blocks = Blocks { user: *self, form: TableForm::of(self.run.header.level), count: 1 };
        if self.entry.count as usize > BLOCK_POSTINGS_MAX {
            blocks.count = match blocks.form {
                TableForm::Even => block_count(self.entry.count),
                // The table ends where the first block begins.
                TableForm::Uneven => blocks.line(0)?.offset as usize / blocks.form.line_bytes(),
            };
        }
        Ok(blocks)
    }
}

/// A user's blocks of postings in a run, the oldest being number 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks<'r> {
    user: RunUser<'r>,
    form: TableForm,
    count: usize,
}

impl Blocks<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether there is a table before them.
    fn have_table(&self) -> bool {
        self.user.entry.count as usize > BLOCK_POSTINGS_MAX
    }

    /// The block that holds the posting with this index.
    fn holding(&self, index: u32) -> Result<usize> {
        if !self.have_table() {
            return Ok(0);
        }
        if self.form == TableForm::Even {
            return Ok(index as usize / BLOCK_POSTINGS_MAX);
        }
        let (mut low, mut high) = (0, self.count);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if self.line(middle)?.first_index <= index {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn visit(
        &self,
        number: usize,
        range: Range,
        (selection, names): (&Selection, NameMask),
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<ControlFlow<()>> {
        let mut first_index = 0;
        if self.have_table() {
            let summary = self.line(number)?;
            let by_times = selection.judge_times(summary.times);
            let may_match = selection.may_match(summary.mask) && summary.names.may_hold(names);
            if !may_match || by_times == Verdict::No {
                return Ok(ControlFlow::Continue(()));
            }
            first_index = summary.first_index;
        }
        let decoded = self.decode(number)?;
        let postings = decoded.postings();
        let block = Block {
            posting: move |place: usize| postings[place],
            count: postings.len(),
            first_index,
            times: decoded.times,
        };
        let RunUser { run, entry, .. } = self.user;
        offer(&block, range, selection, run.header.base, entry.count_before, sink)
    }

    /// Takes a block apart.
    pub(crate) fn decode(&self, number: usize) -> Result<DecodedBlock> {
        #[cfg(test)]
        BLOCKS_READ.set(BLOCKS_READ.get() + 1);
        let RunUser { run, entry, end } = self.user;
        let (mut begin, mut end) = (0, end.saturating_sub(entry.postings_offset));
        let mut here = entry.count;
        if self.have_table() {
            let line = self.line(number)?;
            begin = u64::from(line.offset);
            let mut next_index = entry.count;
            if number + 1 < self.count {
                let next = self.line(number + 1)?;
                (next_index, end) = (next.first_index, u64::from(next.offset));
            }
            here = next_index.saturating_sub(line.first_index);
        }
        let section = run.header.postings.offset + entry.postings_offset;
        let bytes = run.bytes(section + begin, end.saturating_sub(begin))?;
        DecodedBlock::decode(bytes, here as usize, run.header.time_base, run.header.records)
            .map_err(located(&run.path, section + begin))
    }

    fn line(&self, number: usize) -> Result<BlockSummary> {
        let RunUser { run, entry, .. } = self.user;
        let line_bytes = self.form.line_bytes() as u64;
        let offset = run.header.postings.offset + entry.postings_offset + number as u64 * line_bytes;
        let bytes = run.bytes(offset, line_bytes)?;
        self.form.decode(bytes, number).ok_or_else(|| run.damaged(offset, "a block table is damaged"))
    }
}

impl RunUser<'_> {
    /// Asks the disk for the user's table and newest postings; doesn't wait.
    pub(crate) fn ask_for_postings(&self) {
        let at = |offset: u64| to_usize(self.run.header.postings.offset + offset);
        if let Some((begin, end)) = at(self.entry.postings_offset).zip(at(self.end)) {
            self.run.map.will_need(begin, 1);
            self.run
                .map
                .will_need(end.saturating_sub(PAGE_BYTES).max(begin), PAGE_BYTES.min(end - begin.min(end)));
        }
    }
}
