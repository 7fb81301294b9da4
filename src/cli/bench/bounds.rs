//! What each figure is held against. Owns the promises as numbers; must not know how a figure comes about.

/// What a figure must reach, or stay within.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    /// A value that isn't a number meets nothing.
    pub(super) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// How far apart the best and the worst size may be.
const APART: Bound = Bound::AtMost(1.3);

/// The figures whose ratios between sizes are of interest, and how far apart they may be. A page of Zipf or uniform users
/// holds more events where there are more, so it isn't the same page.
pub(super) const COMPARED: [(&str, Option<Bound>); 5] = [
    ("append.one.rate", Some(APART)),
    ("page.hot.p50", Some(APART)),
    ("page.filtered.p50", Some(APART)),
    ("page.zipf.p50", None),
    ("page.uniform.p50", None),
];

/// The bound of a figure in a store of this many events, if it has one.
pub(super) fn bound(name: &str, events: u64) -> Option<Bound> {
    use Bound::{AtLeast, AtMost};

    /// The size that rates, and pages of what is scattered, are promised for. A larger store is held to ratios.
    const STANDARD: u64 = 10_000_000;
    let standard = events <= STANDARD;
    Some(match name {
        "append.one.rate" | "append.batch100.rate" if standard => AtLeast(1_000_000.0),
        "append.indexMemoryRatio" => AtMost(1.0),
        // A writer without a limit takes what the machine gives; what is promised together is promised of a load.
        "mixed.appends" | "mixed.paced.appends" => AtLeast(500_000.0),
        "mixed.paced.pages" => AtLeast(100_000.0),
        "bytes.ratio" | "durable.one.ratio" => AtMost(1.1),
        "durable.threads64.rate" => AtLeast(200_000.0),
        "page.hot.p50" => AtMost(3.0),
        "page.filtered.p50" => AtMost(8.0),
        "page.zipf.p50" if standard => AtMost(8.0),
        "page.uniform.p50" if standard => AtMost(5.0),
        "page.noEvents.p50" => AtMost(0.5),
        "cold.uniform.p50" | "packed.cold.uniform.p50" => AtMost(200.0),
        "cold.zipf.p50" | "packed.cold.zipf.p50" => AtMost(400.0),
        "packed.bytes.event" => AtMost(190.0),
        "open.killed.p50" if standard => AtMost(300.0),
        "open.killed.p50" => AtMost(2_000.0),
        "open.clean.p50" => AtMost(1_000.0),
        "memory.loading" | "memory.afterReading" | "memory.opened" => AtMost(256.0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_or_missed() {
        assert!(Bound::AtLeast(2.0).is_met(2.0) && !Bound::AtLeast(2.0).is_met(1.9));
        assert!(Bound::AtMost(2.0).is_met(2.0) && !Bound::AtMost(2.0).is_met(2.1));
        assert!(!Bound::AtLeast(2.0).is_met(f64::NAN) && !Bound::AtMost(2.0).is_met(f64::NAN));
    }

    #[test]
    fn a_large_store_is_held_to_ratios_where_size_changes_the_work() {
        assert!(COMPARED.iter().all(|(name, _)| bound(name, 1).is_some()));
        assert_eq!(bound("append.one.rate", 50_000_000), None);
        assert_eq!(bound("page.hot.p50", 50_000_000), Some(Bound::AtMost(3.0)));
        assert_eq!(bound("open.killed.p50", 10_000_000), Some(Bound::AtMost(300.0)));
        assert_eq!(bound("open.killed.p50", 50_000_000), Some(Bound::AtMost(2_000.0)));
        assert_eq!(bound("page.clock.p50", 1), None);
        assert_eq!(bound("mixed.pages", 1), None, "beside a writer that isn't asked to leave anything");
    }
}
