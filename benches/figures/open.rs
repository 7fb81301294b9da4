//! Opening: after a clean close, and after the process was killed (a copy of the living store's directory).

use std::path::Path;
use std::time::{Duration, Instant};

use usertrail::workload::Pool;
use usertrail::{Durability, Options, Store};

use crate::common::{Outcome, copy_living, settled};
use crate::report::{Bound, Report, percentile, sorted};

const ROUNDS: usize = 5;
/// Appended right before each copy, so that the killed process leaves something that isn't synced.
const BURST: usize = 20_000;
/// What a store of ten million events should take after a kill.
const OPEN_MS_MAX: f64 = 300.0;

pub fn measure(report: &mut Report, store: Store, pool: &Pool, dir: &Path) -> Outcome<()> {
    eprintln!("opening");
    let copy = dir.with_extension("killed");
    let (mut killed, mut rescued) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        settled(&store)?;
        for event in pool.events().iter().cycle().take(BURST) {
            store.append(event)?;
        }
        copy_living(&store, dir, &copy)?;
        let events = store.stats()?.events;
        let (opened, spent) = open(&copy)?;
        killed.push(spent);
        if opened.stats()?.events != events {
            return Err("a store opened after a kill lacks events that were acknowledged".into());
        }
        rescued = opened.recovery().shards.iter().map(|shard| shard.rescued).sum();
        opened.close()?;
        std::fs::remove_dir_all(&copy)?;
    }
    store.close()?;
    // Sealed files are linked between the two, so the original still has all of its own.
    drop(store);
    let mut clean = Vec::new();
    for _ in 0..ROUNDS {
        let (opened, spent) = open(dir)?;
        clean.push(spent);
        opened.close()?;
    }
    add(report, "open after a clean close", clean, Bound::None);
    add(report, "open after a kill", killed, Bound::AtMost(OPEN_MS_MAX));
    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    report.add("  records above the durable floor then", rescued as f64, "events", Bound::None);
    Ok(())
}

fn open(dir: &Path) -> Outcome<(Store, Duration)> {
    let start = Instant::now();
    let store = Options::new().durability(Durability::Buffered).open(dir)?;
    Ok((store, start.elapsed()))
}

fn add(report: &mut Report, name: &str, times: Vec<Duration>, bound: Bound) {
    let times = sorted(times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect());
    report.add(format!("{name}, p50 of {ROUNDS}"), percentile(&times, 0.5), "ms", bound);
    report.add(format!("  {name}, slowest"), percentile(&times, 1.0), "ms", Bound::None);
}
