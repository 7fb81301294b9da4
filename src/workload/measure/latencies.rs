//! How long each call took. Must not know what was called.

use std::time::Duration;

/// The times of many calls, from which percentiles are read.
///
/// ```
/// use std::time::Duration;
/// use usertrail::workload::measure::Latencies;
///
/// let mut calls = Latencies::with_capacity(100);
/// (1..=100).for_each(|micros| calls.push(Duration::from_micros(micros)));
/// assert_eq!((calls.micros(0.99), calls.micros(1.0)), (99.0, 100.0));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    nanos: Vec<u64>,
    sorted: bool,
}

impl Latencies {
    /// None yet, with room for this many: 8 bytes each, touched now so that no call pays for it.
    pub fn with_capacity(calls: usize) -> Self {
        let mut nanos = vec![1; calls];
        nanos.clear();
        Self { nanos, sorted: false }
    }

    /// Adds a call.
    #[inline]
    pub fn push(&mut self, took: Duration) {
        self.nanos.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.sorted = false;
    }

    /// Adds the calls of another.
    pub fn extend(&mut self, other: &Self) {
        self.nanos.extend(&other.nanos);
        self.sorted = false;
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.nanos.len()
    }

    /// The time that this share of the calls didn't exceed, in microseconds: 0.5 is the median, 1.0 the slowest. `NaN`
    /// without calls.
    #[expect(clippy::cast_precision_loss, reason = "times for people, and far below 2^53 nanoseconds")]
    pub fn micros(&mut self, share: f64) -> f64 {
        if !self.sorted {
            self.nanos.sort_unstable();
            self.sorted = true;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list in memory"
        )]
        let place = (self.nanos.len() as f64 * share).ceil() as usize;
        let nanos = self.nanos.get(place.saturating_sub(1));
        nanos.map_or(f64::NAN, |&nanos| nanos as f64 / 1e3)
    }

    /// As [`micros`](Self::micros), in milliseconds.
    pub fn millis(&mut self, share: f64) -> f64 {
        self.micros(share) / 1e3
    }
}
