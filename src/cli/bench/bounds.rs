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
pub(super) const APART_MAX: f64 = 1.3;

/// The figures whose ratios between sizes are of interest, all of them bounded by [`APART_MAX`].
pub(super) const COMPARED: [&str; 5] =
    ["append.one.rate", "page.hot.p50", "page.zipf.p50", "page.uniform.p50", "page.filtered.p50"];

/// The bound of a figure in a store of this many events, if it has one.
pub(super) fn bound(name: &str, events: u64) -> Option<Bound> {
    use Bound::{AtLeast, AtMost};

    /// Up to this many events opening has a bound of its own.
    const SMALL: u64 = 10_000_000;
    Some(match name {
        "append.one.rate" | "append.batch100.rate" => AtLeast(1_000_000.0),
        "append.indexMemoryRatio" => AtMost(1.0),
        "mixed.appends" => AtLeast(500_000.0),
        "mixed.pages" => AtLeast(100_000.0),
        "bytes.ratio" | "durable.one.ratio" => AtMost(1.1),
        "durable.threads64.rate" => AtLeast(200_000.0),
        "page.hot.p50" => AtMost(3.0),
        "page.zipf.p50" | "page.filtered.p50" => AtMost(8.0),
        "page.uniform.p50" => AtMost(5.0),
        "page.noEvents.p50" => AtMost(0.5),
        "cold.uniform.p50" | "packed.cold.uniform.p50" => AtMost(200.0),
        "cold.zipf.p50" | "packed.cold.zipf.p50" => AtMost(400.0),
        "packed.bytes.event" => AtMost(190.0),
        "open.killed.p50" if events <= SMALL => AtMost(300.0),
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
    fn what_is_compared_has_a_bound_of_its_own() {
        assert!(COMPARED.iter().all(|name| bound(name, 1).is_some()));
        assert_eq!(bound("open.killed.p50", 10_000_000), Some(Bound::AtMost(300.0)));
        assert_eq!(bound("open.killed.p50", 50_000_000), Some(Bound::AtMost(2_000.0)));
        assert_eq!(bound("page.clock.p50", 1), None);
    }
}
