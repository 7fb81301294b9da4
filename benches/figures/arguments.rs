//! What the person asked for. Owns the command line; must not know how anything is measured.

use std::path::PathBuf;

pub const HELP: &str = "\
Measures the figures of the main job and prints each beside its bound.

cargo bench --features workload --bench figures -- [OPTIONS]

  --events N        events to load for append, page and open (default 10,000,000; about 0.5 GB of disk a million)
  --only PART       append, durable, page or open; may be given several times (default: all)
  --dir DIR         where the stores are made and removed again (default: beside the built files)
  --pool N          events made ahead and then repeated (default 1,000,000; about 1 GiB of memory)
  --calls N         calls a page figure (default 20,000)
  --rounds N        rounds of 50 durable appends beside 50 bare syncs (default 40)
  --seconds N       how long 64 callers append durably (default 5)
  --json            one JSON object instead of a table
";

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Append,
    Durable,
    Page,
    Open,
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "append" => Ok(Self::Append),
            "durable" => Ok(Self::Durable),
            "page" => Ok(Self::Page),
            "open" => Ok(Self::Open),
            _ => Err(format!("--only {text}: it must be append, durable, page or open")),
        }
    }
}

/// The command line, read.
#[derive(Debug)]
pub struct Arguments {
    pub events: u64,
    pub pool: u64,
    pub calls: u64,
    pub rounds: u64,
    pub seconds: u64,
    pub dir: Option<PathBuf>,
    pub json: bool,
    only: Vec<Part>,
}

impl Arguments {
    /// `None` if help was asked for.
    pub fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut arguments = Self {
            events: 10_000_000,
            pool: 1_000_000,
            calls: 20_000,
            rounds: 40,
            seconds: 5,
            dir: None,
            json: false,
            only: Vec::new(),
        };
        while let Some(name) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--events" => arguments.events = number(&name, &value()?)?,
                "--pool" => arguments.pool = number(&name, &value()?)?,
                "--calls" => arguments.calls = number(&name, &value()?)?,
                "--rounds" => arguments.rounds = number(&name, &value()?)?,
                "--seconds" => arguments.seconds = number(&name, &value()?)?,
                "--dir" => arguments.dir = Some(value()?.into()),
                "--only" => arguments.only.push(Part::parse(&value()?)?),
                "--json" => arguments.json = true,
                "--help" | "-h" => return Ok(None),
                // What cargo passes to every bench.
                "--bench" => {}
                _ => return Err(format!("unknown argument {name}; --help says what there is")),
            }
        }
        Ok(Some(arguments))
    }

    /// Whether a part is to be measured.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    let digits: String = text.chars().filter(|digit| !['_', ','].contains(digit)).collect();
    match digits.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name} {text}: it must be a whole number from 1 on")),
    }
}
