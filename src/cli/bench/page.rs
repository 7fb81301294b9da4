//! A user's newest 100: everything in memory, and from the disk.

use std::path::Path;

use super::{Failure, Progress, Run, read_page, reopen, settled};
use crate::workload::measure::{Asked, Latencies, Pages, distinct, pages};
use crate::{Category, Level, Store, UserId, UserLogQuery};

/// How many different users are drawn for a figure over many of them.
const USERS_DRAWN: u32 = 20_000;
/// How far down the hot user's log the deep cursor lies at most, in pages of 500.
const DEEP_PAGES: usize = 100;
/// Each round drops the cache, opens the store, and asks for the pages of so many users, none twice.
const COLD_ROUNDS: u32 = 3;
const COLD_USERS: usize = 250;

/// Pages from memory, one call at a time.
pub(super) fn hot(run: &mut Run<'_>, store: &Store) -> Result<(), Failure> {
    settled(store)?;
    let asked = Asked::new(&run.config, USERS_DRAWN);
    let deep = deep_cursor(store, &asked.hot)?;
    ask(run, store, ("hot", "newest 100 of the hot user"), &asked.hot, |query| query)?;
    ask(run, store, ("zipf", "newest 100, Zipf users"), &asked.zipf, |query| query)?;
    ask(run, store, ("uniform", "newest 100, uniform users"), &asked.uniform, |query| query)?;
    let name = ("filtered", "newest 100 of the hot user, category auth and level warning");
    ask(run, store, name, &asked.hot, |query| query.category(Category::Auth).level(Level::Warning))?;
    if let Some(cursor) = deep {
        let name = ("deep", "100 of the hot user, deep in the log, through a cursor");
        ask(run, store, name, &asked.hot, |query| query.cursor(cursor.as_str()))?;
    }
    ask(run, store, ("noEvents", "a user without events"), &asked.without_events, |query| query)?;
    let mut clock = pages(&asked.hot, run.args.calls as usize, false, |_| Ok::<_, Failure>(0))?.latencies;
    run.add("page.clock.p50", "  two looks at the clock, in each of these, p50", clock.micros(0.5), "µs");
    Ok(())
}

fn ask<'s>(
    run: &mut Run<'_>,
    store: &'s Store,
    (name, label): (&str, &str),
    users: &[UserId<'static>],
    refine: impl Fn(UserLogQuery<'s>) -> UserLogQuery<'s>,
) -> Result<(), Failure> {
    let progress = Progress::phase(label, None);
    let page = |user: &UserId<'_>| read_page(&refine(store.user_log(user)).page()?);
    let Pages { mut latencies, events } = pages(users, run.args.calls as usize, true, page)?;
    drop(progress);
    run.add(format!("page.{name}.p50"), format!("{label}, p50"), latencies.micros(0.5), "µs");
    run.add(format!("page.{name}.p99"), "  p99", latencies.micros(0.99), "µs");
    run.add(format!("page.{name}.events"), "  events a page", events, "events");
    Ok(())
}

/// The cursor far back in the hot user's log; none where that has a page only.
fn deep_cursor(store: &Store, hot: &[UserId<'static>]) -> Result<Option<String>, Failure> {
    let mut deepest = None;
    for user in hot {
        for _ in 0..DEEP_PAGES {
            let query = store.user_log(user).limit(500);
            let page = match &deepest {
                None => query.page()?,
                Some(cursor) => query.cursor(String::clone(cursor)).page()?,
            };
            // A cursor behind which less than a page is left would make a short page.
            let Some(next) = page.next_cursor() else { break };
            if store.user_log(user).cursor(next.as_str()).page()?.len() < 100 {
                break;
            }
            deepest = Some(next);
        }
    }
    Ok(deepest)
}

/// Pages from the disk: before each round the store is closed and its files leave the page cache.
pub(super) fn cold(run: &mut Run<'_>, dir: &Path) -> Result<(), Failure> {
    let asked = Asked::new(&run.config, USERS_DRAWN);
    let mut opening = Latencies::default();
    for (name, label, users) in [
        ("uniform", "cold newest 100, uniform users", &asked.uniform),
        ("zipf", "cold newest 100, Zipf users", &asked.zipf),
    ] {
        let progress = Progress::phase(label, None);
        let mut all = Latencies::default();
        let mut events = 0.0;
        let users = distinct(users, COLD_USERS * COLD_ROUNDS as usize);
        let mut rounds = 0;
        for users in users.chunks(COLD_USERS) {
            run.drop_cache()?;
            let (store, took) = reopen(&run.args.load, dir)?;
            opening.push(took);
            let page = |user: &UserId<'_>| read_page(&store.user_log(user).page()?);
            let Pages { latencies, events: seen } = pages(users, users.len(), false, page)?;
            all.extend(&latencies);
            events += seen;
            rounds += 1;
            store.close()?;
        }
        drop(progress);
        run.add(format!("cold.{name}.p50"), format!("{label}, p50"), all.micros(0.5), "µs");
        run.add(format!("cold.{name}.p99"), "  p99", all.micros(0.99), "µs");
        run.add(
            format!("cold.{name}.events"),
            "  events a page",
            events / f64::from(rounds.max(1)),
            "events",
        );
    }
    run.add("cold.open", "  opening with a cold cache, p50", opening.millis(0.5), "ms");
    Ok(())
}
