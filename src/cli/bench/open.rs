//! Opening: after the process was killed with `SIGKILL` right after its last append, and after a clean close.

use std::path::Path;

use super::args::ChildTask;
use super::{Failure, Progress, Run, child, number, reopen};
use crate::Store;
use crate::workload::measure::{Latencies, killed_after_its_line};

const KILLS: usize = 3;
const CLEAN_OPENINGS: usize = 5;
/// How much of the events is appended again at full load before each kill, and at least and at most.
const BURST_PART: u64 = 20;
const BURST_MIN: u64 = 20_000;
const BURST_MAX: u64 = 1_000_000;

pub(super) fn measure(run: &mut Run<'_>, dir: &Path) -> Result<(), Failure> {
    let burst = (run.events / BURST_PART).clamp(BURST_MIN, BURST_MAX);
    let progress = Progress::phase("opening after a kill", Some(KILLS as u64));
    let (mut killed, mut rescued, mut there) = (Latencies::default(), 0, run.events);
    for round in 1..=KILLS {
        let mut writer = child::command(run, ChildTask::Write, dir, burst)?;
        let said = killed_after_its_line(&mut writer)
            .map_err(|error| Failure::Other(format!("the process that is to be killed: {error}")))?;
        if said != child::appended(burst) {
            return Err(Failure::Other(format!("the process that is to be killed said: {said}")));
        }
        there += burst;
        let (store, took) = reopen(&run.args.load, dir)?;
        killed.push(took);
        expect_events(&store, there)?;
        rescued = store.recovery().shards.iter().map(|shard| shard.rescued).sum();
        store.close()?;
        progress.set(round as u64, burst);
    }
    drop(progress);
    let progress = Progress::phase("opening after a clean close", None);
    let mut clean = Latencies::default();
    for _ in 0..CLEAN_OPENINGS {
        let (store, took) = reopen(&run.args.load, dir)?;
        clean.push(took);
        expect_events(&store, there)?;
        store.close()?;
    }
    drop(progress);
    add(run, "killed", format!("open after kill -9, p50 of {KILLS}"), &mut killed);
    run.add("open.killed.rescued", "  records above the durable floor then", number(rescued), "events");
    add(run, "clean", format!("open after a clean close, p50 of {CLEAN_OPENINGS}"), &mut clean);
    Ok(())
}

/// Every acknowledged event must be there, or the time says nothing.
fn expect_events(store: &Store, expected: u64) -> Result<(), Failure> {
    let events = store.stats()?.events;
    if events == expected {
        return Ok(());
    }
    Err(Failure::Other(format!("{expected} events were acknowledged, {events} are there after opening")))
}

fn add(run: &mut Run<'_>, name: &str, label: String, opened: &mut Latencies) {
    run.add(format!("open.{name}.p50"), label, opened.millis(0.5), "ms");
    run.add(format!("open.{name}.max"), "  slowest", opened.millis(1.0), "ms");
}
