//! What a shard does behind its writer's back: pages ahead of the tail, sealing, floors, checking.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memory::sealing_bytes;
use super::recovery::read_manifest;
use super::sealed::{Covered, check_empty_runs, write_run};
use super::view::Source;
use super::{Frozen, Job, Shard};
use crate::error::{Error, ErrorKind, Result};
use crate::format::located;
use crate::format::manifest::ShardManifest;
use crate::format::record::record_bytes;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::RECORDS_START;
use crate::index::run::Run;
use crate::io::mmap::SegmentMap;
#[cfg(test)]
use crate::io::temporary_name;
use crate::io::{Mode, replace_file};
use crate::segment::create::checkpoint_path;
use crate::segment::seal::seal;

/// How far ahead of the tail pages are made present. Small enough that few of them are synced as zeros first, large
/// enough for 25 ms at 80 MB/s.
pub(crate) const POPULATE_BYTES: usize = 2 << 20;

/// How much of what look-ups pass a shard brings into memory after it was opened, at most; and how much more at most.
const WARM_BYTES_MAX: usize = 64 << 20;

/// The name of a shard's manifest in its directory.
pub(crate) const MANIFEST_NAME: &str = "MANIFEST";

impl Shard {
    /// Does a job.
    pub(crate) fn run(&self, job: Job) -> Result<()> {
        if self.is_closed() || self.poison().is_some() {
            return Ok(());
        }
        match job {
            Job::Prepare => self.prepare(),
            Job::Populate => {
                self.populate();
                Ok(())
            }
            Job::Warm => {
                self.warm();
                Ok(())
            }
            Job::WarmRest => {
                self.warm_rest();
                Ok(())
            }
            Job::Heads => self.tend_heads(),
            Job::Checkpoint => self.write_checkpoint(),
            Job::Seal => {
                self.establish_open()?;
                while !self.frozen.lock().is_empty() && !self.is_closed() {
                    self.seal_oldest()?;
                }
                Ok(())
            }
            Job::Merge => self.merge_due(&mut |_| Ok(())),
            Job::Pack => self.pack_due(&mut |_| Ok(())),
        }
    }

    /// Replaces the manifest on disk. The caller holds the lock.
    pub(crate) fn write_manifest(&self, manifest: &ShardManifest) -> Result<()> {
        let path = self.dir.join(MANIFEST_NAME);
        let bytes = manifest.encode().map_err(located(&path, 0))?;
        #[cfg(test)]
        if [Bug::ManifestNotSynced, Bug::ManifestNameNotSynced, Bug::RemainsLeft].into_iter().any(has) {
            let (disk, temporary) = (&self.context.disk, temporary_name(&path));
            if has(Bug::ManifestNotSynced) {
                disk.write_unsynced(&temporary, &bytes)?;
            } else {
                disk.write_synced(&temporary, &bytes, Mode::Shared)?;
            }
            disk.rename(&temporary, &path)?;
            return if has(Bug::ManifestNameNotSynced) { Ok(()) } else { disk.sync_dir(&self.dir) };
        }
        replace_file(&*self.context.disk, &path, &bytes, Mode::Shared)
    }

    /// Brings in what every look-up passes: the filters of runs, the directories of packs, the newest first. With them in
    /// memory, a page from packs waits for the disk once. All that is brought in stays the kernel's to drop.
    fn warm(&self) {
        let view = self.view();
        let runs = view.runs().rev().filter_map(|run| Some((run.map(), run.filter()?)));
        let packs = view.packs.iter().rev().filter_map(|pack| Some((pack.map(), pack.directory()?)));
        self.bring_in(runs.chain(packs));
    }

    /// Brings in what more there is room for: of what isn't packed, where users and records are to be found; then the records
    /// of segments that aren't sealed, since the newest are asked for most, and one after the other they cost a tenth; then
    /// the directories of runs that pages from packs do without, unless they have a filter.
    fn warm_rest(&self) {
        let view = self.view();
        let packed = view.packs_end();
        let (newer, older): (Vec<&Run>, Vec<&Run>) =
            view.runs().rev().map(|run| &**run).partition(|run| run.end() > packed);
        let directories = newer.iter().filter_map(|run| Some((run.map(), run.directory()?)));
        let segments = || view.segments.iter().rev();
        let sidecars = segments().filter_map(|segment| Some((&**segment.map(), segment.sidecar()?)));
        let postings = newer.iter().filter_map(|run| Some((run.map(), run.postings()?)));
        let growing = segments().filter(|segment| !segment.is_sealed());
        let records = growing.map(|segment| (&**segment.map(), 0..segment.map().published()));
        let packed = older.iter().filter_map(|run| Some((run.map(), run.directory()?)));
        self.bring_in(directories.chain(sidecars).chain(postings).chain(records).chain(packed));
    }

    /// Brings in as much of these as a shard may.
    fn bring_in<'m>(&self, ranges: impl Iterator<Item = (&'m SegmentMap, Range<usize>)>) {
        let mut left = WARM_BYTES_MAX;
        for (map, range) in ranges {
            let end = range.end.min(range.start.saturating_add(left));
            left -= end.saturating_sub(range.start);
            map.bring_in(range.start..end, &|| !self.is_closed());
        }
    }

    /// Whether the manifest on disk is surely the one from before a change that failed so. After other errors it may become the
    /// new one by a power cut.
    pub(super) fn manifest_stayed(&self, error: &Error) -> bool {
        let manifest = self.manifest.lock();
        error.kind() == ErrorKind::StorageFull
            && read_manifest(&self.context, &self.dir, self.id).is_ok_and(|on_disk| on_disk == *manifest)
    }

    /// Makes pages ahead of the tail present.
    fn populate(&self) {
        let view = self.view();
        let Some(segment) = view.segments.last() else { return };
        let Some(last) = segment.published().checked_sub(1) else { return };
        let Some(offset) = segment.offset_of(last) else { return };
        if self.context.write_ahead {
            // Made present for writing, pages would be dirty, and the next commit would write them all.
            segment.map().populate_for_reading(offset, 2 * POPULATE_BYTES);
        } else {
            segment.map().populate(offset, 2 * POPULATE_BYTES);
        }
    }

    /// Makes new segments durable, unless the store was closed meanwhile.
    fn establish_open(&self) -> Result<()> {
        let _sealing = self.sealing.lock();
        self.check_open()?;
        self.establish()
    }

    /// Seals the oldest segment that was rolled over: footer, run, manifest, view, in this order.
    pub(crate) fn seal_oldest(&self) -> Result<()> {
        let _sealing = self.sealing.lock();
        self.check_open()?;
        let Some(frozen) = self.frozen.lock().first().cloned() else { return Ok(()) };
        // What is told to be durable must be found again.
        self.establish()?;
        self.sealing_bytes.store(sealing_bytes(&frozen), Ordering::Relaxed);
        let sealed = self.seal_frozen(&frozen);
        self.sealing_bytes.store(0, Ordering::Relaxed);
        sealed
    }

    fn seal_frozen(&self, frozen: &Frozen) -> Result<()> {
        let segment = &frozen.segment;
        // No fault of the disk: tried again when the limit is gone.
        segment.file()?.check_size_limit()?;
        let sealing = seal(segment, frozen.users_total, frozen.tail.occurred());
        // Records may be among what the sync lost. A full disk can't be the cause: the space was allocated.
        let sealing = sealing.inspect_err(|error| self.set_poisoned(error))?;
        // As in a commit: what somebody removed is gone at the next opening.
        segment.check_name().inspect_err(|error| self.set_poisoned(error))?;
        // Every earlier segment is sealed, so everything up to here is synced.
        self.tell_durable(segment.end());
        let run =
            write_run(&self.context, &self.dir, &Covered::by_frozen(frozen), &frozen.tail, &sealing.times)?;
        let id = segment.header().segment;
        self.mark_sealed(id)?;
        self.fold_sealed(run.as_ref());
        let _ = segment.map().publish_up_to(segment.map().len());
        let sealed = Arc::new(segment.with_footer(&sealing));
        self.damaged_records.fetch_add(sealing.times.damaged() as u64, Ordering::Relaxed);
        self.change_view(|view| {
            for slot in &mut view.segments {
                if slot.header().segment == id {
                    *slot = Arc::clone(&sealed);
                }
            }
            for source in &mut view.sources {
                if matches!(source, Source::Tail(_, segment) if segment.header().segment == id) {
                    *source = run.clone().map_or_else(|| source.clone(), Source::Run);
                }
            }
            if run.is_none() {
                view.sources.retain(
                    |source| !matches!(source, Source::Tail(_, segment) if segment.header().segment == id),
                );
            }
        });
        self.frozen.lock().retain(|other| other.segment.header().segment != id);
        // It was synced here, so no commit needs it, nor its open file.
        self.unsynced.lock().retain(|other| other.header().segment != id);
        // The run has what it was for. If it stays, the next opening removes it.
        let _ = self.context.disk.remove(&checkpoint_path(&self.dir, id));
        // A courtesy to people with editors; the bytes are durable and published already.
        let _ = segment.file().and_then(|file| file.set_read_only());
        Ok(())
    }

    fn mark_sealed(&self, id: u64) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        let entry = changed.segments.iter_mut().find(|entry| entry.id == id);
        entry
            .ok_or_else(|| Error::new(ErrorKind::Corruption, format!("segment {id} is not in the manifest")))?
            .sealed = true;
        self.write_manifest(&changed)?;
        *manifest = changed;
        Ok(())
    }
}

impl Shard {
    /// Writes down that everything published is durable, if it is and the slot doesn't say so yet.
    pub(crate) fn note_floor(&self) {
        let durable = self.durable();
        #[cfg(test)]
        let durable = if has(Bug::SlotAhead) { self.published() } else { durable };
        if durable != self.published()
            || durable <= self.slot_floor.load(Ordering::Relaxed)
            || self.poison().is_some()
        {
            return;
        }
        let view = self.view();
        let Some(segment) = view.segments.last() else { return };
        if segment.file().and_then(|file| file.check_size_limit()).is_err() {
            return;
        }
        let written = segment.write_slot(durable, false).and_then(|()| segment.sync());
        match written {
            Ok(()) => self.slot_floor.store(durable, Ordering::Relaxed),
            Err(error) => self.set_poisoned(&error),
        }
    }

    /// Marks the active segment as closed cleanly. All must be synced, and nobody may write any more.
    pub(crate) fn mark_clean(&self) -> Result<()> {
        // What can't be listed now is found by its name.
        let _ = self.establish();
        let view = self.view();
        match view.segments.last() {
            Some(segment) if self.durable() == view.end() && self.poison().is_none() => {
                segment.write_slot(view.end(), true)?;
                segment.sync()
            }
            _ => Ok(()),
        }
    }

    /// What is allocated for events to come: the rest of segments that aren't sealed, and the prepared one.
    pub(crate) fn bytes_ahead(&self, view: &super::view::ShardView) -> u64 {
        // A reader's view may end with a prepared segment, so the room is not in the last one alone.
        let room = |segment: &Arc<crate::segment::Segment>| {
            let used = segment.published().checked_sub(1).and_then(|last| {
                let offset = segment.offset_of(last)?;
                let leaf = segment.leaf_at(last, offset).ok()?;
                Some((offset + record_bytes(leaf.len())) as u64)
            });
            segment.header().file_bytes.saturating_sub(used.unwrap_or(RECORDS_START))
        };
        let room: u64 = view.segments.iter().filter(|segment| !segment.is_sealed()).map(room).sum();
        let known = |id| view.segments.iter().any(|segment| segment.header().segment == id);
        let manifest = self.manifest.lock();
        // What was sealed or packed since the view was made is no room.
        let listed = manifest.segments.iter().filter(|entry| !entry.sealed && !known(entry.id));
        let listed: u64 = listed.map(|entry| entry.file_bytes).sum();
        room + listed + self.unlisted_bytes(known)
    }

    /// Compares every checksum, and every user's records with the index.
    pub(crate) fn check(&self) -> Result<()> {
        let view = self.view();
        for pack in &view.packs {
            pack.verify(|_| Ok(()))?;
        }
        for segment in &view.segments {
            segment.verify(|_| Ok(()))?;
        }
        view.runs().try_for_each(|run| run.verify())?;
        check_empty_runs(&self.context, &self.dir, &view)?;
        view.check_index(&self.context.key)
    }
}
