//! Each call of the operating system fails, once or for ever, under the real binary: it ends with an exit code and a message,
//! never by a panic or a signal, and what it acknowledged is there at the next opening.
//!
//! Most calls go through the C library, where `shim/shim.c` (built here, preloaded) makes them fail. rustix makes its calls
//! by itself (`fallocate`, `lseek`): `strace` injects those. `docs/TESTING.md` says what sees what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use usertrail::{ErrorKind, Event, Options, Order, Timestamp};

use super::support::{Ack, BINARY, Ingest, Place, Said, finish, run};
use crate::figures::{Bound, Controls, figure, seed, skipped};
use crate::fixture::{copy_tree, user, whole_log};

const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
/// No error: `write` takes half, `mmap` keeps nothing.
const NONE: i32 = 0;

/// What the shim makes fail, and how.
const FAULTS: [(&str, &[i32]); 18] = [
    ("open", &[EIO, EMFILE, ENOSPC]),
    ("read", &[EIO]),
    ("pread", &[EIO]),
    ("write", &[EIO, ENOSPC, NONE]),
    ("pwrite", &[EIO, ENOSPC, NONE]),
    ("fsync", &[EIO, ENOSPC]),
    ("fdatasync", &[EIO, ENOSPC]),
    ("ftruncate", &[EIO]),
    ("rename", &[EIO, ENOSPC]),
    ("unlink", &[EIO]),
    ("mkdir", &[EIO, ENOSPC]),
    ("mmap", &[ENOMEM]),
    ("madvise", &[EIO]),
    ("flock", &[EIO]),
    ("fchmod", &[EIO]),
    ("stat", &[EIO]),
    ("readdir", &[EIO]),
    ("close", &[EIO]),
];

/// What strace makes fail.
const PAST_THE_LIBRARY: [(&str, &str); 3] = [("fallocate", "ENOSPC"), ("fallocate", "EIO"), ("lseek", "EIO")];

/// One fault.
#[derive(Clone, Copy, Debug)]
struct Fault<'a> {
    kind: &'a str,
    error: i32,
    when: u64,
    forever: bool,
}

/// What the binary is made to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    /// Makes a store, and appends until a segment is full and sealed.
    Create,
    /// The same in a store whose writer was killed.
    Recover,
    /// Lists a user's events.
    List,
}

/// Where the runs happen, and what they need.
struct Bench {
    place: Place,
    shim: PathBuf,
    input: String,
    /// A store whose writer was killed, and what that one acknowledged.
    killed: PathBuf,
    acknowledged: Vec<Ack>,
    /// A store that was closed, and what `list` says of it.
    whole: PathBuf,
    listed: String,
}

const LINES: usize = 900;
const LIST: [&str; 6] = ["list", "--user", "alice", "--limit", "500", "--json"];

fn line() -> String {
    format!(
        "{}\n",
        serde_json::json!({"action": "auth.login", "userId": "alice", "message": "m".repeat(1_200)})
    )
}

/// Compiles the shim; why not, if there is no compiler.
fn build_shim(to: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/shim/shim.c");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([to, &source])
        .arg("-ldl")
        .output()
        .map_err(|error| format!("there is no C compiler: {error}"))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Bench {
    fn new() -> Result<Self, String> {
        let place = Place::new();
        let shim = place.file("shim.so");
        build_shim(&shim)?;
        let input = place.write("input", line().repeat(LINES));
        let killed = place.file("killed");
        let mut ingest = Ingest::begin(
            killed.to_str().unwrap(),
            &["--shards", "1", "--durability", "buffered", "--segment-size", "1MiB", "--batch", "10"],
        );
        let mut acknowledged = Vec::new();
        for _ in 0..1_300 {
            ingest.say(line().trim_end());
            acknowledged.extend(ingest.ack());
        }
        ingest.child.kill().unwrap();
        ingest.child.wait().unwrap();
        assert_eq!(acknowledged.len(), 1_300);
        let whole = place.file("whole");
        copy_tree(&killed, &whole).unwrap();
        let args = |dir: &Path| {
            LIST.map(str::to_owned).into_iter().chain(["--data".to_owned(), dir.display().to_string()])
        };
        run(args(&whole)).ends_with(0);
        let listed = run(args(&whole)).ends_with(0).stdout;
        Ok(Self { place, shim, input, killed, acknowledged, whole, listed })
    }

    /// The command of a work, in a directory of its own.
    fn command(&self, work: Work, dir: &Path) -> Vec<String> {
        if dir.exists() {
            fs::remove_dir_all(dir).unwrap();
        }
        let data = dir.display().to_string();
        if work == Work::List {
            copy_tree(&self.whole, dir).unwrap();
            return LIST.iter().copied().chain(["--data", &data]).map(str::to_owned).collect();
        }
        if work == Work::Recover {
            copy_tree(&self.killed, dir).unwrap();
        }
        let mut args =
            vec!["ingest", "--data", &data, "--format", "jsonl", "--ack", "--durability", "durable"];
        args.extend(["--batch", "50"]);
        if work == Work::Create {
            args.extend(["--shards", "1", "--segment-size", "1MiB"]);
        }
        args.push(&self.input);
        args.into_iter().map(str::to_owned).collect()
    }

    /// Runs the binary with a fault. Gives what it said, and the lines of the shim's report.
    fn run_with(&self, work: Work, fault: Option<Fault<'_>>) -> (PathBuf, Said, String) {
        let dir = self.place.file("store");
        let report = self.place.file("report");
        let _ = fs::remove_file(&report);
        let mut command = Command::new(BINARY);
        command.args(self.command(work, &dir)).stdin(Stdio::null());
        command.env("LD_PRELOAD", &self.shim).env("SHIM_DIR", &dir).env("SHIM_REPORT", &report);
        if let Some(Fault { kind, error, when, forever }) = fault {
            command.env("SHIM_KIND", kind).env("SHIM_WHEN", when.to_string());
            command.env("SHIM_ERRNO", error.to_string());
            if forever {
                command.env("SHIM_FOREVER", "1");
            }
        }
        let said = finish(command);
        (dir, said, fs::read_to_string(&report).unwrap_or_default())
    }

    /// How many calls of each kind there are without a fault.
    fn count(&self, work: Work) -> BTreeMap<String, u64> {
        let (dir, said, report) = self.run_with(work, None);
        self.judge(work, &dir, &said.ends_with(0)).unwrap();
        let counts = report.lines().filter_map(|line| line.split_once(' '));
        let counts: BTreeMap<String, u64> =
            counts.map(|(kind, calls)| (kind.to_owned(), calls.parse().unwrap())).collect();
        assert_eq!(counts.len(), FAULTS.len(), "the shim isn't loaded: {report}");
        counts
    }

    /// Whether the binary may end like this, and has lost nothing.
    fn judge(&self, work: Work, dir: &Path, said: &Said) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}\n{}\nexit code {:?}", said.stderr, said.code));
        if said.stderr.contains("panicked") || said.stderr.contains("RUST_BACKTRACE") {
            return wrong("a panic");
        }
        let Some(code) = said.code else { return wrong("ended by a signal") };
        // 0: done; 1: could not; 4: says that something is damaged.
        if ![0, 1, 4].contains(&code) || (code != 0 && !said.stderr.starts_with("usertrail: ")) {
            return wrong("an exit without a reason");
        }
        if code == 4 {
            return wrong("a failed call was taken for damage");
        }
        if work == Work::List {
            if code == 0 && said.stdout != self.listed {
                return wrong("another list than without a fault");
            }
            if code != 0 && !said.stdout.is_empty() {
                return wrong("a list, and a failure");
            }
        }
        let mut acks: Vec<Ack> = if work == Work::Create { Vec::new() } else { self.acknowledged.clone() };
        if work != Work::List {
            let told: Vec<Ack> = said.stdout.lines().map(Ack::parse).collect();
            if code == 0 && told.len() != LINES {
                return wrong(&format!("said to be done with {} acknowledgements", told.len()));
            }
            acks.extend(told);
        }
        let store = match Options::new().open(dir) {
            Ok(store) => store,
            Err(error) if acks.is_empty() && error.kind() == ErrorKind::NotAStore => return Ok(()),
            Err(error) => return wrong(&format!("it can't be opened afterwards: {error}")),
        };
        let log = match whole_log(&store, &user("alice"), Order::Oldest, 500) {
            Ok(log) => log,
            Err(error) => return wrong(&format!("it can't be read afterwards: {error}")),
        };
        for ack in &acks {
            let place = usize::try_from(ack.user_sequence.unwrap()).unwrap();
            if log.get(place).is_none_or(|event| event.id().to_string() != ack.id) {
                return wrong(&format!("{} events; this one is lost: {ack:?}", log.len()));
            }
        }
        if !log.iter().enumerate().all(|(place, event)| event.user_sequence() == Some(place as u64)) {
            return wrong("user sequences that aren't dense");
        }
        store.check().map_err(|error| format!("damaged afterwards: {error}"))
    }
}

/// The numbers of calls to try: all, or the one that the short form has time for.
fn numbers(count: u64, all: bool, draw: &mut u64) -> std::ops::RangeInclusive<u64> {
    if all {
        // Beyond what was counted: threads take turns in another order each time.
        return 1..=count + 2;
    }
    *draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let one = 1 + (*draw >> 33) % count.max(1);
    one..=one
}

#[test]
fn no_failing_call_loses_what_was_acknowledged() {
    let name = "cli::inject::no_failing_call_loses_what_was_acknowledged";
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(why) => return skipped(format!("{name}: {why}")),
    };
    let bound = Bound::new(u64::MAX);
    let mut draw = seed(1);
    let mut plan = Vec::new();
    for work in [Work::Create, Work::Recover, Work::List] {
        let counts = bench.count(work);
        for (kind, errors) in FAULTS {
            for (error, forever) in errors.iter().flat_map(|error| [(*error, false), (*error, true)]) {
                let numbers = numbers(counts[kind], bound.is_long(), &mut draw);
                plan.extend(numbers.map(|when| (counts[kind], work, Fault { kind, error, when, forever })));
            }
        }
    }
    // Calls of which there are few come first: a long form may end before all of the many are done.
    plan.sort_by_key(|(count, ..)| *count);
    let planned = plan.len();
    let (mut runs, mut injected, mut failed) = (0, 0_u64, 0_u64);
    for (_, work, fault) in plan {
        if !bound.goes_on(runs) {
            break;
        }
        let (dir, said, report) = bench.run_with(work, Some(fault));
        runs += 1;
        injected += u64::from(report.contains("injected"));
        failed += u64::from(said.code != Some(0));
        bench.judge(work, &dir, &said).unwrap_or_else(|error| panic!("{work:?}, {fault:?}: {error}"));
    }
    assert!(
        injected > runs / 2 && failed > injected / 8,
        "{injected} faults in {runs} runs, {failed} failed"
    );
    let mut controls = Controls::default();
    controls.add(a_mapping_that_keeps_nothing_is_noticed(&bench));
    assert_eq!(controls.caught, controls.seeded);
    figure(
        "a failing system call is an error that is told, and takes nothing that was acknowledged",
        name,
        format!(
            "{runs} runs of {planned} planned, {injected} with an injected error, {failed} of them failed, 0 panics, 0 lost, {:.1} min",
            bound.minutes()
        ),
        controls,
    );
}

/// The lie: a segment's mapping is a private copy, so what is acknowledged never reaches the file.
fn a_mapping_that_keeps_nothing_is_noticed(bench: &Bench) -> bool {
    let maps = bench.count(Work::Create)["mmap"];
    let noticed = |when| {
        let fault = Fault { kind: "mmap", error: NONE, when, forever: false };
        let (dir, said, report) = bench.run_with(Work::Create, Some(fault));
        report.contains("injected") && bench.judge(Work::Create, &dir, &said).is_err()
    };
    (1..=maps).any(noticed)
}

/// That no event is recorded before the one before it, and none has the id of another.
fn in_order(log: &[Event]) -> Result<(), String> {
    if let Some(pair) = log.windows(2).find(|pair| pair[0].recorded_at() > pair[1].recorded_at()) {
        return Err(format!("time went back: {pair:?}"));
    }
    let ids: BTreeSet<_> = log.iter().map(|event| event.id().to_string()).collect();
    if ids.len() == log.len() { Ok(()) } else { Err("an id was given twice".to_owned()) }
}

#[test]
fn a_clock_that_jumps_back_and_forth_changes_no_order() {
    let name = "cli::inject::a_clock_that_jumps_back_and_forth_changes_no_order";
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(why) => return skipped(format!("{name}: {why}")),
    };
    let dir = bench.place.file("store");
    let mut times = BTreeSet::new();
    let mut events = 0;
    let mut controls = Controls::default();
    for work in [Work::Create, Work::Recover] {
        let mut command = Command::new(BINARY);
        command.args(bench.command(work, &dir)).stdin(Stdio::null());
        command.env("LD_PRELOAD", &bench.shim).env("SHIM_CLOCK", "1");
        let said = finish(command).ends_with(0);
        bench.judge(work, &dir, &said).unwrap_or_else(|wrong| panic!("{work:?}: {wrong}"));
        let store = Options::new().open(&dir).unwrap();
        let log = whole_log(&store, &user("alice"), Order::Oldest, 500).unwrap();
        in_order(&log).unwrap();
        times.extend(log.iter().map(usertrail::Event::recorded_at));
        events += log.len();
        let mut swapped = log.clone();
        let last = swapped.len() - 1;
        swapped.swap(0, last);
        controls.add(in_order(&swapped).is_err());
        let twice = [&log[..], &log[last..]].concat();
        controls.add(in_order(&twice).is_err());
    }
    assert_eq!(controls.caught, controls.seeded);
    // What the clock jumped to stays, though it came back: some of the jumps are of decades.
    let years = |time: &Timestamp| time.to_string()[..4].parse::<i32>().unwrap();
    assert!(times.first().map(years) < Some(2050) && times.last().map(years) > Some(2050), "{times:?}");
    figure(
        "a clock that jumps changes no order",
        name,
        format!(
            "{events} events, {} times from {} to {}",
            times.len(),
            times.first().unwrap(),
            times.last().unwrap()
        ),
        controls,
    );
}

/// The binary acknowledges an event that isn't there: the one behind the last.
fn a_lost_event_is_noticed(bench: &Bench, work: Work) -> bool {
    let (dir, mut said, _) = bench.run_with(work, None);
    assert!(bench.judge(work, &dir, &said).is_ok());
    let (before, last) = said.stdout.trim_end().rsplit_once(' ').unwrap();
    said.stdout = format!("{before} {}\n", last.parse::<u64>().unwrap() + 1);
    bench.judge(work, &dir, &said).is_err_and(|wrong| wrong.contains("lost"))
}

#[test]
fn calls_that_go_past_the_library_fail_as_well() {
    let name = "cli::inject::calls_that_go_past_the_library_fail_as_well";
    let version = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        return skipped(format!("{name}: there is no strace"));
    }
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(why) => return skipped(format!("{name}: {why}")),
    };
    let dir = bench.place.file("store");
    let trace = bench.place.file("trace");
    let (mut runs, mut injected) = (0_u64, 0_u64);
    let mut controls = Controls::default();
    for work in [Work::Create, Work::Recover] {
        for (call, error) in PAST_THE_LIBRARY {
            for when in ["1", "2", "3", "1+", "2+"] {
                let mut command = Command::new("strace");
                command.args(["-f", "-qq", "-e", &format!("trace={call}")]);
                // Each thread counts for itself.
                command
                    .args(["-e", &format!("inject={call}:error={error}:when={when}")])
                    .arg("-o")
                    .arg(&trace);
                command.arg(BINARY).args(bench.command(work, &dir)).stdin(Stdio::null());
                let said = finish(command);
                let traced = fs::read_to_string(&trace).unwrap_or_default();
                if said.stderr.contains("Operation not permitted") && traced.is_empty() {
                    return skipped(format!("{name}: tracing isn't allowed"));
                }
                runs += 1;
                injected += u64::from(traced.contains("(INJECTED)"));
                let judged = bench.judge(work, &dir, &said);
                judged.unwrap_or_else(|wrong| panic!("{work:?}, {call} {error} {when}: {wrong}"));
            }
        }
        controls.add(a_lost_event_is_noticed(&bench, work));
    }
    assert!(injected > runs / 3, "{injected} faults in {runs} runs");
    assert_eq!(controls.caught, controls.seeded);
    figure(
        "a failing system call is an error that is told, and takes nothing that was acknowledged",
        name,
        format!("{runs} runs, {injected} with an injected error, 0 panics, 0 lost"),
        controls,
    );
}
