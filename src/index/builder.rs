//! Writes a run: the bytes of the file, from each user's postings in the order of the fingerprints.
//!
//! Owns the order of the sections and the checksums. Must not know where the postings come from, nor the file's name.

use rkyv::rancor;

use crate::error::{Error, ErrorKind, Result};
use crate::format::posting::{BLOCK_POSTINGS_MAX, NameMask, Posting, TagMask, TimeRange, encode_block};
use crate::format::run::{
    BlockSummary, Dictionaries, DirectoryEntry, ENTRY_BYTES, PAGE_BYTES, RUN_HEADER_BYTES, RunHeader,
    Section, TableForm, filter,
};
use crate::ids::Fingerprint;

/// What a run is of, besides its users.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunScope {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    pub(crate) base: u64,
    pub(crate) records: u64,
    pub(crate) salt: u64,
    /// What block times count from: any time near those of the events.
    pub(crate) time_base: i64,
    /// How often the postings were merged.
    pub(crate) level: u32,
}

/// A user's postings, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserPostings<'p> {
    pub(crate) user: Fingerprint,
    pub(crate) count_before: u64,
    pub(crate) postings: &'p [Posting],
}

/// Collects users, in rising order of fingerprints, and then makes the file.
#[derive(Debug)]
pub(crate) struct RunBuilder {
    scope: RunScope,
    directory: Vec<u8>,
    users: Vec<Fingerprint>,
    postings: Vec<u8>,
}

impl RunBuilder {
    pub(crate) fn new(scope: RunScope, users: usize) -> Self {
        Self {
            scope,
            directory: Vec::with_capacity(users * ENTRY_BYTES),
            users: Vec::with_capacity(users),
            postings: Vec::new(),
        }
    }

    /// Adds a user with at least one posting. `times` is what is known of the `occurred_at` of each, microseconds.
    pub(crate) fn push(
        &mut self,
        user: UserPostings<'_>,
        times: impl IntoIterator<Item = TimeRange>,
    ) -> Result<()> {
        let Some(last) = user.postings.last() else { return Ok(()) };
        let too_many =
            || Error::new(ErrorKind::InvalidOption, "a run can't hold so many postings of one user");
        let entry = DirectoryEntry {
            user: user.user,
            count_before: user.count_before,
            postings_offset: self.postings.len() as u64,
            count: u32::try_from(user.postings.len()).map_err(|_| too_many())?,
            last_ordinal: last.ordinal,
        };
        self.directory.extend_from_slice(&entry.encode());
        self.users.push(user.user);
        let blocks = user.postings.len().div_ceil(BLOCK_POSTINGS_MAX);
        let table_at = self.postings.len();
        let mut table = Vec::new();
        if blocks > 1 {
            self.postings.resize(table_at + blocks * TableForm::Even.line_bytes(), 0);
        }
        let mut times = times.into_iter();
        for (number, postings) in user.postings.chunks(BLOCK_POSTINGS_MAX).enumerate() {
            let range = times.by_ref().take(postings.len()).fold(TimeRange::EMPTY, TimeRange::union);
            let summary = BlockSummary {
                offset: u32::try_from(self.postings.len() - table_at).map_err(|_| too_many())?,
                first_index: u32::try_from(number * BLOCK_POSTINGS_MAX).map_err(|_| too_many())?,
                names: NameMask::ALL,
                mask: TagMask(postings.iter().fold(0, |mask, posting| mask | posting.tags.mask().0)),
                times: range,
            };
            encode_block(&mut self.postings, postings, range, self.scope.time_base);
            TableForm::Even.encode(&summary, &mut table);
        }
        if let Some(place) = self.postings.get_mut(table_at..table_at + table.len()).filter(|_| blocks > 1) {
            place.copy_from_slice(&table);
        }
        Ok(())
    }

    /// The file's bytes.
    pub(crate) fn finish(self, dictionaries: &Dictionaries) -> Result<Vec<u8>> {
        let blocks = filter::blocks_for(self.users.len());
        let mut bytes = vec![0; PAGE_BYTES + blocks * filter::BLOCK_BYTES];
        for user in &self.users {
            let block = usize::try_from(filter::block_of(*user, blocks as u64)).unwrap_or_default();
            let at = PAGE_BYTES + block * filter::BLOCK_BYTES;
            if let Some(block) = bytes.get_mut(at..at + filter::BLOCK_BYTES) {
                filter::insert(block, *user);
            }
        }
        let filter = Section { offset: PAGE_BYTES as u64, bytes: (blocks * filter::BLOCK_BYTES) as u64 };
        let directory_offset = bytes.len() as u64;
        bytes.extend_from_slice(&self.directory);
        let postings = Section { offset: bytes.len() as u64, bytes: self.postings.len() as u64 };
        bytes.extend_from_slice(&self.postings);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let archive = rkyv::to_bytes::<rancor::Error>(dictionaries)
            .map_err(|_| Error::new(ErrorKind::InvalidOption, "the dictionaries can't be archived"))?;
        let dictionaries = Section { offset: bytes.len() as u64, bytes: archive.len() as u64 };
        bytes.extend_from_slice(&archive);
        bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0);
        let checksums: Vec<u8> =
            bytes.chunks(PAGE_BYTES).skip(1).flat_map(|page| crc32c::crc32c(page).to_le_bytes()).collect();
        let header = RunHeader {
            store_id: self.scope.store_id,
            shard: self.scope.shard,
            base: self.scope.base,
            records: self.scope.records,
            users: self.users.len() as u64,
            salt: self.scope.salt,
            time_base: self.scope.time_base,
            filter,
            directory_offset,
            postings,
            dictionaries,
            checksums_offset: bytes.len() as u64,
            checksums_crc: crc32c::crc32c(&checksums),
            level: self.scope.level,
        };
        bytes.extend_from_slice(&checksums);
        if let Some(place) = bytes.get_mut(..RUN_HEADER_BYTES) {
            place.copy_from_slice(&header.encode());
        }
        Ok(bytes)
    }
}
