//! Postings: packed tags, and the blocks that a run keeps them in.
//!
//! Tags, 32 bits from the lowest: level 2, category 3, status 2, action code 13, service code 12.
//!
//! A block holds up to 128 postings of one user, oldest first:
//!
//! ```text
//! varint  zigzag of (earliest occurred_at - the run's time base), microseconds
//! varint  latest - earliest occurred_at
//! u32     tags, one for each posting
//! varint  ordinal of the first posting, then the distance from each to the next (at least 1)
//! ```
//!
//! An ordinal is a record's place in the run: its shard sequence less the run's base.

use super::bytes::{put_varint, take_varint};
use super::{FormatError, FormatResult};

/// The most postings in a block.
pub(crate) const BLOCK_POSTINGS_MAX: usize = 128;

/// What the index knows of an event without its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) struct Tags(pub(crate) u32);

/// The first action code that a segment's dictionary gives out; below it the catalogue's.
pub(crate) const ACTION_CODE_OWN_FIRST: u16 = 512;
/// The code of an action that found no place in its segment's dictionary: the record must be asked.
pub(crate) const ACTION_CODE_OTHER: u16 = (1 << 13) - 1;
/// The code of an event without a service.
pub(crate) const SERVICE_CODE_NONE: u16 = 0;
/// The code of a service that found no place in its segment's dictionary: the record must be asked.
pub(crate) const SERVICE_CODE_OTHER: u16 = (1 << 12) - 1;

impl Tags {
    /// Packs the codes; bits beyond a field's width are dropped.
    pub(crate) const fn new(level: u8, category: u8, status: u8, action: u16, service: u16) -> Self {
        Self(
            (level & 3) as u32
                | ((category & 7) as u32) << 2
                | ((status & 3) as u32) << 5
                | ((action & ACTION_CODE_OTHER) as u32) << 7
                | ((service & SERVICE_CODE_OTHER) as u32) << 20,
        )
    }

    pub(crate) const fn level(self) -> u8 {
        self.0.to_le_bytes()[0] & 3
    }

    pub(crate) const fn category(self) -> u8 {
        (self.0 >> 2).to_le_bytes()[0] & 7
    }

    pub(crate) const fn status(self) -> u8 {
        (self.0 >> 5).to_le_bytes()[0] & 3
    }

    pub(crate) const fn action(self) -> u16 {
        let [low, high, ..] = (self.0 >> 7).to_le_bytes();
        u16::from_le_bytes([low, high]) & ACTION_CODE_OTHER
    }

    pub(crate) const fn service(self) -> u16 {
        let [low, high, ..] = (self.0 >> 20).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// One bit for each level, category and status, to be or-ed over a block.
    pub(crate) const fn mask(self) -> TagMask {
        TagMask(
            TagMask::level(self.level()).0
                | TagMask::status(self.status()).0
                | TagMask::category(self.category()).0,
        )
    }
}

/// Which levels (bits 0..4), statuses (4..7) and categories (8..15) occur in a block, or are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TagMask(pub(crate) u16);

impl TagMask {
    /// Every level.
    pub(crate) const LEVELS: Self = Self(0x000f);
    /// Every status.
    pub(crate) const STATUSES: Self = Self(0x0070);
    /// Every category.
    pub(crate) const CATEGORIES: Self = Self(0x7f00);

    pub(crate) const fn level(code: u8) -> Self {
        Self(1 << (code & 3))
    }

    pub(crate) const fn status(code: u8) -> Self {
        Self(1 << (4 + (code & 3)) & Self::STATUSES.0)
    }

    pub(crate) const fn category(code: u8) -> Self {
        Self(1 << (8 + (code & 7)) & Self::CATEGORIES.0)
    }

    /// Whether the two have a level, a status and a category in common.
    pub(crate) const fn meets(self, other: Self) -> bool {
        let both = self.0 & other.0;
        both & Self::LEVELS.0 != 0 && both & Self::STATUSES.0 != 0 && both & Self::CATEGORIES.0 != 0
    }
}

/// Which actions and services occur in a block, or are asked for, as far as a few bits tell: one for all codes that leave the
/// same rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NameMask {
    pub(crate) actions: u32,
    pub(crate) services: u16,
}

impl NameMask {
    /// Nothing.
    pub(crate) const NONE: Self = Self { actions: 0, services: 0 };
    /// Anything.
    pub(crate) const ALL: Self = Self { actions: u32::MAX, services: u16::MAX };

    /// An action's bit; all of them for one without a code.
    pub(crate) const fn action(code: u16) -> u32 {
        if code == ACTION_CODE_OTHER { u32::MAX } else { 1 << (code % 32) }
    }

    /// A service's bit; all of them for one without a code.
    pub(crate) const fn service(code: u16) -> u16 {
        if code == SERVICE_CODE_OTHER { u16::MAX } else { 1 << (code % 16) }
    }

    /// Those of both, and of a posting with these tags.
    #[must_use]
    pub(crate) const fn with(self, tags: Tags) -> Self {
        Self {
            actions: self.actions | Self::action(tags.action()),
            services: self.services | Self::service(tags.service()),
        }
    }

    /// Whether a block with these may hold anything that is wanted: no is certain. With every bit set it must be looked into,
    /// also for a name that has no code.
    pub(crate) const fn may_hold(self, wanted: Self) -> bool {
        (self.actions == u32::MAX || self.actions & wanted.actions != 0)
            && (self.services == u16::MAX || self.services & wanted.services != 0)
    }
}

/// A posting: the record's ordinal, and its tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Posting {
    pub(crate) ordinal: u32,
    pub(crate) tags: Tags,
}

/// Appends a block. `postings` are at most [`BLOCK_POSTINGS_MAX`], not none, in rising order of ordinals.
pub(crate) fn encode_block(out: &mut Vec<u8>, postings: &[Posting], times: TimeRange, time_base: i64) {
    put_varint(out, zigzag(times.min.wrapping_sub(time_base)));
    put_varint(out, times.max.wrapping_sub(times.min).cast_unsigned());
    for posting in postings {
        out.extend_from_slice(&posting.tags.0.to_le_bytes());
    }
    let mut previous = 0;
    for posting in postings {
        put_varint(out, u64::from(posting.ordinal.wrapping_sub(previous)));
        previous = posting.ordinal;
    }
}

/// The earliest and the latest `occurred_at` of some events, microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimeRange {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl TimeRange {
    /// The range of no events, which widens to anything.
    pub(crate) const EMPTY: Self = Self { min: i64::MAX, max: i64::MIN };

    /// The range of one event.
    pub(crate) const fn at(at: i64) -> Self {
        Self { min: at, max: at }
    }

    /// The range with one more event.
    #[must_use]
    pub(crate) const fn with(self, at: i64) -> Self {
        self.union(Self::at(at))
    }

    /// The range of both.
    #[must_use]
    pub(crate) const fn union(self, other: Self) -> Self {
        Self {
            min: if other.min < self.min { other.min } else { self.min },
            max: if other.max > self.max { other.max } else { self.max },
        }
    }
}

/// A block, taken apart on the stack.
#[derive(Debug)]
pub(crate) struct DecodedBlock {
    postings: [Posting; BLOCK_POSTINGS_MAX],
    count: usize,
    pub(crate) times: TimeRange,
}

impl DecodedBlock {
    /// Reads a block of `count` postings whose ordinals are below `ordinals_end`.
    pub(crate) fn decode(
        mut bytes: &[u8],
        count: usize,
        time_base: i64,
        ordinals_end: u64,
    ) -> FormatResult<Self> {
        let damaged = FormatError::Damaged("a block of postings is damaged");
        if !(1..=BLOCK_POSTINGS_MAX).contains(&count) {
            return Err(damaged);
        }
        let min = time_base.wrapping_add(unzigzag(take_varint(&mut bytes).ok_or(damaged)?));
        let max = min.wrapping_add_unsigned(take_varint(&mut bytes).ok_or(damaged)?);
        let (tags, mut ordinals) = bytes.split_at_checked(count * 4).ok_or(damaged)?;
        let mut block = Self {
            postings: [Posting { ordinal: 0, tags: Tags(0) }; BLOCK_POSTINGS_MAX],
            count,
            times: TimeRange { min, max },
        };
        let mut ordinal = 0_u64;
        let (tags, _) = tags.as_chunks();
        let mut delta_min = 0;
        for (posting, tags) in block.postings.iter_mut().zip(tags) {
            let delta = take_varint(&mut ordinals).ok_or(damaged)?;
            ordinal = ordinal.checked_add(delta).ok_or(damaged)?;
            if delta < delta_min || ordinal >= ordinals_end {
                return Err(damaged);
            }
            delta_min = 1;
            posting.ordinal = u32::try_from(ordinal).map_err(|_| damaged)?;
            posting.tags = Tags(u32::from_le_bytes(*tags));
        }
        Ok(block)
    }

    /// The postings, oldest first.
    pub(crate) fn postings(&self) -> &[Posting] {
        self.postings.get(..self.count).unwrap_or_default()
    }
}

const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tags_come_back(level in 0_u8..4, category in 0_u8..8, status in 0_u8..4, action in 0_u16..8192, service in 0_u16..4096) {
            let tags = Tags::new(level, category, status, action, service);
            prop_assert_eq!(
                (tags.level(), tags.category(), tags.status(), tags.action(), tags.service()),
                (level, category, status, action, service)
            );
        }

        #[test]
        fn blocks_come_back(
            steps in proptest::collection::vec((1_u32..5000, any::<u32>()), 1..=BLOCK_POSTINGS_MAX),
            min in any::<i64>(), span in 0_i64..1 << 40, base in any::<i64>(),
        ) {
            let mut ordinal = 0;
            let postings: Vec<Posting> = steps
                .iter()
                .map(|(step, tags)| { ordinal += step; Posting { ordinal, tags: Tags(*tags) } })
                .collect();
            let times = TimeRange { min, max: min.saturating_add(span) };
            let mut bytes = Vec::new();
            encode_block(&mut bytes, &postings, times, base);
            let block = DecodedBlock::decode(&bytes, postings.len(), base, u64::from(ordinal) + 1).unwrap();
            prop_assert_eq!(block.postings(), &postings);
            prop_assert_eq!(block.times, times);
            prop_assert!(DecodedBlock::decode(&bytes, postings.len(), base, u64::from(ordinal)).is_err());
            prop_assert!(DecodedBlock::decode(&bytes[..bytes.len() - 1], postings.len(), base, u64::MAX).is_err());
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), count in 0_usize..200) {
            let _ = DecodedBlock::decode(&bytes, count, i64::MIN, 1 << 20);
        }
    }

    #[test]
    fn masks_tell_every_code_apart() {
        let mut seen = std::collections::HashSet::new();
        for (level, category, status) in
            (0..4).flat_map(|l| (0..7).flat_map(move |c| (0..3).map(move |s| (l, c, s))))
        {
            assert!(seen.insert(Tags::new(level, category, status, 1, 1).mask().0));
        }
    }
}
