//! Opening a store: after a clean close, and after its process was killed.
//!
//! `cargo bench --features workload --bench open`; `USERTRAIL_BENCH_EVENTS` says how many events are loaded.

#[expect(dead_code, reason = "each bench uses its own part of this")]
mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Outcome, SHARDS, copy_living, directory};
use criterion::{Criterion, SamplingMode};
use usertrail::workload::{Pool, WorkloadConfig};
use usertrail::{Durability, Options};

const EVENTS_DEFAULT: usize = 1_000_000;
const POOL_EVENTS: usize = 100_000;
const BATCH: usize = 1000;

fn main() -> Outcome<()> {
    let events: usize = match std::env::var("USERTRAIL_BENCH_EVENTS") {
        Ok(text) => text.parse()?,
        Err(_) => EVENTS_DEFAULT,
    };
    let dir = directory(None)?;
    let (store_dir, killed, copy) =
        (dir.path().join("store"), dir.path().join("killed"), dir.path().join("copy"));
    let store = Options::new().shards(SHARDS).durability(Durability::Buffered).create_new(&store_dir)?;
    let pool = Pool::new(&WorkloadConfig::default(), POOL_EVENTS.min(events.max(1)));
    for batch in pool.events().chunks(BATCH).cycle().take(events.div_ceil(BATCH)) {
        store.append_batch(batch)?;
    }
    copy_living(&store, &store_dir, &killed)?;
    store.close()?;
    drop(store);
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    bench(&mut criterion, "after a clean close", |openings| (0..openings).map(|_| open(&store_dir)).sum())?;
    bench(&mut criterion, "after a kill", |openings| {
        // Each opening recovers what it opens, so each gets a copy of its own.
        let mut spent = Duration::ZERO;
        for _ in 0..openings {
            std::fs::create_dir(&copy)?;
            common::copy_tree(&killed, &copy)?;
            spent += open(&copy)?;
            std::fs::remove_dir_all(&copy)?;
        }
        Ok(spent)
    })?;
    criterion.final_summary();
    Ok(())
}

fn open(path: &Path) -> Outcome<Duration> {
    let start = Instant::now();
    let store = Options::new().durability(Durability::Buffered).open(path)?;
    let spent = start.elapsed();
    store.close()?;
    Ok(spent)
}

fn bench(
    criterion: &mut Criterion,
    name: &str,
    mut openings: impl FnMut(u64) -> Outcome<Duration>,
) -> Outcome<()> {
    let mut failure = None;
    let mut group = criterion.benchmark_group("open");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            openings(count).unwrap_or_else(|error| {
                failure = Some(error);
                Duration::from_secs(1)
            })
        });
    });
    group.finish();
    failure.map_or(Ok(()), Err)
}
