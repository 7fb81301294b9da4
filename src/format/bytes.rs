//! Little-endian integers and variable-length ones, read with bounds checks. Knows no structure.

/// Reads a little-endian `u16` at `offset`; `None` beyond the end.
#[inline]
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads a little-endian `u32` at `offset`; `None` beyond the end.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads a little-endian `u64` at `offset`; `None` beyond the end.
#[inline]
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads a little-endian `i64` at `offset`; `None` beyond the end.
#[inline]
pub(crate) fn i64_at(bytes: &[u8], offset: usize) -> Option<i64> {
    Some(i64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Appends `value` in LEB128: seven bits a byte, the lowest first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a LEB128 number off the front of `bytes`; `None` if it is cut short or too long.
#[inline]
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    // Most are small.
    if let Some((&byte, rest)) = bytes.split_first()
        && byte < 0x80
    {
        *bytes = rest;
        return Some(u64::from(byte));
    }
    take_long_varint(bytes)
}

fn take_long_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    let mut shift = 0_u32;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift > 63 || (shift == 63 && low > 1) {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

/// The next multiple of eight, where every record and section begins.
pub(crate) const fn align8(length: usize) -> usize {
    length.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(values in proptest::collection::vec(any::<u64>(), 0..20)) {
            let mut out = Vec::new();
            for value in &values {
                put_varint(&mut out, *value);
            }
            let mut rest = out.as_slice();
            for value in &values {
                prop_assert_eq!(take_varint(&mut rest), Some(*value));
            }
            prop_assert_eq!(take_varint(&mut rest), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20), at in 0_usize..40) {
            let mut rest = bytes.as_slice();
            while take_varint(&mut rest).is_some() {}
            let _ = (u16_at(&bytes, at), u32_at(&bytes, at), u64_at(&bytes, at), i64_at(&bytes, at));
        }
    }

    #[test]
    fn an_overlong_varint_is_refused() {
        assert_eq!(take_varint(&mut [0xff; 11].as_slice()), None);
        assert_eq!(take_varint(&mut [0xff; 9].as_slice()), None);
        let mut maximum = vec![0xff; 9];
        maximum.push(1);
        assert_eq!(take_varint(&mut maximum.as_slice()), Some(u64::MAX));
        maximum[9] = 2;
        assert_eq!(take_varint(&mut maximum.as_slice()), None);
    }

    #[test]
    fn numbers_take_the_bytes_that_they_need() {
        for (value, bytes) in [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (16_384, &[0x80, 0x80, 1])] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            let mut rest = bytes;
            assert_eq!((take_varint(&mut rest), rest.len()), (Some(value), 0));
        }
        assert_eq!([0, 1, 8, 9].map(align8), [0, 8, 8, 16]);
    }
}
