//! The record: an envelope around a leaf.
//!
//! ```text
//!  0  u32  length of the leaf in bytes, 1 to 65,535
//!  4  u32  crc32c, seeded with the segment's salt and the record's offset, of bytes 0..4, 8..24 and the leaf
//!  8  u64  durable floor: every record of the shard below this sequence was on stable storage when this was written
//! 16  u16  place in its atomic group, from 0
//! 18  u16  length of its atomic group; 1 for a record that stands alone
//! 20  u32  zero
//! 24       the leaf (its layout: `event::layout`), then zeros up to the next multiple of eight
//! ```
//!
//! Salt and offset are in the checksum so that bytes inside somebody's text, or left over from a rolled-back
//! generation of the file, never look like a record.

use super::bytes::{align8, u16_at, u32_at, u64_at};
use super::{FormatError, FormatResult};

/// The envelope's length in bytes.
pub(crate) const ENVELOPE_BYTES: usize = 24;

/// The longest leaf in bytes.
pub(crate) const LEAF_BYTES_MAX: usize = 65_535;

/// What the envelope says, besides length and checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Envelope {
    pub(crate) durable_floor: u64,
    pub(crate) group_index: u16,
    pub(crate) group_count: u16,
}

/// The bytes that a record with a leaf of this length takes in the log.
pub(crate) const fn record_bytes(leaf_bytes: usize) -> usize {
    align8(ENVELOPE_BYTES + leaf_bytes)
}

/// The seed of every checksum of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Salt(pub(crate) u64);

#[inline]
fn checksum(salt: Salt, offset: u64, length: [u8; 4], rest: &[u8]) -> u32 {
    // One run over what is short: each costs as much to begin as some dozens of bytes.
    let mut begin = [0; 20];
    begin[..8].copy_from_slice(&salt.0.to_le_bytes());
    begin[8..16].copy_from_slice(&offset.to_le_bytes());
    begin[16..].copy_from_slice(&length);
    crc32c::crc32c_append(crc32c::crc32c(&begin), rest)
}

/// Makes room for an envelope at the end of `out`; the leaf follows, then [`seal`].
#[inline]
pub(crate) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; ENVELOPE_BYTES]);
}

/// Fills in the envelope of the record that is all of `record`, to lie at `offset`, and pads it.
///
/// `record` is an empty envelope and a leaf of at most [`LEAF_BYTES_MAX`] bytes.
#[inline]
pub(crate) fn seal(record: &mut Vec<u8>, salt: Salt, offset: u64, envelope: Envelope) -> FormatResult<()> {
    let leaf_bytes = record.len().saturating_sub(ENVELOPE_BYTES);
    let length =
        u32::try_from(leaf_bytes).ok().filter(|length| (1..=LEAF_BYTES_MAX).contains(&(*length as usize)));
    let length = length.ok_or(FormatError::Damaged("the leaf is empty or too long"))?.to_le_bytes();
    if let Some(head) = record.first_chunk_mut::<ENVELOPE_BYTES>() {
        head[..4].copy_from_slice(&length);
        head[8..16].copy_from_slice(&envelope.durable_floor.to_le_bytes());
        head[16..18].copy_from_slice(&envelope.group_index.to_le_bytes());
        head[18..20].copy_from_slice(&envelope.group_count.to_le_bytes());
    }
    let crc = checksum(salt, offset, length, record.get(8..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = record.get_mut(4..8) {
        place.copy_from_slice(&crc);
    }
    record.resize(record_bytes(leaf_bytes), 0);
    Ok(())
}

/// The length of the leaf of the record that begins `bytes`, unchecked but for its range.
#[inline]
pub(crate) fn leaf_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32_at(bytes, 0)? as usize;
    (1..=LEAF_BYTES_MAX).contains(&length).then_some(length)
}

/// The leaf of the record that begins `bytes`, its checksum not looked at.
#[inline]
pub(crate) fn leaf(bytes: &[u8]) -> FormatResult<&[u8]> {
    let length = leaf_bytes(bytes).ok_or(FormatError::Damaged("the record's length is out of range"))?;
    bytes
        .get(ENVELOPE_BYTES..ENVELOPE_BYTES + length)
        .ok_or(FormatError::Damaged("the record reaches beyond the end of the log"))
}

/// Checks the record that begins `bytes` and lies at `offset`.
pub(crate) fn verify(bytes: &[u8], salt: Salt, offset: u64) -> FormatResult<(Envelope, &[u8])> {
    let leaf = leaf(bytes)?;
    let short = FormatError::Damaged("the record is cut short");
    let covered = bytes.get(8..ENVELOPE_BYTES + leaf.len()).ok_or(short)?;
    let stored = u32_at(bytes, 4).ok_or(short)?;
    let matches = checksum(salt, offset, *bytes.first_chunk().ok_or(short)?, covered) == stored;
    #[cfg(test)]
    let matches = matches || super::seeded::has(super::seeded::Bug::ChecksumIgnored);
    if !matches {
        return Err(FormatError::Damaged("the record's checksum does not match"));
    }
    let envelope = Envelope {
        durable_floor: u64_at(bytes, 8).ok_or(short)?,
        group_index: u16_at(bytes, 16).ok_or(short)?,
        group_count: u16_at(bytes, 18).ok_or(short)?,
    };
    Ok((envelope, leaf))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(0x1234_5678_9abc_def0);
    const ENVELOPE: Envelope = Envelope { durable_floor: 99, group_index: 1, group_count: 3 };

    fn sample(leaf: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        begin(&mut record);
        record.extend_from_slice(leaf);
        seal(&mut record, SALT, 4096, ENVELOPE).unwrap();
        record
    }

    #[test]
    fn a_record_comes_back() {
        let record = sample(b"the leaf");
        assert_eq!(record.len(), 32);
        assert_eq!(verify(&record, SALT, 4096), Ok((ENVELOPE, &b"the leaf"[..])));
    }

    #[test]
    fn every_flipped_bit_is_seen_and_so_is_another_place() {
        let record = sample(b"the leaf");
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&damaged, SALT, 4096).is_err(), "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(verify(&record[..length], SALT, 4096).is_err(), "cut to {length}");
        }
        assert!(verify(&record, SALT, 4104).is_err(), "elsewhere");
        assert!(verify(&record, Salt(SALT.0 ^ 1), 4096).is_err(), "in another segment");
        assert!(verify(&[0; 64], SALT, 4096).is_err(), "zeros");
    }

    #[test]
    fn an_empty_or_overlong_leaf_is_refused() {
        for length in [0, LEAF_BYTES_MAX + 1] {
            let mut record = vec![0; ENVELOPE_BYTES + length];
            assert!(seal(&mut record, SALT, 0, ENVELOPE).is_err(), "{length}");
        }
        let mut record = vec![1; ENVELOPE_BYTES + LEAF_BYTES_MAX];
        seal(&mut record, SALT, 0, ENVELOPE).unwrap();
        assert!(verify(&record, SALT, 0).is_ok());
    }
}
