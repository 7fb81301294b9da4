//! `usertrail inspect`: what a store consists of, whether it is whole, and the repair that a person asks for. Must not know
//! how either is done.

use std::path::Path;

use super::args::InspectArgs;
use super::failure::{Exit, Failure, complain};
use super::output::Output;
use super::progress::Progress;
use super::reading::{self, lost};
use super::text::{bytes, counted, grouped, printable};
use crate::{Error, ErrorKind, Options, SegmentLayout, ShardLayout, ShardRecovery, Store};

/// Everything that was found; also the JSON.
#[derive(Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<Repair>,
    shards: Vec<ShardLayout>,
    damage: Vec<Damage>,
    intact: bool,
}

/// What `--repair` found to do, and what it had to give up.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Repair {
    found: Vec<Damage>,
    shards: Vec<ShardRecovery>,
}

/// A damaged place.
#[derive(serde::Serialize)]
struct Damage {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    message: String,
}

impl Damage {
    fn new(shard: Option<u16>, error: &Error) -> Self {
        Self {
            shard,
            file: error.path().map(|path| path.display().to_string()),
            offset: error.offset(),
            message: error.to_string(),
        }
    }
}

pub(super) fn run(args: &InspectArgs) -> Result<Exit, Failure> {
    let mut findings = look(&args.data)?;
    if args.repair {
        let repair = repair(&args.data, findings.damage)?;
        findings = look(&args.data)?;
        findings.repair = Some(repair);
    }
    findings.intact = findings.damage.is_empty();
    let mut output = Output::new();
    if args.json {
        output.json(&findings)?;
    } else {
        tell(&findings, &mut output)?;
    }
    output.finish()?;
    for damage in &findings.damage {
        complain(&format!("damaged: {}", damage.message));
    }
    Ok(if findings.intact { Exit::Fine } else { Exit::Damaged })
}

/// Opens the store and reads all of it. What can't be opened for its damage is a finding too; what else can't, is an
/// error.
fn look(dir: &Path) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    let store = match reading::open(dir) {
        Ok(store) => store,
        Err(Failure::Store(error)) if error.kind() == ErrorKind::Corruption => {
            findings.damage.push(Damage::new(None, &error));
            return Ok(findings);
        }
        Err(other) => return Err(other),
    };
    findings.name = Some(store.name().to_owned());
    findings.shards = store.layout()?;
    check(&store, &mut findings)?;
    Ok(findings)
}

/// Rolls back what can't be saved and makes anew what can.
fn repair(dir: &Path, found: Vec<Damage>) -> Result<Repair, Failure> {
    let store = Options::new().repair(true).open(dir)?;
    let shards = store.recovery().shards.clone();
    store.close()?;
    Ok(Repair { found, shards })
}

/// Reads everything. The shards don't depend on each other, so damage in one doesn't hide that in another.
fn check(store: &Store, findings: &mut Findings) -> Result<(), Failure> {
    let events = |layout: &ShardLayout| layout.end.get() - layout.first.get();
    let progress = Progress::new(Some(findings.shards.iter().map(events).sum()));
    let mut done = 0;
    for layout in &findings.shards {
        match store.check_shard(layout.shard) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Corruption => {
                findings.damage.push(Damage::new(Some(layout.shard.get()), &error));
            }
            Err(error) => return Err(error.into()),
        }
        done += events(layout);
        progress.set(done, done);
    }
    Ok(())
}

fn tell(findings: &Findings, output: &mut Output) -> Result<(), Failure> {
    if let Some(name) = &findings.name {
        output.line(&format!("store {}", printable(name)))?;
    }
    if let Some(repair) = &findings.repair {
        tell_repair(repair, output)?;
    }
    for shard in &findings.shards {
        tell_shard(shard, output)?;
    }
    if findings.damage.is_empty() {
        let events = findings.shards.iter().map(|shard| shard.end.get() - shard.first.get()).sum();
        output.line(&format!(
            "intact: {}, each read and compared with its checksum and index",
            counted(events, "event")
        ))?;
    } else {
        output.line(&format!("DAMAGED in {}", counted(findings.damage.len() as u64, "place")))?;
    }
    Ok(())
}

fn tell_repair(repair: &Repair, output: &mut Output) -> Result<(), Failure> {
    for damage in &repair.found {
        output.line(&format!("repair: found: {}", printable(&damage.message)))?;
    }
    let mut given_up = false;
    for shard in &repair.shards {
        if let (Some(from), Some(to)) = (shard.rolled_back_from, shard.rolled_back_to) {
            output.line(&format!("repair: shard {}: {}", shard.shard, lost(from, to, shard.epoch)))?;
            given_up = true;
        }
        if shard.rescued > 0 {
            let events = counted(shard.rescued, "event");
            output.line(&format!("repair: shard {}: {events} made durable", shard.shard))?;
        }
    }
    if given_up { Ok(()) } else { output.line("repair: no event had to be given up") }
}

/// Only a segment that isn't full yet can be without events.
fn state(segment: &SegmentLayout) -> &'static str {
    match (segment.sealed, segment.first == segment.end) {
        (true, _) => "sealed",
        (false, true) => "empty",
        (false, false) => "active",
    }
}

fn tell_shard(shard: &ShardLayout, output: &mut Output) -> Result<(), Failure> {
    let sealed = shard.segments.iter().filter(|segment| segment.sealed).count();
    output.line(&format!(
        "shard {}: sequences {} to below {}, durable below {}, {} ({sealed} sealed), recovery epoch {}",
        shard.shard,
        shard.first,
        shard.end,
        shard.durable,
        counted(shard.segments.len() as u64, "segment"),
        shard.epoch
    ))?;
    for pack in &shard.packs {
        output.line(&format!(
            "  pack    {:>4}  {:>14} to below {:>14}  {:>10}  {}",
            pack.pack,
            grouped(pack.first.get()),
            grouped(pack.end.get()),
            bytes(pack.file_bytes),
            counted(pack.segments, "segment")
        ))?;
    }
    for segment in &shard.segments {
        output.line(&format!(
            "  segment {:>4}  {:>14} to below {:>14}  {:>10}  {}{}",
            segment.segment,
            grouped(segment.first.get()),
            grouped(segment.end.get()),
            bytes(segment.file_bytes),
            state(segment),
            if segment.generation > 0 {
                format!(", generation {}", segment.generation)
            } else {
                String::new()
            }
        ))?;
    }
    for note in &shard.rollbacks {
        let what = if note.to > note.from {
            lost(note.from.get(), note.to.get(), note.epoch.get())
        } else {
            format!("not closed cleanly; nothing was seen to be lost (recovery epoch {})", note.epoch)
        };
        output.line(&format!("  {}: {what}", note.at))?;
    }
    Ok(())
}
