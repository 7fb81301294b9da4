//! `usertrail quickstart`: a store, a realistic stream, and what can be seen of it. Must not know more than an embedder.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::args::QuickstartArgs;
use super::failure::{Exit, Failure};
use super::list::shown;
use super::output::{Output, Screen};
use super::progress::{Progress, per_second};
use super::table::Table;
use super::temporary::TemporaryDir;
use super::text::{bytes, counted, grouped, printable};
use crate::workload::{Scenario, ScenarioConfig};
use crate::{Level, NewEvent, Options, Page, Store, UserId};

/// How many events are stored at once.
const BATCH: usize = 1_000;
/// How many events the pages show.
const PAGE_EVENTS: usize = 25;
/// How often a page is asked for, to say what one takes.
const PAGE_REPEATS: u32 = 1_000;

pub(super) fn run(args: &QuickstartArgs, program: &OsStr) -> Result<Exit, Failure> {
    // Dropped last, and also where the output is closed half way.
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(TemporaryDir::new("quickstart", None, args.keep)?),
    };
    let dir = match (&args.data, &temporary) {
        (Some(dir), _) => dir.as_path(),
        (None, Some(temporary)) => temporary.path(),
        (None, None) => Path::new("."),
    };
    let mut output = Output::new();
    let store = Options::new().create_new(dir)?;
    let kept = args.data.is_some() || args.keep;
    let place = printable(&dir.display().to_string()).into_owned();
    output.line(&format!("A new store in {place}{}", if kept { "" } else { " (removed at the end)" }))?;
    output.flush()?;

    fill(&store, args, &mut output)?;
    let store = reopen(store, dir, &mut output)?;
    let alice = UserId::new(crate::workload::cast::ALICE).map_err(crate::Error::from)?;
    show(&store, &alice, &mut output)?;
    store.close()?;
    next_steps(&printable(&program.to_string_lossy()), dir, kept, &mut output)?;
    output.finish()?;
    Ok(Exit::Fine)
}

/// Writes the stream; what it takes to make up the events is counted apart.
fn fill(store: &Store, args: &QuickstartArgs, output: &mut Output) -> Result<(), Failure> {
    let config = ScenarioConfig { seed: args.seed, events: args.events, ..ScenarioConfig::default() };
    let mut scenario = Scenario::new(&config);
    let progress = Progress::new(Some(args.events));
    let (mut appended, mut events) = (Duration::ZERO, 0);
    let mut batch: Vec<NewEvent<'static>> = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        batch.extend(scenario.by_ref().take(BATCH));
        if batch.is_empty() {
            break;
        }
        let begun = Instant::now();
        store.append_batch(&batch).map_err(crate::Error::from)?;
        appended += begun.elapsed();
        events += batch.len() as u64;
        progress.set(events, events);
    }
    drop(progress);
    let begun = Instant::now();
    store.flush()?;
    let flushed = begun.elapsed();
    let stats = store.stats()?;
    output.line(&format!(
        "  stored     {} of {} in {} ({} a second, in batches of {BATCH}, one thread)",
        counted(events, "event"),
        counted(stats.users, "user"),
        seconds(appended),
        grouped(per_second(events, appended))
    ))?;
    output.line(&format!(
        "  synced     the rest after {}: everything survives a power cut now",
        seconds(flushed)
    ))?;
    output.line(&format!(
        "  on disk    {}, {:.0} bytes an event with its index",
        bytes(stats.bytes_on_disk.saturating_sub(stats.bytes_ahead)),
        stats.bytes_per_event
    ))
}

fn reopen(store: Store, dir: &Path, output: &mut Output) -> Result<Store, Failure> {
    store.close()?;
    drop(store);
    let begun = Instant::now();
    let store = Store::open(dir)?;
    output.line(&format!("  reopened   in {}", seconds(begun.elapsed())))?;
    Ok(store)
}

/// Two pages of a person's log, and the interesting ones of all.
fn show(store: &Store, user: &UserId<'_>, output: &mut Output) -> Result<(), Failure> {
    let begun = Instant::now();
    for _ in 0..PAGE_REPEATS {
        store.user_log(user).page()?;
    }
    let page_took = begun.elapsed() / PAGE_REPEATS;
    let screen = Screen::detect();
    let first = store.user_log(user).limit(PAGE_EVENTS).page()?;
    output.line(&format!(
        "  read       the newest 100 of {}'s {} in {:.1} µs, {} records touched for the {} below",
        shown(user),
        counted(store.user_count(user)?, "event"),
        page_took.as_secs_f64() * 1e6,
        first.records_read(),
        first.len()
    ))?;
    output.line(&format!("\n{}'s log, newest first:\n", shown(user)))?;
    table(&first, screen, output)?;
    if let Some(cursor) = first.next_cursor() {
        let second = store.user_log(user).limit(PAGE_EVENTS).cursor(cursor.as_str()).page()?;
        output.line(&format!("\nThe next page, by the cursor {cursor}:\n"))?;
        table(&second, screen, output)?;
    }
    let alarming = store.user_log(user).level(Level::Suspicious).level(Level::Error).level(Level::Warning);
    let alarming = alarming.limit(PAGE_EVENTS).page()?;
    output.line("\nOnly warnings, errors and what is suspicious:\n")?;
    table(&alarming, screen, output)
}

fn table(page: &Page, screen: Screen, output: &mut Output) -> Result<(), Failure> {
    Table::of(page)?.write(output, screen)
}

fn next_steps(program: &str, dir: &Path, kept: bool, output: &mut Output) -> Result<(), Failure> {
    let keep = if kept { dir.display().to_string() } else { "trail".to_owned() };
    let keep = quoted(&keep);
    output.line("\nWhat to try next:\n")?;
    if !kept {
        output.line(&format!("  {program} quickstart --data {keep}"))?;
    }
    for command in [
        format!("list --data {keep} --user bob"),
        format!("list --data {keep} --user alice --category auth --status failure --limit 10"),
        format!("list --data {keep} --user alice --level suspicious --json"),
        format!("stats --data {keep}"),
        format!("inspect --data {keep}"),
        format!("ingest --data {keep} --format authlog /var/log/auth.log"),
        "ingest --help".to_owned(),
    ] {
        output.line(&format!("  {program} {command}"))?;
    }
    output.line("\nOther persons of the story:\n")?;
    for member in Scenario::members().iter().skip(1) {
        output.line(&format!("  {:<6} {:<15} {}", member.id, member.role, member.story))?;
    }
    Ok(())
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}
