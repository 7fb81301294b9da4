//! The wall clock, as microseconds, and the watch for its jumps.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from; tests put their own in.
pub(crate) trait Clock: Send + Sync + Debug {
    /// Microseconds since 1970 UTC, by the wall.
    fn wall_micros(&self) -> i64;
    /// Time since some fixed moment that never jumps.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub(crate) struct SystemClock {
    started: Instant,
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn wall_micros(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Compares the wall clock with the monotonic one and reports when the wall has jumped forward.
#[derive(Debug)]
pub(crate) struct JumpWatch {
    wall_micros: i64,
    monotonic: Duration,
}

/// A forward jump of the wall clock: where it was expected to be, and where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClockJump {
    pub(crate) expected_micros: i64,
    pub(crate) actual_micros: i64,
}

impl JumpWatch {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        Self { wall_micros: clock.wall_micros(), monotonic: clock.monotonic() }
    }

    /// Looks at the clocks again; a jump is reported once.
    pub(crate) fn check(&mut self, clock: &dyn Clock, bound: Duration) -> Option<ClockJump> {
        let (wall_micros, monotonic) = (clock.wall_micros(), clock.monotonic());
        let passed = i64::try_from(monotonic.saturating_sub(self.monotonic).as_micros()).unwrap_or(i64::MAX);
        let expected_micros = self.wall_micros.saturating_add(passed);
        (self.wall_micros, self.monotonic) = (wall_micros, monotonic);
        let bound = i64::try_from(bound.as_micros()).unwrap_or(i64::MAX);
        (wall_micros.saturating_sub(expected_micros) > bound)
            .then_some(ClockJump { expected_micros, actual_micros: wall_micros })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    /// A clock that goes where a test puts it.
    #[derive(Debug, Default)]
    pub(crate) struct ManualClock {
        pub(crate) wall_micros: AtomicI64,
        pub(crate) monotonic_micros: AtomicU64,
    }

    impl Clock for ManualClock {
        fn wall_micros(&self) -> i64 {
            self.wall_micros.load(Ordering::Relaxed)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_micros(self.monotonic_micros.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_forward_jump_is_reported_once_and_a_backward_one_never() {
        let clock = ManualClock::default();
        let mut watch = JumpWatch::new(&clock);
        let bound = Duration::from_mins(1);
        clock.wall_micros.store(50_000_000, Ordering::Relaxed);
        assert_eq!(watch.check(&clock, bound), None, "50 s are within the bound");
        clock.wall_micros.store(200_000_000, Ordering::Relaxed);
        clock.monotonic_micros.store(1_000_000, Ordering::Relaxed);
        assert_eq!(
            watch.check(&clock, bound),
            Some(ClockJump { expected_micros: 51_000_000, actual_micros: 200_000_000 })
        );
        assert_eq!(watch.check(&clock, bound), None);
        clock.wall_micros.store(0, Ordering::Relaxed);
        assert_eq!(watch.check(&clock, bound), None);
    }
}
