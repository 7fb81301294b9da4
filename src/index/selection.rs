//! What of a filter can be decided from packed tags and block summaries. Knows codes, not names.

use crate::format::posting::{ACTION_CODE_OTHER, NameMask, SERVICE_CODE_OTHER, TagMask, Tags, TimeRange};

/// A filter in the codes of one source of postings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selection {
    /// The levels, statuses and categories that are wanted.
    pub(crate) kinds: Kinds,
    /// The wanted actions' codes; `None` = any.
    pub(crate) actions: Option<Vec<u16>>,
    /// The wanted services' codes; `None` = any.
    pub(crate) services: Option<Vec<u16>>,
    /// `occurred_at` from here on, microseconds.
    pub(crate) since: i64,
    /// `occurred_at` before here; `None` = no bound.
    pub(crate) until: Option<i64>,
}

/// Levels, statuses and categories, prepared for many comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kinds {
    mask: TagMask,
    /// A bit for each combination, at the place that the lowest seven bits of the tags name.
    combinations: u128,
}

impl Kinds {
    /// All of them.
    pub(crate) const ALL: Self = Self { mask: TagMask(u16::MAX), combinations: u128::MAX };

    /// Those of a mask.
    pub(crate) fn of(mask: TagMask) -> Self {
        // The lowest two bits of the tags are the level, the next three the category, the next two the status. A code
        // that has no bit in a mask can't be wrong.
        let [low, high] = mask.0.to_le_bytes();
        let (levels, statuses, categories) = (u128::from(low & 0xf), low >> 4 | 0x8, high | 0x80);
        let combinations = spread(spread(levels, categories, 4, 8), statuses, 32, 4);
        Self { mask, combinations }
    }

    #[inline]
    pub(crate) fn contains(self, tags: Tags) -> bool {
        (self.combinations >> (tags.0 & 0x7f)) & 1 == 1
    }
}

/// `one` once for each of the codes that are wanted, so far apart that they don't meet.
fn spread(one: u128, wanted: u8, width: usize, codes: usize) -> u128 {
    (0..codes).filter(|code| wanted >> code & 1 == 1).fold(0, |all, code| all | one << (width * code))
}

/// What the index can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    No,
    Yes,
    Ask,
}

impl Selection {
    /// Lets everything through.
    #[cfg(test)]
    pub(crate) const ALL: Self =
        Self { kinds: Kinds::ALL, actions: None, services: None, since: i64::MIN, until: None };

    /// Whether a block with these tags may hold anything that is wanted.
    #[inline]
    pub(crate) fn may_match(&self, block: TagMask) -> bool {
        self.kinds.mask.meets(block)
    }

    /// What the names asked for leave in a [`NameMask`].
    pub(crate) fn names(&self) -> NameMask {
        let or = |codes: &Option<Vec<u16>>, bit: fn(u16) -> u32| {
            codes.as_ref().map_or(u32::MAX, |codes| codes.iter().fold(0, |all, code| all | bit(*code)))
        };
        let services = or(&self.services, |code| NameMask::service(code).into());
        NameMask {
            actions: or(&self.actions, NameMask::action),
            services: u16::try_from(services & u32::from(u16::MAX)).unwrap_or(u16::MAX),
        }
    }

    /// Whether levels, statuses and categories alone decide.
    #[inline]
    pub(crate) fn asks_no_names(&self) -> bool {
        self.actions.is_none() && self.services.is_none()
    }

    /// Whether every posting passes by its tags.
    #[inline]
    pub(crate) fn passes_all_tags(&self) -> bool {
        self.kinds.combinations == u128::MAX && self.asks_no_names()
    }

    /// Decides by the tags alone.
    #[inline]
    pub(crate) fn judge(&self, tags: Tags) -> Verdict {
        if !self.kinds.contains(tags) {
            return Verdict::No;
        }
        if self.asks_no_names() {
            return Verdict::Yes;
        }
        let by_code = |wanted: &Option<Vec<u16>>, code: u16, other: u16| match wanted {
            None => Verdict::Yes,
            Some(codes) if codes.contains(&code) => Verdict::Yes,
            Some(_) if code == other => Verdict::Ask,
            Some(_) => Verdict::No,
        };
        let action = by_code(&self.actions, tags.action(), ACTION_CODE_OTHER);
        let service = by_code(&self.services, tags.service(), SERVICE_CODE_OTHER);
        match (action, service) {
            (Verdict::No, _) | (_, Verdict::No) => Verdict::No,
            (Verdict::Yes, Verdict::Yes) => Verdict::Yes,
            _ => Verdict::Ask,
        }
    }

    /// Decides by a block's times alone.
    pub(crate) fn judge_times(&self, TimeRange { min, max }: TimeRange) -> Verdict {
        if self.since == i64::MIN && self.until.is_none() {
            return Verdict::Yes;
        }
        if max < self.since || self.until.is_some_and(|until| min >= until) {
            Verdict::No
        } else if min >= self.since && self.until.is_none_or(|until| max < until) {
            Verdict::Yes
        } else {
            Verdict::Ask
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_code_without_a_name_must_be_asked() {
        let wanted = Selection { actions: Some(vec![5]), services: Some(vec![7]), ..Selection::ALL };
        assert_eq!(wanted.judge(Tags::new(0, 0, 0, 5, 7)), Verdict::Yes);
        assert_eq!(wanted.judge(Tags::new(0, 0, 0, 5, SERVICE_CODE_OTHER)), Verdict::Ask);
        assert_eq!(wanted.judge(Tags::new(0, 0, 0, ACTION_CODE_OTHER, 7)), Verdict::Ask);
        assert_eq!(wanted.judge(Tags::new(0, 0, 0, ACTION_CODE_OTHER, 8)), Verdict::No);
    }

    #[test]
    fn two_names_with_one_bit_are_both_looked_for() {
        let (actions, services) = (vec![5, 5 + 32], vec![2, 2 + 16]);
        assert_eq!(NameMask::action(5), NameMask::action(5 + 32));
        assert_eq!(NameMask::service(2), NameMask::service(2 + 16));
        let wanted = Selection { actions: Some(actions), services: Some(services), ..Selection::ALL }.names();
        let block = NameMask { actions: NameMask::action(5), services: NameMask::service(2) };
        assert!(block.may_hold(wanted));
    }

    #[test]
    fn combinations_are_those_that_the_mask_lets_through() {
        for mask in 0..=u16::MAX {
            let kinds = Kinds::of(TagMask(mask));
            for tags in 0..128 {
                let own = Tags(tags).mask().0;
                assert_eq!(kinds.contains(Tags(tags)), mask & own == own, "{mask:x} {tags:x}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_block_is_only_skipped_if_no_posting_in_it_would_pass(
            mask in any::<u16>(), since in -5_i64..5, until in proptest::option::of(-5_i64..5),
            postings in proptest::collection::vec((0_u8..4, 0_u8..7, 0_u8..3, -5_i64..5), 1..6),
        ) {
            let selection = Selection { kinds: Kinds::of(TagMask(mask)), since, until, ..Selection::ALL };
            let tags = |(level, category, status, _): &(u8, u8, u8, i64)| Tags::new(*level, *category, *status, 0, 0);
            let block = TagMask(postings.iter().fold(0, |all, p| all | tags(p).mask().0));
            let times = postings.iter().fold(TimeRange::EMPTY, |all, p| all.with(p.3));
            for posting in &postings {
                let in_time = posting.3 >= since && until.is_none_or(|until| posting.3 < until);
                let passes = selection.judge(tags(posting)) == Verdict::Yes && in_time;
                if passes {
                    prop_assert!(selection.may_match(block));
                    prop_assert_ne!(selection.judge_times(times), Verdict::No);
                }
                if !in_time {
                    prop_assert_ne!(selection.judge_times(times), Verdict::Yes);
                }
            }
        }
    }
}
