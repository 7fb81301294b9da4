//! Figures as tables for people and as one line of JSON for programs. Must not know how they were measured.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::args::{BenchArgs, Mix};
use super::bounds::{Bound, COMPARED, bound};
use super::{Failure, Measured, Output, complain};
use crate::workload::measure::{CacheDrop, Figure, shown};

/// Prints everything; says whether a figure misses its bound, if that was asked for.
pub(super) fn print(args: &BenchArgs, runs: &[Measured], output: &mut Output) -> Result<bool, Failure> {
    let sizes: Vec<Size<'_>> = runs.iter().map(|run| Size::new(args, run)).collect();
    let ratios = ratios(args, runs);
    if args.json {
        match &sizes[..] {
            [size] if args.compare.is_empty() => output.json(&Whole { machine: Machine::new(args), size })?,
            _ => output.json(&Compared { machine: Machine::new(args), sizes: &sizes, ratios: &ratios })?,
        }
    } else {
        for size in &sizes {
            table(args, size, output)?;
        }
        if !args.compare.is_empty() {
            output.line(&format!("worst / best of {} sizes\n", runs.len()))?;
            lines(&ratios.0, output)?;
        }
    }
    let checked = sizes.iter().flat_map(|size| &size.figures.0).chain(&ratios.0);
    let missed: Vec<&str> =
        checked.filter(|held| held.met() == Some(false)).map(|held| held.figure.name.as_str()).collect();
    if !missed.is_empty() {
        complain(&format!("beyond their bounds: {}", missed.join(", ")));
    }
    Ok(!missed.is_empty())
}

/// What was measured on what.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    version: &'static str,
    cores: usize,
    users: u32,
    mix: &'static str,
    seed: u64,
    shards: u16,
    segment_bytes_max: u64,
}

impl Machine {
    fn new(args: &BenchArgs) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            users: args.load.users,
            mix: match args.load.mix {
                Mix::Zipf => "zipf",
                Mix::Uniform => "uniform",
            },
            seed: args.load.seed,
            shards: args.load.shards,
            segment_bytes_max: args.load.segment_size,
        }
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    machine: Machine,
    #[serde(flatten)]
    size: &'a Size<'a>,
}

#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    machine: Machine,
    sizes: &'a [Size<'a>],
    ratios: &'a Helds<'a>,
}

/// The figures of one size.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Size<'a> {
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cold_by: Option<&'static str>,
    figures: Helds<'a>,
}

impl<'a> Size<'a> {
    fn new(args: &BenchArgs, run: &'a Measured) -> Self {
        let held = |figure: &'a Figure| Held {
            figure: std::borrow::Cow::Borrowed(figure),
            bound: bound(&figure.name, run.events).filter(|_| args.check),
        };
        let cold_by = run.cold_by.map(|way| match way {
            CacheDrop::Kernel => "dropCaches",
            CacheDrop::Advise => "advise",
        });
        Self { events: run.events, cold_by, figures: Helds(run.report.figures().iter().map(held).collect()) }
    }
}

/// A figure, and what it is held against.
struct Held<'a> {
    figure: std::borrow::Cow<'a, Figure>,
    bound: Option<Bound>,
}

impl Held<'_> {
    fn met(&self) -> Option<bool> {
        self.bound.map(|bound| bound.is_met(self.figure.value))
    }
}

impl Serialize for Held<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("value", &self.figure.value)?;
        map.serialize_entry("unit", self.figure.unit)?;
        match self.bound {
            Some(Bound::AtLeast(bound)) => map.serialize_entry("atLeast", &bound)?,
            Some(Bound::AtMost(bound)) => map.serialize_entry("atMost", &bound)?,
            None => {}
        }
        if let Some(met) = self.met() {
            map.serialize_entry("met", &met)?;
        }
        map.end()
    }
}

/// An object with a member for each figure.
struct Helds<'a>(Vec<Held<'a>>);

impl Serialize for Helds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|held| (&held.figure.name, held)))
    }
}

/// How far apart the sizes are, for figures that every size has.
fn ratios(args: &BenchArgs, runs: &[Measured]) -> Helds<'static> {
    let ratio = |(name, bound): &(&str, Option<Bound>)| {
        let values: Option<Vec<f64>> = runs.iter().map(|run| run.report.value(name)).collect();
        let values = values.filter(|values| values.len() > 1)?;
        let (worst, best) = (
            values.iter().copied().fold(f64::MIN, f64::max),
            values.iter().copied().fold(f64::MAX, f64::min),
        );
        let (name, label) = ((*name).to_owned(), (*name).to_owned());
        let figure = Figure { name, label, value: worst / best, unit: "x" };
        let bound = bound.filter(|_| args.check);
        Some(Held { figure: std::borrow::Cow::Owned(figure), bound })
    };
    Helds(COMPARED.iter().filter_map(ratio).collect())
}

fn table(args: &BenchArgs, size: &Size<'_>, output: &mut Output) -> Result<(), Failure> {
    let Machine { cores, users, mix, shards, .. } = Machine::new(args);
    output.line(&format!(
        "{} events of {} {mix} users, {shards} shards, {cores} cores{}\n",
        crate::cli::text::grouped(size.events),
        crate::cli::text::grouped(users.into()),
        size.cold_by.map_or(String::new(), |way| format!(", page cache emptied by {way}"))
    ))?;
    lines(&size.figures.0, output)
}

fn lines(figures: &[Held<'_>], output: &mut Output) -> Result<(), Failure> {
    let width = figures.iter().map(|held| held.figure.label.chars().count()).max().unwrap_or_default();
    for held in figures {
        let Figure { label, value, unit, .. } = &*held.figure;
        let bound = match held.bound {
            Some(Bound::AtLeast(bound)) => format!("at least {}", shown(bound)),
            Some(Bound::AtMost(bound)) => format!("at most {}", shown(bound)),
            None => String::new(),
        };
        let verdict = match held.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let line = format!("{label:<width$}  {:>12} {unit:<10} {bound:<18} {verdict}", shown(*value));
        output.line(line.trim_end())?;
    }
    output.line("")
}
