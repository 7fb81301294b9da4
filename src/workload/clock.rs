//! When events occur: a clock that goes faster by night, when fewer events happen.
//!
//! Owns the time of the workload. Must not know the wall clock, nor what occurs.

use crate::event::Timestamp;

use super::rng::halves;

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: u64 = 86_400_000_000;

/// How busy each hour of the day (UTC) is, in thousandths of the mean.
const ACTIVITY: [u64; 24] = [
    250, 200, 160, 150, 180, 300, 550, 950, 1450, 1900, 1950, 1810, //
    1500, 1600, 1850, 1800, 1550, 1350, 1100, 950, 850, 700, 550, 350,
];

/// What lies between two events in the mean is at most this, so that sums don't overflow.
const GAP_MAX: u64 = 1 << 61;

/// A clock that moves on for every event.
///
/// It counts activity: as much of it passes in a day as there are microseconds in a day, but little of it by
/// night. Event `i` occurs between `i` and `i + 1` mean gaps of activity after the start, so that any number of whole
/// days has exactly its share of events: a random walk would end hours off.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    gap: u64,
    /// What is left of the gap that the last event was in: nothing before the first.
    gap_left: u64,
    hour: usize,
    hour_end_micros: i64,
    /// The activity that is left of the hour.
    hour_left: u64,
}

impl Clock {
    /// A clock that starts at `start` and moves on by `mean_gap_micros` in the mean of a day.
    pub(super) fn new(start: Timestamp, mean_gap_micros: u64) -> Self {
        let start_micros = start.as_micros();
        let hour =
            usize::try_from(start_micros.div_euclid(HOUR_MICROS).rem_euclid(24)).unwrap_or_default() % 24;
        let left_micros = HOUR_MICROS - start_micros.rem_euclid(HOUR_MICROS);
        Self {
            gap: mean_gap_micros.min(GAP_MAX),
            gap_left: 0,
            hour,
            hour_end_micros: start_micros.saturating_add(left_micros),
            hour_left: left_micros.unsigned_abs() * ACTIVITY[hour] / 1000,
        }
    }

    /// Moves on and gives the new time.
    #[inline]
    pub(super) fn advance(&mut self, random: u64) -> Timestamp {
        let [jitter, _] = halves(u128::from(random) * u128::from(self.gap));
        self.pass(self.gap_left + jitter);
        self.gap_left = self.gap - jitter;
        let left_micros = i64::try_from(self.hour_left * 1000 / ACTIVITY[self.hour]).unwrap_or(HOUR_MICROS);
        // Beyond the year 9999 there is no RFC 3339.
        let now_micros = self.hour_end_micros.saturating_sub(left_micros).min(Timestamp::MAX.as_micros());
        Timestamp::from_micros(now_micros)
    }

    /// Lets an amount of activity pass.
    #[inline]
    fn pass(&mut self, mut activity: u64) {
        if activity >= DAY_MICROS {
            let days_micros = i64::try_from(activity - activity % DAY_MICROS).unwrap_or(i64::MAX);
            self.hour_end_micros = self.hour_end_micros.saturating_add(days_micros);
            activity %= DAY_MICROS;
        }
        while activity >= self.hour_left {
            activity -= self.hour_left;
            self.hour = (self.hour + 1) % 24;
            self.hour_end_micros = self.hour_end_micros.saturating_add(HOUR_MICROS);
            self.hour_left = HOUR_MICROS.unsigned_abs() * ACTIVITY[self.hour] / 1000;
        }
        self.hour_left -= activity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::rng::Rng;

    #[test]
    fn a_day_is_as_busy_as_its_mean() {
        assert_eq!(ACTIVITY.iter().sum::<u64>(), 24_000);
        let mut clock = Clock::new(Timestamp::from_micros(0), 250_000);
        let mut rng = Rng::new(6);
        let mut by_hour = [0_u32; 24];
        let mut last = 0;
        loop {
            let now = clock.advance(rng.next_u64()).as_micros();
            assert!(now >= last);
            last = now;
            if now >= 24 * HOUR_MICROS {
                break;
            }
            by_hour[usize::try_from(now / HOUR_MICROS).unwrap()] += 1;
        }
        let day = by_hour.iter().sum::<u32>();
        assert_eq!(day, 345_600);
        assert!(by_hour[10] > 10 * by_hour[3], "{by_hour:?}");
    }

    #[test]
    fn whole_days_have_their_share_whenever_they_start() {
        for start_micros in [1, 1_769_882_400_123_456, -86_399_999_999] {
            let end = start_micros + 2 * 86_400_000_000;
            let mut clock = Clock::new(Timestamp::from_micros(start_micros), 86_400_000);
            let mut rng = Rng::new(7);
            let times: Vec<i64> = (0..2_001).map(|_| clock.advance(rng.next_u64()).as_micros()).collect();
            assert!(times[0] >= start_micros && times.is_sorted());
            // But for the rounding of thousandths.
            assert!(times[1_999] < end + 100 && times[2_000] >= end - 100, "{times:?}");
        }
    }

    #[test]
    fn the_end_of_time_is_not_passed() {
        let mut clock = Clock::new(Timestamp::MAX, u64::MAX);
        assert_eq!(clock.advance(u64::MAX), Timestamp::MAX);
        assert_eq!(clock.advance(u64::MAX), Timestamp::MAX);
        let still = Clock::new(Timestamp::from_micros(-5), 0).advance(u64::MAX).as_micros();
        assert!((-5..=0).contains(&still), "{still}");
    }
}
