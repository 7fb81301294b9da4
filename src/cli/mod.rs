//! The command line: what `usertrail` does in a shell.
//!
//! Owns arguments, tables, progress, messages and exit codes. Must not know how a store works inside: it uses what any
//! embedder can use.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | fine; also where whoever read the output has closed the pipe |
//! | 1 | an error, told on standard error in one line; or a figure of `bench --check` that misses its bound |
//! | 2 | the command line itself is wrong |
//! | 3 | some of the input was rejected; the rest is stored |
//! | 4 | the store is damaged; the message names file and offset |
//!
//! Data goes to standard output, everything else to standard error.

mod args;
mod bench;
mod failure;
mod ingest;
mod init;
mod inspect;
mod list;
mod output;
mod pack;
mod progress;
mod quickstart;
mod reading;
mod stats;
mod table;
mod temporary;
mod text;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Exit, Failure};

/// Runs the command line with these arguments, of which the first is the program's name, on the standard streams of the
/// process. Says what the process should exit with.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = args.first().cloned().unwrap_or_else(|| "usertrail".into());
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let outcome: Result<Exit, Failure> = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Ingest(args) => ingest::run(&args),
        Command::List(args) => list::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Quickstart(args) => quickstart::run(&args, &program),
        Command::Bench(args) => bench::run(&args),
        Command::BenchChild(args) => bench::run_child(&args),
    };
    failure::report(outcome)
}
