//! Merges neighbouring runs into one that covers them all: each user's postings one behind the other.
//!
//! Owns the order of the bytes in the new file. Works in bounded memory: a window of each input, one block of postings, the
//! filter, and for one user at a time a table of blocks; so the inputs are walked twice, first to learn how long each
//! section gets. Must not know records, segments, nor when to merge.

use std::collections::HashMap;

use rkyv::rancor;

use super::builder::RunScope;
use super::run::{Run, RunUser};
use crate::error::{Error, ErrorKind, Result};
use crate::format::posting::{
    ACTION_CODE_OTHER, ACTION_CODE_OWN_FIRST, BLOCK_POSTINGS_MAX, NameMask, Posting, SERVICE_CODE_NONE,
    SERVICE_CODE_OTHER, TagMask, Tags, TimeRange, encode_block,
};
use crate::format::run::{
    BlockSummary, Dictionaries, DirectoryEntry, ENTRY_BYTES, PAGE_BYTES, RUN_RECORDS_MAX, RunHeader, Section,
    TableForm, filter,
};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::ids::Fingerprint;
use crate::io::DiskFile;

/// How much is written before it is synced: small enough that other syncs of the disk get their turn between.
const SYNCED_BYTES: u64 = 8 << 20;
/// How much is handed to the file at a time.
const PIECE_BYTES: usize = 256 << 10;
/// How much of an input is brought near, and let go, at a time.
const WINDOW_BYTES: u64 = 1 << 20;
/// How many users are looked at between two looks at whether to go on.
const USERS_BETWEEN: u64 = 4096;

/// Told how many bytes were written since the last time; may wait, and ends the merge by an error.
pub(crate) type Pace<'p> = dyn FnMut(u64) -> Result<()> + 'p;

/// A merge whose result is known but for its bytes.
#[derive(Debug)]
pub(crate) struct Merge<'r> {
    runs: &'r [&'r Run],
    scope: RunScope,
    dictionaries: Dictionaries,
    codes: Vec<Codes>,
    users: u64,
    postings: u64,
    postings_bytes: u64,
}

/// What the codes of an input become.
#[derive(Debug)]
struct Codes {
    actions: Vec<u16>,
    services: Vec<u16>,
}

impl<'r> Merge<'r> {
    /// Learns what comes of merging these runs, the oldest first, into one with this scope.
    pub(crate) fn plan(runs: &'r [&'r Run], scope: RunScope, pace: &mut Pace<'_>) -> Result<Self> {
        if scope.records > RUN_RECORDS_MAX {
            return Err(too_many());
        }
        let (dictionaries, codes) = unite(runs);
        let mut merge = Self { runs, scope, dictionaries, codes, users: 0, postings: 0, postings_bytes: 0 };
        let (mut users, mut postings, mut bytes) = (0, 0, 0);
        let mut scratch = Vec::new();
        merge.each_user(pace, |user| {
            users += 1;
            postings += u64::from(user.count);
            let mut blocks = 0;
            user.blocks(|block, times| {
                blocks += 1;
                bytes += merge.encode(&mut scratch, block, times).len() as u64;
                Ok(())
            })?;
            bytes += table_bytes(blocks);
            Ok(())
        })?;
        (merge.users, merge.postings, merge.postings_bytes) = (users, postings, bytes);
        Ok(merge)
    }

    /// How many users the run has, and how many postings.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.users, self.postings)
    }

    /// Where everything stands. Each section begins at a page, so that its checksums can be made as it is written; the
    /// directory ends at one.
    fn layout(&self, dictionaries_bytes: u64) -> RunHeader {
        let page = PAGE_BYTES as u64;
        let filter_blocks = filter::blocks_for(usize::try_from(self.users).unwrap_or(usize::MAX));
        let filter = Section { offset: page, bytes: (filter_blocks * filter::BLOCK_BYTES) as u64 };
        let directory_bytes = self.users * ENTRY_BYTES as u64;
        let postings_offset =
            (page + filter.bytes).next_multiple_of(page) + directory_bytes.next_multiple_of(page);
        let postings = Section { offset: postings_offset, bytes: self.postings_bytes };
        let dictionaries = Section {
            offset: (postings.offset + postings.bytes).next_multiple_of(16),
            bytes: dictionaries_bytes,
        };
        RunHeader {
            store_id: self.scope.store_id,
            shard: self.scope.shard,
            base: self.scope.base,
            records: self.scope.records,
            users: self.users,
            salt: self.scope.salt,
            time_base: self.scope.time_base,
            filter,
            directory_offset: postings_offset - directory_bytes,
            postings,
            dictionaries,
            checksums_offset: (dictionaries.offset + dictionaries.bytes).next_multiple_of(page),
            checksums_crc: 0,
            level: self.scope.level,
        }
    }

    /// Writes the run into the file that `make` makes when told its length; synced when this returns.
    pub(crate) fn write<F: std::ops::Deref<Target = dyn DiskFile>>(
        &self,
        make: impl FnOnce(u64) -> Result<F>,
        pace: &mut Pace<'_>,
    ) -> Result<F> {
        let archive = rkyv::to_bytes::<rancor::Error>(&self.dictionaries)
            .map_err(|_| Error::new(ErrorKind::InvalidOption, "the dictionaries can't be archived"))?;
        let mut header = self.layout(archive.len() as u64);
        let pages = header.checksums_offset / PAGE_BYTES as u64 - 1;
        let target = make(header.checksums_offset + pages * 4)?;
        let file: &dyn DiskFile = &*target;
        let mut filter = Filter::new(header.filter.bytes);
        let directory_page = header.directory_offset / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        let mut directory = Pages::new(file, directory_page);
        directory.pad_to(header.directory_offset)?;
        let mut postings = Pages::new(file, header.postings.offset);
        let (mut scratch, mut unsynced) = (Vec::new(), 0);
        let mut told = 0;
        self.each_user(pace, |user| {
            filter.insert(user.fingerprint);
            let entry = DirectoryEntry {
                user: user.fingerprint,
                count_before: user.count_before,
                postings_offset: postings.end() - header.postings.offset,
                count: user.count,
                last_ordinal: user.last_ordinal,
            };
            directory.put(&entry.encode())?;
            if user.count as usize > BLOCK_POSTINGS_MAX {
                self.put_table(user, &mut scratch, &mut postings)?;
            }
            user.blocks(|block, times| postings.put(self.encode(&mut scratch, block, times)))?;
            user.written = directory.take_written() + postings.take_written();
            told += user.written;
            unsynced += user.written;
            if unsynced >= SYNCED_BYTES {
                unsynced = 0;
                file.sync_data()?;
            }
            Ok(())
        })?;
        // What the first walk has learned must be what the second one has done: a directory or a table would lead astray.
        if postings.end() != header.postings.offset + header.postings.bytes
            || directory.end() != header.postings.offset
        {
            let message = "two walks along index runs that are to be merged have found different things";
            return Err(Error::new(ErrorKind::Corruption, message));
        }
        postings.pad_to(header.dictionaries.offset)?;
        postings.put(&archive)?;
        let mut filter_pages = Pages::new(file, header.filter.offset);
        filter_pages.put(&filter.bytes)?;
        let mut checksums = filter_pages.finish()?;
        checksums.extend(directory.finish()?);
        checksums.extend(postings.finish()?);
        header.checksums_crc = crc32c::crc32c(&checksums);
        file.write_all_at(header.checksums_offset, &checksums)?;
        file.write_all_at(0, &header.encode())?;
        #[cfg(test)]
        if has(Bug::MergedUnsynced) {
            return Ok(target);
        }
        file.sync_data()?;
        pace((header.checksums_offset + checksums.len() as u64).saturating_sub(told))?;
        Ok(target)
    }

    /// Writes what stands before the blocks of a user with several.
    fn put_table(&self, user: &User<'_>, scratch: &mut Vec<u8>, postings: &mut Pages<'_>) -> Result<()> {
        let mut summaries: Vec<BlockSummary> = Vec::new();
        let (mut length, mut first_index) = (0_usize, 0_usize);
        user.blocks(|block, times| {
            summaries.push(BlockSummary {
                offset: u32::try_from(length).map_err(|_| too_many())?,
                first_index: u32::try_from(first_index).map_err(|_| too_many())?,
                names: block.iter().fold(NameMask::NONE, |names, posting| names.with(posting.tags)),
                mask: TagMask(block.iter().fold(0, |mask, posting| mask | posting.tags.mask().0)),
                times,
            });
            length += self.encode(scratch, block, times).len();
            first_index += block.len();
            Ok(())
        })?;
        let table = u32::try_from(table_bytes(summaries.len())).map_err(|_| too_many())?;
        for mut summary in summaries {
            summary.offset = summary.offset.checked_add(table).ok_or_else(too_many)?;
            scratch.clear();
            TableForm::Uneven.encode(&summary, scratch);
            postings.put(scratch)?;
        }
        Ok(())
    }

    fn encode<'s>(&self, scratch: &'s mut Vec<u8>, block: &[Posting], times: TimeRange) -> &'s [u8] {
        scratch.clear();
        encode_block(scratch, block, times, self.scope.time_base);
        scratch
    }

    /// Visits every user of any input, in rising order of fingerprints.
    fn each_user(
        &self,
        pace: &mut Pace<'_>,
        mut visit: impl FnMut(&mut User<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut inputs = Vec::with_capacity(self.runs.len());
        for (run, codes) in self.runs.iter().zip(&self.codes) {
            let damaged = || contradiction(run);
            let shift = run.header().base.checked_sub(self.scope.base).ok_or_else(damaged)?;
            let shift = u32::try_from(shift).map_err(|_| damaged())?;
            inputs.push(Input::new(run, codes, shift)?);
        }
        let (mut seen, mut written) = (0_u64, 0);
        while let Some(fingerprint) = inputs.iter().filter_map(Input::fingerprint).min() {
            let mut user = User::new(fingerprint, &inputs)?;
            visit(&mut user)?;
            written += user.written;
            for input in &mut inputs {
                if input.fingerprint() == Some(fingerprint) {
                    input.advance()?;
                }
            }
            seen += 1;
            if written >= PIECE_BYTES as u64 || seen.is_multiple_of(USERS_BETWEEN) {
                pace(std::mem::take(&mut written))?;
            }
        }
        pace(written)
    }
}

/// The length of the table before so many blocks: there is none before a single one.
fn table_bytes(blocks: usize) -> u64 {
    let lines = if blocks > 1 { blocks } else { 0 };
    (lines * TableForm::Uneven.line_bytes()) as u64
}

#[cold]
fn too_many() -> Error {
    Error::new(ErrorKind::InvalidOption, "a run can't cover so many records")
}

/// What a run says can't be true beside what those before it say.
#[cold]
fn contradiction(run: &Run) -> Error {
    Error::corruption(run.path(), 0, "the index run contradicts those that it is to be merged with")
}

/// One input, and the user that comes next in it.
struct Input<'r> {
    run: &'r Run,
    codes: &'r Codes,
    /// What is added to its ordinals.
    shift: u32,
    index: u64,
    user: Option<RunUser<'r>>,
    /// Up to where its directory and its postings were brought near.
    near: [u64; 2],
}

impl<'r> Input<'r> {
    fn new(run: &'r Run, codes: &'r Codes, shift: u32) -> Result<Self> {
        let header = run.header();
        let near = [header.directory_offset, header.postings.offset];
        let mut input = Self { run, codes, shift, index: 0, user: None, near };
        input.bring_near(0);
        input.user = Some(run.user_at(0)?);
        Ok(input)
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.user.as_ref().map(RunUser::fingerprint)
    }

    fn advance(&mut self) -> Result<()> {
        self.index += 1;
        let before = self.user.take();
        if self.index == self.run.header().users {
            return Ok(());
        }
        let user = self.run.user_at(self.index)?;
        if before.is_none_or(|before| before.fingerprint() >= user.fingerprint()) {
            return Err(contradiction(self.run));
        }
        self.bring_near(user.postings_offset());
        self.user = Some(user);
        Ok(())
    }

    /// Asks for the pages that come next, and lets those behind go: they are needed no more, and should not count as this
    /// process's.
    fn bring_near(&mut self, postings: u64) {
        let header = self.run.header();
        let directory = header.directory_offset + self.index * ENTRY_BYTES as u64;
        let postings = header.postings.offset + postings;
        for (near, now) in self.near.iter_mut().zip([directory, postings]) {
            if now >= *near {
                self.run.will_need(now, 2 * WINDOW_BYTES);
                self.run.let_go(near.saturating_sub(WINDOW_BYTES), now);
                *near = now + WINDOW_BYTES;
            }
        }
    }
}

/// A user in all the inputs that know it.
struct User<'u> {
    inputs: &'u [Input<'u>],
    fingerprint: Fingerprint,
    count_before: u64,
    count: u32,
    last_ordinal: u32,
    /// How many bytes reached the file meanwhile; for whoever paces.
    written: u64,
}

impl<'u> User<'u> {
    /// Counts, and compares what the inputs say of what came before them.
    fn new(fingerprint: Fingerprint, inputs: &'u [Input<'u>]) -> Result<Self> {
        let mut user = Self { inputs, fingerprint, count_before: 0, count: 0, last_ordinal: 0, written: 0 };
        let mut first = true;
        for (input, part) in user.parts() {
            if first {
                user.count_before = part.count_before();
            }
            if part.count_before() != user.count_before + u64::from(user.count) {
                return Err(contradiction(input.run));
            }
            first = false;
            user.count = user.count.checked_add(part.count()).ok_or_else(|| contradiction(input.run))?;
            user.last_ordinal =
                part.last_ordinal().checked_add(input.shift).ok_or_else(|| contradiction(input.run))?;
        }
        Ok(user)
    }

    /// The user's part in each input that has one, the oldest first.
    fn parts(&self) -> impl Iterator<Item = (&'u Input<'u>, &'u RunUser<'u>)> + use<'u> {
        let fingerprint = self.fingerprint;
        self.inputs.iter().filter_map(move |input| {
            let user = input.user.as_ref().filter(|user| user.fingerprint() == fingerprint)?;
            Some((input, user))
        })
    }

    /// Joins neighbouring blocks of the inputs for as long as they fit one. None is cut in two: what is known of its times is
    /// known of the whole alone.
    fn blocks(&self, mut take: impl FnMut(&[Posting], TimeRange) -> Result<()>) -> Result<()> {
        let mut block = Vec::with_capacity(BLOCK_POSTINGS_MAX);
        let mut times = TimeRange::EMPTY;
        for (input, part) in self.parts() {
            let blocks = part.blocks()?;
            for number in 0..blocks.len() {
                let decoded = blocks.decode(number)?;
                if block.len() + decoded.postings().len() > BLOCK_POSTINGS_MAX {
                    take(&block, times)?;
                    block.clear();
                    times = TimeRange::EMPTY;
                }
                for posting in decoded.postings() {
                    block.push(input.translate(*posting)?);
                }
                times = times.union(decoded.times);
            }
        }
        if block.is_empty() { Ok(()) } else { take(&block, times) }
    }
}

impl Input<'_> {
    /// The posting as the merged run has it.
    fn translate(&self, Posting { ordinal, tags }: Posting) -> Result<Posting> {
        let ordinal = ordinal.checked_add(self.shift).ok_or_else(|| contradiction(self.run))?;
        let action = match tags.action() {
            own @ ACTION_CODE_OWN_FIRST..ACTION_CODE_OTHER => {
                let place = usize::from(own - ACTION_CODE_OWN_FIRST);
                *self.codes.actions.get(place).ok_or_else(|| contradiction(self.run))?
            }
            other => other,
        };
        let service = match tags.service() {
            none_or_other @ (SERVICE_CODE_NONE | SERVICE_CODE_OTHER) => none_or_other,
            own => *self.codes.services.get(usize::from(own) - 1).ok_or_else(|| contradiction(self.run))?,
        };
        Ok(Posting {
            ordinal,
            tags: Tags::new(tags.level(), tags.category(), tags.status(), action, service),
        })
    }
}

/// Unites the dictionaries: each name once, in the order of the runs. A name for which no code is left gets the code that
/// says that the record must be asked.
fn unite(runs: &[&Run]) -> (Dictionaries, Vec<Codes>) {
    let mut actions = Names::new(ACTION_CODE_OWN_FIRST, ACTION_CODE_OTHER);
    let mut services = Names::new(1, SERVICE_CODE_OTHER);
    let codes = runs
        .iter()
        .map(|run| Codes {
            actions: run.dictionaries().actions.iter().map(|name| actions.code(name)).collect(),
            services: run.dictionaries().services.iter().map(|name| services.code(name)).collect(),
        })
        .collect();
    (Dictionaries { actions: actions.in_order, services: services.in_order }, codes)
}

/// A dictionary in the making.
struct Names<'n> {
    first_code: u16,
    other_code: u16,
    codes: HashMap<&'n str, u16>,
    in_order: Vec<String>,
}

impl<'n> Names<'n> {
    fn new(first_code: u16, other_code: u16) -> Self {
        Self { first_code, other_code, codes: HashMap::new(), in_order: Vec::new() }
    }

    fn code(&mut self, name: &'n str) -> u16 {
        if let Some(code) = self.codes.get(name) {
            return *code;
        }
        let code = u16::try_from(self.in_order.len()).ok().and_then(|n| self.first_code.checked_add(n));
        let Some(code) = code.filter(|code| *code < self.other_code) else { return self.other_code };
        self.codes.insert(name, code);
        self.in_order.push(name.to_owned());
        code
    }
}

/// The filter of the new run.
struct Filter {
    bytes: Vec<u8>,
}

impl Filter {
    fn new(bytes: u64) -> Self {
        Self { bytes: vec![0; usize::try_from(bytes).unwrap_or_default()] }
    }

    fn insert(&mut self, user: Fingerprint) {
        let blocks = (self.bytes.len() / filter::BLOCK_BYTES) as u64;
        let at = usize::try_from(filter::block_of(user, blocks)).unwrap_or_default() * filter::BLOCK_BYTES;
        if let Some(block) = self.bytes.get_mut(at..at + filter::BLOCK_BYTES) {
            filter::insert(block, user);
        }
    }
}

/// Bytes on their way to a part of the file that begins at a page, with the checksum of each page.
struct Pages<'f> {
    file: &'f dyn DiskFile,
    /// Where the waiting bytes belong: at a page.
    at: u64,
    waiting: Vec<u8>,
    checksums: Vec<u8>,
    written: u64,
}

impl<'f> Pages<'f> {
    fn new(file: &'f dyn DiskFile, at: u64) -> Self {
        Self { file, at, waiting: Vec::with_capacity(PIECE_BYTES), checksums: Vec::new(), written: 0 }
    }

    /// Where the next byte goes.
    fn end(&self) -> u64 {
        self.at + self.waiting.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.write_pages()?;
        }
        Ok(())
    }

    /// Zeros up to this offset.
    fn pad_to(&mut self, offset: u64) -> Result<()> {
        let zeros = usize::try_from(offset.saturating_sub(self.end())).unwrap_or_default();
        self.waiting.resize(self.waiting.len() + zeros, 0);
        self.put(&[])
    }

    /// Writes the whole pages that wait.
    fn write_pages(&mut self) -> Result<()> {
        let whole = self.waiting.len() / PAGE_BYTES * PAGE_BYTES;
        let pages = self.waiting.get(..whole).unwrap_or_default();
        self.file.write_all_at(self.at, pages)?;
        self.checksums.extend(pages.chunks(PAGE_BYTES).flat_map(|page| crc32c::crc32c(page).to_le_bytes()));
        self.waiting.drain(..whole);
        self.at += whole as u64;
        self.written += whole as u64;
        Ok(())
    }

    /// How many bytes were written since this was asked last.
    fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// Fills the last page and writes it. The checksums of all pages.
    fn finish(mut self) -> Result<Vec<u8>> {
        self.pad_to(self.end().next_multiple_of(PAGE_BYTES as u64))?;
        if !self.waiting.is_empty() {
            self.write_pages()?;
        }
        Ok(self.checksums)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::index::builder::{RunBuilder, UserPostings};
    use crate::io::memory::MemoryDisk;
    use crate::io::{Access, Disk, Mode};

    fn scope(records: u64, level: u32) -> RunScope {
        RunScope { store_id: [3; 16], shard: 7, base: 10, records, salt: 99, time_base: 0, level }
    }

    fn small_run() -> Run {
        let mut builder = RunBuilder::new(scope(5, 0), 1);
        let postings = [Posting { ordinal: 2, tags: Tags::new(1, 1, 1, 1, 0) }];
        let user = Fingerprint([7; 16]);
        builder
            .push(UserPostings { user, count_before: 0, postings: &postings }, [TimeRange::at(1)])
            .unwrap();
        let bytes = builder.finish(&Dictionaries::default()).unwrap();
        let (disk, path) = (MemoryDisk::default(), Path::new("small.run"));
        disk.write_synced(path, &bytes, Mode::Shared).unwrap();
        let file = disk.open(path, Access::Read).unwrap();
        Run::open(path, file.map(0, file.len(), Access::Read).unwrap()).unwrap()
    }

    #[test]
    fn a_run_covers_so_many_records_and_no_more() {
        let run = small_run();
        let runs = [&run];
        assert!(Merge::plan(&runs, scope(RUN_RECORDS_MAX, 1), &mut |_| Ok(())).is_ok());
        let refused = Merge::plan(&runs, scope(RUN_RECORDS_MAX + 1, 1), &mut |_| Ok(())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidOption);
    }

    #[test]
    fn a_second_walk_that_finds_something_else_is_told() {
        let run = small_run();
        let runs = [&run];
        let write = |change: fn(&mut Merge<'_>)| {
            let mut merge = Merge::plan(&runs, scope(5, 1), &mut |_| Ok(())).unwrap();
            change(&mut merge);
            let disk = MemoryDisk::default();
            merge.write(|bytes| disk.allocate(Path::new("merged.run"), bytes), &mut |_| Ok(())).map(drop)
        };
        assert!(write(|_| ()).is_ok());
        for change in [
            (|merge| merge.users += 1) as fn(&mut Merge<'_>),
            |merge| merge.postings_bytes += 1,
            |merge| merge.postings_bytes -= 1,
        ] {
            assert_eq!(write(change).unwrap_err().kind(), ErrorKind::Corruption);
        }
    }

    #[test]
    fn a_table_stands_before_several_blocks_alone() {
        assert_eq!([0, 1, 2, 3].map(table_bytes), [0, 0, 64, 96]);
    }

    #[test]
    fn names_get_codes_until_there_are_none() {
        let mut names = Names::new(1, 3);
        assert_eq!(["a", "b", "a", "c"].map(|name| names.code(name)), [1, 2, 1, 3]);
        assert_eq!(names.in_order, ["a", "b"]);
    }
}
