//! Back-pressure: slows a shard's writers, more and more, when the disk can't keep up with them.
//!
//! Owns the arithmetic alone: how long a writer waits for the bytes it adds. From three quarters of the bound on, writers may add
//! bytes at the rate at which syncs were seen to take them, times (1 - f) / f, where f is how far the unsynced bytes are from
//! there (0) to the bound (1). So where the disk is steady the shard settles in the middle, each append a little slower, and
//! no writer stands still for as long as a sync takes. Waits are gathered until they are worth a sleep.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shorter waits are put off: a sleep costs about 60 µs by itself.
const SLEEP_MIN: Duration = Duration::from_micros(500);
/// No append is slowed by more than this at once; at the bound it waits for a commit.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// How fast one shard's writers may go.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Bytes a second that syncs took, a running mean; 0 before the first.
    sync_rate: AtomicU64,
    /// Written bytes, up to where waits were reckoned.
    reckoned: AtomicU64,
    /// Nanoseconds that writers were too fast and have not waited yet.
    owed: AtomicU64,
}

impl Pace {
    /// A sync took `spent` for these bytes.
    pub(crate) fn synced(&self, bytes: u64, spent: Duration) {
        let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = bytes.saturating_mul(1_000_000) / micros;
        let before = self.sync_rate.load(Ordering::Relaxed);
        let mean = if before == 0 { rate } else { before - before / 4 + rate / 4 };
        self.sync_rate.store(mean.max(1), Ordering::Relaxed);
    }

    /// How long the writer should sleep that finds `unsynced` bytes of at most `bound`, `written` having been written in all.
    pub(crate) fn wait(&self, written: u64, unsynced: u64, bound: u64) -> Option<Duration> {
        let added = written.saturating_sub(self.reckoned.swap(written, Ordering::Relaxed));
        let begin = bound / 4 * 3;
        let rate = self.sync_rate.load(Ordering::Relaxed);
        if unsynced <= begin || rate == 0 {
            return None;
        }
        // In 1/1024: f, and 1 - f at least one of them.
        let full = ((unsynced - begin).saturating_mul(1024) / (bound - begin).max(1)).clamp(1, 1023);
        let allowed = (rate / full).saturating_mul(1024 - full).max(1);
        // What was written long before, unhurried, is not owed for.
        let nanos = added.min(1 << 20).saturating_mul(1_000_000_000) / allowed;
        let owed = self.owed.fetch_add(nanos, Ordering::Relaxed).saturating_add(nanos);
        let owed = Duration::from_nanos(owed);
        (owed >= SLEEP_MIN).then(|| {
            self.owed.store(0, Ordering::Relaxed);
            owed.min(SLEEP_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: u64 = 64 << 20;

    /// Seconds that writing 64 MiB in records of 1 KiB waits when this much is unsynced, at 100 MiB/s of the disk.
    fn waited(unsynced: u64) -> f64 {
        let pace = Pace::default();
        pace.synced(100 << 20, Duration::from_secs(1));
        let waits = (1..=64 << 10).filter_map(|record| pace.wait(record << 10, unsynced, BOUND));
        waits.sum::<Duration>().as_secs_f64()
    }

    #[test]
    fn writers_wait_the_longer_the_more_is_unsynced() {
        assert!(waited(BOUND / 4 * 3) == 0.0, "so far nobody waits");
        let [little, middle, much] = [25, 28, 31].map(|part| waited(BOUND / 32 * part));
        assert!((0.05..0.2).contains(&little), "{little}");
        assert!((0.55..0.7).contains(&middle), "in the middle, as long as the disk needs: {middle}");
        assert!((4.0..5.0).contains(&much), "{much}");
    }

    #[test]
    fn no_wait_is_long_and_none_is_shorter_than_a_sleep_is_worth() {
        let pace = Pace::default();
        pace.synced(1 << 20, Duration::from_secs(1));
        let mut written = 0;
        for unsynced in (0..2 * BOUND).step_by(100_000) {
            written += 500;
            if let Some(wait) = pace.wait(written, unsynced, BOUND) {
                assert!((SLEEP_MIN..=SLEEP_MAX).contains(&wait), "{wait:?} at {unsynced}");
            }
        }
    }

    #[test]
    fn nothing_is_owed_before_a_sync_was_seen() {
        assert_eq!(Pace::default().wait(1 << 30, BOUND, BOUND), None);
    }
}
