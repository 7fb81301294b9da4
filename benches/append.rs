//! Append: one writer and two, batches of 1, 100 and 1000, at each durability. Events are made before the clock starts.
//!
//! `cargo bench --features workload --bench append`

#[expect(dead_code, reason = "each bench uses its own part of this")]
mod common;

use std::time::{Duration, Instant};

use common::{Outcome, SHARDS, directory};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use usertrail::workload::{Pool, WorkloadConfig};
use usertrail::{Durability, Options, Store};

const POOL_EVENTS: usize = 100_000;
const BATCHES: [usize; 3] = [1, 100, 1000];
const WRITERS: [usize; 2] = [1, 2];

fn main() -> Outcome<()> {
    let pool = Pool::new(&WorkloadConfig::default(), POOL_EVENTS);
    // Short: a store grows by half a gigabyte a second.
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let durabilities = [
        ("buffered", Durability::Buffered),
        ("interval", Durability::default()),
        ("durable", Durability::Durable),
    ];
    for (name, durability) in durabilities {
        let mut group = criterion.benchmark_group(format!("append/{name}"));
        group.sampling_mode(SamplingMode::Flat);
        for (writers, batch) in WRITERS.into_iter().flat_map(|w| BATCHES.map(|batch| (w, batch))) {
            let dir = directory(None)?;
            let store =
                Options::new().shards(SHARDS).durability(durability).create_new(dir.path().join("store"))?;
            let id = BenchmarkId::new(format!("writers-{writers}"), format!("batch-{batch}"));
            let mut failure = None;
            let mut done = 0;
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|batches| {
                    let outcome = append(&store, &pool, batches, batch, writers, done);
                    done += batches;
                    outcome.unwrap_or_else(|error| {
                        failure = Some(error);
                        Duration::from_secs(1)
                    })
                });
            });
            if let Some(error) = failure {
                return Err(error);
            }
            store.close()?;
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}

/// Appends this many batches, shared among the writers, from the pool's batch `begin` on.
fn append(
    store: &Store,
    pool: &Pool,
    batches: u64,
    batch: usize,
    writers: usize,
    begin: u64,
) -> Outcome<Duration> {
    let write = |first: u64| -> Outcome<()> {
        let groups = pool.events().len() / batch;
        for number in (first..batches).step_by(writers) {
            let at = usize::try_from((begin + number) % groups as u64)? * batch;
            match batch {
                1 => drop(store.append(pool.event(at))?),
                _ => drop(store.append_batch(&pool.events()[at..at + batch])?),
            }
        }
        Ok(())
    };
    let start = Instant::now();
    if writers == 1 {
        write(0)?;
    } else {
        std::thread::scope(|scope| -> Outcome<()> {
            let threads: Vec<_> =
                (0..writers as u64).map(|first| scope.spawn(move || write(first))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a writer panicked")?)
        })?;
    }
    Ok(start.elapsed())
}
