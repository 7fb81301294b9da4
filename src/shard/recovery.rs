//! Opens a shard: reads the manifest and what is sealed, scans what is not, decides what survived.
//!
//! The rules (DESIGN, durability):
//!
//! - Every record below the durable floor F must be intact: damage there is corruption, named and refused.
//! - At or above F, after a power cut, anything may be torn or missing: the log is rolled back to the first bad record
//!   (and out of the middle of an atomic group). If a later record is seen to be lost, that begins a recovery epoch.
//! - What survived above F may be in the page cache alone: it is copied, to a new segment or a new generation of its own,
//!   and synced before it serves. So a file that is written to has nothing but zeros behind its records.

mod rescue;

use std::path::Path;
use std::sync::Arc;

use super::beyond::{damaged_name, keep_newer, look_beyond, refuse_older_manifest};
use super::checkpoint::{self, Known};
use super::heads::open_clean;
use super::maintain::MANIFEST_NAME;
use super::memory::index_bytes;
use super::next_segment::add_unlisted;
use super::packing::open_packed;
use super::replay::{Replayed, replay};
use super::sealed::{Covered, Runs, open_runs, remake_footer};
use super::view::{ShardView, Source};
use super::writer::Writer;
use super::{Context, Frozen, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::format::located;
use crate::format::manifest::{MANIFEST_BYTES_MAX, Rollback, SegmentEntry, ShardManifest};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::Header;
use crate::ids::ShardId;
use crate::index::tail::TailIndex;
use crate::io::{Access, DiskFile, Mode, TEMPORARY_SUFFIX, replace_file};
use crate::segment::create::{log_path, read_header};
use crate::segment::pack::Pack;
use crate::segment::scan::{Scan, Start, scan};
use crate::segment::seal::read_footer;
use crate::segment::{Segment, map_file};

/// What recovery did to a shard.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShardRecovery {
    /// The shard.
    pub shard: ShardId,
    /// How many records above the durable floor were found intact and made durable.
    pub rescued: u64,
    /// The first sequence that was lost, if any was.
    pub rolled_back_from: Option<u64>,
    /// One past the last lost sequence that could still be recognised.
    pub rolled_back_to: Option<u64>,
    /// The recovery epoch that the shard is in now.
    pub epoch: u32,
}

/// What the person at the keyboard allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repair {
    /// Damage below the durable floor is refused.
    No,
    /// An unsealed segment is rolled back to its first bad record too; the damaged file is kept under another name.
    /// What a sealed one has beside its records is made anew from them.
    RollBack,
}

/// An unsealed segment and what was found in it.
struct Found {
    entry: SegmentEntry,
    file: Arc<dyn DiskFile>,
    header: Header,
    scan: Scan,
    /// What an index checkpoint knows of the records that were not scanned.
    known: Option<Known>,
}

impl Found {
    /// Where each record begins, the first so many of the segment.
    fn offsets(&self, count: u64) -> impl Iterator<Item = u32> + '_ {
        let known = self.known.iter().flat_map(|known| known.checkpoint.offsets());
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        known.chain(self.scan.offsets.iter().copied()).take(count)
    }
}

/// What survives of the unsealed segments.
struct Decision {
    /// One past the last sequence that survives.
    end: u64,
    /// Everything below was known to be durable.
    floor: u64,
    /// The first sequence that was seen to be lost, and one past the last that could be recognised.
    rollback: Option<(u64, u64)>,
    /// Closed cleanly: nothing can have been lost without a trace.
    clean: bool,
}

/// Reads a shard's manifest.
pub(crate) fn read_manifest(context: &Context, dir: &Path, shard: ShardId) -> Result<ShardManifest> {
    let path = dir.join(MANIFEST_NAME);
    let bytes = context.disk.read(&path, MANIFEST_BYTES_MAX).map_err(|error| match error.io_kind() {
        Some(std::io::ErrorKind::NotFound) => Error::corruption(&path, 0, "the shard's manifest is missing"),
        _ => error,
    })?;
    let manifest = ShardManifest::decode(&bytes).map_err(located(&path, 0))?;
    if manifest.store_id != context.store_id || manifest.shard != shard.get() {
        return Err(Error::corruption(&path, 0, "the manifest belongs to another shard or store"));
    }
    Ok(manifest)
}

/// Opens a shard for writing, with recovery.
pub(crate) fn open(
    context: &Context,
    dir: &Path,
    shard: ShardId,
    repair: Repair,
) -> Result<(Opened, ShardRecovery)> {
    let mut manifest = read_manifest(context, dir, shard)?;
    context.disk.keep_open(dir)?;
    let unlisted = add_unlisted(context, dir, shard, &mut manifest)?;
    let opening = Opening { context, dir, shard, repair, unlisted };
    let sealed = open_sealed(context, dir, shard, &manifest, repair)?;
    if !sealed.runs.given_up.is_empty() {
        // The segments' own runs are there again, durable. Nothing is removed yet: a manifest that is older than the store
        // names runs that were merged since, and what lies beyond it was not looked for.
        manifest.runs.retain(|entry| !sealed.runs.given_up.contains(entry));
        opening.write_manifest(&manifest)?;
    }
    let mut found = opening.scan_unsealed(&manifest, sealed.end)?;
    let mut decision = opening.decide(&manifest, &found, sealed.end)?;
    opening.settle_newer(&mut manifest, &mut decision)?;
    // Only now, when all that the manifest names was found, and nothing beyond it: one that is older than the store names
    // too little.
    remove_orphans(context, dir, &manifest)?;
    let report = opening.settle(&mut manifest, &mut found, &decision)?;
    let opened = opening.assemble(manifest, sealed, found, &decision)?;
    Ok((opened, report))
}

/// The sealed part of a shard.
#[derive(Default)]
pub(crate) struct Sealed {
    pub(crate) packs: Vec<Arc<Pack>>,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(super) runs: Runs,
    pub(crate) end: u64,
    pub(crate) users_total: u64,
    pub(crate) last_recorded_at: i64,
}

/// Removes files that no manifest names: unfinished ones, and those of segments that were rolled back.
///
/// The manifest that was read may be in the cache alone, written by an opening or a writer that was cut off before its name was
/// durable: then the one on the disk names what this one doesn't.
fn remove_orphans(context: &Context, dir: &Path, manifest: &ShardManifest) -> Result<()> {
    let mut orphans = context.disk.list(dir)?;
    orphans.retain(|name| is_orphan(name, manifest));
    if orphans.is_empty() {
        return Ok(());
    }
    #[cfg(test)]
    let synced = if has(Bug::RemovedBeforeManifest) { Ok(()) } else { context.disk.sync_dir(dir) };
    #[cfg(not(test))]
    let synced = context.disk.sync_dir(dir);
    synced?;
    orphans.iter().try_for_each(|name| context.disk.remove(&dir.join(name)))
}

/// Whether the manifest doesn't name this file.
pub(super) fn is_orphan(name: &str, manifest: &ShardManifest) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    let segment = |id| manifest.segments.iter().find(|entry| entry.id == id);
    if let Some(id) = name.strip_suffix(".log").and_then(number) {
        // What a pack stands for is in the pack.
        return segment(id).is_none() || manifest.pack_of(id).is_some();
    }
    if let Some(id) = name.strip_suffix(".pack").and_then(number) {
        return manifest.packs.iter().all(|pack| pack.number != id);
    }
    if let Some(id) = name.strip_suffix(".ckpt").and_then(number) {
        return segment(id).is_none_or(|entry| entry.sealed);
    }
    let Some(run) = name.strip_suffix(".run") else { return name.ends_with(TEMPORARY_SUFFIX) };
    if let Some(id) = number(run) {
        let merged = manifest.runs.iter().any(|entry| (entry.first..=entry.last).contains(&id));
        return merged || segment(id).is_none_or(|entry| !entry.sealed);
    }
    let covers = run.split_once('-').and_then(|(first, last)| number(first).zip(number(last)));
    covers.is_some_and(|covers| !manifest.runs.iter().any(|entry| (entry.first, entry.last) == covers))
}

/// Has the manifest tell of the generation that a segment's file is of now.
fn list_generation(manifest: &mut ShardManifest, header: &Header) {
    #[cfg(test)]
    if has(Bug::ClosedUnderOldGeneration) && manifest.closed(header.segment).is_some() {
        return;
    }
    if let Some(entry) = manifest.segments.iter_mut().find(|entry| entry.id == header.segment) {
        (entry.generation, entry.salt) = (header.generation, header.salt.0);
    }
}

struct Opening<'c> {
    context: &'c Context,
    dir: &'c Path,
    shard: ShardId,
    repair: Repair,
    /// The manifest on disk doesn't list all segments.
    unlisted: bool,
}

/// The place of the first segment behind those that recovery has closed.
fn first_open(manifest: &ShardManifest, found: &[Found]) -> usize {
    found.iter().rposition(|found| manifest.closed(found.entry.id).is_some()).map_or(0, |last| last + 1)
}

/// Opens a segment's file and checks that it is the one that the manifest means.
pub(crate) fn open_listed(
    context: &Context,
    dir: &Path,
    shard: ShardId,
    entry: &SegmentEntry,
) -> Result<(Arc<dyn DiskFile>, Header)> {
    let path = log_path(dir, entry.id);
    let access = if entry.sealed { Access::Read } else { context.access };
    let file = context.disk.open(&path, access).map_err(|error| match error.io_kind() {
        Some(std::io::ErrorKind::NotFound) => Error::corruption(&path, 0, "the segment's file is missing"),
        _ => error,
    })?;
    let header = read_header(&*file)?;
    let expected = Header {
        store_id: context.store_id,
        shard: shard.get(),
        segment: entry.id,
        file_bytes: entry.file_bytes,
        ..header
    };
    // A new generation may have been renamed into place before the manifest told of it.
    let same = header.salt.0 == entry.salt && header.generation == entry.generation;
    if header != expected || !(same || !entry.sealed && header.generation == entry.generation + 1) {
        return Err(Error::corruption(&path, 0, "the file is not the segment that the manifest names"));
    }
    Ok((file, header))
}

/// Opens what is sealed: headers, footers, run headers. No record is read.
pub(crate) fn open_sealed(
    context: &Context,
    dir: &Path,
    shard: ShardId,
    manifest: &ShardManifest,
    repair: Repair,
) -> Result<Sealed> {
    let mut sealed = Sealed { last_recorded_at: i64::MIN, ..Sealed::default() };
    for entry in manifest.segments.iter().filter(|entry| entry.sealed) {
        if let Some(listed) = manifest.pack_of(entry.id) {
            open_packed(context, dir, manifest, (listed, entry), &mut sealed)?;
            continue;
        }
        let (mut file, header) = open_listed(context, dir, shard, entry)?;
        let footer = match read_footer(&*file, header.salt) {
            Err(error) if repair == Repair::RollBack && error.kind() == ErrorKind::Corruption => {
                let closed = manifest.closed(entry.id);
                file = remake_footer(context, &file, header, (sealed.end, sealed.users_total), closed)?;
                read_footer(&*file, header.salt)?
            }
            footer => footer?,
        };
        let first = sealed.segments.is_empty() && sealed.packs.is_empty();
        if !first && footer.base != sealed.end {
            let message = format!("the segment begins at {} instead of {}", footer.base, sealed.end);
            return Err(Error::corruption(file.path(), 0, message));
        }
        let map = map_file(&file, file.len(), Access::Read)?;
        let segment = Arc::new(Segment::sealed(file.path(), map, header, footer));
        sealed.end = segment.end();
        sealed.users_total = footer.users_total;
        sealed.last_recorded_at = footer.recorded_max_micros;
        sealed.segments.push(segment);
    }
    let covered = sealed.packs.iter().flat_map(Covered::by_pack);
    let covered: Vec<Covered> = covered.chain(sealed.segments.iter().map(Covered::by)).collect();
    let runs = open_runs(context, dir, &covered, &manifest.runs, repair);
    if repair == Repair::No && runs.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corruption) {
        // What an older manifest names may have been merged, and removed, since: then that is what is wrong.
        let end = unsealed_end(context, dir, shard, manifest, sealed.end);
        let beyond = end.and_then(|end| Ok((look_beyond(context, dir, shard, manifest)?, end)));
        if let Ok((beyond, end)) = beyond {
            refuse_older_manifest(&beyond, dir, shard, end)?;
        }
    }
    sealed.runs = runs?;
    Ok(sealed)
}

/// The most that the unsealed segments that a manifest lists know of: where their records end, or what was durable.
fn unsealed_end(
    context: &Context,
    dir: &Path,
    shard: ShardId,
    manifest: &ShardManifest,
    sealed_end: u64,
) -> Result<u64> {
    let (mut base, mut floor) = (sealed_end, sealed_end);
    for entry in manifest.segments.iter().filter(|entry| !entry.sealed) {
        let (file, header) = open_listed(context, dir, shard, entry)?;
        let end = manifest.closed(entry.id).map(|closed| closed.end);
        let found = scan(&file, header.salt, Start { end, ..Start::whole(base) })?;
        base = found.end();
        floor = floor.max(found.floor);
    }
    Ok(base.max(floor))
}

impl Opening<'_> {
    /// Scans the unsealed segments, each from where the one before it ends.
    fn scan_unsealed(&self, manifest: &ShardManifest, sealed_end: u64) -> Result<Vec<Found>> {
        let mut base = sealed_end;
        let mut found = Vec::new();
        for entry in manifest.segments.iter().filter(|entry| !entry.sealed) {
            let (file, header) = open_listed(self.context, self.dir, self.shard, entry)?;
            let checkpoint = checkpoint::read(self.context, self.dir, &file, &header, base);
            let checkpoint = match self.repair {
                Repair::No => checkpoint,
                // A repair looks at everything.
                Repair::RollBack => {
                    checkpoint::Found { floor: checkpoint.floor, ..checkpoint::Found::nothing(base) }
                }
            };
            let end = manifest.closed(entry.id).map(|closed| closed.end);
            let mut scan = scan(&file, header.salt, Start { end, ..checkpoint.start })?;
            scan.floor = scan.floor.max(checkpoint.floor);
            base = scan.end();
            found.push(Found { entry: *entry, file, header, scan, known: checkpoint.known });
        }
        Ok(found)
    }

    /// Says what survives, or that damage below the floor must not be passed over.
    fn decide(&self, manifest: &ShardManifest, found: &[Found], sealed_end: u64) -> Result<Decision> {
        let floor = found.iter().map(|found| found.scan.floor).max().unwrap_or_default().max(sealed_end);
        // The first segment behind whose records something was lost; a later one then can't continue the log.
        let mut end = sealed_end;
        let mut lost_end = None;
        let mut bad = false;
        let mut place = None;
        for segment in found {
            if bad {
                lost_end = lost_end.max(segment.scan.beyond);
                continue;
            }
            end = segment.scan.end() - segment.scan.open_group;
            // A segment whose records don't continue the one before shows them as lying beyond a hole; then the damage
            // is where that one stopped, if there is anything.
            bad = segment.scan.beyond.is_some() || segment.scan.open_group > 0;
            if place.is_none_or(|place: &Found| !place.scan.dirty) || segment.scan.count() > 0 {
                place = Some(segment);
            }
            if bad {
                lost_end = segment.scan.beyond.max(Some(segment.scan.end()));
            }
        }
        #[cfg(test)]
        let floor = if has(Bug::FloorIgnored) { floor.min(end) } else { floor };
        if floor > end && self.repair == Repair::No {
            let (path, offset) = place.map_or((self.dir.to_owned(), 0), |found| {
                (found.file.path().to_owned(), found.scan.end_offset)
            });
            let message = format!(
                "record {end} of shard {} is damaged or missing, though everything below {floor} was on stable \
                 storage; nothing was changed",
                self.shard
            );
            return Err(Error::corruption(&path, offset, message));
        }
        let lost_end = lost_end.max((floor > end).then_some(floor));
        let rollback = lost_end.map(|lost_end| (end, lost_end.max(end)));
        let open = found.get(first_open(manifest, found)..).unwrap_or_default();
        let mut used = open.iter().filter(|found| found.scan.count() > 0);
        let clean =
            rollback.is_none() && used.next_back().or(open.first()).is_none_or(|last| last.scan.is_clean());
        Ok(Decision { end, floor: floor.min(end), rollback, clean })
    }

    /// Sees that nothing durable lies beyond what the manifest names; where a person asked for a repair, it is given up like
    /// anything else behind a damaged place.
    fn settle_newer(&self, manifest: &mut ShardManifest, decision: &mut Decision) -> Result<()> {
        #[cfg(test)]
        if has(Bug::NewerForgotten) {
            return Ok(());
        }
        let beyond = look_beyond(self.context, self.dir, self.shard, manifest)?;
        let end = decision.end;
        if self.repair == Repair::No {
            return refuse_older_manifest(&beyond, self.dir, self.shard, end);
        }
        let Some(floor) = beyond.iter().map(|it| it.floor).max().filter(|floor| *floor > end) else {
            return Ok(());
        };
        let lost_end = decision.rollback.map_or(floor, |(_, lost_end)| lost_end.max(floor));
        (decision.rollback, decision.clean) = (Some((end, lost_end)), false);
        // Before the files are out of sight, or a repair that is cut off here would leave a short log without a word.
        self.begin_epoch(manifest, decision);
        self.write_manifest(manifest)?;
        keep_newer(&beyond, self.context, end)
    }

    /// Makes the directory what was decided: epoch first, then new generations, then the removal of what is dropped.
    fn settle(
        &self,
        manifest: &mut ShardManifest,
        found: &mut Vec<Found>,
        decision: &Decision,
    ) -> Result<ShardRecovery> {
        #[cfg(test)]
        let decision = &Decision { clean: decision.clean || has(Bug::EpochKept), ..*decision };
        let last_used = found.iter().rposition(|found| found.scan.base < decision.end).unwrap_or(0);
        // Nothing is written any more to what was closed.
        let last_used = last_used.max(first_open(manifest, found));
        let unused =
            |found: &Found| found.scan.count() == 0 && !found.scan.dirty && found.scan.beyond.is_none();
        let before = manifest.segments.len();
        // Prepared and never used. Their room is given back first: on a full disk, what follows may need it.
        let drop: Vec<u64> = found
            .iter()
            .skip(last_used + 1)
            .filter(|found| unused(found))
            .map(|found| found.entry.id)
            .collect();
        manifest.segments.retain(|entry| !drop.contains(&entry.id));
        if !decision.clean {
            self.begin_epoch(manifest, decision);
        }
        #[cfg(test)]
        let decision = &Decision { clean: decision.clean || has(Bug::EpochNotWritten), ..*decision };
        if !decision.clean || self.unlisted || manifest.segments.len() < before {
            self.write_manifest(manifest)?;
            remove_orphans(self.context, self.dir, manifest)?;
        }
        let mut kept = manifest.clone();
        // All of these is rolled back, or was dropped already. What lies in them is above the floor, but in a repair.
        let dropped = found.len().min(last_used + 1)..;
        if self.repair == Repair::RollBack {
            let used = |found: &&Found| !unused(found);
            self.keep_damaged(found.get(dropped.clone()).unwrap_or_default().iter().filter(used))?;
        }
        for segment in found.drain(dropped) {
            kept.segments.retain(|entry| entry.id != segment.entry.id);
        }
        self.make_durable(&mut kept, found, decision)?;
        kept.closed.retain(|closed| kept.segments.iter().any(|entry| entry.id == closed.segment));
        if kept != *manifest {
            *manifest = kept;
            self.write_manifest(manifest)?;
            remove_orphans(self.context, self.dir, manifest)?;
        }
        Ok(ShardRecovery {
            shard: self.shard,
            rescued: decision.end.saturating_sub(decision.floor),
            rolled_back_from: decision.rollback.map(|(from, _)| from),
            rolled_back_to: decision.rollback.map(|(_, to)| to),
            epoch: manifest.epoch(),
        })
    }

    /// Copies what survived and may be in the cache alone, or has something behind it.
    fn make_durable(
        &self,
        manifest: &mut ShardManifest,
        found: &mut Vec<Found>,
        decision: &Decision,
    ) -> Result<()> {
        let renamed = |segment: &Found| segment.header.generation != segment.entry.generation;
        if found.iter().any(renamed) {
            // By an opening that was cut off, maybe in the cache alone: the manifest may not tell of it yet.
            self.context.disk.sync_dir(self.dir)?;
        }
        let damaged = found.iter().any(|segment| segment.scan.beyond.is_some());
        let last = found.len().saturating_sub(1);
        for place in 0..found.len() {
            let Some(segment) = found.get(place) else { break };
            let id = segment.entry.id;
            let end = segment.scan.end().min(decision.end);
            let rolled_back = end < segment.scan.end() || segment.scan.beyond.is_some();
            let untidy = place == last && segment.scan.dirty;
            let cached = end > decision.floor;
            #[cfg(test)]
            let (rolled_back, untidy, cached) =
                if has(Bug::CacheTrusted) { (false, false, false) } else { (rolled_back, untidy, cached) };
            let header = if !(rolled_back || untidy || cached) {
                segment.header
            } else if !damaged && self.is_worth_closing(segment, decision) {
                return self.close_and_move(manifest, found, place, decision);
            } else {
                if self.repair == Repair::RollBack && (rolled_back || segment.scan.dirty) {
                    self.keep_damaged(std::iter::once(segment))?;
                }
                manifest.closed.retain(|closed| closed.segment != id);
                self.rewrite(segment, end)?
            };
            list_generation(manifest, &header);
        }
        Ok(())
    }

    /// After a crash records may be gone without a trace, so a cursor or receipt from before must not be taken for one of what
    /// is written now. Each such opening has an epoch of its own: whether the one before has served, nobody can tell.
    fn begin_epoch(&self, manifest: &mut ShardManifest, decision: &Decision) {
        let (first_lost, lost_end) = decision.rollback.unwrap_or((decision.end, decision.end));
        let epoch = manifest.epoch() + 1;
        let at_micros = self.context.clock.wall_micros();
        let mut rollback = Rollback { epoch, first_lost, lost_end, at_micros };
        // A store that is killed again and again at the same place doesn't grow a list of it.
        if let Some(same) = manifest.rollbacks.pop_if(|last| last.first_lost == first_lost) {
            rollback.lost_end = rollback.lost_end.max(same.lost_end);
        }
        manifest.rollbacks.push(rollback);
    }

    /// A person asked for the repair: the files of what is given up stay, under names that no store opens.
    ///
    /// These are copies, durable with their names before anything takes the place of the files, or the manifest leaves them
    /// out. A file that was renamed while it is listed would be missing if the repair is cut off; one that is not listed any
    /// more would be removed by the next opening.
    fn keep_damaged<'f>(&self, given_up: impl Iterator<Item = &'f Found>) -> Result<()> {
        let mut any = false;
        for segment in given_up {
            let mut bytes = vec![0; usize::try_from(segment.file.len()).unwrap_or_default()];
            segment.file.read_exact_at(0, &mut bytes)?;
            let name = damaged_name(segment.file.path(), segment.header.generation);
            self.context.disk.write_synced(&name, &bytes, Mode::Shared)?;
            any = true;
        }
        #[cfg(test)]
        let any = any && !has(Bug::DamagedNameNotSynced);
        if any { self.context.disk.sync_dir(self.dir) } else { Ok(()) }
    }

    fn write_manifest(&self, manifest: &ShardManifest) -> Result<()> {
        let path = self.dir.join(MANIFEST_NAME);
        let bytes = manifest.encode().map_err(located(&path, 0))?;
        replace_file(&*self.context.disk, &path, &bytes, Mode::Shared)
    }

    /// Maps and indexes the unsealed segments as they are now, and makes the writer.
    fn assemble(
        &self,
        manifest: ShardManifest,
        sealed: Sealed,
        mut found: Vec<Found>,
        decision: &Decision,
    ) -> Result<Opened> {
        let end = decision.end;
        let Sealed { packs, mut segments, runs, end: sealed_end, mut users_total, mut last_recorded_at } =
            sealed;
        let mut sources = runs.sources;
        let mut tails = Vec::new();
        let mut base = sealed_end;
        for entry in manifest.segments.iter().filter(|entry| !entry.sealed) {
            let (file, header) = open_listed(self.context, self.dir, self.shard, entry)?;
            // A new generation has its records where the old one had them.
            let Some(place) = found.iter().position(|found| found.entry.id == entry.id) else { continue };
            let Found { scan, known, .. } = found.swap_remove(place);
            let count = usize::try_from(end.saturating_sub(base).saturating_sub(scan.skipped));
            let count = count.unwrap_or(usize::MAX);
            let offsets = scan.offsets.get(..count).unwrap_or(&scan.offsets);
            let end_offset = scan.offsets.get(count).map_or(scan.end_offset, |next| u64::from(*next));
            let map = map_file(&file, end_offset, Access::Write)?;
            let mut segment = Segment::growing_behind(file, map, header, base, scan.skipped);
            if let Some(closed) = manifest.closed(entry.id) {
                segment.close(closed.end, closed.used_to);
            }
            segment.continue_slots_after(scan.slot.map_or(0, |slot| slot.counter));
            let (tail, restored) = match known {
                Some(known) => known.restore(&segment)?,
                None => (TailIndex::new(base, segment.records_max()), Replayed::NOTHING),
            };
            let replayed = replay(&self.context.key, &segment, &tail, scan.skipped, offsets)?;
            let (segment, tail) = (Arc::new(segment), Arc::new(tail));
            users_total += restored.new_users + replayed.new_users;
            last_recorded_at =
                last_recorded_at.max(restored.recorded_max_micros).max(replayed.recorded_max_micros);
            base = segment.end();
            sources.push(Source::Tail(Arc::clone(&tail), Arc::clone(&segment)));
            segments.push(Arc::clone(&segment));
            let index_bytes = index_bytes(&tail, &segment);
            tails.push(Frozen { segment, tail, users_total, index_bytes });
        }
        let active = tails.pop().ok_or_else(|| {
            let path = self.dir.join(MANIFEST_NAME);
            Error::corruption(&path, 0, "the shard has no segment to write to")
        })?;
        if base != end {
            let message = format!("the shard ends at {base} instead of {end} after recovery");
            return Err(Error::corruption(active.segment.path(), 0, message));
        }
        // Nothing was written in this epoch yet, whether this opening began it or one before.
        if manifest.rollbacks.last().is_some_and(|last| last.first_lost == end) {
            last_recorded_at = later_than_lost(last_recorded_at, manifest.epoch());
        }
        let writer = writer(&active, end, last_recorded_at)?;
        let rollbacks: Arc<[Rollback]> = manifest.rollbacks.clone().into();
        let (heads, coldness) = (None, Arc::default());
        let mut view = ShardView { shard: self.shard, packs, segments, sources, rollbacks, heads, coldness };
        view.heads = open_clean(self.context, self.dir, &view);
        Ok(Opened { view, manifest, writer: Some(writer), frozen: tails, durable: end, users_total })
    }
}

/// The earliest `recorded_at` of what is written in this epoch. An event's id is made of this time and the sequence: where the
/// clock stands still or has gone back, an event that was lost and the one that gets its sequence would have the same. No
/// epoch begins as early as one before it did.
fn later_than_lost(last_recorded_at: i64, epoch: u32) -> i64 {
    #[cfg(test)]
    if has(Bug::IdsRepeated) {
        return last_recorded_at;
    }
    last_recorded_at.saturating_add(i64::from(epoch))
}

/// The slot must say that the segment is in use before the first record is written: a clean one is trusted.
fn writer(active: &Frozen, end: u64, last_recorded_at: i64) -> Result<Writer> {
    #[cfg(test)]
    if has(Bug::CleanSlotKept) {
        return writer_of(active, last_recorded_at);
    }
    active.segment.write_slot(end, false)?;
    active.segment.sync()?;
    writer_of(active, last_recorded_at)
}

fn writer_of(active: &Frozen, last_recorded_at: i64) -> Result<Writer> {
    let appender = active
        .segment
        .appender()
        .ok_or_else(|| Error::at(ErrorKind::Io, active.segment.path(), "the segment has a writer already"))?;
    Ok(Writer::new(
        appender,
        Arc::clone(&active.segment),
        Arc::clone(&active.tail),
        last_recorded_at,
        active.users_total,
    ))
}
