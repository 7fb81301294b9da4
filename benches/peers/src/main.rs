//! The standard workload by usertrail and by other embedded stores: the same events, users, clocks and checks, one run.
//!
//! Owns the command line. Must not know how a store works.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --help`

mod combiner;
mod engine;
mod fjall;
mod lmdb;
mod oracle;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocks;
mod run;
mod sqlite;
mod stored;
mod table;
mod trail;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use engine::{ENGINES, Outcome};

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    Append,
    Page,
    Cold,
    Mixed,
    Durable,
    Open,
}

/// Runs the standard workload on usertrail and on other embedded stores, and prints what each does and the ratios.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How many events are loaded, such as 200k or 10M.
    #[arg(long, default_value = "1M", value_parser = count)]
    events: u64,
    /// How many users there are.
    #[arg(long, default_value = "100k", value_parser = count)]
    users: u64,
    /// Engines or parts to run [default: all].
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the stores are made and removed again [default: the system's temporary directory].
    #[arg(long)]
    data: Option<PathBuf>,
    /// How long 64 callers append durably, in seconds.
    #[arg(long, default_value = "5", value_parser = count)]
    seconds: u64,
    /// How long appending in batches of 1 and of 100, and beside a reader, takes at most, each, in seconds.
    #[arg(long, default_value = "60", value_parser = count)]
    longest: u64,
    /// Calls of each page figure.
    #[arg(long, default_value = "20k", value_parser = count)]
    calls: u64,
    /// Empty the page cache by advice on the store's own files alone, also where root could drop all of it.
    #[arg(long)]
    cold_by_advice: bool,
    /// Print one line of JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// A process that appends and waits to be killed: engine and directory.
    #[arg(long, hide = true, num_args = 2)]
    child: Vec<String>,
    /// The sequence that the child's events begin at.
    #[arg(long, hide = true, default_value_t = 0)]
    from: u64,
}

impl Args {
    /// Whether a part is wanted: where only engines are named, all parts are.
    fn wants(&self, part: Part) -> bool {
        let named = |only: &String| Part::from_str(only, true);
        let mut parts = self.only.iter().filter_map(|only| named(only).ok()).peekable();
        parts.peek().is_none() || parts.any(|named| named == part)
    }

    /// Whether an engine is wanted: where only parts are named, all engines are.
    fn wants_engine(&self, name: &str) -> bool {
        let is_engine = |only: &&String| ENGINES.iter().any(|engine| engine.name == **only);
        let mut engines = self.only.iter().filter(is_engine).peekable();
        engines.peek().is_none() || engines.any(|engine| engine == name)
    }
}

/// A count with `k` or `M` behind it, or nothing.
fn count(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['k', 'M']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        _ => return Err("a number, with k or M behind it".to_owned()),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|&number| number > 0).ok_or_else(|| "a whole number from 1 on, such as 200k".to_owned())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let names: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
    let unknown =
        args.only.iter().find(|only| !names.contains(&only.as_str()) && Part::from_str(only, true).is_err());
    if let Some(unknown) = unknown {
        eprintln!(
            "--only {unknown}: an engine ({}), or a part (append, page, cold, mixed, durable, open)",
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    let outcome: Outcome<()> = if args.child.is_empty() { run::all(&args) } else { run::child(&args) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
