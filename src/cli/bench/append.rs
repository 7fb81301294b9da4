//! Sustained appends: one at a time, in batches, by two writers; and what they take of memory and disk.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Failure, Part, Progress, Run, number, options, rate, remove, settled};
use crate::event::{NewEvent, leaf_bytes};
use crate::workload::measure::{append_each, load, sync_disks};
use crate::{Stats, Store};

/// How often the memory of the index is looked at; the clock stands still meanwhile.
const LOOKS: u64 = 50;
/// From here on the index must keep to its bound: below, the chunks that it grows by are what is seen.
const TAIL_EVENTS_MIN: u64 = 20_000;
const BATCH: usize = 100;
/// Of how many of the events the single appends are timed one by one, and how many that are at least and at most.
const TIMED_PART: u64 = 4;
const TIMED_MIN: u64 = 20_000;
const TIMED_MAX: u64 = 4_000_000;
/// What a record is around its leaf, and what its length is a multiple of.
const ENVELOPE_BYTES: usize = 24;
const ALIGNMENT: usize = 8;

/// Makes the store that pages are read from and that is opened again. Reports, if append was asked for.
pub(super) fn one_at_a_time(run: &mut Run<'_>, dir: &Path) -> Result<Store, Failure> {
    let mut index = TailIndex::default();
    let (store, spent) = fill(run, dir, 1, |stats| index.look(stats))?;
    if run.args.wants(Part::Append) {
        run.add("append.one.rate", "append, one at a time", rate(run.events, spent), "events/s");
        index.report(run);
        bytes(run, &settled(&store)?);
    }
    Ok(store)
}

/// Batches of 100; then single appends, each timed, into the store that is as large by then.
pub(super) fn in_batches(run: &mut Run<'_>) -> Result<(), Failure> {
    let dir = run.dir.join("batches");
    let (store, spent) = fill(run, &dir, BATCH, |_| ())?;
    run.add("append.batch100.rate", "append, batches of 100", rate(run.events, spent), "events/s");
    let timed = (run.events / TIMED_PART).clamp(TIMED_MIN, TIMED_MAX);
    let progress = Progress::phase("timing single appends", None);
    let timed = usize::try_from(timed).unwrap_or(usize::MAX);
    let mut took = append_each(&run.pool, run.events, timed, |event| {
        store.append(event).map(drop).map_err(Failure::from)
    })?;
    drop(progress);
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let label = if name == "p50" { "a single append, p50".to_owned() } else { format!("  {name}") };
        run.add(format!("append.one.{name}"), label, took.micros(share), "µs");
    }
    let waits = number(store.stats()?.rollover_waits);
    run.add("append.rolloverWaits", "  writers that waited for a segment", waits, "");
    store.close()?;
    drop(store);
    remove(&dir)
}

/// Two threads, one event at a time, half of the events each.
pub(super) fn two_writers(run: &mut Run<'_>) -> Result<(), Failure> {
    let dir = run.dir.join("two");
    sync_disks();
    let store = options(&run.args.load).create_new(&dir)?;
    let progress = Progress::phase("appending, two writers", None);
    let halves = [0..run.events / 2, run.events / 2..run.events];
    let (pool, writing) = (&run.pool, &store);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads = halves.map(|mut half| {
            scope.spawn(move || {
                let length = pool.events().len() as u64;
                half.try_for_each(|number| {
                    let place = usize::try_from(number % length).unwrap_or(0);
                    writing.append(pool.event(place)).map(drop)
                })
            })
        });
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Failure::from)
        })
    })?;
    let spent = begun.elapsed();
    drop(progress);
    run.add(
        "append.twoWriters.rate",
        "append, two writers, one at a time",
        rate(run.events, spent),
        "events/s",
    );
    store.close()?;
    drop(store);
    remove(&dir)
}

/// Makes a store and loads it.
pub(super) fn fill(
    run: &Run<'_>,
    dir: &Path,
    batch: usize,
    mut look: impl FnMut(&Stats),
) -> Result<(Store, Duration), Failure> {
    sync_disks();
    let store = options(&run.args.load).create_new(dir)?;
    let name = if batch == 1 { "appending one at a time" } else { "appending in batches" };
    let progress = Progress::phase(name, Some(run.events));
    let append = |events: &[NewEvent<'static>]| match events {
        [event] => store.append(event).map(drop).map_err(Failure::from),
        _ => store.append_batch(events).map(drop).map_err(|error| crate::Error::from(error).into()),
    };
    let spent = load(&run.pool, run.events, batch, LOOKS, append, |done| {
        look(&store.stats()?);
        progress.set(done, done);
        Ok(())
    })?;
    drop(progress);
    let events = store.stats()?.events;
    if events != run.events {
        return Err(Failure::Other(format!("{} events were appended, {events} are there", run.events)));
    }
    Ok((store, spent))
}

/// The memory of the index of what is not sealed, against 16 bytes an event and 64 a user.
#[derive(Debug, Default)]
struct TailIndex {
    ratio_max: Option<f64>,
}

impl TailIndex {
    fn look(&mut self, stats: &Stats) {
        if stats.tail_events >= TAIL_EVENTS_MIN {
            let allowed = 16 * stats.tail_events + 64 * stats.tail_users;
            let ratio = number(stats.tail_index_bytes) / number(allowed);
            self.ratio_max = Some(self.ratio_max.map_or(ratio, |highest| highest.max(ratio)));
        }
    }

    fn report(&self, run: &mut Run<'_>) {
        // With fewer events than that there is nothing to say.
        if let Some(ratio) = self.ratio_max {
            let label = "  index in memory / (16 B an event + 64 B a user), worst";
            run.add("append.indexMemoryRatio", label, ratio, "x");
        }
    }
}

fn bytes(run: &mut Run<'_>, stats: &Stats) {
    let record = |event: &NewEvent<'_>| (ENVELOPE_BYTES + leaf_bytes(event)).next_multiple_of(ALIGNMENT);
    let records: usize = run.pool.events().iter().map(record).sum();
    let mean = number(records as u64) / number(run.pool.events().len() as u64);
    let index = number(stats.run_bytes) / number(stats.events);
    run.add("bytes.event", "bytes on disk an event", stats.bytes_per_event, "B");
    run.add("bytes.record", "  of which the record", mean, "B");
    run.add("bytes.index", "  of which the user index", index, "B");
    run.add("bytes.ratio", "  all / the record", stats.bytes_per_event / mean, "x");
    run.add(
        "bytes.ahead",
        "  allocated ahead, in all",
        number(stats.bytes_ahead) / f64::from(1 << 20),
        "MiB",
    );
}
