//! The pack: old sealed segments in one file, their records sorted by user and compressed in blocks.
//!
//! ```text
//!    0  header, 192 bytes, with a checksum of its own; zeros up to 4096
//! 4096  blocks (`format::pack_block`), compressed, one behind the other
//!       zeros up to a multiple of 4096; the index from here on:
//!       directory: entries of 32 bytes, one for each block
//!       map: for each ordinal the number of the block that holds it, `map_bits` each, the lowest bit first;
//!       zeros up to a multiple of 8
//!       dictionary of the compression, if there is one; zeros up to a multiple of 16
//!       summary: rkyv archive of `Summary`; zeros up to a multiple of 4096
//!       checksums: crc32c of each page of 4096 bytes of the index, u32 each
//! ```
//!
//! Records are in the order of (key, ordinal). The key is the first eight bytes of the user's fingerprint as a big-endian
//! number, all ones for a record without a user. An ordinal is a record's sequence less the pack's base.
//!
//! A page of the index is compared with its checksum the first time that it is read, a block each time that it is
//! decompressed: so opening a pack reads its header, summary, dictionary and checksums.

use rkyv::rancor;

use super::bytes::{u16_at, u32_at, u64_at};
use super::run::Section;
use super::segment::{RECORD_BYTES_MIN, check_version, unarchive};
use super::{FORMAT_VERSION, FormatError, FormatResult};

/// The unit of the index's checksums, and where the blocks begin.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The length of the header.
pub(crate) const PACK_HEADER_BYTES: usize = 192;
/// The length of a directory entry.
pub(crate) const ENTRY_BYTES: usize = 32;
/// The entries of a page of the directory.
pub(crate) const PAGE_ENTRIES: usize = PAGE_BYTES / ENTRY_BYTES;

const MAGIC: [u8; 8] = *b"UTPACK\0\0";

/// The key of a record without a user: such records come last.
pub(crate) const KEY_WITHOUT_USER: u64 = u64::MAX;

/// ```text
///   0 magic "UTPACK\0\0"      8 u32 version      12 u32 crc32c of bytes 16..192
///  16 store id, 16 bytes     32 u16 shard       34 u16 zero   36 u32 how many bits an entry of the map has
///  40 u64 number             48 u64 file length  56 u64 salt
///  64 u64 base sequence      72 u64 records      80 u64 bytes of leaves
///  88 u64 blocks             96 u64 where the blocks end
/// 104 u64 directory offset  112 u64 map offset
/// 120 u64 dictionary offset 128 u64 dictionary length
/// 136 u64 summary offset    144 u64 summary length
/// 152 u64 checksums offset  160 u32 crc32c of the checksums   164 zeros to 192
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PackHeader {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    pub(crate) map_bits: u32,
    /// The number in the file's name.
    pub(crate) number: u64,
    pub(crate) file_bytes: u64,
    pub(crate) salt: u64,
    /// The pack holds the shard sequences `base..base + records`.
    pub(crate) base: u64,
    pub(crate) records: u64,
    pub(crate) leaf_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) blocks_end: u64,
    pub(crate) directory_offset: u64,
    pub(crate) map_offset: u64,
    pub(crate) dictionary: Section,
    pub(crate) summary: Section,
    pub(crate) checksums_offset: u64,
    pub(crate) checksums_crc: u32,
}

impl PackHeader {
    pub(crate) fn encode(&self) -> [u8; PACK_HEADER_BYTES] {
        let mut bytes = [0; PACK_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id);
        bytes[32..34].copy_from_slice(&self.shard.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.map_bits.to_le_bytes());
        let words = [
            self.number,
            self.file_bytes,
            self.salt,
            self.base,
            self.records,
            self.leaf_bytes,
            self.blocks,
            self.blocks_end,
            self.directory_offset,
            self.map_offset,
            self.dictionary.offset,
            self.dictionary.bytes,
            self.summary.offset,
            self.summary.bytes,
            self.checksums_offset,
        ];
        for (place, word) in bytes[40..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[160..164].copy_from_slice(&self.checksums_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a file of `file_bytes` and checks that its parts lie in the file as they must.
    pub(crate) fn decode(bytes: &[u8], file_bytes: u64) -> FormatResult<Self> {
        let short = FormatError::Damaged("the pack header is cut short");
        let bytes: &[u8; PACK_HEADER_BYTES] = bytes.first_chunk().ok_or(short)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Damaged("not a pack"));
        }
        check_version(u32_at(bytes, 8))?;
        if u32_at(bytes, 12) != Some(crc32c::crc32c(&bytes[16..])) {
            return Err(FormatError::Damaged("the pack header's checksum does not match"));
        }
        let word = |offset| u64_at(bytes, offset).ok_or(short);
        let section = |offset| Ok(Section { offset: word(offset)?, bytes: word(offset + 8)? });
        let header = Self {
            store_id: bytes[16..].first_chunk().copied().ok_or(short)?,
            shard: u16_at(bytes, 32).ok_or(short)?,
            map_bits: u32_at(bytes, 36).ok_or(short)?,
            number: word(40)?,
            file_bytes: word(48)?,
            salt: word(56)?,
            base: word(64)?,
            records: word(72)?,
            leaf_bytes: word(80)?,
            blocks: word(88)?,
            blocks_end: word(96)?,
            directory_offset: word(104)?,
            map_offset: word(112)?,
            dictionary: section(120)?,
            summary: section(136)?,
            checksums_offset: word(152)?,
            checksums_crc: u32_at(bytes, 160).ok_or(short)?,
        };
        let sound = header.file_bytes == file_bytes && header.is_sound() == Some(true);
        sound.then_some(header).ok_or(FormatError::Damaged("the pack header contradicts the file"))
    }

    /// Whether the parts lie one behind the other; `None` where a number overflows.
    fn is_sound(&self) -> Option<bool> {
        let page = PAGE_BYTES as u64;
        let map_bytes = self.records.checked_mul(u64::from(self.map_bits))?.div_ceil(64).checked_mul(8)?;
        let map_end = self.map_offset.checked_add(map_bytes)?;
        let dictionary_end = self.dictionary.offset.checked_add(self.dictionary.bytes)?;
        let summary_end = self.summary.offset.checked_add(self.summary.bytes)?;
        let pages = self.checksums_offset.checked_sub(self.directory_offset)? / page;
        Some(
            u32::try_from(self.records).is_ok()
                && self.base.checked_add(self.records).is_some()
                && (1..=self.records).contains(&self.blocks)
                && self.map_bits == bits_for(self.blocks)
                && self.blocks_end >= page
                && self.blocks_end <= self.directory_offset
                && self.directory_offset.is_multiple_of(page)
                && self.directory_offset.checked_add(self.blocks.checked_mul(ENTRY_BYTES as u64)?)?
                    == self.map_offset
                && map_end <= self.dictionary.offset
                && dictionary_end <= self.summary.offset
                && summary_end <= self.checksums_offset
                && self.checksums_offset.is_multiple_of(page)
                && self.checksums_offset.checked_add(pages.checked_mul(4)?)? == self.file_bytes,
        )
    }
}

/// How many bits a block's number takes.
pub(crate) const fn bits_for(blocks: u64) -> u32 {
    let bits = u64::BITS - blocks.saturating_sub(1).leading_zeros();
    if bits == 0 { 1 } else { bits }
}

/// A block as the directory has it.
///
/// ```text
///  0 u64 key and   8 u32 ordinal of the first record   12 u32 crc32c of the salt, the block's number, the compressed bytes
/// 16 u64 offset   24 u32 compressed length            28 u32 length
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockEntry {
    pub(crate) key: u64,
    pub(crate) ordinal: u32,
    pub(crate) crc: u32,
    pub(crate) offset: u64,
    pub(crate) compressed_bytes: u32,
    pub(crate) bytes: u32,
}

impl BlockEntry {
    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.compressed_bytes.to_le_bytes());
        bytes[28..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: u64_at(bytes, 0)?,
            ordinal: u32_at(bytes, 8)?,
            crc: u32_at(bytes, 12)?,
            offset: u64_at(bytes, 16)?,
            compressed_bytes: u32_at(bytes, 24)?,
            bytes: u32_at(bytes, 28)?,
        })
    }

    /// Where the block begins in the order of the records.
    pub(crate) fn place(&self) -> (u64, u32) {
        (self.key, self.ordinal)
    }
}

/// The checksum of a compressed block: another block's bytes in its place are told from it.
pub(crate) fn block_crc(salt: u64, number: u32, compressed: &[u8]) -> u32 {
    let mut begin = [0; 12];
    begin[..8].copy_from_slice(&salt.to_le_bytes());
    begin[8..].copy_from_slice(&number.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&begin), compressed)
}

/// What a pack says of itself besides its header.
#[derive(Clone, PartialEq, Eq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Summary {
    /// The segments that it stands for, oldest first, contiguous.
    pub(crate) parts: Vec<Part>,
    /// Where each page of the directory begins in the order of the records.
    pub(crate) pages: Vec<PageStart>,
}

/// What a segment was that is in a pack: enough to make it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Part {
    pub(crate) segment: u64,
    pub(crate) generation: u32,
    pub(crate) salt: u64,
    pub(crate) file_bytes: u64,
    pub(crate) created_at_micros: i64,
    pub(crate) base: u64,
    pub(crate) count: u64,
    pub(crate) recorded_max_micros: i64,
    /// How many different users the shard had seen when the segment ended.
    pub(crate) users_total: u64,
}

impl Part {
    /// One past the last record's sequence.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.count)
    }

    /// Whether a segment's file can be so long, and has room for so many records: nothing is allocated for more.
    fn has_room(&self) -> bool {
        u32::try_from(self.file_bytes).is_ok() && self.count <= self.file_bytes / RECORD_BYTES_MIN
    }
}

/// The first record of a directory page's first block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct PageStart {
    pub(crate) key: u64,
    pub(crate) ordinal: u32,
}

impl Summary {
    pub(crate) fn encode(&self) -> FormatResult<Vec<u8>> {
        let archive = rkyv::to_bytes::<rancor::Error>(self);
        Ok(archive.map_err(|_| FormatError::Damaged("can't be archived"))?.to_vec())
    }

    /// Takes the summary out of its archive; it must agree with the header.
    pub(crate) fn decode(bytes: &[u8], header: &PackHeader) -> FormatResult<Self> {
        let summary = unarchive::<Self, ArchivedSummary>(bytes, "the pack's summary is damaged")?;
        let mut next = header.base;
        for part in &summary.parts {
            if part.base != next || part.count == 0 || part.count > header.records {
                return Err(FormatError::Damaged("the pack's segments are not contiguous"));
            }
            if !part.has_room() {
                return Err(FormatError::Damaged("a segment of the pack has no room for its records"));
            }
            next = part.end();
        }
        let pages = usize::try_from(header.blocks).unwrap_or(usize::MAX).div_ceil(PAGE_ENTRIES);
        if next != header.base + header.records || summary.pages.len() != pages {
            return Err(FormatError::Damaged("the pack's summary contradicts its header"));
        }
        Ok(summary)
    }
}

/// Writes numbers of a fixed width, the lowest bit first.
pub(crate) fn pack_bits(numbers: &[u32], bits: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(numbers.len() * bits as usize / 8 + 8);
    let (mut word, mut used) = (0_u64, 0_u32);
    for number in numbers {
        word |= u64::from(*number) << used;
        used += bits;
        if used >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            used -= u64::BITS;
            word = u64::from(*number).checked_shr(bits - used).unwrap_or_default();
        }
    }
    if used > 0 {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out
}

/// Which bytes hold the number at `index`: they begin at a multiple of 8.
pub(crate) const fn bits_range(index: u64, bits: u32) -> (u64, u64) {
    let first = index * bits as u64;
    let begin = first / 64 * 8;
    let end = (first + bits as u64).div_ceil(64) * 8;
    (begin, end - begin)
}

/// The number at `index`, out of the bytes that [`bits_range`] names.
pub(crate) fn unpack_bits(bytes: &[u8], index: u64, bits: u32) -> Option<u32> {
    let shift = u32::try_from(index * u64::from(bits) % 64).ok()?;
    let low = u64_at(bytes, 0)? >> shift;
    let high = if shift + bits > u64::BITS { u64_at(bytes, 8)? << (u64::BITS - shift) } else { 0 };
    u32::try_from((low | high) & ((1 << bits) - 1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(base: u64, count: u64) -> Part {
        Part {
            segment: 1,
            generation: 0,
            salt: 2,
            file_bytes: 1 << 20,
            created_at_micros: 3,
            base,
            count,
            recorded_max_micros: 4,
            users_total: 5,
        }
    }

    #[test]
    fn a_segment_has_room_for_as_many_records_as_its_file_holds() {
        let has_room = |file_bytes, count| Part { file_bytes, ..part(0, count) }.has_room();
        assert!(has_room(10 * RECORD_BYTES_MIN, 10));
        assert!(!has_room(10 * RECORD_BYTES_MIN, 11));
        assert!(has_room(u64::from(u32::MAX), 1));
        assert!(!has_room(u64::from(u32::MAX) + 1, 1));
    }

    fn header() -> PackHeader {
        PackHeader {
            store_id: [9; 16],
            shard: 3,
            map_bits: 1,
            number: 7,
            file_bytes: 12_292,
            salt: 77,
            base: 100,
            records: 50,
            leaf_bytes: 5_000,
            blocks: 2,
            blocks_end: 4_200,
            directory_offset: 8_192,
            map_offset: 8_256,
            dictionary: Section { offset: 8_264, bytes: 100 },
            summary: Section { offset: 8_368, bytes: 400 },
            checksums_offset: 12_288,
            checksums_crc: 5,
        }
    }

    #[test]
    fn the_header_comes_back_and_damage_is_seen() {
        let bytes = header().encode();
        assert_eq!(PackHeader::decode(&bytes, 12_292), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(PackHeader::decode(&damaged, 12_292).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(PackHeader::decode(&bytes[..length], 12_292).is_err(), "cut to {length}");
        }
        assert!(PackHeader::decode(&bytes, 12_291).is_err(), "a shorter file");
    }

    #[test]
    fn a_header_that_contradicts_itself_is_refused() {
        let wrong = [
            PackHeader { records: 0, ..header() },
            PackHeader { records: 0, blocks: 0, map_offset: 8_192, ..header() },
            PackHeader { records: u64::MAX, ..header() },
            PackHeader { base: u64::MAX, ..header() },
            PackHeader { blocks: 0, ..header() },
            PackHeader { blocks: 51, ..header() },
            PackHeader { map_bits: 33, ..header() },
            PackHeader { blocks_end: 8_193, ..header() },
            PackHeader { map_offset: 8_255, ..header() },
            PackHeader { dictionary: Section { offset: 8_264, bytes: u64::MAX }, ..header() },
            PackHeader { summary: Section { offset: 8_363, bytes: 400 }, ..header() },
            PackHeader { checksums_offset: u64::MAX - 4095, ..header() },
        ];
        for header in wrong {
            assert!(PackHeader::decode(&header.encode(), 12_292).is_err(), "{header:?}");
        }
    }

    #[test]
    fn the_summary_comes_back_and_must_agree_with_the_header() {
        let pages = vec![PageStart { key: 1, ordinal: 0 }];
        let summary = Summary { parts: vec![part(100, 20), part(120, 30)], pages: pages.clone() };
        assert_eq!(Summary::decode(&summary.encode().unwrap(), &header()), Ok(summary));
        let one = Summary { parts: vec![part(100, 50)], pages: pages.clone() };
        assert_eq!(Summary::decode(&one.encode().unwrap(), &header()), Ok(one));
        // Sums that don't fit a number are not taken for right.
        let last = PackHeader { base: u64::MAX - 50, ..header() };
        let beyond = Summary { parts: vec![part(last.base, 51)], pages: pages.clone() };
        assert!(Summary::decode(&beyond.encode().unwrap(), &last).is_err());
        for parts in [vec![], vec![part(100, 20), part(121, 29)], vec![part(100, 49)], vec![part(100, 51)]] {
            let summary = Summary { parts, pages: pages.clone() };
            assert!(Summary::decode(&summary.encode().unwrap(), &header()).is_err(), "{summary:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_of_any_width_come_back(
            bits in 1_u32..=32,
            numbers in proptest::collection::vec(any::<u32>(), 0..100),
        ) {
            let mask = u32::MAX >> (32 - bits);
            let numbers: Vec<u32> = numbers.into_iter().map(|number| number & mask).collect();
            let bytes = pack_bits(&numbers, bits);
            prop_assert_eq!(bytes.len() as u64, (numbers.len() as u64 * u64::from(bits)).div_ceil(64) * 8);
            for (index, number) in (0..).zip(&numbers) {
                let (begin, length) = bits_range(index, bits);
                let begin = usize::try_from(begin).unwrap();
                let bytes = &bytes[begin..begin + usize::try_from(length).unwrap()];
                prop_assert_eq!(unpack_bits(bytes, index, bits), Some(*number));
            }
        }
    }

    #[test]
    fn a_block_number_fits_its_bits() {
        assert_eq!([1, 2, 3, 4, 5, 256, 257].map(bits_for), [1, 1, 2, 2, 3, 8, 9]);
    }

    /// A sound header of so many records in two blocks, however long its file would be.
    fn header_of(records: u64) -> PackHeader {
        let at = 8_256 + records.div_ceil(64) * 8;
        let checksums_offset = (at + 500).next_multiple_of(4096);
        PackHeader {
            base: 0,
            records,
            dictionary: Section { offset: at, bytes: 100 },
            summary: Section { offset: at + 100, bytes: 400 },
            checksums_offset,
            file_bytes: checksums_offset + (checksums_offset - 8_192) / 4096 * 4,
            ..header()
        }
    }

    #[test]
    fn an_ordinal_has_32_bits() {
        let read = |header: PackHeader| PackHeader::decode(&header.encode(), header.file_bytes);
        let most = header_of(u64::from(u32::MAX));
        assert_eq!(read(most), Ok(most));
        assert!(read(header_of(1 << 32)).is_err());
    }

    #[test]
    fn a_directory_entry_is_as_the_format_document_has_it() {
        let entry = BlockEntry {
            key: 0x0102_0304_0506_0708,
            ordinal: 0x090a_0b0c,
            crc: 0x0d0e_0f10,
            offset: 0x1112_1314_1516_1718,
            compressed_bytes: 0x191a_1b1c,
            bytes: 0x1d1e_1f20,
        };
        let bytes = entry.encode();
        assert_eq!(
            bytes,
            [
                8, 7, 6, 5, 4, 3, 2, 1, 12, 11, 10, 9, 16, 15, 14, 13, 24, 23, 22, 21, 20, 19, 18, 17, 28,
                27, 26, 25, 32, 31, 30, 29
            ]
        );
        assert_eq!(BlockEntry::decode(&bytes), Some(entry));
        assert_eq!(BlockEntry::decode(&bytes[..31]), None);
        assert_eq!(entry.place(), (entry.key, entry.ordinal));
        assert_eq!(PAGE_ENTRIES * bytes.len(), PAGE_BYTES);
    }

    #[test]
    fn a_block_has_another_checksum_in_another_place() {
        let one = block_crc(5, 3, b"block");
        assert_eq!(one, crc32c::crc32c(b"\x05\0\0\0\0\0\0\0\x03\0\0\0block"));
        for other in [block_crc(6, 3, b"block"), block_crc(5, 4, b"block"), block_crc(5, 3, b"clock")] {
            assert_ne!(other, one);
        }
    }
}
