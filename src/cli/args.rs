//! The command line's grammar and its help. Must not know what the commands do.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::{BenchArgs, BenchChildArgs};
use super::values::{self, Several};
use crate::{Action, Category, Durability, Level, Options, Order, Service, Status, Timestamp};

const EXIT_CODES: &str = "\
Exit codes:
  0  fine (also where whoever read the output has closed the pipe)
  1  an error, told on standard error; or, with bench --check, a figure beyond its bound
  2  the command line is wrong
  3  some of the input was rejected; the rest is stored
  4  the store is damaged; file and offset are told

Data goes to standard output, everything else to standard error.

Examples:
  usertrail quickstart
  usertrail ingest --data trail --format authlog /var/log/auth.log
  usertrail list --data trail --user root --level warning,suspicious";

/// An embedded store for the security events of every account.
#[derive(Debug, Parser)]
#[command(name = "usertrail", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new, empty store.
    Init(InitArgs),
    /// Store events from JSON lines or auth.log.
    Ingest(IngestArgs),
    /// Show a user's log.
    List(ListArgs),
    /// Count what a store holds.
    Stats(StatsArgs),
    /// Look into a store, and check every byte of it.
    Inspect(InspectArgs),
    /// Pack what is sealed: sorted by user and compressed, in about a quarter of the room.
    Pack(PackArgs),
    /// Make a store, fill it with a realistic stream, and show what it can do.
    Quickstart(QuickstartArgs),
    /// Run the standard workload and print what this machine does.
    Bench(BenchArgs),
    /// What a bench starts as a process of its own.
    #[command(hide = true)]
    BenchChild(BenchChildArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DurabilityArg {
    /// Acknowledged when stored in memory that survives the process being killed.
    Buffered,
    /// As buffered, and synced every 100 ms: a power cut takes at most that.
    Interval,
    /// Acknowledged when on stable storage: survives a power cut.
    Durable,
}

impl From<DurabilityArg> for Durability {
    fn from(durability: DurabilityArg) -> Self {
        match durability {
            DurabilityArg::Buffered => Self::Buffered,
            DurabilityArg::Interval => Self::Interval(Duration::from_millis(100)),
            DurabilityArg::Durable => Self::Durable,
        }
    }
}

/// What a new store is like.
#[derive(Debug, Args)]
pub(super) struct NewStoreArgs {
    /// The store's name, which copies of it keep: printable ASCII without spaces and + [default: a random one].
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Shards: a power of two from 1 to 16384, fixed for life [default: twice the cores, at least 4].
    #[arg(long, value_name = "N", value_parser = values::shards)]
    pub(super) shards: Option<u16>,
    /// How large segment files grow: 1MiB to 1GiB [default: 64MiB].
    #[arg(long, value_name = "SIZE", value_parser = values::segment_size)]
    pub(super) segment_size: Option<u64>,
    /// When an event counts as stored [default: interval].
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(super) durability: Option<DurabilityArg>,
}

impl NewStoreArgs {
    pub(super) fn options(&self) -> Options {
        let mut options = Options::new();
        if let Some(name) = &self.name {
            options = options.name(name);
        }
        if let Some(shards) = self.shards {
            options = options.shards(shards);
        }
        if let Some(bytes) = self.segment_size {
            options = options.segment_bytes_max(bytes);
        }
        match self.durability {
            None => options,
            Some(durability) => options.durability(durability.into()),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usertrail init --data trail
  usertrail init --data trail --name login.example --shards 8 --durability durable")]
pub(super) struct InitArgs {
    /// The directory to make the store in; it must be empty or not there.
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    #[command(flatten)]
    pub(super) new: NewStoreArgs,
    /// Print what was made as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line, one event an object.
    Jsonl,
    /// Syslog lines of sshd, sudo, su, useradd and groupadd.
    Authlog,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The store is made where there is none, as by `init` with the same options; for one that is there, --durability holds
this time. Lines are stored as they come, also from a pipe that stays open. A line that is no valid event is named on
standard error and never stops the others; exit code 3 says that there were some.

With --ack, each stored event gives one line on standard output, in the order of the input, once the store has
acknowledged it at its durability:
  LINE ID SHARD SEQUENCE USER_SEQUENCE
where LINE is the number of the input line, and USER_SEQUENCE is - for an event without a user.

Examples:
  usertrail ingest --data trail --format jsonl events.jsonl --rejects bad.jsonl
  tail -F -n +1 /var/log/auth.log | usertrail ingest --data trail --format authlog --ack
  echo '{\"action\":\"auth.login\",\"userId\":\"alice\"}' | usertrail ingest --data trail --format jsonl")]
pub(super) struct IngestArgs {
    /// The store's directory.
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// What the lines are.
    #[arg(long, value_enum)]
    pub(super) format: Format,
    /// authlog: the year of the first line [default: the latest in which it isn't in the future].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1970..=9999))]
    pub(super) year: Option<u16>,
    /// jsonl: keep members that no event has under `details`, instead of rejecting the line.
    #[arg(long)]
    pub(super) unknown_to_details: bool,
    /// How many events are stored at once, at most.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(super) batch: NonZeroUsize,
    /// Print a line for each event once it is acknowledged.
    #[arg(long, conflicts_with = "json")]
    pub(super) ack: bool,
    /// Write the lines that are rejected to this file, as they are.
    #[arg(long, value_name = "FILE")]
    pub(super) rejects: Option<PathBuf>,
    /// Print the counts as one JSON object at the end.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) new: NewStoreArgs,
    /// What to read; - is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    pub(super) file: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OrderArg {
    Newest,
    Oldest,
}

impl From<OrderArg> for Order {
    fn from(order: OrderArg) -> Self {
        match order {
            OrderArg::Newest => Self::Newest,
            OrderArg::Oldest => Self::Oldest,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Filters may be given several times, or with several values between commas (`\\,` is a comma within a value): an event
passes with any of the values, and must pass every filter. A cursor goes on where its page ended; user, filters and
order must be the same.

With --json, one line: {\"data\":[...],\"pagination\":{\"limit\":100,\"nextCursor\":\"...\",\"hasMore\":true}}; nextCursor is
there only where there is more.

Examples:
  usertrail list --data trail --user alice
  usertrail list --data trail --user alice --category auth,session --status failure --limit 20
  usertrail list --data trail --user alice --since 2026-01-01T00:00:00Z --until 2026-02-01T00:00:00Z --json")]
pub(super) struct ListArgs {
    /// The store's directory.
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// Whose log.
    #[arg(long, allow_hyphen_values = true, value_parser = values::user, required_unless_present = "user_json")]
    pub(super) user: Option<String>,
    /// Whose log, as a JSON string: for ids that an argument can't hold.
    #[arg(long, value_name = "JSON", value_parser = values::user_json, conflicts_with = "user")]
    pub(super) user_json: Option<String>,
    /// At most this many events, 1 to 500.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) limit: u16,
    /// Go on behind the page that gave this cursor.
    #[arg(long, value_name = "CURSOR", allow_hyphen_values = true)]
    pub(super) cursor: Option<String>,
    /// info, warning, error, suspicious.
    #[arg(long, value_parser = values::levels)]
    pub(super) level: Vec<Several<Level>>,
    /// auth, security, session, account, admin, data, system.
    #[arg(long, value_parser = values::categories)]
    pub(super) category: Vec<Several<Category>>,
    /// success, failure, error.
    #[arg(long, value_parser = values::statuses)]
    pub(super) status: Vec<Several<Status>>,
    /// Such as `auth.login_failed`.
    #[arg(long, value_parser = values::actions)]
    pub(super) action: Vec<Several<Action<'static>>>,
    /// The part of the application that wrote the event.
    #[arg(long, value_parser = values::services)]
    pub(super) service: Vec<Several<Service<'static>>>,
    /// Events that occurred at this time (RFC 3339) or later.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(super) since: Option<Timestamp>,
    /// Events that occurred before this time (RFC 3339): the time itself is left out.
    #[arg(long, value_name = "TIME", value_parser = values::time, allow_hyphen_values = true)]
    pub(super) until: Option<Timestamp>,
    /// By the order of the user's trail.
    #[arg(long, value_enum, default_value = "newest")]
    pub(super) order: OrderArg,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usertrail stats --data trail
  usertrail stats --data trail --json")]
pub(super) struct StatsArgs {
    /// The store's directory.
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Reads every record and every index page, and compares checksums and index. Exit code 4 says that something is damaged.

Examples:
  usertrail inspect --data trail
  usertrail inspect --data trail --repair")]
pub(super) struct InspectArgs {
    /// The store's directory.
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// Give up what lies behind damage in a segment that isn't sealed, and tell what was lost. The damaged file is kept
    /// beside the new one.
    #[arg(long)]
    pub(super) repair: bool,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every event is compared with the file that goes before it goes. Nobody else may have the store open for writing.

Examples:
  usertrail pack --data trail
  usertrail pack --data trail --undo")]
pub(super) struct PackArgs {
    /// The store's directory.
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// Make segments again of everything that is packed.
    #[arg(long)]
    pub(super) undo: bool,
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usertrail quickstart
  usertrail quickstart --data trail --events 5000000 --seed 7")]
pub(super) struct QuickstartArgs {
    /// The directory of the new store, which is kept [default: a temporary one, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// How many events.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(super) events: u64,
    /// The same seed makes the same stream.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) seed: u64,
    /// Keep the temporary store.
    #[arg(long, conflicts_with = "data")]
    pub(super) keep: bool,
}
