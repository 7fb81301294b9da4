//! Faults of the real machine, under the library: limits of the process, little memory, file systems that become read-only,
//! directories that vanish, other processes. Typed errors, never a signal, and what was acknowledged is there afterwards.
//!
//! What needs a process of its own runs in this binary again (`in_a_process_of_its_own`). A full disk is in `full_disk.rs`
//! and `cli/disk.rs`.

#[path = "faults/fork.rs"]
mod fork;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/mounts.rs"]
mod mounts;
#[path = "faults/processes.rs"]
mod processes;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use usertrail::{Durability, Message, NewEvent, Options, Order, SessionId, Store};

use crate::figures::Controls;
use crate::fixture::{user, whole_log};

/// What a process of its own is to do: "NAME DIRECTORY".
const TASK: &str = "USERTRAIL_FAULTS_TASK";

/// An event that says which it is.
fn event(number: u64) -> NewEvent<'static> {
    let login = NewEvent::login(user("alice"), SessionId::new(format!("s-{number}")).unwrap());
    login.message(Message::new("m".repeat(1_000)).unwrap()).build().unwrap()
}

fn options() -> Options {
    Options::new().shards(1).segment_bytes_max(1 << 20)
}

/// Appends events from `first` on, and says how many there are then.
fn append(store: &Store, first: u64, count: u64) -> u64 {
    for number in first..first + count {
        assert_eq!(store.append(&event(number)).unwrap().user_sequence.unwrap().get(), number);
    }
    first + count
}

/// Whether the store shows the first `count` events and no others.
fn holds(store: &Store, count: u64) -> Result<(), String> {
    for order in [Order::Oldest, Order::Newest] {
        let log = whole_log(store, &user("alice"), order, 500).map_err(|error| error.to_string())?;
        if log.len() as u64 != count {
            return Err(format!("{} events instead of {count}, {order:?} first", log.len()));
        }
        for (place, event) in (0..count).zip(&log) {
            let number = if order == Order::Oldest { place } else { count - 1 - place };
            if event.session_id() != Some(format!("s-{number}").as_str()) {
                return Err(format!("{event:?} instead of event {number}"));
            }
        }
    }
    Ok(())
}

#[track_caller]
fn assert_holds(store: &Store, count: u64) {
    holds(store, count).unwrap();
}

/// Whether a loss would have been noticed: of one event more than there is.
fn notices_a_loss(store: &Store, count: u64) -> Controls {
    let mut controls = Controls::default();
    controls.add(holds(store, count + 1).is_err());
    assert_eq!(controls.caught, controls.seeded);
    controls
}

/// That the store shows them, and shows them again when it was closed and opened.
#[track_caller]
fn assert_holds_reopened(store: Store, dir: &Path, count: u64) {
    assert_holds(&store, count);
    store.close().unwrap();
    drop(store);
    let store = Store::open(dir).unwrap();
    assert_holds(&store, count);
    store.check().unwrap();
}

/// This binary, with a task. `before` is a line of shell that runs in the process first.
fn process(task: &str, dir: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    command.args([&format!("{module}::in_a_process_of_its_own"), "--exact", "--ignored", "--nocapture"]);
    command.env(TASK, format!("{task} {}", dir.display())).stdin(Stdio::null());
    command
}

/// Runs a task to its end, which must be a good one.
#[track_caller]
fn run(task: &str, dir: &Path, before: &str) -> Output {
    let output = process(task, dir, before).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{task}: {}\n{stderr}", output.status);
    output
}

#[test]
#[ignore = "started by the tests of faults"]
fn in_a_process_of_its_own() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (task, dir) = task.split_once(' ').unwrap();
    let dir = PathBuf::from(dir);
    match task {
        "file-size" => limits::under_a_limit_of_file_sizes(&dir),
        "too-long" => limits::longer_than_allowed(&dir),
        "descriptors" => limits::without_descriptors(&dir),
        "few-descriptors" => limits::more_segments_than_descriptors(&dir),
        "memory" => memory::in_little_memory(&dir),
        "greedy" => memory::with_more_than_there_is(),
        "locked" => processes::beside_a_writer(&dir),
        "append" => mounts::append_until_it_fails(&dir, Durability::Durable),
        "append-unsynced" => mounts::append_until_it_fails(&dir, Durability::Buffered),
        _ => panic!("no such task: {task}"),
    }
}
