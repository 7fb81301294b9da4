//! Durable append: one caller beside a bare loop of writes and syncs in the same directory, and 64 callers together.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use usertrail::workload::{Pool, WorkloadConfig};
use usertrail::{Durability, Options, Store};

use crate::arguments::Arguments;
use crate::common::{Outcome, SHARDS};
use crate::report::{Bound, Report, percentile, sorted};

const PAGE_BYTES: usize = 4096;
/// The file of the bare loop: as long as a segment.
const BARE_PAGES: u64 = 64 << 20 >> 12;
/// How many syncs of one kind are made before it is the other's turn: short, so that the disk's moods meet both.
const SYNCS_A_ROUND: usize = 50;
const CALLERS: usize = 64;
const POOL_EVENTS: usize = 65_536;

pub fn measure(arguments: &Arguments, report: &mut Report, dir: &Path) -> Outcome<()> {
    eprintln!("appending durably");
    let pool = Pool::new(&WorkloadConfig::default(), POOL_EVENTS);
    let path = dir.join("durable");
    let store = Options::new().shards(SHARDS).durability(Durability::Durable).create_new(&path)?;
    one_caller(arguments, report, &store, &pool, &dir.join("bare"))?;
    many_callers(arguments, report, &store, &pool)?;
    store.close()?;
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

fn one_caller(
    arguments: &Arguments,
    report: &mut Report,
    store: &Store,
    pool: &Pool,
    path: &Path,
) -> Outcome<()> {
    let mut bare = Bare::new(path)?;
    let (mut stores, mut bares) = (Vec::new(), Vec::new());
    let mut events = pool.events().iter().cycle();
    // The first round warms up.
    for round in 0..=arguments.rounds {
        for _ in 0..SYNCS_A_ROUND {
            let start = Instant::now();
            bare.write_and_sync()?;
            bares.push(micros(start.elapsed()));
        }
        for event in events.by_ref().take(SYNCS_A_ROUND) {
            let start = Instant::now();
            store.append(event)?;
            stores.push(micros(start.elapsed()));
        }
        if round == 0 {
            stores.clear();
            bares.clear();
        }
    }
    std::fs::remove_file(path)?;
    let (stores, bares) = (sorted(stores), sorted(bares));
    let (store, bare) = (percentile(&stores, 0.5), percentile(&bares, 0.5));
    report.add(
        "durable append, one caller / bare write + fdatasync, p50",
        store / bare,
        "x",
        Bound::AtMost(1.3),
    );
    report.add("  durable append, one caller, p50", store, "µs", Bound::None);
    report.add("  durable append, one caller, p99", percentile(&stores, 0.99), "µs", Bound::None);
    report.add("  bare 4 KiB write + fdatasync, p50", bare, "µs", Bound::None);
    report.add("  bare 4 KiB write + fdatasync, p99", percentile(&bares, 0.99), "µs", Bound::None);
    Ok(())
}

/// A file that was allocated, written and synced whole before, page by page written and synced again.
struct Bare {
    file: File,
    page: u64,
    bytes: Vec<u8>,
}

impl Bare {
    fn new(path: &Path) -> Outcome<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BARE_PAGES * PAGE_BYTES as u64)?;
        let zeros = vec![0; 1 << 20];
        for place in 0..(BARE_PAGES * PAGE_BYTES as u64) >> 20 {
            file.write_all_at(&zeros, place << 20)?;
        }
        file.sync_all()?;
        Ok(Self { file, page: 0, bytes: vec![0x5a; PAGE_BYTES] })
    }

    fn write_and_sync(&mut self) -> Outcome<()> {
        self.file.write_all_at(&self.bytes, self.page % BARE_PAGES * PAGE_BYTES as u64)?;
        self.file.sync_data()?;
        self.page += 1;
        Ok(())
    }
}

fn many_callers(arguments: &Arguments, report: &mut Report, store: &Store, pool: &Pool) -> Outcome<()> {
    let acknowledged = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let commits = || store.stats().map(|stats| stats.commits);
    let (rate, commit_rate) = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (acknowledged, stopped) = (&acknowledged, &stopped);
                scope.spawn(move || -> Outcome<()> {
                    let mut index = caller * POOL_EVENTS / CALLERS;
                    while !stopped.load(Ordering::Relaxed) {
                        store.append(pool.event(index))?;
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        index += 1;
                    }
                    Ok(())
                })
            })
            .collect();
        // The window opens when all callers run and the first segments have grown.
        std::thread::sleep(Duration::from_secs(1));
        let (begun, before, commits_before) =
            (Instant::now(), acknowledged.load(Ordering::Relaxed), commits());
        std::thread::sleep(Duration::from_secs(arguments.seconds));
        let (spent, after, commits_after) =
            (begun.elapsed(), acknowledged.load(Ordering::Relaxed), commits());
        stopped.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().map_err(|_| "a caller panicked")??;
        }
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        let rate = |count: u64| count as f64 / spent.as_secs_f64();
        Outcome::Ok((rate(after - before), rate(commits_after? - commits_before?)))
    })?;
    let name = format!("durable append, {CALLERS} callers");
    report.add(name, rate, "acks/s", Bound::AtLeast(100_000.0));
    report.add("  commits, each of one shard", commit_rate, "commits/s", Bound::None);
    report.add("  acknowledgements a commit", rate / commit_rate, "acks", Bound::None);
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
