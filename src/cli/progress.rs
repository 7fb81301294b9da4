//! Progress on a terminal, and silence elsewhere. Must not know what progresses.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::grouped;

/// How often a phase shows that it still runs.
const TICK: Duration = Duration::from_millis(250);

/// A bar on standard error with rate and time left, where that is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    /// `length` is what `set` goes up to; without one there is no end to see.
    pub(super) fn new(length: Option<u64>) -> Self {
        // Draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        let template = match length {
            Some(_) => "{bar:30} {percent:>3}%  {msg}  {eta} left",
            None => "{spinner} {msg}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, begun: Instant::now() }
    }

    /// One of several that come after each other, with what it is.
    pub(super) fn phase(name: &str, length: Option<u64>) -> Self {
        let progress = Self::new(length);
        let template = match length {
            Some(_) => "{prefix}  {bar:30} {percent:>3}%  {msg}  {eta} left",
            None => "{prefix}  {spinner} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            progress.bar.set_style(style);
        }
        progress.bar.set_prefix(name.to_owned());
        progress.bar.enable_steady_tick(TICK);
        progress
    }

    /// How far it is, and how many events that is.
    pub(super) fn set(&self, position: u64, events: u64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(position);
        let rate = per_second(events, self.begun.elapsed());
        self.bar.set_message(format!("{} events, {} a second", grouped(events), grouped(rate)));
    }

    /// Writes beside the bar, not into it.
    pub(super) fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How many a second; 0 where no time went by.
pub(super) fn per_second(count: u64, time: Duration) -> u64 {
    let rate = u128::from(count) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
