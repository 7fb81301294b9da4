//! Sustained append: all events by the time of all appends. Must not know where they go.

use std::time::{Duration, Instant};

use super::Latencies;
use crate::event::NewEvent;
use crate::workload::Pool;

/// Appends the first `events` of a pool's endless sequence in slices of at most `batch`, and says how long that took.
///
/// The clock stands still while `look` is called, `looks` times in even distances and at the end, with how many events
/// there are by then.
///
/// # Errors
///
/// The first of the closures'.
pub fn load<E>(
    pool: &Pool,
    events: u64,
    batch: usize,
    looks: u64,
    mut append: impl FnMut(&[NewEvent<'static>]) -> Result<(), E>,
    mut look: impl FnMut(u64) -> Result<(), E>,
) -> Result<Duration, E> {
    let (mut spent, mut done) = (Duration::ZERO, 0);
    for number in 1..=looks.max(1) {
        let end = part(events, number, looks.max(1));
        let begun = Instant::now();
        while done < end {
            let slice = slice(pool, done, end, batch);
            append(slice)?;
            done += slice.len() as u64;
        }
        spent += begun.elapsed();
        look(done)?;
    }
    Ok(spent)
}

/// What came of a load that was offered at an even rate.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    /// From the first event's time to the end of the last append.
    pub spent: Duration,
    /// The most that the end of an append was behind the event's time.
    pub behind_max: Duration,
}

/// Appends the first `events` of a pool's endless sequence one by one, each as soon as its time has come: `per_second` of them
/// come in a second, evenly. Between them the thread sleeps, a millisecond at a time.
///
/// An event whose time has passed is appended at once: what is behind isn't left out, but shows.
///
/// # Errors
///
/// The first of the closures'.
pub fn load_paced<E>(
    pool: &Pool,
    events: u64,
    per_second: u64,
    mut append: impl FnMut(&NewEvent<'static>) -> Result<(), E>,
    mut look: impl FnMut(u64) -> Result<(), E>,
) -> Result<Paced, E> {
    const SLEEP: Duration = Duration::from_millis(1);
    let time_of = |event: u64| {
        let nanos = u128::from(event) * 1_000_000_000 / u128::from(per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    let (begun, mut done, mut behind_max) = (Instant::now(), 0, Duration::ZERO);
    while done < events {
        // As many as are due now; at the end of them the clock says how late they were.
        let now = begun.elapsed();
        let first = done;
        while done < events && time_of(done) <= now {
            append(pool.event(index(pool, done)))?;
            done += 1;
        }
        let after = begun.elapsed();
        if done > first {
            behind_max = behind_max.max(after.saturating_sub(time_of(first)));
            look(done)?;
        }
        if done < events && time_of(done) > after {
            std::thread::sleep(SLEEP);
        }
    }
    Ok(Paced { spent: begun.elapsed(), behind_max })
}

/// Appends `events` of a pool one by one from `first` on, each with a look at the clock.
///
/// # Errors
///
/// The first of the closure's.
pub fn append_each<E>(
    pool: &Pool,
    first: u64,
    events: usize,
    mut append: impl FnMut(&NewEvent<'static>) -> Result<(), E>,
) -> Result<Latencies, E> {
    let mut latencies = Latencies::with_capacity(events);
    let begin = index(pool, first);
    // One look between two calls: the end of one is the beginning of the next.
    let mut before = Instant::now();
    for number in begin..begin + events {
        append(pool.event(number))?;
        let now = Instant::now();
        latencies.push(now - before);
        before = now;
    }
    Ok(latencies)
}

/// Where the `number`th of so many even parts ends.
fn part(events: u64, number: u64, parts: u64) -> u64 {
    let end = u128::from(events) * u128::from(number) / u128::from(parts);
    u64::try_from(end).unwrap_or(events)
}

/// Where in the pool an event of the endless sequence is.
fn index(pool: &Pool, number: u64) -> usize {
    usize::try_from(number % pool.events().len() as u64).unwrap_or(0)
}

/// The next events, at least one: not beyond the end, nor beyond the pool's.
fn slice(pool: &Pool, done: u64, end: u64, batch: usize) -> &[NewEvent<'static>] {
    let from = index(pool, done);
    let left = usize::try_from(end - done).unwrap_or(usize::MAX);
    let rest = &pool.events()[from..];
    &rest[..batch.max(1).min(left).min(rest.len())]
}
