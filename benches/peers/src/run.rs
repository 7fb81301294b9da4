//! The measurements, the same for each engine, one engine after the other. Must not know one.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use usertrail::workload::measure::{
    Asked, CacheDrop, Latencies, Pages, Report, callers, distinct, drop_page_cache, killed_after_its_line,
    load, pages, sync_disks, together,
};
use usertrail::workload::{Pool, WorkloadConfig};
use usertrail::{NewEvent, UserId};

use crate::combiner::Combiner;
use crate::engine::{ENGINES, Engine, Kind, Outcome, Question, Sync};
use crate::oracle::{FILTER, Oracle};
use crate::{Args, Part, table};

const POOL_EVENTS: u64 = 1_000_000;
const USERS_DRAWN: u32 = 20_000;
/// Each round empties the cache, opens the store, and asks for the pages of so many users, none twice.
const COLD_USERS: usize = 250;
const COLD_ROUNDS: usize = 3;
const CALLERS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(1);
/// Durable appends of one caller.
const DURABLE: usize = 2_000;
/// What is appended right before a kill, and how often that is done.
const BURST: u64 = 20_000;
const KILLS: usize = 3;
/// After so many appends it is looked whether time is up: a look at the clock costs as much as part of an append.
const APPENDS_A_LOOK: u64 = 64;

/// Why appending ended before all events were there.
enum Halt {
    TimeIsUp,
    Failed(Box<dyn std::error::Error + Send + std::marker::Sync>),
}

/// How many events were appended, and how long that took.
struct Filled {
    events: u64,
    spent: Duration,
}

/// Everything that the engines share.
struct Bench<'a> {
    args: &'a Args,
    dir: &'a Path,
    pool: Pool,
    asked: Asked,
    oracle: Oracle,
}

fn workload(args: &Args) -> Outcome<WorkloadConfig> {
    Ok(WorkloadConfig { users: u32::try_from(args.users)?, ..WorkloadConfig::default() })
}

/// Runs what is asked for and prints it.
pub fn all(args: &Args) -> Outcome<()> {
    let parent = args.data.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::Builder::new().prefix("usertrail-peers-").tempdir_in(parent)?;
    eprintln!("making events, and the pages that all must give");
    let config = workload(args)?;
    let pool = Pool::new(&config, usize::try_from(args.events.min(POOL_EVENTS))?);
    let asked = Asked::new(&config, USERS_DRAWN);
    let oracle = Oracle::new(&pool, args.events, &asked);
    let bench = Bench { args, dir: dir.path(), pool, asked, oracle };
    let mut reports = Vec::new();
    for kind in ENGINES.iter().filter(|kind| args.wants_engine(kind.name)) {
        eprintln!("{}", kind.name);
        reports.push((kind, bench.measure(kind)?));
    }
    table::print(args, &reports)?;
    dir.close()?;
    Ok(())
}

/// Appends a burst to a store that is there, says so, and waits to be killed.
pub fn child(args: &Args) -> Outcome<()> {
    let [name, dir] = &args.child[..] else { return Err("--child takes two values".into()) };
    let kind = ENGINES.iter().find(|kind| kind.name == name).ok_or("no such engine")?;
    let pool = Pool::new(&workload(args)?, usize::try_from(BURST)?);
    (kind.with)(Path::new(dir), Sync::Buffered, &mut |engine| {
        for (event, sequence) in pool.events().iter().zip(args.from..) {
            engine.append(sequence, std::slice::from_ref(event))?;
        }
        println!("appended");
        // Whoever started this kills it now; it ends by itself where that one is gone.
        std::io::stdin().read_line(&mut String::new())?;
        std::process::exit(1)
    })
}

impl Bench<'_> {
    fn measure(&self, kind: &Kind) -> Outcome<Report> {
        let mut report = Report::default();
        let dir = self.dir.join(kind.name);
        if [Part::Append, Part::Page, Part::Cold, Part::Open].into_iter().any(|part| self.args.wants(part)) {
            self.load(kind, &mut report, &dir)?;
            if self.args.wants(Part::Cold) {
                self.cold(kind, &mut report, &dir)?;
            }
            if self.args.wants(Part::Open) {
                self.open(kind, &mut report, &dir)?;
            }
            fs::remove_dir_all(&dir)?;
        }
        if self.args.wants(Part::Append) {
            for batch in [1, 100] {
                self.fresh(kind, Sync::Buffered, &dir, &mut |engine| {
                    let filled = self.fill(engine, batch, self.longest())?;
                    let rate = filled.events as f64 / filled.spent.as_secs_f64();
                    let (name, label) = (format!("append.{batch}"), format!("append, batches of {batch}"));
                    report.add(
                        format!("{name}.events"),
                        format!("{label}, until"),
                        filled.events as f64,
                        "events",
                    );
                    report.add(name, label, rate, "events/s");
                    Ok(())
                })?;
            }
        }
        if self.args.wants(Part::Mixed) {
            self.fresh(kind, Sync::Buffered, &dir, &mut |engine| self.mixed(engine, &mut report))?;
        }
        if self.args.wants(Part::Durable) {
            self.fresh(kind, Sync::Durable, &dir, &mut |engine| self.durable(engine, &mut report))?;
        }
        Ok(report)
    }

    /// Runs with a new store, which is gone afterwards.
    fn fresh(
        &self,
        kind: &Kind,
        sync: Sync,
        dir: &Path,
        body: &mut dyn FnMut(&dyn Engine) -> Outcome<()>,
    ) -> Outcome<()> {
        fs::create_dir(dir)?;
        sync_disks();
        (kind.with)(dir, sync, body)?;
        fs::remove_dir_all(dir)?;
        Ok(())
    }

    fn longest(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.args.longest))
    }

    /// Appends events in batches: all, or as many as there is time for.
    fn fill(&self, engine: &dyn Engine, batch: usize, longest: Option<Duration>) -> Outcome<Filled> {
        let (begun, mut sequence, mut appends) = (Instant::now(), 0, 0_u64);
        let append = |events: &[NewEvent<'static>]| {
            engine.append(sequence, events).map_err(Halt::Failed)?;
            sequence += events.len() as u64;
            appends += 1;
            let looks = appends.is_multiple_of(APPENDS_A_LOOK);
            let over = looks && longest.is_some_and(|longest| begun.elapsed() >= longest);
            if over { Err(Halt::TimeIsUp) } else { Ok(()) }
        };
        match load(&self.pool, self.args.events, batch, 1, append, |_| Ok(())) {
            Ok(_) | Err(Halt::TimeIsUp) => Ok(Filled { events: sequence, spent: begun.elapsed() }),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// The store that pages are read from: loaded in batches of 1000, and its pages compared with what they must be.
    fn load(&self, kind: &Kind, report: &mut Report, dir: &Path) -> Outcome<()> {
        fs::create_dir(dir)?;
        sync_disks();
        let mut ahead = 0;
        (kind.with)(dir, Sync::Buffered, &mut |engine| {
            let Filled { events, spent } = self.fill(engine, 1_000, None)?;
            engine.settle()?;
            ahead = engine.bytes_ahead()?;
            if self.args.wants(Part::Append) {
                let rate = events as f64 / spent.as_secs_f64();
                report.add("append.1000", "append, batches of 1000", rate, "events/s");
            }
            self.oracle.check(kind.name, engine)?;
            eprintln!("  {} pages are what they must be", self.oracle.pages());
            if self.args.wants(Part::Page) {
                self.pages(engine, report)?;
            }
            Ok(())
        })?;
        if self.args.wants(Part::Append) {
            let bytes = used_bytes(dir)?.saturating_sub(ahead) as f64 / self.args.events as f64;
            report.add(
                "bytes.event",
                "bytes on disk an event, closed, without space allocated ahead",
                bytes,
                "B",
            );
        }
        Ok(())
    }

    fn pages(&self, engine: &dyn Engine, report: &mut Report) -> Outcome<()> {
        for (name, label, users, filter) in [
            ("hot", "newest 100 of the hot user", &self.asked.hot, None),
            ("zipf", "newest 100, Zipf users", &self.asked.zipf, None),
            ("uniform", "newest 100, uniform users", &self.asked.uniform, None),
            ("filtered", "newest 100 of the hot user, category + level", &self.asked.hot, Some(FILTER)),
            ("noEvents", "a user without events", &self.asked.without_events, None),
        ] {
            let page = |user: &UserId<'static>| engine.read(Question { user, filter });
            let mut latencies = pages(users, usize::try_from(self.args.calls)?, true, page)?.latencies;
            report.add(format!("page.{name}.p50"), format!("{label}, p50"), latencies.micros(0.5), "µs");
            report.add(format!("page.{name}.p99"), format!("{label}, p99"), latencies.micros(0.99), "µs");
        }
        Ok(())
    }

    fn cold(&self, kind: &Kind, report: &mut Report, dir: &Path) -> Outcome<()> {
        let way = self.args.cold_by_advice.then_some(CacheDrop::Advise);
        for (name, users) in [("uniform", &self.asked.uniform), ("zipf", &self.asked.zipf)] {
            let mut all = Latencies::default();
            for users in distinct(users, COLD_USERS * COLD_ROUNDS).chunks(COLD_USERS) {
                drop_page_cache(dir, way)?;
                (kind.with)(dir, Sync::Buffered, &mut |engine| {
                    let page = |user: &UserId<'static>| engine.read(Question { user, filter: None });
                    let Pages { latencies, .. } = pages(users, users.len(), false, page)?;
                    all.extend(&latencies);
                    Ok(())
                })?;
            }
            let label = format!("cold newest 100, {name} users, p50");
            report.add(format!("cold.{name}.p50"), label, all.micros(0.5), "µs");
        }
        Ok(())
    }

    /// Opening a store whose process was killed right after appending, until its first page is there.
    fn open(&self, kind: &Kind, report: &mut Report, dir: &Path) -> Outcome<()> {
        let mut opened = Latencies::default();
        let mut there = self.args.events;
        for _ in 0..KILLS {
            let mut writer = Command::new(std::env::current_exe()?);
            writer.args(["--child", kind.name]).arg(dir).args(["--from", &there.to_string()]);
            writer.args(["--users", &self.args.users.to_string()]);
            killed_after_its_line(&mut writer)?;
            there += BURST;
            let begun = Instant::now();
            (kind.with)(dir, Sync::Buffered, &mut |engine| {
                engine.read(Question { user: &self.asked.hot[0], filter: None })?;
                opened.push(begun.elapsed());
                if engine.survives_kill() {
                    // The burst is the beginning of the workload once more, so its newest are known.
                    let pool = Pool::new(&workload(self.args)?, usize::try_from(BURST)?);
                    let hot = Asked { zipf: Vec::new(), uniform: Vec::new(), ..self.asked.clone() };
                    Oracle::new(&pool, BURST, &hot).check(kind.name, engine)?;
                }
                Ok(())
            })?;
        }
        report.add("open.killed.p50", "open after kill -9 and read a page, p50", opened.millis(0.5), "ms");
        Ok(())
    }

    fn mixed(&self, engine: &dyn Engine, report: &mut Report) -> Outcome<()> {
        let mut users = self.asked.zipf.iter().cycle();
        let write = || self.fill(engine, 1, self.longest()).map(|filled| filled.events);
        let read = || {
            // There is always a next one.
            users.next().map_or(Ok(0), |user| engine.read(Question { user, filter: None })).map(drop)
        };
        let told = together(write, read)?;
        report.add(
            "mixed.events",
            "append, one at a time, beside a reader, until",
            told.written as f64,
            "events",
        );
        report.add("mixed.appends", "append, one at a time, beside a reader", told.write_rate(), "events/s");
        report.add("mixed.pages", "pages of Zipf users at the same time", told.read_rate(), "pages/s");
        Ok(())
    }

    fn durable(&self, engine: &dyn Engine, report: &mut Report) -> Outcome<()> {
        let mut one = Latencies::with_capacity(DURABLE);
        for number in 0..DURABLE {
            let event = std::slice::from_ref(self.pool.event(number));
            let begun = Instant::now();
            engine.append(number as u64, event)?;
            one.push(begun.elapsed());
        }
        report.add("durable.one.p50", "durable append, one caller, p50", one.micros(0.5), "µs");
        let window = Duration::from_secs(self.args.seconds);
        let apart = self.pool.events().len() / CALLERS;
        let event = |caller: usize, number: usize| self.pool.event(caller * apart + number);
        let told = if engine.groups_commits() {
            let sequence = std::sync::atomic::AtomicU64::new(DURABLE as u64);
            let call = |caller, number| {
                let sequence = sequence.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                engine.append(sequence, std::slice::from_ref(event(caller, number)))
            };
            callers(CALLERS, WARM_UP, window, call, || Ok(0))?
        } else {
            let (combiner, committer) = Combiner::new();
            std::thread::scope(|scope| {
                let committing = scope.spawn(|| committer.run(engine, DURABLE as u64));
                // Moved in, so that the committer ends with the callers.
                let call = move |caller, number| combiner.append(event(caller, number));
                let told = callers(CALLERS, WARM_UP, window, call, || Ok(0));
                committing.join().map_err(|_| "the committing thread has panicked")??;
                told
            })?
        };
        report.add("durable.64.rate", "durable append, 64 callers", told.rate(), "acks/s");
        Ok(())
    }
}

/// What files take of the disk, without what is allocated but not there yet: their blocks, or their lengths where those
/// are less.
fn used_bytes(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;

    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => used_bytes(&entry.path())?,
            false => metadata.len().min(metadata.blocks() * 512),
        };
    }
    Ok(bytes)
}
