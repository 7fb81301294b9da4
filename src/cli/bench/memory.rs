//! The memory of a process that does nothing but load a store and read from it, in a process of its own: events are made
//! one by one there, so that what is seen is the store's.

use std::path::Path;

use super::args::{BenchChildArgs, ChildTask};
use super::{Exit, Failure, Output, Progress, Run, child, number, options, read_page, remove, reopen};
use crate::Store;
use crate::workload::Workload;
use crate::workload::measure::{Asked, anonymous_bytes};

/// How often memory is looked at while loading.
const LOOKS: u64 = 200;
const PAGES: u32 = 5_000;

/// What the child says, in MiB: figure, label, value.
type Said = Vec<(String, String, f64)>;

pub(super) fn measure(run: &mut Run<'_>) -> Result<(), Failure> {
    let dir = run.dir.join("memory");
    let progress = Progress::phase("loading in a process of its own", None);
    let output = child::command(run, ChildTask::Memory, &dir, run.events)?
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| Failure::Other(format!("cannot start a process: {error}")))?;
    drop(progress);
    let said: Said = serde_json::from_slice(&output.stdout).map_err(|_| {
        Failure::Other(format!("the process that loads a store has failed: {}", output.status))
    })?;
    for (name, label, mib) in said {
        run.add(name, label, mib, "MiB");
    }
    remove(&dir)
}

pub(super) fn in_child(args: &BenchChildArgs) -> Result<Exit, Failure> {
    let config = args.load.workload();
    let mut workload = Workload::new(&config);
    let asked = Asked::new(&config, PAGES);
    let baseline = anonymous()?;
    let mut said: Said = Vec::new();
    let mut say = |name: &str, label: &str, mib: f64| {
        said.push((format!("memory.{name}"), label.to_owned(), mib));
    };

    let store = options(&args.load).create_new(&args.data)?;
    let (mut highest, mut highest_known) = (0.0_f64, 0.0_f64);
    let step = (args.events / LOOKS).max(1);
    for done in 1..=args.events {
        store.append(&workload.next_event())?;
        if done % step == 0 || done == args.events {
            highest = highest.max(anonymous()? - baseline);
            highest_known = highest_known.max(known(&store)?);
        }
    }
    say("loading", "memory while loading (RssAnon), highest", highest);
    say("loadingKnown", "  what the store's statistics know of, highest", highest_known);
    read(&store, &asked)?;
    say("afterReading", "  after loading and reading", anonymous()? - baseline);
    store.close()?;
    drop(store);

    let before = anonymous()?;
    let (store, _) = reopen(&args.load, &args.data)?;
    read(&store, &asked)?;
    say("opened", "  opened again and read, above what was there before", anonymous()? - before);
    say("openedKnown", "  what the store's statistics know of then", known(&store)?);
    store.close()?;
    say("generator", "  not counted: the generator of events", baseline);
    let mut output = Output::new();
    output.json(&said)?;
    output.finish()?;
    Ok(Exit::Fine)
}

fn read(store: &Store, asked: &Asked) -> Result<(), Failure> {
    let users = asked.hot.iter().chain(&asked.zipf).chain(&asked.uniform);
    users.map(|user| read_page(&store.user_log(user).page()?)).try_for_each(|read| read.map(drop))
}

fn anonymous() -> Result<f64, Failure> {
    let bytes =
        anonymous_bytes().map_err(|error| Failure::file("read", Path::new("/proc/self/status"), &error))?;
    Ok(mib(bytes))
}

/// The memory that the store's own statistics name.
fn known(store: &Store) -> Result<f64, Failure> {
    let stats = store.stats()?;
    Ok(mib(stats.tail_index_bytes + stats.segment_memory_bytes))
}

fn mib(bytes: u64) -> f64 {
    number(bytes) / f64::from(1 << 20)
}
