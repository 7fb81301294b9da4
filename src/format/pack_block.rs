//! A pack's block before it is compressed: some records' leaves, one behind the other.
//!
//! ```text
//! 0         u32 records
//! 4         where each leaf ends, counted from the end of this table, u32 each
//! 4 + 4 n   the leaves
//! ```
//!
//! The numbers at the beginning of a leaf (docs/FORMAT.md, the leaf) follow from each other and from those of the record
//! before it, which a compressor can't see. So in their places stand differences, modulo 2^64, zero where all is as
//! expected:
//!
//! | at | number | difference to |
//! |--:|---|---|
//! | 0 | sequence | the sequence before |
//! | 8 | user sequence | the user sequence before, plus 1 |
//! | 16 | sequence of the user's previous event | the sequence before |
//! | 24 | `recorded_at` | `recorded_at` before |
//! | 40 | first half of the event id, big-endian in the leaf | what it must be after `recorded_at` and sequence (docs/FORMAT.md, event ids) |
//! | 56 | `occurred_at` | `recorded_at` of the same leaf |
//!
//! "Before" is the leaf before in the block; before the first, sequence and `recorded_at` are 0, the user sequence is all
//! ones. In a leaf shorter than 64 bytes nothing is changed, and the one after it goes on from the one before it.

use super::bytes::{u32_at, u64_at};
use super::event_id::upper_half;
use super::{FormatError, FormatResult};

/// How many bytes of leaves a block gets: from here on it is full. Twice as much saves 2 % with a dictionary.
const BLOCK_BYTES: usize = 16 << 10;
/// The longest block that is read.
pub(crate) const BLOCK_BYTES_MAX: u32 = 1 << 20;

/// The numbers that the next leaf's are told from.
#[derive(Clone, Copy, Debug)]
struct Before {
    sequence: u64,
    user_sequence: u64,
    recorded_at: u64,
}

impl Before {
    const NOTHING: Self = Self { sequence: 0, user_sequence: u64::MAX, recorded_at: 0 };
}

fn put(leaf: &mut [u8], at: usize, number: u64) {
    if let Some(place) = leaf.get_mut(at..at + 8) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

/// Replaces the numbers of a leaf by differences.
fn take_apart(leaf: &mut [u8], before: Before) -> Option<Before> {
    let number = |at| u64_at(leaf, at);
    let [sequence, user_sequence, previous] = [number(0)?, number(8)?, number(16)?];
    let [recorded_at, id, occurred_at] = [number(24)?, number(40)?.swap_bytes(), number(56)?];
    put(leaf, 0, sequence.wrapping_sub(before.sequence));
    put(leaf, 8, user_sequence.wrapping_sub(before.user_sequence.wrapping_add(1)));
    put(leaf, 16, previous.wrapping_sub(before.sequence));
    put(leaf, 24, recorded_at.wrapping_sub(before.recorded_at));
    put(leaf, 40, id.wrapping_sub(upper_half(sequence, recorded_at.cast_signed())));
    put(leaf, 56, occurred_at.wrapping_sub(recorded_at));
    Some(Before { sequence, user_sequence, recorded_at })
}

/// Undoes [`take_apart`].
fn put_together(leaf: &mut [u8], before: Before) -> Option<Before> {
    let number = |at| u64_at(leaf, at);
    let [sequence, user_sequence, previous] = [number(0)?, number(8)?, number(16)?];
    let [recorded_at, id, occurred_at] = [number(24)?, number(40)?, number(56)?];
    let sequence = sequence.wrapping_add(before.sequence);
    let user_sequence = user_sequence.wrapping_add(before.user_sequence.wrapping_add(1));
    let recorded_at = recorded_at.wrapping_add(before.recorded_at);
    put(leaf, 0, sequence);
    put(leaf, 8, user_sequence);
    put(leaf, 16, previous.wrapping_add(before.sequence));
    put(leaf, 24, recorded_at);
    put(leaf, 40, id.wrapping_add(upper_half(sequence, recorded_at.cast_signed())).swap_bytes());
    put(leaf, 56, occurred_at.wrapping_add(recorded_at));
    Some(Before { sequence, user_sequence, recorded_at })
}

/// Puts leaves into a block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    ends: Vec<u32>,
    leaves: Vec<u8>,
    before: Before,
}

impl BlockBuilder {
    pub(crate) fn new() -> Self {
        Self { ends: Vec::new(), leaves: Vec::new(), before: Before::NOTHING }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.leaves.len() >= BLOCK_BYTES
    }

    pub(crate) fn push(&mut self, leaf: &[u8]) {
        let begin = self.leaves.len();
        self.leaves.extend_from_slice(leaf);
        let copy = self.leaves.get_mut(begin..).unwrap_or_default();
        self.before = take_apart(copy, self.before).unwrap_or(self.before);
        self.ends.push(u32::try_from(self.leaves.len()).unwrap_or(u32::MAX));
    }

    /// Changes a byte of the last leaf: a bug on purpose.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self) {
        if let Some(byte) = self.leaves.last_mut() {
            *byte ^= 1;
        }
    }

    /// Writes the block to `out` and begins the next.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&u32::try_from(self.ends.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
        out.extend_from_slice(&self.leaves);
        self.ends.clear();
        self.leaves.clear();
        self.before = Before::NOTHING;
    }
}

/// A block's leaves as they were before they were packed.
#[derive(Debug)]
pub(crate) struct Leaves {
    bytes: Vec<u8>,
    count: usize,
}

impl Leaves {
    /// Takes a block; its table is checked here, so that every leaf can be lent.
    pub(crate) fn decode(mut bytes: Vec<u8>) -> FormatResult<Self> {
        let damaged = FormatError::Damaged("the block's table is damaged");
        let count = u32_at(&bytes, 0).ok_or(damaged)? as usize;
        let table = count.checked_mul(4).and_then(|length| length.checked_add(4)).ok_or(damaged)?;
        let (head, leaves) = bytes.split_at_mut_checked(table).ok_or(damaged)?;
        let mut begin = 0;
        let mut before = Before::NOTHING;
        for end in head.chunks_exact(4).skip(1) {
            let end = u32_at(end, 0).ok_or(damaged)? as usize;
            let leaf = leaves.get_mut(begin..end).ok_or(damaged)?;
            before = put_together(leaf, before).unwrap_or(before);
            begin = end;
        }
        if count == 0 || begin != leaves.len() {
            return Err(damaged);
        }
        Ok(Self { bytes, count })
    }

    /// How many there are, at least one.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// A leaf.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.count {
            return None;
        }
        let leaves = 4 + self.count * 4;
        let begin = if index == 0 { 0 } else { u32_at(&self.bytes, index * 4)? as usize };
        let end = u32_at(&self.bytes, 4 + index * 4)? as usize;
        self.bytes.get(leaves + begin..leaves + end)
    }

    /// The sequence that a leaf begins with.
    #[inline]
    pub(crate) fn sequence(&self, index: usize) -> Option<u64> {
        u64_at(self.get(index)?, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn block_of(leaves: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = BlockBuilder::new();
        for leaf in leaves {
            builder.push(leaf);
        }
        let mut block = Vec::new();
        builder.finish(&mut block);
        assert!(builder.is_empty());
        block
    }

    proptest! {
        #[test]
        fn leaves_of_any_bytes_come_back(leaves in vec(vec(any::<u8>(), 0..200), 1..20)) {
            let block = Leaves::decode(block_of(&leaves)).unwrap();
            prop_assert_eq!(block.len(), leaves.len());
            for (index, leaf) in leaves.iter().enumerate() {
                prop_assert_eq!(block.get(index), Some(&leaf[..]));
                prop_assert_eq!(block.sequence(index), u64_at(leaf, 0));
            }
            prop_assert_eq!(block.get(leaves.len()), None);
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes in vec(any::<u8>(), 0..300), small in any::<bool>()) {
            let mut bytes = bytes;
            if small && bytes.len() > 4 {
                bytes[1..4].fill(0);
            }
            if let Ok(block) = Leaves::decode(bytes) {
                for index in 0..block.len() {
                    prop_assert!(block.get(index).is_some());
                }
            }
        }
    }

    #[test]
    fn a_trail_as_expected_leaves_zeros() {
        let leaf = |sequence: u64, user_sequence: u64, previous: u64, at: u64| {
            let mut leaf = vec![0; 70];
            put(&mut leaf, 0, sequence);
            put(&mut leaf, 8, user_sequence);
            put(&mut leaf, 16, previous);
            put(&mut leaf, 24, at);
            put(&mut leaf, 40, upper_half(sequence, at.cast_signed()).swap_bytes());
            put(&mut leaf, 56, at);
            leaf
        };
        let at = 1_795_170_600_123_456;
        let block = block_of(&[leaf(5, 9, 3, at), leaf(8, 10, 5, at + 7), leaf(9, 11, 8, at + 7)]);
        let last = &block[4 + 12 + 140..];
        assert_eq!(last.len(), 70);
        assert_eq!(last.iter().filter(|byte| **byte != 0).count(), 1, "{last:?}");
    }

    #[test]
    fn a_table_that_is_wrong_is_refused() {
        let block = block_of(&[vec![1; 80], vec![2; 90]]);
        assert!(Leaves::decode(block.clone()).is_ok());
        for length in 0..block.len() {
            assert!(Leaves::decode(block[..length].to_vec()).is_err(), "cut to {length}");
        }
        for bit in 0..12 * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let harmless = Leaves::decode(damaged).is_ok_and(|block| block.len() != 2);
            assert!(!harmless, "bit {bit}");
        }
    }

    #[test]
    fn a_block_is_full_at_its_length() {
        let mut builder = BlockBuilder::new();
        assert!(builder.is_empty() && !builder.is_full());
        builder.push(&vec![1; BLOCK_BYTES - 1]);
        assert!(!builder.is_empty() && !builder.is_full());
        builder.push(&[1]);
        assert!(builder.is_full());
        builder.finish(&mut Vec::new());
        assert!(builder.is_empty() && !builder.is_full());
    }

    #[test]
    fn a_block_of_nothing_or_with_something_behind_is_refused() {
        assert!(Leaves::decode(vec![0; 4]).is_err());
        let mut block = block_of(&[vec![1; 80], vec![2; 90]]);
        block.push(0);
        assert!(Leaves::decode(block).is_err());
    }
}
