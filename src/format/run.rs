//! The index run: an immutable file with the postings of every user in a range of a shard's log.
//!
//! ```text
//!    0  header, 160 bytes, with a checksum of its own; zeros up to 4096
//! 4096  filter: a split block Bloom filter (Putze, Sanders, Singler 2007, in the form that Apache Parquet
//!       specifies): blocks of 32 bytes, eight 32-bit words, one bit in each word for each key
//!       directory: entries of 40 bytes, in the order of the fingerprints
//!       postings: for each user in the directory's order, see below
//!       dictionaries: rkyv archive of `Dictionaries`, 16-byte aligned; zeros up to a multiple of 4096
//!       checksums: crc32c of each page of 4096 bytes from 4096 on, u32 each
//! ```
//!
//! A page's checksum is compared the first time that the page is read, so that opening a run reads its header and its
//! checksums, not its body.
//!
//! A user's postings: with at most 128 of them one block (`format::posting`); with more a table first, of 24 bytes for
//! each block: {u32 where the block begins, from the table's beginning; u16 tag mask, see `TagMask`; u16 zero; i64 earliest;
//! i64 latest `occurred_at`}, then the blocks; all but the last hold 128 postings.
//!
//! In a merged run (level 1 and up) a block is made of whole blocks of the runs before, as many as fit, so that its times
//! stay exact. So each says where it begins, in a table with lines of 32 bytes: {u32 where the block begins; u32 the index of
//! its first posting; u16 tag mask; u16 services, u32 actions, see `NameMask`; i64 earliest; i64 latest}. The table ends where the first block begins.

use super::bytes::{i64_at, u16_at, u32_at, u64_at};
use super::keys::route_hash;
use super::posting::{BLOCK_POSTINGS_MAX, NameMask, TagMask, TimeRange};
use super::segment::check_version;
use super::{FORMAT_VERSION, FormatError, FormatResult};
use crate::ids::Fingerprint;

/// The unit of the body's checksums.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The length of the header.
pub(crate) const RUN_HEADER_BYTES: usize = 160;
/// The length of a directory entry.
pub(crate) const ENTRY_BYTES: usize = 40;
/// The length of a line of a user's block table, in a run of one segment and in a merged one.
const SUMMARY_BYTES: [usize; 2] = [24, 32];

const MAGIC: [u8; 8] = *b"UTRUN\0\0\0";

/// ```text
///   0 magic "UTRUN\0\0\0"     8 u32 version      12 u32 crc32c of bytes 16..160
///  16 store id, 16 bytes     32 u16 shard       34 zeros to 40
///  40 u64 base sequence      48 u64 records     56 u64 users       64 u64 salt
///  72 i64 time base          80 u64 filter offset      88 u64 filter length
///  96 u64 directory offset  104 u64 postings offset   112 u64 postings length
/// 120 u64 dictionaries offset   128 u64 dictionaries length
/// 136 u64 checksums offset  144 u32 crc32c of the checksums   148 u32 level   152 zeros to 160
/// ```
///
/// Between the sections there may be zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunHeader {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    /// The run covers the shard sequences `base..base + records`.
    pub(crate) base: u64,
    pub(crate) records: u64,
    pub(crate) users: u64,
    /// That of the segment it covers, or [`merged_salt`] of those of several.
    pub(crate) salt: u64,
    pub(crate) time_base: i64,
    pub(crate) filter: Section,
    pub(crate) directory_offset: u64,
    pub(crate) postings: Section,
    pub(crate) dictionaries: Section,
    pub(crate) checksums_offset: u64,
    pub(crate) checksums_crc: u32,
    /// How often the postings were merged: 0 in the run of one segment.
    pub(crate) level: u32,
}

/// The most records that a run may cover. So that what counts bytes of one user's postings in 32 bits can't overflow: at
/// most 10 bytes each, with the block tables.
pub(crate) const RUN_RECORDS_MAX: u64 = 1 << 28;

/// The salt of a run that covers several segments, from theirs, the oldest first: no other segments have it.
pub(crate) fn merged_salt(segments: impl IntoIterator<Item = u64>) -> u64 {
    let bytes: Vec<u8> = segments.into_iter().flat_map(u64::to_le_bytes).collect();
    route_hash(&bytes)
}

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl RunHeader {
    pub(crate) fn encode(&self) -> [u8; RUN_HEADER_BYTES] {
        let mut bytes = [0; RUN_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id);
        bytes[32..34].copy_from_slice(&self.shard.to_le_bytes());
        let words = [
            self.base,
            self.records,
            self.users,
            self.salt,
            self.time_base.cast_unsigned(),
            self.filter.offset,
            self.filter.bytes,
            self.directory_offset,
            self.postings.offset,
            self.postings.bytes,
            self.dictionaries.offset,
            self.dictionaries.bytes,
            self.checksums_offset,
        ];
        for (place, word) in bytes[40..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[144..148].copy_from_slice(&self.checksums_crc.to_le_bytes());
        bytes[148..152].copy_from_slice(&self.level.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let short = FormatError::Damaged("the run header is cut short");
        let bytes: &[u8; RUN_HEADER_BYTES] = bytes.first_chunk().ok_or(short)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Damaged("not an index run"));
        }
        check_version(u32_at(bytes, 8))?;
        if u32_at(bytes, 12) != Some(crc32c::crc32c(&bytes[16..])) {
            return Err(FormatError::Damaged("the run header's checksum does not match"));
        }
        let word = |offset| u64_at(bytes, offset).ok_or(short);
        let section = |offset| Ok(Section { offset: word(offset)?, bytes: word(offset + 8)? });
        Ok(Self {
            store_id: bytes[16..].first_chunk().copied().ok_or(short)?,
            shard: u16_at(bytes, 32).ok_or(short)?,
            base: word(40)?,
            records: word(48)?,
            users: word(56)?,
            salt: word(64)?,
            time_base: i64_at(bytes, 72).ok_or(short)?,
            filter: section(80)?,
            directory_offset: word(96)?,
            postings: section(104)?,
            dictionaries: section(120)?,
            checksums_offset: word(136)?,
            checksums_crc: u32_at(bytes, 144).ok_or(short)?,
            level: u32_at(bytes, 148).ok_or(short)?,
        })
    }
}

/// What a run says of a user.
///
/// ```text
///  0 fingerprint, 16 bytes   16 u64 how many events the user had before this run
/// 24 u64 where the postings begin, from the section's beginning   32 u32 how many there are   36 u32 ordinal of the last
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DirectoryEntry {
    pub(crate) user: Fingerprint,
    pub(crate) count_before: u64,
    pub(crate) postings_offset: u64,
    pub(crate) count: u32,
    pub(crate) last_ordinal: u32,
}

impl DirectoryEntry {
    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..16].copy_from_slice(&self.user.0);
        bytes[16..24].copy_from_slice(&self.count_before.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.postings_offset.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.count.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.last_ordinal.to_le_bytes());
        bytes
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            user: Fingerprint(*bytes.first_chunk()?),
            count_before: u64_at(bytes, 16)?,
            postings_offset: u64_at(bytes, 24)?,
            count: u32_at(bytes, 32).filter(|count| *count > 0)?,
            last_ordinal: u32_at(bytes, 36)?,
        })
    }
}

/// A line of a user's block table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockSummary {
    pub(crate) offset: u32,
    /// The index of the block's first posting among the user's in this run.
    pub(crate) first_index: u32,
    pub(crate) mask: TagMask,
    /// Anything, in the table of a run of one segment.
    pub(crate) names: NameMask,
    pub(crate) times: TimeRange,
}

/// The form of the block tables in a run of one segment, or in a merged one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TableForm {
    /// All blocks but the last are full.
    Even,
    /// Each says where it begins.
    Uneven,
}

impl TableForm {
    /// The form in runs of this level.
    pub(crate) const fn of(level: u32) -> Self {
        if level == 0 { Self::Even } else { Self::Uneven }
    }

    /// The length of a line.
    pub(crate) const fn line_bytes(self) -> usize {
        match self {
            Self::Even => SUMMARY_BYTES[0],
            Self::Uneven => SUMMARY_BYTES[1],
        }
    }

    /// Appends a line.
    pub(crate) fn encode(self, summary: &BlockSummary, out: &mut Vec<u8>) {
        out.extend_from_slice(&summary.offset.to_le_bytes());
        if self == Self::Uneven {
            out.extend_from_slice(&summary.first_index.to_le_bytes());
        }
        out.extend_from_slice(&summary.mask.0.to_le_bytes());
        match self {
            Self::Even => out.extend_from_slice(&[0; 2]),
            Self::Uneven => {
                out.extend_from_slice(&summary.names.services.to_le_bytes());
                out.extend_from_slice(&summary.names.actions.to_le_bytes());
            }
        }
        out.extend_from_slice(&summary.times.min.to_le_bytes());
        out.extend_from_slice(&summary.times.max.to_le_bytes());
    }

    /// Reads the line of a block, of which `number` stand before it.
    pub(crate) fn decode(self, bytes: &[u8], number: usize) -> Option<BlockSummary> {
        let (first_index, mask_at) = match self {
            Self::Even => (u32::try_from(number.checked_mul(BLOCK_POSTINGS_MAX)?).ok()?, 4),
            Self::Uneven => (u32_at(bytes, 4)?, 8),
        };
        let times_at = self.line_bytes() - 16;
        let names = match self {
            Self::Even => NameMask::ALL,
            Self::Uneven => NameMask { services: u16_at(bytes, 10)?, actions: u32_at(bytes, 12)? },
        };
        Some(BlockSummary {
            offset: u32_at(bytes, 0)?,
            first_index,
            mask: TagMask(u16_at(bytes, mask_at)?),
            names,
            times: TimeRange { min: i64_at(bytes, times_at)?, max: i64_at(bytes, times_at + 8)? },
        })
    }
}

/// How many full blocks, the last one perhaps less full, hold this many postings.
pub(crate) const fn block_count(postings: u32) -> usize {
    (postings as usize).div_ceil(BLOCK_POSTINGS_MAX)
}

/// The names behind the codes that a run's tags use: the first own action has `ACTION_CODE_OWN_FIRST`, the first
/// service 1.
#[derive(Clone, PartialEq, Eq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Dictionaries {
    pub(crate) actions: Vec<String>,
    pub(crate) services: Vec<String>,
}

/// Split block Bloom filter over fingerprints: the block by the prefix, the bits by the suffix.
pub(crate) mod filter {
    use super::{Fingerprint, u32_at};

    /// The length of a block.
    pub(crate) const BLOCK_BYTES: usize = 32;

    /// One odd multiplier for each word of a block: Parquet's.
    const SALTS: [u32; 8] = [
        0x47b6_137b,
        0x4497_4d91,
        0x8824_ad5b,
        0xa2b7_289d,
        0x7054_95c7,
        0x2df1_424b,
        0x9efc_4947,
        0x5c6b_fb31,
    ];

    /// How many blocks `keys` want: 12 bits a key, about four in a thousand false positives.
    pub(crate) const fn blocks_for(keys: usize) -> usize {
        let blocks = (keys * 12).div_ceil(BLOCK_BYTES * 8);
        if blocks == 0 { 1 } else { blocks }
    }

    /// Which of `blocks` a key belongs in.
    #[inline]
    pub(crate) fn block_of(user: Fingerprint, blocks: u64) -> u64 {
        user.prefix().carrying_mul(blocks, 0).1
    }

    fn bits(user: Fingerprint) -> [u32; 8] {
        let [b0, b1, b2, b3, ..] = user.suffix().to_le_bytes();
        let low = u32::from_le_bytes([b0, b1, b2, b3]);
        SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))
    }

    /// Adds a key to its block.
    pub(crate) fn insert(block: &mut [u8], user: Fingerprint) {
        for (word, bit) in block.chunks_exact_mut(4).zip(bits(user)) {
            let old = u32_at(word, 0).unwrap_or_default();
            word.copy_from_slice(&(old | bit).to_le_bytes());
        }
    }

    /// Whether the key may be in: no is certain.
    #[inline]
    pub(crate) fn may_contain(block: &[u8], user: Fingerprint) -> bool {
        let mut words = block.chunks_exact(4).zip(bits(user));
        words.all(|(word, bit)| u32_at(word, 0).unwrap_or_default() & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::IndexKey;

    #[test]
    fn header_and_entries_come_back() {
        let section = |n: u64| Section { offset: n, bytes: n + 1 };
        let header = RunHeader {
            store_id: [3; 16],
            shard: 1,
            base: 5,
            records: 6,
            users: 7,
            salt: 8,
            time_base: -9,
            filter: section(10),
            directory_offset: 11,
            postings: section(12),
            dictionaries: section(13),
            checksums_offset: 14,
            checksums_crc: 15,
            level: 16,
        };
        let bytes = header.encode();
        assert_eq!(RunHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(RunHeader::decode(&damaged).is_err(), "bit {bit}");
        }
        let entry = DirectoryEntry {
            user: Fingerprint([1; 16]),
            count_before: 2,
            postings_offset: 3,
            count: 4,
            last_ordinal: 5,
        };
        assert_eq!(DirectoryEntry::decode(&entry.encode()), Some(entry));
        let times = TimeRange { min: -4, max: 5 };
        let few = NameMask { actions: 0x8000_0001, services: 0x4002 };
        for (form, names) in [(TableForm::Even, NameMask::ALL), (TableForm::Uneven, few)] {
            let summary =
                BlockSummary { offset: 1, first_index: 2 * 128, mask: TagMask(0x7fff), names, times };
            let mut line = Vec::new();
            form.encode(&summary, &mut line);
            assert_eq!(line.len(), form.line_bytes());
            assert_eq!(form.decode(&line, 2), Some(summary));
            assert_eq!(form.decode(&line[..line.len() - 1], 2), None);
        }
    }

    #[test]
    fn the_filter_has_no_false_negatives_and_few_false_positives() {
        let key = IndexKey::new([5; 32]);
        let blocks = filter::blocks_for(10_000);
        let mut bytes = vec![0; blocks * filter::BLOCK_BYTES];
        let place = |user| {
            let block = usize::try_from(filter::block_of(user, blocks as u64)).unwrap();
            block * filter::BLOCK_BYTES..(block + 1) * filter::BLOCK_BYTES
        };
        for n in 0..10_000_u32 {
            let user = key.fingerprint(&n.to_le_bytes());
            filter::insert(&mut bytes[place(user)], user);
        }
        let hits = |range: std::ops::Range<u32>| {
            range
                .filter(|n| {
                    let user = key.fingerprint(&n.to_le_bytes());
                    filter::may_contain(&bytes[place(user)], user)
                })
                .count()
        };
        assert_eq!(hits(0..10_000), 10_000);
        let wrong = hits(10_000..110_000);
        assert!((1..1_000).contains(&wrong), "{wrong} of 100,000");
    }

    #[test]
    fn an_entry_of_no_postings_is_none() {
        let entry = DirectoryEntry {
            user: Fingerprint([7; 16]),
            count_before: 1,
            postings_offset: 2,
            count: 1,
            last_ordinal: 3,
        };
        assert_eq!(DirectoryEntry::decode(&entry.encode()), Some(entry));
        assert_eq!(DirectoryEntry::decode(&DirectoryEntry { count: 0, ..entry }.encode()), None);
    }

    #[test]
    fn a_merged_salt_is_that_of_its_segments_in_their_order() {
        let salts = [merged_salt([1, 2]), merged_salt([2, 1]), merged_salt([1]), merged_salt([1, 2, 3])];
        for (place, salt) in salts.iter().enumerate() {
            assert!(!salts[..place].contains(salt));
        }
        let bytes: Vec<u8> = [1_u64, 2].iter().flat_map(|salt| salt.to_le_bytes()).collect();
        assert_eq!(merged_salt([1, 2]), route_hash(&bytes));
    }
}
