//! What a reliability test tells of itself: its figure, the seeded bugs it caught, what it skipped; and how long it may run.
//!
//! Owns the lines that `docs/TESTING.md` is made of, and the settings of the long forms (`.ci/long`). Must not know what a
//! test does. The library's own tests include this file too.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

/// How many bugs were put in on purpose, and how many of them the test noticed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Controls {
    pub(crate) caught: usize,
    pub(crate) seeded: usize,
}

impl Controls {
    /// Counts one more.
    pub(crate) fn add(&mut self, caught: bool) {
        self.seeded += 1;
        self.caught += usize::from(caught);
    }
}

/// Tells a test's figure: on standard error, past the harness's capture, and in the file that `USERTRAIL_FIGURES` names.
///
/// `test` is the name by which `cargo test` finds it.
pub(crate) fn figure(promise: &str, test: &str, figure: impl Display, controls: Controls) {
    let Controls { caught, seeded } = controls;
    let line = format!("TESTING\t{promise}\t{test}\t{figure}\t{caught} / {seeded}");
    assert_eq!(line.matches('\t').count(), 4, "a tab within a field");
    assert_eq!(line.lines().count(), 1, "a figure is one line");
    tell(&line);
}

/// Tells that a test did not run, and why ("test: why"). A test that was skipped must not look like one that passed.
pub(crate) fn skipped(what: impl Display) {
    tell(&format!("SKIPPED {what}"));
}

fn tell(line: &str) {
    // One write, so that lines of tests that run at once don't mix.
    let line = format!("{line}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("USERTRAIL_FIGURES") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file of figures");
        file.write_all(line.as_bytes()).expect("the file of figures");
    }
}

/// The seed of a long form, or else the given one.
pub(crate) fn seed(short: u64) -> u64 {
    setting("USERTRAIL_SEED").unwrap_or(short)
}

/// How long a test goes on: a long form until its time is over, a short form until it has done its share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    until: Option<Instant>,
    share: u64,
    started: Instant,
}

impl Bound {
    /// A short form ends after `share` images, rounds, or whatever the test counts.
    pub(crate) fn new(share: u64) -> Self {
        let started = Instant::now();
        let minutes: Option<f64> = setting("USERTRAIL_LONG_MINUTES");
        let until = minutes.map(|minutes| started + Duration::from_secs_f64(minutes * 60.0));
        Self { until, share, started }
    }

    /// Whether this is a long form.
    pub(crate) fn is_long(&self) -> bool {
        self.until.is_some()
    }

    /// Whether there is more to do after so many.
    pub(crate) fn goes_on(&self, done: u64) -> bool {
        match self.until {
            Some(until) => Instant::now() < until,
            None => done < self.share,
        }
    }

    /// For how long it has run.
    pub(crate) fn minutes(&self) -> f64 {
        self.started.elapsed().as_secs_f64() / 60.0
    }
}

/// A setting from the environment. One that can't be read is a mistake of the person who set it.
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(value) = text.parse() else { panic!("{name} is not a number: {text}") };
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_count_what_was_caught() {
        let mut controls = Controls::default();
        controls.add(true);
        controls.add(false);
        assert_eq!(controls, Controls { caught: 1, seeded: 2 });
    }

    #[test]
    fn a_short_form_ends_after_its_share() {
        let bound = Bound { until: None, share: 2, started: Instant::now() };
        assert!(bound.goes_on(1) && !bound.goes_on(2) && !bound.is_long());
        let over = Bound { until: Some(Instant::now()), ..bound };
        assert!(!over.goes_on(0) && over.is_long());
        assert!(over.minutes() < 1e6);
        assert_eq!(Bound::new(2).goes_on(1), Bound::new(2).goes_on(0));
        assert_eq!(seed(7), seed(7));
    }
}
