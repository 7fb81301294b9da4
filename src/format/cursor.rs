//! The cursor token: where a page ended, bound to its user and filter, authenticated.
//!
//! ```text
//!  0 u8  version, 1    1 u8 kind: 0 = a user's log    2 u8 order: 0 newest first, 1 oldest first    3 u8 zero
//!  4 u32 recovery epoch
//!  8     user's fingerprint, 16 bytes
//! 24     digest of the filter, 8 bytes
//! 32 u64 user sequence of the last event on the page
//! 40 u64 its shard sequence
//! 48     tag: HMAC-SHA-256 of bytes 0..48 under the cursor key, cut to 16 bytes
//! ```
//!
//! in base64url without padding: 86 characters.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::bytes::{u32_at, u64_at};
use super::keys::{CURSOR_TAG_BYTES, IndexKey};
use crate::ids::Fingerprint;

const VERSION: u8 = 1;
const KIND_USER_LOG: u8 = 0;
const PAYLOAD_BYTES: usize = 48;

/// The length of a token in characters.
pub(crate) const TOKEN_CHARACTERS: usize = 86;

/// What a cursor of a user's log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UserLogCursor {
    pub(crate) oldest_first: bool,
    pub(crate) epoch: u32,
    pub(crate) user: Fingerprint,
    pub(crate) filter_digest: u64,
    pub(crate) user_sequence: u64,
    pub(crate) sequence: u64,
}

/// Why a token is no cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CursorError {
    #[error("the cursor is empty")]
    Empty,
    #[error("the cursor is damaged or not one of this store's")]
    Damaged,
    #[error("the cursor has version {0}, which this program does not know")]
    Version(u8),
}

impl UserLogCursor {
    pub(crate) fn encode(&self, key: &IndexKey) -> String {
        let mut bytes = [0; PAYLOAD_BYTES + CURSOR_TAG_BYTES];
        bytes[0] = VERSION;
        bytes[1] = KIND_USER_LOG;
        bytes[2] = u8::from(self.oldest_first);
        bytes[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.user.0);
        bytes[24..32].copy_from_slice(&self.filter_digest.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.user_sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        let tag = key.cursor_tag(&bytes[..PAYLOAD_BYTES]);
        bytes[PAYLOAD_BYTES..].copy_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn decode(token: &str, key: &IndexKey) -> Result<Self, CursorError> {
        if token.is_empty() {
            return Err(CursorError::Empty);
        }
        if token.len() != TOKEN_CHARACTERS {
            return Err(CursorError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| CursorError::Damaged)?;
        let (payload, tag) = bytes.split_at_checked(PAYLOAD_BYTES).ok_or(CursorError::Damaged)?;
        let matches = key.cursor_tag_matches(payload, tag);
        #[cfg(test)]
        let matches = matches || super::seeded::has(super::seeded::Bug::CursorUnchecked);
        if !matches {
            return Err(CursorError::Damaged);
        }
        match payload {
            [VERSION, KIND_USER_LOG, 0 | 1, 0, ..] => {}
            [version, ..] if *version != VERSION => return Err(CursorError::Version(*version)),
            _ => return Err(CursorError::Damaged),
        }
        let user = payload.get(8..).and_then(|rest| rest.first_chunk()).ok_or(CursorError::Damaged)?;
        Ok(Self {
            oldest_first: payload.get(2) == Some(&1),
            epoch: u32_at(payload, 4).ok_or(CursorError::Damaged)?,
            user: Fingerprint(*user),
            filter_digest: u64_at(payload, 24).ok_or(CursorError::Damaged)?,
            user_sequence: u64_at(payload, 32).ok_or(CursorError::Damaged)?,
            sequence: u64_at(payload, 40).ok_or(CursorError::Damaged)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> UserLogCursor {
        UserLogCursor {
            oldest_first: true,
            epoch: 3,
            user: Fingerprint([7; 16]),
            filter_digest: 99,
            user_sequence: 1234,
            sequence: 5678,
        }
    }

    #[test]
    fn a_cursor_comes_back() {
        let key = IndexKey::new([1; 32]);
        let token = cursor().encode(&key);
        assert_eq!(token.len(), TOKEN_CHARACTERS);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        assert_eq!(UserLogCursor::decode(&token, &key), Ok(cursor()));
    }

    #[test]
    fn forged_foreign_and_damaged_ones_are_refused() {
        let key = IndexKey::new([1; 32]);
        let token = cursor().encode(&key);
        assert_eq!(UserLogCursor::decode("", &key), Err(CursorError::Empty));
        assert_eq!(UserLogCursor::decode(&token, &IndexKey::new([2; 32])), Err(CursorError::Damaged));
        for place in 0..token.len() {
            for replacement in "AZaz09-_=+/ é".chars() {
                let damaged: String =
                    token.char_indices().map(|(at, c)| if at == place { replacement } else { c }).collect();
                if damaged != token {
                    assert_eq!(UserLogCursor::decode(&damaged, &key), Err(CursorError::Damaged), "{damaged}");
                }
            }
        }
        for length in 1..token.len() {
            assert_eq!(UserLogCursor::decode(&token[..length], &key), Err(CursorError::Damaged));
        }
        assert_eq!(UserLogCursor::decode(&format!("{token}A"), &key), Err(CursorError::Damaged));
    }

    #[test]
    fn what_another_version_made_is_told_from_damage() {
        let key = IndexKey::new([1; 32]);
        let authentic = |place: usize, byte: u8| {
            let mut bytes = URL_SAFE_NO_PAD.decode(cursor().encode(&key)).unwrap();
            bytes[place] = byte;
            let tag = key.cursor_tag(&bytes[..PAYLOAD_BYTES]);
            bytes[PAYLOAD_BYTES..].copy_from_slice(&tag);
            UserLogCursor::decode(&URL_SAFE_NO_PAD.encode(bytes), &key)
        };
        assert_eq!(authentic(0, VERSION), Ok(cursor()));
        assert_eq!(authentic(0, 2), Err(CursorError::Version(2)));
        for place in [1, 2, 3] {
            assert_eq!(authentic(place, 2), Err(CursorError::Damaged), "byte {place}");
        }
        assert_eq!(authentic(2, 0), Ok(UserLogCursor { oldest_first: false, ..cursor() }));
    }
}
