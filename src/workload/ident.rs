//! Identifiers as text, written into fixed buffers without allocating: UUIDs and 32 hexadecimal digits.
//!
//! Owns the formatting. Must not know whose identifiers they are.

/// The text of a UUID (RFC 9562, version 4), 36 bytes.
pub(super) type UuidText = [u8; 36];

/// 128 bits as hexadecimal digits, as tracing systems write request ids (W3C Trace Context), 32 bytes.
pub(super) type HexText = [u8; 32];

/// The 32 digits of 128 bits.
#[inline]
pub(super) fn hex_text(high: u64, low: u64) -> HexText {
    let mut text = [0; 32];
    text[..16].copy_from_slice(&hex_u64(high));
    text[16..].copy_from_slice(&hex_u64(low));
    text
}

/// The UUID of 128 bits, of which version and variant overwrite six.
#[inline]
pub(super) fn uuid_text(high: u64, low: u64) -> UuidText {
    let high = hex_u64(high & 0xFFFF_FFFF_FFFF_0FFF | 0x4000);
    let low = hex_u64(low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000);
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&high[..8]);
    text[9..13].copy_from_slice(&high[8..12]);
    text[14..18].copy_from_slice(&high[12..]);
    text[19..23].copy_from_slice(&low[..4]);
    text[24..].copy_from_slice(&low[4..]);
    text
}

/// The buffer as text. It is ASCII always; the empty text stands for what can't be.
#[inline]
pub(super) fn as_str(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Sixteen lower-case digits. Eight at a time in the bytes of one word, since three of these identifiers are
/// written for every event, and a loop over digits would cost as much as all the rest of the event.
#[inline]
fn hex_u64(value: u64) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&hex_u32(value >> 32));
    text[8..].copy_from_slice(&hex_u32(value & 0xFFFF_FFFF));
    text
}

/// Eight lower-case digits of a value below 2^32.
#[inline]
fn hex_u32(value: u64) -> [u8; 8] {
    // One digit into each byte.
    let digits = (value | (value << 16)) & 0x0000_FFFF_0000_FFFF;
    let digits = (digits | (digits << 8)) & 0x00FF_00FF_00FF_00FF;
    let digits = (digits | (digits << 4)) & 0x0F0F_0F0F_0F0F_0F0F;
    // Adding 6 carries into bit 4 for 10 and above; letters come 39 places after where digits would go on.
    let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (digits + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::rng::Rng;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        let mut rng = Rng::new(4);
        for _ in 0..1_000 {
            let (high, low) = (rng.next_u64(), rng.next_u64());
            assert_eq!(as_str(&hex_text(high, low)), format!("{high:016x}{low:016x}"));
        }
        assert_eq!(as_str(&hex_text(0x0123_4567_89AB_CDEF, 0)), "0123456789abcdef0000000000000000");
    }

    #[test]
    fn uuids_parse_and_are_of_version_4() {
        let mut rng = Rng::new(5);
        for _ in 0..1_000 {
            let text = uuid_text(rng.next_u64(), rng.next_u64());
            let parsed = uuid::Uuid::try_parse(as_str(&text)).unwrap();
            assert_eq!(parsed.get_version_num(), 4);
            assert_eq!(parsed.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(parsed.to_string(), as_str(&text));
        }
    }
}
