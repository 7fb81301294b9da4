//! Sustained append: one writer loads a store, event by event or in batches. Size and memory are looked at on the way.

use std::path::Path;
use std::time::{Duration, Instant};

use usertrail::event::leaf_bytes;
use usertrail::workload::Pool;
use usertrail::{Durability, NewEvent, Options, Stats, Store};

use crate::arguments::{Arguments, Part};
use crate::common::{Outcome, SHARDS};
use crate::report::{Bound, Report};

/// How often the memory of the index is looked at; the clock stands still meanwhile.
const SAMPLES: u64 = 50;
/// From here on the index must keep to its bound: below, the chunks that it grows by are what is seen.
const TAIL_EVENTS_MIN: u64 = 20_000;
/// What a record is around its leaf, and what its length is a multiple of.
const ENVELOPE_BYTES: usize = 24;
const ALIGNMENT: usize = 8;

/// Makes a `Buffered` store and loads it. Reports, if append was asked for.
pub fn load(
    arguments: &Arguments,
    report: &mut Report,
    pool: &Pool,
    dir: &Path,
    batch: u64,
) -> Outcome<Store> {
    eprintln!("loading {} events, {batch} at a time", arguments.events);
    settle();
    let store = Options::new().shards(SHARDS).durability(Durability::Buffered).create_new(dir)?;
    let mut index = TailIndex::default();
    let mut spent = Duration::ZERO;
    let mut done = 0;
    for sample in 1..=SAMPLES {
        let end = arguments.events * sample / SAMPLES;
        let start = Instant::now();
        done = append(&store, pool, batch, done, end)?;
        spent += start.elapsed();
        index.look(&store.stats()?);
    }
    let stats = store.stats()?;
    if stats.events != arguments.events {
        return Err(format!("{} events were loaded, not {}", stats.events, arguments.events).into());
    }
    if arguments.wants(Part::Append) {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = done as f64 / spent.as_secs_f64();
        let bound = Bound::AtLeast(if batch == 1 { 700_000.0 } else { 1_000_000.0 });
        report.add(format!("append, Buffered, one writer, batch of {batch}"), rate, "events/s", bound);
        if batch == 1 {
            index.report(report);
            bytes(report, &stats, pool);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        let waits = stats.rollover_waits as f64;
        report.add(format!("  writers that waited for a segment, batch of {batch}"), waits, "", Bound::None);
    }
    Ok(store)
}

/// Waits until the disk has written what earlier loads left behind: each load begins with an idle disk.
fn settle() {
    // Where there is no such command the figure is only worse.
    let _ = std::process::Command::new("sync").status();
}

/// Appends the events `done..end` of the pool's endless sequence.
fn append(store: &Store, pool: &Pool, batch: u64, mut done: u64, end: u64) -> Outcome<u64> {
    let events = pool.events();
    while done < end {
        let from = usize::try_from(done % events.len() as u64)?;
        if batch == 1 {
            store.append(pool.event(from))?;
            done += 1;
        } else {
            let length = usize::try_from(batch.min(end - done))?.min(events.len() - from);
            store.append_batch(&events[from..from + length])?;
            done += length as u64;
        }
    }
    Ok(done)
}

/// The memory of the index of what is not sealed, against 16 bytes an event and 64 a user.
#[derive(Debug, Default)]
struct TailIndex {
    samples: u64,
    /// The highest ratio from [`TAIL_EVENTS_MIN`] on, and how many events the index held then.
    ratio_max: f64,
    at_events: u64,
}

impl TailIndex {
    fn look(&mut self, stats: &Stats) {
        let allowed = 16 * stats.tail_events + 64 * stats.tail_users;
        if stats.tail_events < TAIL_EVENTS_MIN {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = stats.tail_index_bytes as f64 / allowed as f64;
        self.samples += 1;
        if ratio > self.ratio_max {
            (self.ratio_max, self.at_events) = (ratio, stats.tail_events);
        }
    }

    fn report(&self, report: &mut Report) {
        if self.samples == 0 {
            return;
        }
        let name = format!("index in memory / (16 B an event + 64 B a user), worst of {}", self.samples);
        report.add(name, self.ratio_max, "x", Bound::AtMost(1.0));
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        let events = self.at_events as f64;
        report.add("  the events that index held", events, "events", Bound::None);
    }
}

fn bytes(report: &mut Report, stats: &Stats, pool: &Pool) {
    let record = |event: &NewEvent<'_>| (ENVELOPE_BYTES + leaf_bytes(event)).next_multiple_of(ALIGNMENT);
    let records: usize = pool.events().iter().map(record).sum();
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    let mean = records as f64 / pool.events().len() as f64;
    report.add("bytes on disk an event", stats.bytes_per_event, "bytes", Bound::AtMost(1.1 * mean));
    report.add("  of which the record", mean, "bytes", Bound::None);
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let ahead = stats.bytes_ahead as f64 / f64::from(1 << 20);
    report.add("  allocated ahead, in all", ahead, "MiB", Bound::None);
}
