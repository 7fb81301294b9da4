//! `usertrail stats`: a store in numbers. Must not know how they are counted.

use super::args::StatsArgs;
use super::failure::{Exit, Failure};
use super::init::durability_name;
use super::output::Output;
use super::reading;
use super::text::{bytes, counted, grouped, printable};
use crate::{MemoryStats, Stats, Store};

pub(super) fn run(args: &StatsArgs) -> Result<Exit, Failure> {
    let store = reading::open(&args.data)?;
    let stats = store.stats()?;
    let mut output = Output::new();
    if args.json {
        output.json(&stats)?;
    } else {
        table(&store, &stats, &mut output)?;
    }
    output.finish()?;
    Ok(Exit::Fine)
}

fn index_on_disk(stats: &Stats) -> String {
    let runs = if stats.runs == 1 { "run" } else { "runs" };
    let waiting = match stats.merge_waiting_bytes {
        0 => String::new(),
        waiting => format!(", {} waiting to be merged", bytes(waiting)),
    };
    format!("{} in {} {runs}{waiting}", bytes(stats.run_bytes), grouped(stats.runs))
}

fn table(store: &Store, stats: &Stats, output: &mut Output) -> Result<(), Failure> {
    let lines = [
        ("name", printable(store.name()).into_owned()),
        ("durability", durability_name(store).to_owned()),
        ("events", grouped(stats.events)),
        ("users", grouped(stats.users)),
        ("shards", grouped(stats.shards.into())),
        ("segments", grouped(stats.segments)),
        (
            "packs",
            format!(
                "{} ({} in {})",
                grouped(stats.packs),
                counted(stats.packed_events, "event"),
                bytes(stats.pack_bytes)
            ),
        ),
        (
            "on disk",
            format!("{} ({} of it for events to come)", bytes(stats.bytes_on_disk), bytes(stats.bytes_ahead)),
        ),
        ("index on disk", index_on_disk(stats)),
        ("memory", memory(&stats.memory)),
        ("head table", format!("{} mapped", bytes(stats.memory.head_table_mapped_bytes))),
        ("bytes an event", format!("{:.1}", stats.bytes_per_event)),
    ];
    for (name, value) in lines {
        output.line(&format!("{name:<15} {value}"))?;
    }
    output.line(&format!(
        "\n{:<6} {:>14} {:>14} {:>12} {:>9} {:>6}",
        "SHARD", "EVENTS", "DURABLE", "USERS", "SEGMENTS", "EPOCH"
    ))?;
    for shard in &stats.per_shard {
        output.line(&format!(
            "{:<6} {:>14} {:>14} {:>12} {:>9} {:>6}",
            shard.shard.get(),
            grouped(shard.events),
            grouped(shard.durable),
            grouped(shard.users),
            grouped(shard.segments),
            shard.epoch.get()
        ))?;
    }
    Ok(())
}

/// What is allocated of the budget, and for what.
fn memory(memory: &MemoryStats) -> String {
    let of_segments = memory.record_offset_bytes + memory.checksum_mark_bytes + memory.rescued_bytes;
    format!(
        "{} of {} (indexes {}, to be sealed {}, sealing {}, segments {}, runs {}, packs {})",
        bytes(memory.used_bytes),
        bytes(memory.budget_bytes),
        bytes(memory.active_index_bytes),
        bytes(memory.frozen_index_bytes),
        bytes(memory.sealing_bytes),
        bytes(of_segments),
        bytes(memory.run_bytes),
        bytes(memory.pack_bytes)
    )
}
