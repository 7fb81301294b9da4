//! Many threads at once: callers that wait, and a writer beside a reader. Must not know what they call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What callers were told in a window of time.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// Calls that returned in it.
    pub calls: u64,
    /// By how much the caller's own counter rose in it.
    pub counted: u64,
    /// How long the window was.
    pub window: Duration,
}

impl Acknowledged {
    /// Calls a second.
    pub fn rate(&self) -> f64 {
        rate(self.calls, self.window)
    }

    /// Counts a second.
    pub fn counted_rate(&self) -> f64 {
        rate(self.counted, self.window)
    }
}

/// Sets the flag when it goes, also where a thread gives up.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `callers` threads that call without a pause, and counts in a window that opens after `warm_up`.
///
/// `call` gets the caller's number and the number of its call. `counter` is read at both ends of the window.
///
/// # Errors
///
/// The first of a caller's or the counter's.
///
/// # Panics
///
/// If a caller does.
pub fn callers<E: Send>(
    callers: usize,
    warm_up: Duration,
    window: Duration,
    call: impl Fn(usize, usize) -> Result<(), E> + Sync,
    mut counter: impl FnMut() -> Result<u64, E>,
) -> Result<Acknowledged, E> {
    let (done, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|caller| {
                let (done, stopped, call) = (&done, &stopped, &call);
                scope.spawn(move || -> Result<(), E> {
                    let mut number = 0;
                    while !stopped.load(Ordering::Relaxed) {
                        call(caller, number)?;
                        done.fetch_add(1, Ordering::Relaxed);
                        number += 1;
                    }
                    Ok(())
                })
            })
            .collect();
        let stops = Stops(&stopped);
        std::thread::sleep(warm_up);
        let (first, before, begun) = (counter()?, done.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(window);
        let (last, after, spent) = (counter()?, done.load(Ordering::Relaxed), begun.elapsed());
        drop(stops);
        threads.into_iter().try_for_each(joined)?;
        Ok(Acknowledged { calls: after - before, counted: last.saturating_sub(first), window: spent })
    })
}

/// What a writer and a reader did at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Together {
    /// What the writer says it wrote.
    pub written: u64,
    /// Calls of the reader meanwhile.
    pub read: u64,
    /// How long the writer took.
    pub spent: Duration,
}

impl Together {
    /// What was written, a second.
    pub fn write_rate(&self) -> f64 {
        rate(self.written, self.spent)
    }

    /// Calls of the reader, a second.
    pub fn read_rate(&self) -> f64 {
        rate(self.read, self.spent)
    }
}

/// Runs a writer to its end, and a reader again and again meanwhile.
///
/// # Errors
///
/// The writer's, else the reader's.
///
/// # Panics
///
/// If the reader does.
pub fn together<E: Send>(
    write: impl FnOnce() -> Result<u64, E>,
    mut read: impl FnMut() -> Result<(), E> + Send,
) -> Result<Together, E> {
    let (reads, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (count, stop) = (&reads, &stopped);
        let reader = scope.spawn(move || -> Result<(), E> {
            while !stop.load(Ordering::Relaxed) {
                read()?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let stops = Stops(&stopped);
        let begun = Instant::now();
        let written = write()?;
        let (spent, read) = (begun.elapsed(), reads.load(Ordering::Relaxed));
        drop(stops);
        joined(reader)?;
        Ok(Together { written, read, spent })
    })
}

fn joined<E>(thread: std::thread::ScopedJoinHandle<'_, Result<(), E>>) -> Result<(), E> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}
