//! What a power cut does to what was not synced: the dice, and the rules by which a page, a length, or a name is left.

use super::pages::Dirty;

/// A small generator of numbers (`SplitMix64`): the same seed, the same damage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// How a power cut treats what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// Nothing of it is on the disk.
    Nothing,
    /// All of it is.
    Everything,
    /// Each page for itself is as it was, as it is, as it was at some moment between, or torn; each name for itself is there
    /// or not.
    Random,
    /// One of [`Damage::VARIANTS`] ways, by its number; the first are fixed, the others random in different proportions.
    Variant(usize),
}

/// What happens to the pages.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageRule {
    AllOld,
    AllNew,
    /// In percent: as it was, as it is, as at some moment between. The rest is torn.
    Each(usize, usize, usize),
    /// Every page as it was at this moment, in thousandths of the time since the oldest change.
    AsOf(usize),
    /// Only the pages that were changed last, this many percent of them.
    Newest(usize),
    /// Only those whose last change is the oldest.
    Oldest(usize),
    /// One page alone is there.
    Only,
    /// One page alone is not there.
    AllBut,
}

/// What happens to the names.
#[derive(Clone, Copy, Debug)]
pub(super) enum NameRule {
    AllOld,
    AllNew,
    /// In order, as a journal does it, up to some place.
    Journal,
    /// Each for itself, with this many percent.
    Each(usize),
    /// All but one, or one alone.
    AllBut,
    Only,
}

impl Damage {
    /// How many ways there are.
    pub(crate) const VARIANTS: usize = 64;

    pub(super) fn rules(self, dice: &mut Dice) -> (PageRule, NameRule) {
        use NameRule as Names;
        use PageRule as Pages;
        let variant = match self {
            Self::Nothing => return (Pages::AllOld, Names::AllOld),
            Self::Everything => return (Pages::AllNew, Names::AllNew),
            Self::Random => {
                let names = if dice.chance(50) { Names::Journal } else { Names::Each(50) };
                return (Pages::Each(25, 25, 25), names);
            }
            Self::Variant(variant) => variant,
        };
        match variant {
            0 => (Pages::AllOld, Names::AllOld),
            1 => (Pages::AllNew, Names::AllNew),
            // Names alone, data alone.
            2 => (Pages::AllOld, Names::AllNew),
            3 => (Pages::AllNew, Names::AllOld),
            4 => (Pages::Newest(50), Names::AllNew),
            5 => (Pages::Oldest(50), Names::AllNew),
            6 => (Pages::Newest(1), Names::AllOld),
            7 => (Pages::Oldest(1), Names::AllOld),
            8 => (Pages::Each(0, 0, 0), Names::AllNew),
            9 => (Pages::Each(0, 0, 0), Names::AllOld),
            10 => (Pages::AsOf(500), Names::Journal),
            11..16 => (Pages::AsOf(dice.below(1001)), Names::Journal),
            16..20 => (Pages::Only, Names::Each(50)),
            20..24 => (Pages::AllBut, Names::Each(50)),
            24..28 => (Pages::AllNew, Names::AllBut),
            28..32 => (Pages::AllOld, Names::Only),
            32..36 => (Pages::Newest(dice.below(101)), Names::Journal),
            36..40 => (Pages::Oldest(dice.below(101)), Names::Journal),
            40..46 => (Pages::Each(90, 5, 3), Names::Each(10)),
            46..52 => (Pages::Each(5, 90, 3), Names::Each(90)),
            52..56 => (Pages::Each(10, 10, 70), Names::Journal),
            _ => (Pages::Each(25, 25, 25), Names::Each(50)),
        }
    }
}

/// How one page is left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Old,
    New,
    /// As it was before the change of this number, and perhaps some of that change.
    Moment(usize),
    /// Sectors of several moments.
    Torn,
}

/// What the rules need to know of all pages that are not synced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// When the first and the last change was made.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The place of the page that is alone.
    pub(super) alone: usize,
    /// The time at which so many pages were changed for the last time as a rule wants.
    pub(super) edge: u64,
}

impl PageRule {
    pub(super) fn fate(self, dirty: &Dirty, place: usize, span: &Span, dice: &mut Dice) -> Fate {
        let only = |chosen| if chosen { Fate::New } else { Fate::Old };
        match self {
            Self::AllOld => Fate::Old,
            Self::AllNew => Fate::New,
            Self::Each(old, new, moment) => match dice.below(100) {
                at if at < old => Fate::Old,
                at if at < old + new => Fate::New,
                at if at < old + new + moment => Fate::Moment(dice.below(dirty.changes.len() + 1)),
                _ => Fate::Torn,
            },
            Self::AsOf(thousandths) => {
                let time = span.first + (span.last - span.first) * thousandths as u64 / 1000;
                Fate::Moment(dirty.changes.iter().take_while(|change| change.time <= time).count())
            }
            Self::Newest(_) => only(dirty.changes.last().is_some_and(|change| change.time >= span.edge)),
            Self::Oldest(_) => only(dirty.changes.last().is_some_and(|change| change.time <= span.edge)),
            Self::Only => only(place == span.alone),
            Self::AllBut => only(place != span.alone),
        }
    }
}

impl NameRule {
    /// Which of `count` changes of names happened.
    pub(super) fn happened(self, count: usize, dice: &mut Dice) -> Vec<bool> {
        let chosen = dice.below(count);
        let journaled = dice.below(count + 1);
        let each = |place: usize, dice: &mut Dice| match self {
            Self::AllOld => false,
            Self::AllNew => true,
            Self::Journal => place < journaled,
            Self::Each(percent) => dice.chance(percent),
            Self::AllBut => place != chosen,
            Self::Only => place == chosen,
        };
        (0..count).map(|place| each(place, dice)).collect()
    }
}
