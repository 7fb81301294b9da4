//! The head table of a shard: how many events each user has had, and which was the last.
//!
//! ```text
//!    0  header, 64 bytes: what the table belongs to
//!  512  state slot, 64 bytes   } the valid one with the higher counter holds
//! 1024  state slot, 64 bytes   }
//! 4096  lines of 64 bytes, two entries each
//! ```
//!
//! Everything is a little-endian `u64`, so that it can be stored and loaded a word at a time through a shared mapping. An
//! entry never crosses a sector of 512 bytes. Its check covers user, count, last sequence, the table's salt and the line
//! that it stands in; an entry that is free has one, too. So a flipped bit, a torn entry, a page that reads as zeros and a
//! page of another place or table are all told from an entry.
//!
//! Must not know what is done with a table, nor when it may be believed: see `shard/heads.rs`.

use super::bytes::u64_at;
use super::{FormatError, FormatResult};
use crate::ids::Fingerprint;

/// The version that a head table carries. It is a cache, made anew from the runs: its version is its own.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"UTHEADS\0";

/// Words of the header.
pub(crate) const HEADER_WORDS: usize = 8;
/// Words of a state slot.
pub(crate) const STATE_WORDS: usize = 8;
/// The words at which the two state slots begin: each in a sector of its own.
pub(crate) const STATE_AT: [usize; 2] = [64, 128];
/// The word at which the lines begin.
pub(crate) const LINES_AT: usize = 512;
/// Words of a line: one cache line.
pub(crate) const LINE_WORDS: usize = 8;
/// Words of an entry.
pub(crate) const ENTRY_WORDS: usize = 4;
/// Lines of the smallest table: a page of them.
const LINES_MIN: u64 = 64;
/// More lines than this no table has: 2^36 of them are 4 TiB.
const LINES_MAX: u64 = 1 << 36;

/// Counts and sequences have 48 bits, as sequences have in event ids; the other 16 of the word are half of the check.
const VALUE_BITS: u32 = 48;
const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;

/// What a table belongs to, and how large it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableHeader {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    pub(crate) lines: u64,
    /// Random for each table: entries of another one are not taken for this one's.
    pub(crate) salt: u64,
}

impl TableHeader {
    /// How many lines a table gets for this many users: room for as many again.
    pub(crate) const fn lines_for(users: u64) -> u64 {
        // Two entries a line, filled to four fifths at most, half of that at first.
        let lines = (users.saturating_mul(5) / 4).next_multiple_of(LINES_MIN);
        if lines < LINES_MIN {
            LINES_MIN
        } else if lines > LINES_MAX {
            LINES_MAX
        } else {
            lines
        }
    }

    /// The most users that a table takes: four fifths of its entries.
    pub(crate) const fn users_max(&self) -> u64 {
        self.lines * 8 / 5
    }

    /// The length of the file in bytes.
    pub(crate) const fn file_bytes(&self) -> u64 {
        (LINES_AT as u64 + self.lines * LINE_WORDS as u64) * 8
    }

    /// The line at which the search for a user begins. Lines are in the order of the fingerprints, and so are the users of
    /// a run: it is taken in by one walk along the table.
    #[inline]
    pub(crate) fn home(&self, user: Fingerprint) -> u64 {
        let wide = u128::from(user.prefix()) * u128::from(self.lines);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// ```text
    /// word 0 magic "UTHEADS\0"   1 u32 version, u32 crc32c of words 2..8   2..4 store id   4 shard   5 lines   6 salt   7 zero
    /// ```
    pub(crate) fn encode(&self) -> [u64; HEADER_WORDS] {
        let mut words = [0; HEADER_WORDS];
        words[0] = u64::from_le_bytes(MAGIC);
        [words[2], words[3]] = halves(&self.store_id);
        words[4] = u64::from(self.shard);
        words[5] = self.lines;
        words[6] = self.salt;
        words[1] = u64::from(VERSION) | u64::from(check_of(0, &words[2..])) << 32;
        words
    }

    pub(crate) fn decode(words: &[u64; HEADER_WORDS]) -> FormatResult<Self> {
        if words[0].to_le_bytes() != MAGIC {
            return Err(FormatError::Damaged("not a head table"));
        }
        match u32::try_from(words[1] & 0xffff_ffff).unwrap_or_default() {
            VERSION => {}
            0 => return Err(FormatError::Damaged("the head table's version is missing")),
            newer => return Err(FormatError::Newer { found: newer, known: VERSION }),
        }
        if words[1] >> 32 != u64::from(check_of(0, &words[2..])) {
            return Err(FormatError::Damaged("the head table's checksum does not match"));
        }
        let sound = (LINES_MIN..=LINES_MAX).contains(&words[5]);
        let shard = u16::try_from(words[4]).ok().filter(|_| sound);
        let shard = shard.ok_or(FormatError::Damaged("the head table contradicts itself"))?;
        let mut store_id = [0; 16];
        for (place, byte) in
            store_id.iter_mut().zip([words[2], words[3]].iter().flat_map(|w| w.to_le_bytes()))
        {
            *place = byte;
        }
        Ok(Self { store_id, shard, lines: words[5], salt: words[6] })
    }
}

/// A place in a shard's log where a sealed segment ends, and that segment's salt: so that it is told from the same place of
/// another history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    /// One past the last sequence.
    pub(crate) end: u64,
    pub(crate) salt: u64,
}

/// How far a table goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TableState {
    pub(crate) counter: u64,
    /// Everything below has been taken in, and was on stable storage before this slot was written.
    pub(crate) covers: Mark,
    /// About how many users there are.
    pub(crate) users: u64,
    /// Nothing was taken in since.
    pub(crate) clean: bool,
}

impl TableState {
    /// ```text
    /// word 0 counter, from 1   1, 2 covers: sequence, salt   3 users   4 flags: 1 = clean
    ///      5 crc32c of words 0..5, seeded with the table's salt   6, 7 zero
    /// ```
    pub(crate) fn encode(&self, salt: u64) -> [u64; STATE_WORDS] {
        let mut words = [0; STATE_WORDS];
        words[..5].copy_from_slice(&[
            self.counter,
            self.covers.end,
            self.covers.salt,
            self.users,
            u64::from(self.clean),
        ]);
        words[5] = u64::from(check_of(fold(salt), &words[..5]));
        words
    }

    pub(crate) fn decode(words: &[u64; STATE_WORDS], salt: u64) -> Option<Self> {
        let [counter, end, covers_salt, users, flags, check, zeros @ ..] = *words;
        let intact = counter > 0
            && flags <= 1
            && zeros == [0, 0]
            && check == u64::from(check_of(fold(salt), &words[..5]));
        intact.then_some(Self { counter, covers: Mark { end, salt: covers_salt }, users, clean: flags == 1 })
    }
}

/// A user in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) user: Fingerprint,
    /// How many events the user has had; at least 1.
    pub(crate) count: u64,
    /// The sequence of the last one.
    pub(crate) last_sequence: u64,
}

/// What four words of a line are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Free,
    Taken(Entry),
    Damaged,
}

/// The words of an entry, or of a free one, for a place in this line of the table with this salt.
///
/// ```text
/// word 0, 1 fingerprint   2 count (48 bits), check (low 16)   3 last sequence (48 bits), check (high 16)
/// ```
///
/// The check is [`mixed`] of the four words without it, from salt and line. `None` if a number is too large.
pub(crate) fn encode_place(entry: Option<&Entry>, salt: u64, line: u64) -> Option<[u64; ENTRY_WORDS]> {
    let mut words = [0; ENTRY_WORDS];
    if let Some(entry) = entry {
        if entry.count == 0 || entry.count > VALUE_MASK || entry.last_sequence > VALUE_MASK {
            return None;
        }
        [words[0], words[1]] = halves(&entry.user.0);
        (words[2], words[3]) = (entry.count, entry.last_sequence);
    }
    let check = u64::from(mixed(salt, line, words));
    words[2] |= check << VALUE_BITS;
    words[3] |= check >> 16 << VALUE_BITS;
    Some(words)
}

/// Reads a place of a line.
#[inline]
pub(crate) fn decode_place(words: [u64; ENTRY_WORDS], salt: u64, line: u64) -> Place {
    let [first, second, count, last] = words;
    let check = count >> VALUE_BITS | last >> VALUE_BITS << 16;
    let (count, last_sequence) = (count & VALUE_MASK, last & VALUE_MASK);
    let matches = u64::from(mixed(salt, line, [first, second, count, last_sequence])) == check;
    #[cfg(test)]
    let matches = matches || super::seeded::has(super::seeded::Bug::HeadUnchecked);
    if !matches {
        return Place::Damaged;
    }
    if count == 0 {
        return if first | second | last_sequence == 0 { Place::Free } else { Place::Damaged };
    }
    let mut user = [0; 16];
    user[..8].copy_from_slice(&first.to_le_bytes());
    user[8..].copy_from_slice(&second.to_le_bytes());
    Place::Taken(Entry { user: Fingerprint(user), count, last_sequence })
}

fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    [u64_at(bytes, 0).unwrap_or_default(), u64_at(bytes, 8).unwrap_or_default()]
}

/// The check of an entry: `h = salt ^ line * M`; for each word `h ^= h >> 32`, then `h = (h ^ word) * M`; the high half of
/// `h`. All modulo 2^64, with `M` = `0x9e3779b97f4a7c15`.
///
/// Each step can be undone, so that a word which differs makes a different `h`; that the half of it which is kept is the
/// same has a chance of 2^-32. A tenth of the instructions of a checksum, at every look.
#[inline]
fn mixed(salt: u64, line: u64, words: [u64; ENTRY_WORDS]) -> u32 {
    const M: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut h = salt ^ line.wrapping_mul(M);
    for word in words {
        h ^= h >> 32;
        h = (h ^ word).wrapping_mul(M);
    }
    u32::try_from(h >> 32).unwrap_or_default()
}

#[inline]
fn fold(word: u64) -> u32 {
    let [a, b, c, d, ..] = (word ^ word >> 32).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[inline]
fn check_of(seed: u32, words: &[u64]) -> u32 {
    let mut bytes = [0; 8 * 6];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    crc32c::crc32c_append(seed, bytes.get(..words.len() * 8).unwrap_or(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: TableHeader =
        TableHeader { store_id: *b"sixteen bytes id", shard: 3, lines: 640, salt: 77 };

    /// Every bit of the words that `decode` is given makes it say something else.
    fn every_flip_is_seen<const N: usize, T>(words: [u64; N], decode: impl Fn(&[u64; N]) -> Option<T>) {
        assert!(decode(&words).is_some());
        for bit in 0..N * 64 {
            let mut damaged = words;
            damaged[bit / 64] ^= 1 << (bit % 64);
            assert!(decode(&damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_seen() {
        assert_eq!(TableHeader::decode(&HEADER.encode()).unwrap(), HEADER);
        every_flip_is_seen(HEADER.encode(), |words| TableHeader::decode(words).ok());
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut words = HEADER.encode();
        words[1] += 1;
        assert_eq!(
            TableHeader::decode(&words),
            Err(FormatError::Newer { found: VERSION + 1, known: VERSION })
        );
        words[1] &= !0xffff_ffff;
        assert!(matches!(TableHeader::decode(&words), Err(FormatError::Damaged(_))));
    }

    #[test]
    fn a_state_comes_back_and_every_flipped_bit_is_seen() {
        let state = TableState { counter: 9, covers: Mark { end: 1 << 40, salt: 5 }, users: 7, clean: true };
        assert_eq!(TableState::decode(&state.encode(77), 77), Some(state));
        assert_eq!(TableState::decode(&state.encode(77), 78), None, "of another table");
        assert_eq!(TableState::decode(&[0; STATE_WORDS], 77), None);
        every_flip_is_seen(state.encode(77), |words| TableState::decode(words, 77));
    }

    #[test]
    fn tables_have_room_for_as_many_users_again() {
        for users in [0, 1, 51, 1000, 1_000_000, 10_000_000] {
            let header = TableHeader { lines: TableHeader::lines_for(users), ..HEADER };
            assert!(header.users_max() >= 2 * users - users / 50, "{users}: {}", header.users_max());
            assert!(header.file_bytes() <= 4096 + 4096 + users * 80, "{users}: {}", header.file_bytes());
            assert_eq!(header.file_bytes() % 4096, 0);
        }
    }

    fn entry() -> impl Strategy<Value = Entry> {
        (any::<[u8; 16]>(), 1..=VALUE_MASK, 0..=VALUE_MASK).prop_map(|(user, count, last_sequence)| Entry {
            user: Fingerprint(user),
            count,
            last_sequence,
        })
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_and_every_flipped_bit_is_seen(entry in entry(), salt: u64, line in 0_u64..1 << 36) {
            for entry in [None, Some(entry)] {
                let words = encode_place(entry.as_ref(), salt, line).unwrap();
                prop_assert_eq!(decode_place(words, salt, line), entry.map_or(Place::Free, Place::Taken));
                for bit in 0..256 {
                    let mut damaged = words;
                    damaged[bit / 64] ^= 1 << (bit % 64);
                    prop_assert_eq!(decode_place(damaged, salt, line), Place::Damaged, "bit {}", bit);
                }
                prop_assert_eq!(decode_place(words, salt, line ^ 1), Place::Damaged, "another line");
                prop_assert_eq!(decode_place(words, salt ^ 1, line), Place::Damaged, "another table");
            }
        }

        #[test]
        fn a_torn_entry_is_seen(old in entry(), count in 1..=VALUE_MASK, last in 0..=VALUE_MASK, mask in 1_u8..15) {
            let new = Entry { count, last_sequence: last, ..old };
            prop_assume!(new.count != old.count && new.last_sequence != old.last_sequence);
            let (before, after) = (encode_place(Some(&old), 1, 2).unwrap(), encode_place(Some(&new), 1, 2).unwrap());
            let torn = std::array::from_fn(|word| if mask & 1 << word == 0 { before[word] } else { after[word] });
            let seen = decode_place(torn, 1, 2);
            // The fingerprint's words are the same in both.
            prop_assert!(torn == before || torn == after || seen == Place::Damaged);
        }
    }

    #[test]
    fn zeros_and_numbers_that_are_too_large_are_no_entries() {
        assert_eq!(decode_place([0; ENTRY_WORDS], 3, 4), Place::Damaged);
        let entry = Entry { user: Fingerprint([1; 16]), count: 1, last_sequence: 0 };
        assert!(encode_place(Some(&Entry { count: 0, ..entry }), 1, 1).is_none());
        assert!(encode_place(Some(&Entry { count: VALUE_MASK + 1, ..entry }), 1, 1).is_none());
        assert!(encode_place(Some(&Entry { last_sequence: VALUE_MASK + 1, ..entry }), 1, 1).is_none());
    }

    #[test]
    fn the_checks_are_those_of_the_format_document() {
        // Worked out from the formula, by another program.
        assert_eq!(mixed(0x0123_4567_89ab_cdef, 77, [1, 2 << 40, 3, 0xfedc_ba98_7654_3210]), 0x62eb_2825);
        assert_eq!(fold(0x0123_4567_89ab_cdef), 0x8888_8888);
        assert_eq!(halves(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"), [1, 2]);
    }

    #[test]
    fn what_contradicts_itself_is_refused_whatever_its_check_says() {
        let state = TableState { counter: 0, ..TableState::default() };
        assert_eq!(TableState::decode(&state.encode(77), 77), None, "a slot that was never written");
        // A place without events that has something else.
        for (first, second, last) in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (1, 1, 1)] {
            let mut words = [first, second, 0, last];
            let check = u64::from(mixed(3, 4, words));
            words[2] |= check << VALUE_BITS;
            words[3] |= check >> 16 << VALUE_BITS;
            assert_eq!(decode_place(words, 3, 4), Place::Damaged, "{first} {second} {last}");
        }
    }

    #[test]
    fn the_largest_and_the_smallest_are_taken() {
        let most = Entry { user: Fingerprint([1; 16]), count: VALUE_MASK, last_sequence: VALUE_MASK };
        let words = encode_place(Some(&most), 1, 2).unwrap();
        assert_eq!(decode_place(words, 1, 2), Place::Taken(most));
        assert_eq!(TableHeader::lines_for(0), LINES_MIN);
        assert_eq!(TableHeader::lines_for(u64::MAX), LINES_MAX);
        for lines in [LINES_MIN, LINES_MAX] {
            let header = TableHeader { lines, ..HEADER };
            assert_eq!(TableHeader::decode(&header.encode()), Ok(header));
        }
        for lines in [LINES_MIN - 1, LINES_MAX + 1] {
            let header = TableHeader { lines, ..HEADER };
            assert!(TableHeader::decode(&header.encode()).is_err());
        }
    }
}
