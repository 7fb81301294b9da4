//! Index checkpoints: what opening a segment that isn't sealed would otherwise have to find out from its records.
//!
//! ```text
//!   0 magic "UTCKPT\0\0"      8 u32 version      12 u32 crc32c of bytes 16 to the end
//!  16 store id, 16 bytes     32 u16 shard       34 u16 zero     36 u32 generation
//!  40 u64 segment id         48 u64 salt        56 u64 base: the segment's first sequence
//!  64 u64 records            72 u64 where they end in the segment
//!  80 i64 recorded_at of the last               88 i64 earliest, 96 i64 latest occurred_at
//! 104 u64 users             112 u64 postings   120 u64 time ranges   128 u64 length of the dictionaries
//! 136 u64 zero
//! 144 offsets: where each record begins, u32; zeros up to a multiple of 8
//!     users: 32 bytes each, in no order
//!     postings: 8 bytes each, user by user: u32 ordinal, u32 tags; a user's oldest first
//!     time ranges: 16 bytes each, user by user: i64 earliest, i64 latest occurred_at of a block
//!     dictionaries: rkyv archive of `format::run::Dictionaries`, to the end of the file
//! ```
//!
//! It is a cache: one that can't be used is passed over, and the records are read. But it is made of records that were
//! on stable storage, so an intact one says that all of them were.

use rkyv::rancor;

use super::bytes::{i64_at, u16_at, u32_at, u64_at};
use super::posting::{Posting, Tags, TimeRange};
use super::record::Salt;
use super::run::{ArchivedDictionaries, Dictionaries};
use super::segment::{Header, RECORDS_START, check_version, unarchive};
use super::{FORMAT_VERSION, FormatError, FormatResult};
use crate::ids::Fingerprint;

const MAGIC: [u8; 8] = *b"UTCKPT\0\0";
const HEADER_BYTES: usize = 144;
const USER_BYTES: usize = 32;
const POSTING_BYTES: usize = 8;
const RANGE_BYTES: usize = 16;

/// Which records a checkpoint covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    pub(crate) generation: u32,
    pub(crate) segment: u64,
    pub(crate) salt: Salt,
    /// The segment's first sequence.
    pub(crate) base: u64,
    /// The first so many records of the segment.
    pub(crate) records: u64,
    /// Where they end.
    pub(crate) records_end: u64,
    pub(crate) recorded_max_micros: i64,
    /// All postings occurred in this range, the bounds included.
    pub(crate) occurred: TimeRange,
}

impl Scope {
    /// One past the last sequence that it covers: everything below was on stable storage.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.records)
    }

    /// Whether the segment's file with this header is the one that the checkpoint was made of.
    pub(crate) fn is_of(&self, header: &Header) -> bool {
        (self.store_id, self.shard, self.segment) == (header.store_id, header.shard, header.segment)
            && (self.generation, self.salt) == (header.generation, header.salt)
            && self.records_end <= header.file_bytes
    }
}

/// What a checkpoint says of a user.
///
/// ```text
///  0 fingerprint, 16 bytes   16 u64 how many events the user had before this segment
/// 24 u32 postings            28 u32 time ranges
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct User {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) count_before: u64,
    pub(crate) postings: u32,
    pub(crate) ranges: u32,
}

/// Puts a checkpoint together.
#[derive(Debug)]
pub(crate) struct Builder {
    scope: Scope,
    offsets: Vec<u8>,
    users: Vec<u8>,
    postings: Vec<u8>,
    ranges: Vec<u8>,
}

impl Builder {
    /// `offsets` are where the records begin, all that the scope covers.
    pub(crate) fn new(scope: Scope, offsets: impl Iterator<Item = u32>) -> Self {
        let mut bytes: Vec<u8> = offsets.flat_map(u32::to_le_bytes).collect();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        Self { scope, offsets: bytes, users: Vec::new(), postings: Vec::new(), ranges: Vec::new() }
    }

    /// Adds a user: the postings oldest first, not none; the time ranges of those blocks that know theirs.
    pub(crate) fn push(
        &mut self,
        user: Fingerprint,
        count_before: u64,
        postings: &[Posting],
        ranges: &[TimeRange],
    ) {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        self.users.extend_from_slice(&user.0);
        self.users.extend_from_slice(&count_before.to_le_bytes());
        self.users.extend_from_slice(&count(postings.len()));
        self.users.extend_from_slice(&count(ranges.len()));
        for posting in postings {
            self.postings.extend_from_slice(&posting.ordinal.to_le_bytes());
            self.postings.extend_from_slice(&posting.tags.0.to_le_bytes());
        }
        for range in ranges {
            self.ranges.extend_from_slice(&range.min.to_le_bytes());
            self.ranges.extend_from_slice(&range.max.to_le_bytes());
        }
    }

    /// The file's bytes.
    pub(crate) fn finish(self, dictionaries: &Dictionaries) -> FormatResult<Vec<u8>> {
        let archive = rkyv::to_bytes::<rancor::Error>(dictionaries)
            .map_err(|_| FormatError::Damaged("the dictionaries can't be archived"))?;
        let Self { scope, offsets, users, postings, ranges } = self;
        let parts: [&[u8]; 5] = [&offsets, &users, &postings, &ranges, &archive];
        let mut bytes = Vec::with_capacity(HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&scope.store_id);
        bytes.extend_from_slice(&u32::from(scope.shard).to_le_bytes());
        bytes.extend_from_slice(&scope.generation.to_le_bytes());
        let words = [
            scope.segment,
            scope.salt.0,
            scope.base,
            scope.records,
            scope.records_end,
            scope.recorded_max_micros.cast_unsigned(),
            scope.occurred.min.cast_unsigned(),
            scope.occurred.max.cast_unsigned(),
            (users.len() / USER_BYTES) as u64,
            (postings.len() / POSTING_BYTES) as u64,
            (ranges.len() / RANGE_BYTES) as u64,
            archive.len() as u64,
            0,
        ];
        for word in words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for part in parts {
            bytes.extend_from_slice(part);
        }
        let crc = crc32c::crc32c(bytes.get(16..).unwrap_or_default());
        if let Some(place) = bytes.get_mut(12..16) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        Ok(bytes)
    }
}

/// A checkpoint that was read and found intact and consistent.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    bytes: Vec<u8>,
    pub(crate) scope: Scope,
    pub(crate) dictionaries: Dictionaries,
    places: Places,
}

/// Where each part begins.
#[derive(Clone, Copy, Debug)]
struct Places {
    users: usize,
    postings: usize,
    ranges: usize,
    dictionaries: usize,
}

impl Checkpoint {
    /// Reads a checkpoint. Whatever is wrong with it is found here.
    pub(crate) fn decode(bytes: Vec<u8>) -> FormatResult<Self> {
        let damaged = FormatError::Damaged("the index checkpoint is damaged");
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Damaged("not an index checkpoint"));
        }
        check_version(u32_at(&bytes, 8))?;
        let matches = u32_at(&bytes, 12) == Some(crc32c::crc32c(bytes.get(16..).ok_or(damaged)?));
        #[cfg(test)]
        let matches = matches || super::seeded::has(super::seeded::Bug::CheckpointUnchecked);
        if !matches {
            return Err(FormatError::Damaged("the index checkpoint's checksum does not match"));
        }
        let word = |offset| u64_at(&bytes, offset).ok_or(damaged);
        let time = |offset| i64_at(&bytes, offset).ok_or(damaged);
        let scope = Scope {
            store_id: bytes.get(16..).and_then(|bytes| bytes.first_chunk()).copied().ok_or(damaged)?,
            shard: u16_at(&bytes, 32).ok_or(damaged)?,
            generation: u32_at(&bytes, 36).ok_or(damaged)?,
            segment: word(40)?,
            salt: Salt(word(48)?),
            base: word(56)?,
            records: word(64)?,
            records_end: word(72)?,
            recorded_max_micros: time(80)?,
            occurred: TimeRange { min: time(88)?, max: time(96)? },
        };
        let part = |begin: usize, count: u64, size: usize| {
            let length = usize::try_from(count).ok()?.checked_mul(size)?.checked_next_multiple_of(8)?;
            begin.checked_add(length).filter(|end| *end <= bytes.len())
        };
        let users = part(HEADER_BYTES, scope.records, 4).ok_or(damaged)?;
        let postings = part(users, word(104)?, USER_BYTES).ok_or(damaged)?;
        let ranges = part(postings, word(112)?, POSTING_BYTES).ok_or(damaged)?;
        let dictionaries = part(ranges, word(120)?, RANGE_BYTES).ok_or(damaged)?;
        let archive = bytes.get(dictionaries..).unwrap_or_default();
        if word(128)? != archive.len() as u64 {
            return Err(damaged);
        }
        let dictionaries_read = unarchive::<Dictionaries, ArchivedDictionaries>(
            archive,
            "the index checkpoint's dictionaries are damaged",
        )?;
        let places = Places { users, postings, ranges, dictionaries };
        let checkpoint = Self { bytes, scope, dictionaries: dictionaries_read, places };
        if checkpoint.is_consistent() { Ok(checkpoint) } else { Err(damaged) }
    }

    fn is_consistent(&self) -> bool {
        let records_end = self.scope.records_end;
        let mut before = None;
        let in_order = self.offsets().all(|offset| {
            let place = u64::from(offset);
            let follows = before.map_or(place == RECORDS_START, |before| place > before);
            before = Some(place);
            follows && place.is_multiple_of(8)
        });
        let ends_behind = before.is_some_and(|last| last < records_end && records_end.is_multiple_of(8));
        let (mut postings, mut ranges) = (0_u64, 0_u64);
        for (user, mine, _) in self.users() {
            postings += u64::from(user.postings);
            ranges += u64::from(user.ranges);
            let mut before = None;
            let rising = mine.clone().all(|posting| {
                let follows = before.is_none_or(|before| posting.ordinal > before);
                before = Some(posting.ordinal);
                follows && u64::from(posting.ordinal) < self.scope.records
            });
            if !rising || before.is_none() {
                return false;
            }
        }
        let sums = (postings * POSTING_BYTES as u64, ranges * RANGE_BYTES as u64);
        let lengths = (
            (self.places.ranges - self.places.postings) as u64,
            (self.places.dictionaries - self.places.ranges) as u64,
        );
        in_order && ends_behind && sums == lengths
    }

    /// Where each record begins.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u32> + '_ {
        let count = usize::try_from(self.scope.records).unwrap_or_default();
        let bytes = self.bytes.get(HEADER_BYTES..self.places.users).unwrap_or_default();
        bytes.as_chunks::<4>().0.iter().take(count).map(|offset| u32::from_le_bytes(*offset))
    }

    /// How many users there are.
    pub(crate) fn user_count(&self) -> usize {
        (self.places.postings - self.places.users) / USER_BYTES
    }

    /// Each user with the postings, oldest first, and the time ranges.
    pub(crate) fn users(
        &self,
    ) -> impl Iterator<
        Item = (
            User,
            impl Iterator<Item = Posting> + Clone + '_,
            impl Iterator<Item = TimeRange> + Clone + '_,
        ),
    > {
        let part = |begin: usize, end: usize| self.bytes.get(begin..end).unwrap_or_default();
        let mut postings = part(self.places.postings, self.places.ranges);
        let mut ranges = part(self.places.ranges, self.places.dictionaries);
        let users = part(self.places.users, self.places.postings);
        users.chunks_exact(USER_BYTES).filter_map(move |bytes| {
            let user = User {
                fingerprint: Fingerprint(*bytes.first_chunk()?),
                count_before: u64_at(bytes, 16)?,
                postings: u32_at(bytes, 24)?,
                ranges: u32_at(bytes, 28)?,
            };
            let mine = take(&mut postings, user.postings as usize * POSTING_BYTES);
            let times = take(&mut ranges, user.ranges as usize * RANGE_BYTES);
            let postings = mine.as_chunks::<POSTING_BYTES>().0.iter().map(|posting| Posting {
                ordinal: u32_at(posting, 0).unwrap_or_default(),
                tags: Tags(u32_at(posting, 4).unwrap_or_default()),
            });
            let ranges = times.as_chunks::<RANGE_BYTES>().0.iter().map(|range| TimeRange {
                min: i64_at(range, 0).unwrap_or_default(),
                max: i64_at(range, 8).unwrap_or_default(),
            });
            Some((user, postings, ranges))
        })
    }

    /// How many of the users had no event before this segment.
    pub(crate) fn new_users(&self) -> u64 {
        self.users().filter(|(user, ..)| user.count_before == 0).count() as u64
    }
}

/// Takes up to `length` bytes off the front.
fn take<'b>(bytes: &mut &'b [u8], length: usize) -> &'b [u8] {
    let (front, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    *bytes = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            store_id: [7; 16],
            shard: 3,
            generation: 2,
            segment: 9,
            salt: Salt(77),
            base: 100,
            records: 3,
            records_end: 4096 + 360,
            recorded_max_micros: 5,
            occurred: TimeRange { min: -4, max: 4 },
        }
    }

    const OFFSETS: [u32; 3] = [4096, 4096 + 120, 4096 + 240];

    fn posting(ordinal: u32) -> Posting {
        Posting { ordinal, tags: Tags(ordinal + 1000) }
    }

    fn sample(change: impl FnOnce(&mut Scope), offsets: [u32; 3], ordinals: [u32; 2]) -> Vec<u8> {
        let mut scope = scope();
        change(&mut scope);
        let mut builder = Builder::new(scope, offsets.into_iter());
        builder.push(Fingerprint([1; 16]), 0, &ordinals.map(posting), &[TimeRange { min: 1, max: 2 }]);
        builder.push(Fingerprint([2; 16]), 40, &[posting(1)], &[]);
        let names = |name: &str| vec![name.to_owned()];
        builder.finish(&Dictionaries { actions: names("an action"), services: names("a service") }).unwrap()
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let read = Checkpoint::decode(sample(|_| (), OFFSETS, [0, 2])).unwrap();
        assert_eq!((read.scope, read.scope.end()), (scope(), 103));
        assert_eq!(read.offsets().collect::<Vec<_>>(), OFFSETS);
        assert_eq!(read.dictionaries.services, ["a service"]);
        assert_eq!((read.user_count(), read.new_users()), (2, 1));
        let users: Vec<_> = read
            .users()
            .map(|(user, postings, ranges)| (user, postings.collect::<Vec<_>>(), ranges.collect::<Vec<_>>()))
            .collect();
        assert_eq!(users[0].0.fingerprint, Fingerprint([1; 16]));
        assert_eq!(users[0].1, [posting(0), posting(2)]);
        assert_eq!(users[0].2, [TimeRange { min: 1, max: 2 }]);
        assert_eq!((users[1].0.count_before, &users[1].1[..]), (40, &[posting(1)][..]));
        assert!(users[1].2.is_empty());
    }

    #[test]
    fn every_damage_is_seen() {
        let bytes = sample(|_| (), OFFSETS, [0, 2]);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Checkpoint::decode(bytes[..length].to_vec()).is_err(), "cut to {length}");
        }
        let mut newer = bytes;
        newer[8] = 200;
        assert_eq!(Checkpoint::decode(newer).unwrap_err(), FormatError::Newer { found: 200, known: 1 });
    }

    #[test]
    fn what_contradicts_itself_is_refused_whatever_the_checksum_says() {
        let refused = |bytes: Vec<u8>| Checkpoint::decode(bytes).is_err();
        assert!(refused(sample(|_| (), [4104, 4216, 4336], [0, 2])), "the first record begins elsewhere");
        assert!(refused(sample(|_| (), [4096, 4336, 4216], [0, 2])), "records out of order");
        assert!(refused(sample(|_| (), [4096, 4216, 4216], [0, 2])), "two records in one place");
        assert!(refused(sample(|_| (), [4096, 4217, 4336], [0, 2])), "a record at no multiple of 8");
        assert!(refused(sample(|_| (), OFFSETS, [1, 1])), "a posting twice");
        assert!(refused(sample(|_| (), OFFSETS, [2, 0])), "postings out of order");
        assert!(refused(sample(|_| (), OFFSETS, [0, 3])), "a posting beyond the records");
        assert!(refused(sample(|scope| scope.records_end = 4336, OFFSETS, [0, 2])), "ends too early");
        assert!(refused(sample(|scope| scope.records = u64::MAX, OFFSETS, [0, 2])), "more than there can be");
    }

    #[test]
    fn only_its_own_segment_has_it() {
        let header = Header {
            store_id: [7; 16],
            shard: 3,
            generation: 2,
            segment: 9,
            file_bytes: 1 << 20,
            salt: Salt(77),
            created_at_micros: 0,
        };
        assert!(scope().is_of(&header));
        assert!(!scope().is_of(&Header { salt: Salt(78), ..header }));
        assert!(!scope().is_of(&Header { generation: 3, ..header }));
        assert!(!scope().is_of(&Header { segment: 8, ..header }));
        assert!(!scope().is_of(&Header { store_id: [8; 16], ..header }));
        assert!(!scope().is_of(&Header { file_bytes: 4100, ..header }));
    }
}
