//! The event id: a `UUIDv7` (RFC 9562) whose random part is the record's place, veiled.
//!
//! ```text
//! 48 bits  milliseconds since 1970 UTC, of recorded_at
//!  4 bits  version, 7
//! 12 bits  microseconds within the millisecond (10 bits), the sequence's lowest 2 bits
//!  2 bits  variant, 2
//! 62 bits  shard (14 bits), sequence (48 bits), xored with SipHash-2-4 of the other 60 bits under a key of the store
//! ```
//!
//! So an id is unique, sorts by time, leads to its record without an index, and tells nobody else how many events the
//! store has.

use super::keys::IndexKey;

const LOCATION_BITS: u32 = 62;
const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;
const SEQUENCE_BITS: u32 = 48;
const MILLIS_MASK: u64 = (1 << 48) - 1;

/// Makes the id of the record `sequence` of `shard`.
#[inline]
pub(crate) fn make(key: &IndexKey, shard: u16, sequence: u64, recorded_at_micros: i64) -> u128 {
    let clear = clear_bits(sequence, recorded_at_micros);
    let location = u64::from(shard) << SEQUENCE_BITS | (sequence & ((1 << SEQUENCE_BITS) - 1));
    let veiled = (location ^ key.veil(clear)) & LOCATION_MASK;
    u128::from(upper_half(sequence, recorded_at_micros)) << 64 | 2 << LOCATION_BITS | u128::from(veiled)
}

/// The first eight bytes of an id, as a big-endian number: they follow from the record without a key.
#[inline]
pub(crate) fn upper_half(sequence: u64, recorded_at_micros: i64) -> u64 {
    let clear = clear_bits(sequence, recorded_at_micros);
    (clear >> 12) << 16 | 7 << 12 | (clear & 0xfff)
}

#[inline]
fn clear_bits(sequence: u64, recorded_at_micros: i64) -> u64 {
    let micros = recorded_at_micros.max(0).cast_unsigned();
    ((micros / 1000) & MILLIS_MASK) << 12 | (micros % 1000) << 2 | (sequence & 3)
}

/// Where the record of this id would lie: (shard, sequence). The record says whether it is so.
pub(crate) fn locate(key: &IndexKey, id: u128) -> Option<(u16, u64)> {
    let bytes = id.to_be_bytes();
    let (&high, &low) = (bytes.first_chunk::<8>()?, bytes.last_chunk::<8>()?);
    let (high, low) = (u64::from_be_bytes(high), u64::from_be_bytes(low));
    if (high >> 12) & 0xf != 7 || low >> LOCATION_BITS != 2 {
        return None;
    }
    let clear = (high >> 16) << 12 | (high & 0xfff);
    let location = (low ^ key.veil(clear)) & LOCATION_MASK;
    let shard = u16::try_from(location >> SEQUENCE_BITS).ok()?;
    Some((shard, location & ((1 << SEQUENCE_BITS) - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_id_is_the_one_that_the_format_document_lists() {
        let mut secret = [0; 32];
        secret.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        let id = make(&IndexKey::new(secret), 3, 1_234_567, 1_795_170_600_123_456);
        assert_eq!(uuid::Uuid::from_u128(id).to_string(), "01a1f881-84bb-7723-a79f-5d4e8d329fc5");
    }

    #[test]
    fn an_id_of_another_version_or_variant_leads_nowhere() {
        let key = IndexKey::new([3; 32]);
        let id = make(&key, 3, 1_234_567, 1_795_170_600_123_456);
        assert_eq!(locate(&key, id), Some((3, 1_234_567)));
        assert_eq!(locate(&key, id ^ 1 << 76), None, "another version");
        assert_eq!(locate(&key, id ^ 1 << 62), None, "another variant");
    }

    proptest! {
        #[test]
        fn an_id_leads_back_and_conforms(shard in 0_u16..1 << 14, sequence in 0_u64..1 << 48, micros in 0_i64..1 << 50) {
            let key = IndexKey::new([3; 32]);
            let id = make(&key, shard, sequence, micros);
            prop_assert_eq!(locate(&key, id), Some((shard, sequence)));
            let uuid = uuid::Uuid::from_u128(id);
            prop_assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
            let (seconds, nanos) = uuid.get_timestamp().unwrap().to_unix();
            prop_assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, micros.unsigned_abs() / 1000);
        }

        #[test]
        fn any_id_is_located_without_a_panic(id in any::<u128>()) {
            let _ = locate(&IndexKey::new([3; 32]), id);
        }
    }
}
