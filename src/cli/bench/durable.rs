//! Appends that wait for the disk: one caller beside bare writes and syncs, 64 threads, and 64 tasks.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Failure, Progress, Run, options, remove};
use crate::workload::measure::{BareSync, Latencies, callers};
use crate::{Durability, Store};

/// How many syncs of one kind are made before it is the other's turn: few, so that the disk's moods meet both.
const SYNCS_A_ROUND: usize = 50;
const CALLERS: usize = 64;
/// The window opens when all callers run and the first segments have grown.
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) fn measure(run: &mut Run<'_>) -> Result<(), Failure> {
    let dir = run.dir.join("durable");
    let store = options(&run.args.load).durability(Durability::Durable).create_new(&dir)?;
    let bare = run.dir.join("bare");
    one_caller(run, &store, &bare)?;
    std::fs::remove_file(&bare).map_err(|error| Failure::file("remove", &bare, &error))?;
    many_threads(run, &store)?;
    #[cfg(feature = "async")]
    many_tasks(run, &store)?;
    store.close()?;
    drop(store);
    remove(&dir)
}

fn one_caller(run: &mut Run<'_>, store: &Store, path: &Path) -> Result<(), Failure> {
    let progress = Progress::phase("durable, one caller", Some(run.args.rounds));
    let failed = |error: std::io::Error| Failure::file("write and sync", path, &error);
    let mut bare = BareSync::new(path).map_err(failed)?;
    let (mut stores, mut bares) = (Latencies::default(), Latencies::default());
    let mut events = run.pool.events().iter().cycle();
    // The first round warms up.
    for round in 0..=run.args.rounds {
        for _ in 0..SYNCS_A_ROUND {
            let begun = Instant::now();
            bare.write_and_sync().map_err(failed)?;
            bares.push(begun.elapsed());
        }
        for event in events.by_ref().take(SYNCS_A_ROUND) {
            let begun = Instant::now();
            store.append(event)?;
            stores.push(begun.elapsed());
        }
        if round == 0 {
            (stores, bares) = (Latencies::default(), Latencies::default());
        }
        progress.set(round, round * SYNCS_A_ROUND as u64);
    }
    drop(progress);
    let (store, bare) = (stores.micros(0.5), bares.micros(0.5));
    run.add(
        "durable.one.ratio",
        "durable append, one caller / bare write + fdatasync, p50",
        store / bare,
        "x",
    );
    run.add("durable.one.p50", "  durable append, one caller, p50", store, "µs");
    run.add("durable.one.p99", "  p99", stores.micros(0.99), "µs");
    run.add("durable.bare.p50", "  bare 4 KiB write + fdatasync, p50", bare, "µs");
    run.add("durable.bare.p99", "  p99", bares.micros(0.99), "µs");
    Ok(())
}

fn many_threads(run: &mut Run<'_>, store: &Store) -> Result<(), Failure> {
    let progress = Progress::phase("durable, 64 threads", None);
    let pool = &run.pool;
    let apart = pool.events().len() / CALLERS;
    let call = |caller: usize, number: usize| {
        store.append(pool.event(caller * apart + number)).map(drop).map_err(Failure::from)
    };
    let commits = || Ok(store.stats()?.commits);
    let told = callers(CALLERS, WARM_UP, Duration::from_secs(run.args.seconds), call, commits)?;
    drop(progress);
    run.add("durable.threads64.rate", "durable append, 64 threads", told.rate(), "acks/s");
    run.add("durable.threads64.commits", "  commits, each of one shard", told.counted_rate(), "commits/s");
    let each = told.rate() / told.counted_rate();
    run.add("durable.threads64.acksACommit", "  acknowledgements a commit", each, "acks");
    Ok(())
}

/// 64 tasks of a runtime with one thread. Each copies its events first, since a task owns what it appends.
#[cfg(feature = "async")]
fn many_tasks(run: &mut Run<'_>, store: &Store) -> Result<(), Failure> {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    let progress = Progress::phase("durable, 64 tasks", None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::Other(format!("cannot make a runtime: {error}")))?;
    let window = Duration::from_secs(run.args.seconds);
    let (acks, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let task = |caller: usize| {
        let (pool, store) = (Arc::clone(&run.pool), crate::AsyncStore::new(store.clone()));
        let acks = Arc::clone(&acks);
        async move {
            for number in caller * pool.events().len() / CALLERS.. {
                store.append(pool.event(number).clone()).await?;
                let age = begun.elapsed();
                if age >= WARM_UP + window {
                    break;
                }
                if age >= WARM_UP {
                    acks.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok::<(), crate::Error>(())
        }
    };
    runtime.block_on(async {
        let mut tasks: tokio::task::JoinSet<_> = (0..CALLERS).map(task).collect();
        while let Some(joined) = tasks.join_next().await {
            joined.map_err(|error| Failure::Other(format!("a task failed: {error}")))??;
        }
        Ok::<(), Failure>(())
    })?;
    drop(progress);
    let rate = super::rate(acks.load(Ordering::Relaxed), window);
    run.add("durable.tasks64.rate", "durable append, 64 async tasks of one thread", rate, "acks/s");
    Ok(())
}
