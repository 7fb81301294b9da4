//! The hidden command that a bench starts: a process that is killed, and one whose memory is its store's alone.
//!
//! Owns the two commands' arguments and answers. Must not know what is made of them.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use super::args::{BenchChildArgs, ChildTask};
use super::{Exit, Failure, Output, Run, memory, reopen};
use crate::workload::Workload;

/// This very program, in its hidden form.
pub(super) fn command(run: &Run<'_>, task: ChildTask, dir: &Path, events: u64) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Other(format!("cannot tell where this program is: {error}")))?;
    let mut command = Command::new(program);
    let task = match task {
        ChildTask::Write => "write",
        ChildTask::Memory => "memory",
    };
    command.args(["bench-child", "--task", task, "--events", &events.to_string(), "--data"]).arg(dir);
    command.args(run.args.load.to_args());
    Ok(command)
}

pub(in crate::cli) fn run(args: &BenchChildArgs) -> Result<Exit, Failure> {
    match args.task {
        ChildTask::Write => write(args),
        ChildTask::Memory => memory::in_child(args),
    }
}

/// What the writing process says after its last append.
pub(super) fn appended(events: u64) -> String {
    format!("appended {events}")
}

fn write(args: &BenchChildArgs) -> Result<Exit, Failure> {
    let mut workload = Workload::new(&args.load.workload());
    let (store, _) = reopen(&args.load, &args.data)?;
    for _ in 0..args.events {
        store.append(&workload.next_event())?;
    }
    let mut output = Output::new();
    output.line(&appended(args.events))?;
    output.flush()?;
    // Whoever started this kills it now; it ends by itself where that one is gone.
    let _ = std::io::stdin().read(&mut [0]);
    // Not closed: as if killed a little later.
    std::process::exit(1)
}
