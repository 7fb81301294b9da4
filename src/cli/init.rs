//! `usertrail init`: makes a store. Must not know how.

use super::args::InitArgs;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::text::printable;
use crate::{Durability, Store};

/// What was made, as JSON.
#[derive(serde::Serialize)]
struct Made<'s> {
    name: &'s str,
    shards: u16,
    durability: &'static str,
}

pub(super) fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let store = args.new.options().create_new(&args.data)?;
    store.close()?;
    let mut output = Output::new();
    let made = Made { name: store.name(), shards: store.shard_count(), durability: durability_name(&store) };
    if args.json {
        output.json(&made)?;
    } else {
        let dir = args.data.display().to_string();
        output.line(&format!(
            "made the store {} in {}: {} shards, durability {}",
            printable(made.name),
            printable(&dir),
            made.shards,
            made.durability
        ))?;
    }
    output.finish()?;
    Ok(Exit::Fine)
}

pub(super) fn durability_name(store: &Store) -> &'static str {
    match store.durability() {
        Durability::Buffered => "buffered",
        Durability::Interval(_) => "interval",
        Durability::Durable => "durable",
    }
}
