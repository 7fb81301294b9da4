//! The fixed parts of a segment file: header, floor slots, footer and trailer.
//!
//! ```text
//!    0  header, 96 bytes, written once
//!  512  floor slot A \ written in turn, each in a sector of its own, so that a torn write
//! 1024  floor slot B / leaves the other
//! 4096  the records (format::record), one behind the other
//!       sidecar: the offset of each record, u32, when sealed
//!       footer: rkyv archive of `Footer`, 16-byte aligned, when sealed
//!       (at most one record's worth of zeros)
//! -64   trailer, when sealed
//! ```

use rkyv::rancor;

use super::bytes::{i64_at, u16_at, u32_at, u64_at};
use super::record::{Salt, record_bytes};
use super::{FORMAT_VERSION, FormatError, FormatResult};

/// Where the records begin.
pub(crate) const RECORDS_START: u64 = 4096;
/// The length of the header.
pub(crate) const HEADER_BYTES: usize = 96;
/// The length of a floor slot.
pub(crate) const SLOT_BYTES: usize = 32;
/// Where the two floor slots are.
pub(crate) const SLOT_OFFSETS: [u64; 2] = [512, 1024];
/// The length of the trailer, at the end of a sealed segment.
pub(crate) const TRAILER_BYTES: usize = 64;
/// What is kept free for footer, alignment and trailer, besides the sidecar.
pub(crate) const FOOTER_RESERVE: u64 = 512;

/// The shortest record: an envelope and a leaf of no fields.
pub(crate) const RECORD_BYTES_MIN: u64 = record_bytes(96) as u64;

const HEADER_MAGIC: [u8; 8] = *b"UTSEG\0\0\0";
const TRAILER_MAGIC: [u8; 8] = *b"UTSEALED";

/// ```text
///  0  magic "UTSEG\0\0\0"     8 u32 version       12 u32 crc32c of bytes 16..96
/// 16  store id, 16 bytes     32 u16 shard        34 u16 zero   36 u32 generation
/// 40  u64 segment id         48 u64 file length  56 u64 salt   64 i64 made at, microseconds UTC
/// 72  zeros to 96
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    /// Raised each time recovery writes the segment anew.
    pub(crate) generation: u32,
    pub(crate) segment: u64,
    pub(crate) file_bytes: u64,
    pub(crate) salt: Salt,
    pub(crate) created_at_micros: i64,
}

impl Header {
    /// The most records that fit the segment.
    pub(crate) fn records_max(&self) -> usize {
        usize::try_from(self.file_bytes / RECORD_BYTES_MIN).unwrap_or(usize::MAX)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&HEADER_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id);
        bytes[32..34].copy_from_slice(&self.shard.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.generation.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.segment.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.salt.0.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.created_at_micros.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let short = FormatError::Damaged("the segment header is cut short");
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(short)?;
        if !bytes.starts_with(&HEADER_MAGIC) {
            return Err(FormatError::Damaged("not a segment file"));
        }
        check_version(u32_at(bytes, 8))?;
        if u32_at(bytes, 12) != Some(crc32c::crc32c(&bytes[16..])) {
            return Err(FormatError::Damaged("the segment header's checksum does not match"));
        }
        Ok(Self {
            store_id: bytes[16..].first_chunk().copied().ok_or(short)?,
            shard: u16_at(bytes, 32).ok_or(short)?,
            generation: u32_at(bytes, 36).ok_or(short)?,
            segment: u64_at(bytes, 40).ok_or(short)?,
            file_bytes: u64_at(bytes, 48).ok_or(short)?,
            salt: Salt(u64_at(bytes, 56).ok_or(short)?),
            created_at_micros: i64_at(bytes, 64).ok_or(short)?,
        })
    }
}

/// Refuses what a newer program wrote, and version 0, which nothing wrote.
pub(crate) fn check_version(version: Option<u32>) -> FormatResult<()> {
    check_version_to(version, FORMAT_VERSION).map(drop)
}

/// The version, if it is not newer than `known`.
pub(crate) fn check_version_to(version: Option<u32>, known: u32) -> FormatResult<u32> {
    match version {
        Some(found) if found > known => Err(FormatError::Newer { found, known }),
        Some(found @ 1..) => Ok(found),
        _ => Err(FormatError::Damaged("the format version is missing")),
    }
}

/// What was known to be on stable storage when the slot was written.
///
/// ```text
///  0 u64 counter (the higher one is the newer)   8 u64 floor: a shard sequence
/// 16 u32 flags: 1 = closed cleanly, nothing lies at or above the floor
/// 20 u32 zero   24 u32 crc32c of bytes 0..24, seeded with the salt   28 u32 zero
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FloorSlot {
    pub(crate) counter: u64,
    pub(crate) floor: u64,
    pub(crate) clean: bool,
}

impl FloorSlot {
    pub(crate) fn encode(&self, salt: Salt) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&self.counter.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.floor.to_le_bytes());
        bytes[16..20].copy_from_slice(&u32::from(self.clean).to_le_bytes());
        let crc = salted_crc(salt, &bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for a slot that was never written or was torn: then the other one counts.
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        let counter = u64_at(bytes, 0).filter(|counter| *counter > 0)?;
        let matches = u32_at(bytes, 24)? == salted_crc(salt, bytes.get(..24)?);
        matches.then_some(Self { counter, floor: u64_at(bytes, 8)?, clean: u32_at(bytes, 16)? & 1 == 1 })
    }
}

fn salted_crc(salt: Salt, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.0.to_le_bytes()), bytes)
}

/// What is known of a sealed segment without reading its records. An rkyv archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Footer {
    /// The first record's shard sequence.
    pub(crate) base: u64,
    /// How many records there are.
    pub(crate) count: u64,
    /// Where the last record ends.
    pub(crate) records_end: u64,
    /// Where the sidecar begins: `count` offsets of four bytes.
    pub(crate) sidecar_offset: u64,
    pub(crate) occurred_min_micros: i64,
    pub(crate) occurred_max_micros: i64,
    pub(crate) recorded_min_micros: i64,
    pub(crate) recorded_max_micros: i64,
    /// How many different users the shard had seen when this segment ended.
    pub(crate) users_total: u64,
}

/// Footer and trailer of a segment, to be written at `footer_offset` and 64 bytes before the file's end.
pub(crate) fn encode_footer(
    footer: &Footer,
    salt: Salt,
    footer_offset: u64,
) -> FormatResult<(Vec<u8>, [u8; TRAILER_BYTES])> {
    let archived = rkyv::to_bytes::<rancor::Error>(footer)
        .map_err(|_| FormatError::Damaged("the footer can't be archived"))?
        .into_vec();
    let length = u32::try_from(archived.len()).map_err(|_| FormatError::Damaged("the footer is too long"))?;
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..8].copy_from_slice(&TRAILER_MAGIC);
    trailer[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    trailer[16..24].copy_from_slice(&footer_offset.to_le_bytes());
    trailer[24..28].copy_from_slice(&length.to_le_bytes());
    trailer[28..32].copy_from_slice(&crc32c::crc32c(&archived).to_le_bytes());
    let crc = salted_crc(salt, &trailer[16..]);
    trailer[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok((archived, trailer))
}

/// Where a sealed segment's footer is, and its checksum: what the trailer says.
///
/// ```text
///  0 magic "UTSEALED"   8 u32 version   12 u32 crc32c of bytes 16..64, seeded with the salt
/// 16 u64 footer offset  24 u32 footer length   28 u32 crc32c of the footer   32 zeros to 64
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trailer {
    pub(crate) footer_offset: u64,
    pub(crate) footer_bytes: u32,
    crc: u32,
}

impl Trailer {
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> FormatResult<Self> {
        let short = FormatError::Damaged("the segment trailer is cut short");
        if !bytes.starts_with(&TRAILER_MAGIC) {
            return Err(FormatError::Damaged("the segment has no trailer"));
        }
        check_version(u32_at(bytes, 8))?;
        let matches = u32_at(bytes, 12) == Some(salted_crc(salt, bytes.get(16..TRAILER_BYTES).ok_or(short)?));
        #[cfg(test)]
        let matches = matches || super::seeded::has(super::seeded::Bug::FooterUnchecked);
        if !matches {
            return Err(FormatError::Damaged("the segment trailer's checksum does not match"));
        }
        Ok(Self {
            footer_offset: u64_at(bytes, 16).ok_or(short)?,
            footer_bytes: u32_at(bytes, 24).filter(|length| *length <= 4096).ok_or(short)?,
            crc: u32_at(bytes, 28).ok_or(short)?,
        })
    }
}

impl Footer {
    pub(crate) fn decode(bytes: &[u8], trailer: &Trailer) -> FormatResult<Self> {
        let matches = crc32c::crc32c(bytes) == trailer.crc;
        #[cfg(test)]
        let matches = matches || super::seeded::has(super::seeded::Bug::FooterUnchecked);
        if !matches {
            return Err(FormatError::Damaged("the segment footer's checksum does not match"));
        }
        unarchive::<Self, ArchivedFooter>(bytes, "the segment footer is damaged")
    }
}

/// Validates an archive and takes it out.
pub(crate) fn unarchive<T, A>(bytes: &[u8], message: &'static str) -> FormatResult<T>
where
    A: rkyv::Portable
        + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rancor::Error>>
        + rkyv::Deserialize<T, rkyv::api::high::HighDeserializer<rancor::Error>>,
    T: rkyv::Archive<Archived = A>,
{
    // An archive must lie at a multiple of sixteen; a slice of a file need not.
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::from_bytes::<T, rancor::Error>(&aligned).map_err(|_| FormatError::Damaged(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(77);

    fn header() -> Header {
        Header {
            store_id: [9; 16],
            shard: 3,
            generation: 2,
            segment: 7,
            file_bytes: 1 << 20,
            salt: SALT,
            created_at_micros: -5,
        }
    }

    fn footer() -> Footer {
        Footer {
            base: 100,
            count: 50,
            records_end: 9000,
            sidecar_offset: 9000,
            occurred_min_micros: -1,
            occurred_max_micros: 2,
            recorded_min_micros: 3,
            recorded_max_micros: 4,
            users_total: 10,
        }
    }

    /// Flips every bit, and cuts to every length: `reads` must say no each time, but for bits in `ignored`.
    fn assert_every_damage_is_seen(
        bytes: &[u8],
        ignored: std::ops::Range<usize>,
        reads: impl Fn(&[u8]) -> bool,
    ) {
        assert!(reads(bytes));
        for bit in (0..bytes.len() * 8).filter(|bit| !ignored.contains(&(bit / 8))) {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!reads(&damaged), "bit {bit}");
        }
        for length in 0..bytes.len() - ignored.len() {
            assert!(!reads(&bytes[..length]), "cut to {length}");
        }
    }

    #[test]
    fn the_header_comes_back_and_damage_is_seen() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
        assert_every_damage_is_seen(&header().encode(), 0..0, |bytes| Header::decode(bytes).is_ok());
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        assert_eq!(Header::decode(&bytes), Err(FormatError::Newer { found: 9, known: FORMAT_VERSION }));
    }

    #[test]
    fn a_slot_comes_back_and_damage_is_seen() {
        let slot = FloorSlot { counter: 4, floor: 1000, clean: true };
        assert_eq!(FloorSlot::decode(&slot.encode(SALT), SALT), Some(slot));
        assert_eq!(FloorSlot::decode(&slot.encode(SALT), Salt(1)), None);
        assert_every_damage_is_seen(&slot.encode(SALT), 28..32, |bytes| {
            FloorSlot::decode(bytes, SALT).is_some()
        });
        assert_eq!(FloorSlot::decode(&[0; SLOT_BYTES], SALT), None);
        let never = FloorSlot { counter: 0, ..slot };
        assert_eq!(FloorSlot::decode(&never.encode(SALT), SALT), None);
    }

    #[test]
    fn the_footer_comes_back_and_damage_is_seen() {
        let (archived, trailer_bytes) = encode_footer(&footer(), SALT, 9200).unwrap();
        assert!(archived.len() as u64 + TRAILER_BYTES as u64 + 64 < FOOTER_RESERVE);
        let trailer = Trailer::decode(&trailer_bytes, SALT).unwrap();
        assert_eq!((trailer.footer_offset, trailer.footer_bytes as usize), (9200, archived.len()));
        assert_eq!(Footer::decode(&archived, &trailer), Ok(footer()));
        assert_every_damage_is_seen(&archived, 0..0, |bytes| Footer::decode(bytes, &trailer).is_ok());
        assert_every_damage_is_seen(&trailer_bytes, 0..0, |bytes| Trailer::decode(bytes, SALT).is_ok());
    }
}
