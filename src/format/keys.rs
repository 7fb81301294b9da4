//! The store's index key and what is derived from it: fingerprints, event ids, cursor tags; and the routing hash.
//!
//! The routing hash is public and fixed (version 1: XXH3-64 of the UTF-8 bytes, seed 0), since a verifier without the
//! key must be able to say in which shard a user's events belong. Everything else is keyed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use siphasher::sip::SipHasher24;
use siphasher::sip128::SipHasher24 as SipHasher24x128;

use super::bytes::u32_at;
use super::{FORMAT_VERSION, FormatError, FormatResult};
use crate::ids::Fingerprint;

/// The version of [`route_hash`], written in the store's manifest.
pub(crate) const ROUTE_HASH_VERSION: u32 = 1;

/// The hash whose low bits choose the shard: XXH3-64, seed 0.
#[inline]
pub(crate) fn route_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The secret that never rotates, in the file `KEY`:
///
/// ```text
///  0  8 bytes  magic "UTKEY\0\0\0"
///  8  u32      format version
/// 12  u32      crc32c of bytes 16..48
/// 16  32 bytes the secret
/// ```
// Aligned so that the count of a shared key, which every page changes, lies on other lines than the key, which every append
// reads.
#[derive(Clone)]
#[repr(align(128))]
pub(crate) struct IndexKey {
    secret: [u8; 32],
    fingerprint: SipHasher24x128,
    event_id: SipHasher24,
    cursor: Hmac<Sha256>,
}

const KEY_MAGIC: [u8; 8] = *b"UTKEY\0\0\0";

/// The length of the key file in bytes.
pub(crate) const KEY_FILE_BYTES: usize = 48;

/// The length of a cursor's tag in bytes: HMAC-SHA-256 cut to 128 bits, as RFC 2104 section 5 allows.
pub(crate) const CURSOR_TAG_BYTES: usize = 16;

impl IndexKey {
    /// Derives every key from the secret, each under a label of its own.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        let fingerprint = derive(&secret, b"usertrail fingerprint v1");
        let event_id = derive(&secret, b"usertrail event id v1");
        let first16 = |bytes: [u8; 32]| bytes.first_chunk::<16>().copied().unwrap_or_default();
        Self {
            fingerprint: SipHasher24x128::new_with_key(&first16(fingerprint)),
            event_id: SipHasher24::new_with_key(&first16(event_id)),
            cursor: keyed(&derive(&secret, b"usertrail cursor v1")),
            secret,
        }
    }

    /// The key file's content.
    pub(crate) fn encode(&self) -> [u8; KEY_FILE_BYTES] {
        let mut bytes = [0; KEY_FILE_BYTES];
        bytes[..8].copy_from_slice(&KEY_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&crc32c::crc32c(&self.secret).to_le_bytes());
        bytes[16..].copy_from_slice(&self.secret);
        bytes
    }

    /// Reads the key file.
    pub(crate) fn decode(bytes: &[u8]) -> FormatResult<Self> {
        if !bytes.starts_with(&KEY_MAGIC) {
            return Err(FormatError::Damaged("not a key file"));
        }
        let version = u32_at(bytes, 8).unwrap_or_default();
        if version > FORMAT_VERSION {
            return Err(FormatError::Newer { found: version, known: FORMAT_VERSION });
        }
        let secret: [u8; 32] = bytes
            .get(16..)
            .and_then(|rest| rest.try_into().ok())
            .ok_or(FormatError::Damaged("wrong length"))?;
        let matches = Some(crc32c::crc32c(&secret)) == u32_at(bytes, 12);
        #[cfg(test)]
        let matches = matches || super::seeded::has(super::seeded::Bug::KeyUnchecked);
        if version == 0 || !matches {
            return Err(FormatError::Damaged("the checksum does not match"));
        }
        Ok(Self::new(secret))
    }

    /// A user's (or other name's) key in the indexes.
    #[inline]
    pub(crate) fn fingerprint(&self, name: &[u8]) -> Fingerprint {
        Fingerprint(self.fingerprint.hash(name).as_bytes())
    }

    /// Hides where a record lies in its id; the same call takes the veil off again.
    ///
    /// `salt` is what of the id is in the clear: its time and `rand_a`.
    #[inline]
    pub(crate) fn veil(&self, salt: u64) -> u64 {
        self.event_id.hash(&salt.to_le_bytes())
    }

    /// The tag that authenticates a cursor.
    pub(crate) fn cursor_tag(&self, payload: &[u8]) -> [u8; CURSOR_TAG_BYTES] {
        let full = self.cursor.clone().chain_update(payload).finalize().into_bytes();
        full.first_chunk().copied().unwrap_or_default()
    }

    /// Compares a cursor's tag in constant time.
    pub(crate) fn cursor_tag_matches(&self, payload: &[u8], tag: &[u8]) -> bool {
        tag.len() == CURSOR_TAG_BYTES
            && self.cursor.clone().chain_update(payload).verify_truncated_left(tag).is_ok()
    }
}

impl std::fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexKey(..)")
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new(&{
        // HMAC pads its key with zeros to the block: this is what new_from_slice does for 32 bytes.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        block
    })
}

fn derive(secret: &[u8; 32], label: &[u8]) -> [u8; 32] {
    keyed(secret).chain_update(label).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_tell_itself() {
        assert_eq!(format!("{:?}", IndexKey::new([7; 32])), "IndexKey(..)");
    }

    #[test]
    fn hmac_is_the_standard_one() {
        // RFC 4231, test case 2 with a 32-byte key is not listed; compare with the slice constructor instead.
        let key = [7; 32];
        let by_slice = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).unwrap();
        assert_eq!(
            by_slice.chain_update(b"x").finalize().into_bytes(),
            keyed(&key).chain_update(b"x").finalize().into_bytes()
        );
    }

    #[test]
    fn the_routing_hash_is_xxh3() {
        // The published test vector: XXH3-64 of no bytes, seed 0.
        assert_eq!(route_hash(b""), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn the_key_file_comes_back_and_every_flipped_bit_is_seen() {
        let key = IndexKey::new([42; 32]);
        let bytes = key.encode();
        assert_eq!(IndexKey::decode(&bytes).unwrap().fingerprint(b"a"), key.fingerprint(b"a"));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(IndexKey::decode(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(IndexKey::decode(&bytes[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn derived_values_are_those_that_the_format_document_lists() {
        let mut secret = [0; 32];
        secret.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        let key = IndexKey::new(secret);
        assert_eq!(key.encode()[12..16], [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(format!("{:016x}", route_hash(b"alice")), "4da10dd61a0116b0");
        assert_eq!(
            format!("{:?}", key.fingerprint(b"alice")),
            "Fingerprint(e7ff796b233ad7a300b3b99a31c7dd8a)"
        );
        let tag = 0x5761_2dfe_d35e_5772_d982_ec92_427c_0226_u128;
        assert_eq!(key.cursor_tag(&[0; 48]), tag.to_be_bytes());
    }

    #[test]
    fn a_cursor_tag_is_checked_whole() {
        let key = IndexKey::new([1; 32]);
        let tag = key.cursor_tag(b"payload");
        assert!(key.cursor_tag_matches(b"payload", &tag));
        assert!(!key.cursor_tag_matches(b"payloae", &tag));
        assert!(!key.cursor_tag_matches(b"payload", &tag[..15]));
        assert!(!key.cursor_tag_matches(b"payload", b""));
    }
}
