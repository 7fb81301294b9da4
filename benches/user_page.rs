//! A user's newest 100 events, lent in place, five fields read from each: by user, by filter, and deep in a long log.
//!
//! `cargo bench --features workload --bench user_page`; `USERTRAIL_BENCH_EVENTS` says how many events are loaded.

#[expect(dead_code, reason = "each bench uses its own part of this")]
mod common;

use std::time::Duration;

use common::{Outcome, SHARDS, directory, read_page, settled};
use criterion::{Criterion, Throughput};
use usertrail::workload::{Pool, Workload, WorkloadConfig};
use usertrail::{Category, Durability, Level, Options, Store, UserId, UserLogQuery};

const EVENTS_DEFAULT: usize = 1_000_000;
const POOL_EVENTS: usize = 100_000;
const BATCH: usize = 1000;
/// How far down the hot user's log the deep cursor lies, in pages of 500.
const DEEP_PAGES: usize = 100;
const USERS_DRAWN: u32 = 10_000;

fn main() -> Outcome<()> {
    let events = match std::env::var("USERTRAIL_BENCH_EVENTS") {
        Ok(text) => text.parse()?,
        Err(_) => EVENTS_DEFAULT,
    };
    let config = WorkloadConfig::default();
    let dir = directory(None)?;
    let store = load(&config, &dir.path().join("store"), events)?;
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    pages(&mut criterion, &store, &config)?;
    criterion.final_summary();
    store.close()?;
    Ok(())
}

fn load(config: &WorkloadConfig, path: &std::path::Path, events: usize) -> Outcome<Store> {
    let store = Options::new().shards(SHARDS).durability(Durability::Buffered).create_new(path)?;
    let pool = Pool::new(config, POOL_EVENTS.min(events.max(1)));
    for batch in pool.events().chunks(BATCH).cycle().take(events.div_ceil(BATCH)) {
        store.append_batch(batch)?;
    }
    settled(&store)?;
    Ok(store)
}

fn pages(criterion: &mut Criterion, store: &Store, config: &WorkloadConfig) -> Outcome<()> {
    let mut workload = Workload::new(config);
    let hot = vec![workload.user(0)];
    let unknown = vec![workload.unknown_user(0)];
    let uniform: Vec<_> =
        (0..USERS_DRAWN).map(|draw| workload.user(draw * (workload.users() / USERS_DRAWN).max(1))).collect();
    let ranks: Vec<u32> = (0..USERS_DRAWN).map(|_| workload.next_rank()).collect();
    let zipf: Vec<_> = ranks.into_iter().map(|rank| workload.user(rank)).collect();
    let cursor = deep_cursor(store, &hot[0])?;
    bench(criterion, store, "hot", &hot, |query| query)?;
    bench(criterion, store, "zipf", &zipf, |query| query)?;
    bench(criterion, store, "uniform", &uniform, |query| query)?;
    bench(criterion, store, "hot, category and level", &hot, |query| {
        query.category(Category::Auth).level(Level::Warning)
    })?;
    bench(criterion, store, "hot, deep cursor", &hot, |query| query.cursor(cursor.as_str()))?;
    bench(criterion, store, "user without events", &unknown, |query| query)
}

/// The cursor behind the last of many pages, or of as many as there are.
fn deep_cursor(store: &Store, user: &UserId<'_>) -> Outcome<String> {
    let mut cursor = None;
    for _ in 0..DEEP_PAGES {
        let query = store.user_log(user).limit(500);
        let page = match &cursor {
            None => query.page()?,
            Some(cursor) => query.cursor(String::clone(cursor)).page()?,
        };
        match page.next_cursor() {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    cursor.ok_or_else(|| "the hot user has less than one page: load more events".into())
}

fn bench<'s>(
    criterion: &mut Criterion,
    store: &'s Store,
    name: &str,
    users: &[UserId<'static>],
    refine: impl Fn(UserLogQuery<'s>) -> UserLogQuery<'s>,
) -> Outcome<()> {
    let ask = |user: &UserId<'_>| read_page(&refine(store.user_log(user)).page()?);
    // Also the warm-up: it touches every record once.
    let events = users.iter().map(ask).sum::<Outcome<usize>>()?;
    let mut failure = None;
    let mut group = criterion.benchmark_group("user_page");
    if users.len() == 1 && events > 0 {
        group.throughput(Throughput::Elements(events as u64));
    }
    let mut users = users.iter().cycle();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            if let Some(Err(error)) = users.next().map(ask) {
                failure = Some(error);
            }
        });
    });
    group.finish();
    failure.map_or(Ok(()), Err)
}
