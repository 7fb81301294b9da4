//! The grammar of `usertrail bench`. Must not know how anything is measured.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::args::DurabilityArg;
use crate::cli::values;
use crate::workload::measure::CacheDrop;
use crate::workload::{Distribution, WorkloadConfig};

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum Part {
    /// Appends: one at a time, in batches of 100, by two writers; bytes an event.
    Append,
    /// Appends that wait for the disk, beside bare syncs.
    Durable,
    /// A user's newest 100, everything in memory.
    Page,
    /// The same from the disk.
    Cold,
    /// One writer and one reader at once.
    Mixed,
    /// Opening after a clean close and after a kill.
    Open,
    /// The memory of a process that loads and reads.
    Memory,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum Mix {
    /// Few users have most of the events: Zipf(1.0).
    Zipf,
    /// All users are alike.
    Uniform,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum ColdBy {
    /// The kernel's whole page cache (root; slows the machine for a while).
    DropCaches,
    /// `posix_fadvise` on the store's files alone.
    Advise,
}

impl From<ColdBy> for CacheDrop {
    fn from(by: ColdBy) -> Self {
        match by {
            ColdBy::DropCaches => Self::Kernel,
            ColdBy::Advise => Self::Advise,
        }
    }
}

/// What is loaded, and into what: the same for a process that is started to be killed.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct LoadArgs {
    /// How many users there are.
    #[arg(long, value_name = "N", default_value = "100k", value_parser = values::count_32)]
    pub(in crate::cli) users: u32,
    /// How events are spread over the users.
    #[arg(long, value_enum, default_value = "zipf")]
    pub(in crate::cli) mix: Mix,
    /// The same seed makes the same events.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(in crate::cli) seed: u64,
    /// Shards: a power of two from 1 to 16384.
    #[arg(long, value_name = "N", default_value = "4", value_parser = values::shards)]
    pub(in crate::cli) shards: u16,
    /// How large segment files grow: 1MiB to 1GiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = values::segment_size)]
    pub(in crate::cli) segment_size: u64,
    /// When an event counts as stored, but for what is measured durable.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "buffered")]
    pub(in crate::cli) durability: DurabilityArg,
}

impl LoadArgs {
    pub(in crate::cli) fn workload(&self) -> WorkloadConfig {
        let standard = WorkloadConfig::default();
        let distribution = match self.mix {
            Mix::Zipf => standard.distribution,
            Mix::Uniform => Distribution::Uniform,
        };
        WorkloadConfig { seed: self.seed, users: self.users, distribution, ..standard }
    }

    /// As arguments again, for a child process.
    pub(in crate::cli) fn to_args(&self) -> Vec<String> {
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let pairs = [
            ("--users", self.users.to_string()),
            ("--mix", name(&|| self.mix.to_possible_value())),
            ("--seed", self.seed.to_string()),
            ("--shards", self.shards.to_string()),
            ("--segment-size", self.segment_size.to_string()),
            ("--durability", name(&|| self.durability.to_possible_value())),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Runs the standard workload (`usertrail::workload`, about 400 bytes an event) and prints what it measures, parts in the
order of the list. Ten million events take about 5 GB of disk and 1.5 GB of memory, and some minutes. What is made is
removed at the end, but not if the process is interrupted: the directory is called `usertrail-bench-` and a number.

With --json, one line: {\"events\":N,...,\"figures\":{\"append.one.rate\":{\"value\":V,\"unit\":\"events/s\"},...}}.
With --check, each figure that has a bound is held against it, and the exit code is 1 if any misses it.

Examples:
  usertrail bench --events 1M
  usertrail bench --events 10M --check
  usertrail bench --events 10M --only page --only cold --json
  usertrail bench --events 10M --only cold --packed --check
  usertrail bench --events 10M --users 10M --mix uniform --only memory --check
  usertrail bench --compare 1M,10M,50M --check")]
pub(in crate::cli) struct BenchArgs {
    /// How many events are loaded.
    #[arg(long, value_name = "N", default_value = "10M", value_parser = values::count)]
    pub(in crate::cli) events: u64,
    /// Measure at several sizes and print their ratios [default parts: append, page].
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = values::count, conflicts_with = "events")]
    pub(in crate::cli) compare: Vec<u64>,
    #[command(flatten)]
    pub(in crate::cli) load: LoadArgs,
    /// Where the stores are made and removed again [default: the system's temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data: Option<PathBuf>,
    /// Measure this part; may be given several times [default: all].
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    pub(in crate::cli) only: Vec<Part>,
    /// How files get out of the page cache [default: drop-caches, and advise where that isn't permitted].
    #[arg(long, value_enum, value_name = "HOW")]
    pub(in crate::cli) cold_by: Option<ColdBy>,
    /// Pack what is sealed, and measure bytes, pages and cold pages a second time.
    #[arg(long)]
    pub(in crate::cli) packed: bool,
    /// Events made ahead and then repeated, about 1 KiB of memory each.
    #[arg(long, value_name = "N", default_value = "1M", value_parser = values::count)]
    pub(in crate::cli) pool: u64,
    /// Calls of each page figure.
    #[arg(long, value_name = "N", default_value = "20k", value_parser = values::count_32)]
    pub(in crate::cli) calls: u32,
    /// Rounds of 50 durable appends beside 50 bare syncs.
    #[arg(long, value_name = "N", default_value = "40", value_parser = values::count)]
    pub(in crate::cli) rounds: u64,
    /// How long 64 callers append durably.
    #[arg(long, value_name = "N", default_value = "5", value_parser = values::count)]
    pub(in crate::cli) seconds: u64,
    /// Hold each figure against its bound.
    #[arg(long)]
    pub(in crate::cli) check: bool,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

impl BenchArgs {
    /// Whether a part is to be measured.
    pub(in crate::cli) fn wants(&self, part: Part) -> bool {
        if self.only.is_empty() {
            return self.compare.is_empty() || [Part::Append, Part::Page].contains(&part);
        }
        self.only.contains(&part)
    }
}

/// What the hidden command does that a bench starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum ChildTask {
    /// Opens the store, appends at full load, says how much, and waits to be killed.
    Write,
    /// Makes the store, loads it, reads it, and says what memory that took.
    Memory,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchChildArgs {
    #[arg(long)]
    pub(in crate::cli) data: PathBuf,
    #[arg(long, value_enum)]
    pub(in crate::cli) task: ChildTask,
    #[arg(long, value_parser = values::count)]
    pub(in crate::cli) events: u64,
    #[command(flatten)]
    pub(in crate::cli) load: LoadArgs,
}
