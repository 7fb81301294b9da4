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
