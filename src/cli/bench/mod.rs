//! `usertrail bench`: the standard workload on this machine, in figures.
//!
//! Owns the order of the measurements, and what they leave behind (nothing). Must not know how the store works: it uses
//! what any embedder can use.

mod append;
mod args;
mod bounds;
mod child;
mod durable;
mod memory;
mod mixed;
mod open;
mod packed;
mod page;
mod print;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use args::{BenchArgs, BenchChildArgs};
pub(super) use child::run as run_child;

use super::failure::{Exit, Failure, complain};
use super::output::Output;
use super::progress::Progress;
use super::temporary::TemporaryDir;
use crate::workload::measure::{CacheDrop, Report, drop_page_cache, is_in_memory, read_five_fields};
use crate::workload::{Pool, WorkloadConfig};
use crate::{Options, PackAfter, Page, Stats, Store};
use args::{LoadArgs, Part};

pub(super) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let temporary = TemporaryDir::new("bench", args.data.as_deref(), false)?;
    let dir = temporary.path();
    if is_in_memory(dir).map_err(|error| Failure::file("look at", dir, &error))? {
        complain("the stores are in memory (tmpfs): durable and cold figures say nothing; see --data");
    }
    let sizes = if args.compare.is_empty() { vec![args.events] } else { args.compare.clone() };
    let runs = sizes
        .into_iter()
        .map(|events| Run::new(args, events, dir)?.measure())
        .collect::<Result<Vec<Measured>, Failure>>()?;
    let mut output = Output::new();
    let missed = print::print(args, &runs, &mut output)?;
    output.finish()?;
    Ok(if missed { Exit::Missed } else { Exit::Fine })
}

/// One size of one workload.
struct Run<'a> {
    args: &'a BenchArgs,
    events: u64,
    dir: &'a Path,
    config: WorkloadConfig,
    pool: Arc<Pool>,
    report: Report,
    cold_by: Option<CacheDrop>,
    /// The store is packed by now: the figures that follow are of that.
    packed: bool,
}

/// What a run came to.
struct Measured {
    events: u64,
    report: Report,
    /// How files got out of the page cache, if they had to.
    cold_by: Option<CacheDrop>,
}

impl<'a> Run<'a> {
    fn new(args: &'a BenchArgs, events: u64, dir: &'a Path) -> Result<Self, Failure> {
        let config = args.load.workload();
        let length = args.pool.min(events).max(1);
        let _progress = Progress::phase("making events", None);
        let length =
            usize::try_from(length).map_err(|_| Failure::Usage(format!("--pool {length}: too many")))?;
        let pool = Arc::new(Pool::new(&config, length));
        Ok(Self { args, events, dir, config, pool, report: Report::default(), cold_by: None, packed: false })
    }

    /// Measures what was asked for. One store exists at a time, so that the disk holds no more than the largest.
    fn measure(mut self) -> Result<Measured, Failure> {
        let wants = |part| self.args.wants(part);
        if [Part::Append, Part::Page, Part::Cold, Part::Open].into_iter().any(wants) {
            let open = wants(Part::Open);
            let dir = self.dir.join("one");
            let store = append::one_at_a_time(&mut self, &dir)?;
            self.pages(store, &dir)?;
            if self.args.packed {
                let store = packed::pack(&mut self, &dir)?;
                self.pages(store, &dir)?;
                self.packed = false;
            }
            if open {
                open::measure(&mut self, &dir)?;
            }
            remove(&dir)?;
        }
        if self.args.wants(Part::Append) {
            append::in_batches(&mut self)?;
            append::two_writers(&mut self)?;
        }
        if self.args.wants(Part::Durable) {
            durable::measure(&mut self)?;
        }
        if self.args.wants(Part::Mixed) {
            mixed::measure(&mut self)?;
        }
        if self.args.wants(Part::Memory) {
            memory::measure(&mut self)?;
        }
        Ok(Measured { events: self.events, report: self.report, cold_by: self.cold_by })
    }

    /// Pages as the store is now; closes it.
    fn pages(&mut self, store: Store, dir: &Path) -> Result<(), Failure> {
        if self.args.wants(Part::Page) {
            page::hot(self, &store)?;
        }
        store.close()?;
        drop(store);
        if self.args.wants(Part::Cold) {
            page::cold(self, dir)?;
        }
        Ok(())
    }

    /// Adds a figure; those of a packed store have names of their own.
    fn add(&mut self, name: impl Into<String>, label: impl Into<String>, value: f64, unit: &'static str) {
        let (name, label) = (name.into(), label.into());
        // What is indented belongs to the line above it.
        let label = if self.packed && !label.starts_with(' ') { format!("packed: {label}") } else { label };
        let name = if self.packed { format!("packed.{name}") } else { name };
        self.report.add(name, label, value, unit);
    }

    /// Gets the closed store's files out of memory.
    fn drop_cache(&mut self) -> Result<(), Failure> {
        let way = drop_page_cache(self.dir, self.args.cold_by.map(Into::into))
            .map_err(|error| Failure::file("drop the page cache of", self.dir, &error))?;
        self.cold_by = Some(way);
        Ok(())
    }
}

/// How a store is made that is measured.
fn options(load: &LoadArgs) -> Options {
    // Nothing is packed but where it is said so: then the same store is measured before and after.
    let options = Options::new().shards(load.shards).segment_bytes_max(load.segment_size);
    options.durability(load.durability.into()).pack_after(PackAfter::Never)
}

/// Opens a store as it was made.
fn reopen(load: &LoadArgs, dir: &Path) -> Result<(Store, Duration), Failure> {
    let options = Options::new().durability(load.durability.into()).pack_after(PackAfter::Never);
    let begun = Instant::now();
    let store = options.open(dir)?;
    Ok((store, begun.elapsed()))
}

/// Does what the background would do in its time: seals, merges.
fn settled(store: &Store) -> Result<Stats, Failure> {
    store.maintain()?;
    Ok(store.stats()?)
}

/// Reads five fields of every event of a page, lent in place. Says how many events there were.
fn read_page(page: &Page) -> Result<usize, Failure> {
    for event in page.iter() {
        read_five_fields(&event?).map_err(|error| Failure::Damaged(error.to_string()))?;
    }
    Ok(page.len())
}

fn remove(dir: &Path) -> Result<(), Failure> {
    std::fs::remove_dir_all(dir).map_err(|error| Failure::file("remove", dir, &error))
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn number(count: u64) -> f64 {
    count as f64
}

/// So many in so long, a second.
fn rate(count: u64, time: Duration) -> f64 {
    number(count) / time.as_secs_f64().max(1e-9)
}
