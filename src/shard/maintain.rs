//! What a shard does behind its writer's back: the next segment's file, pages ahead of the tail, sealing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::sealed::{Covered, write_run};
use super::view::Source;
use super::{Job, Shard};
use crate::error::{Error, ErrorKind, Result};
use crate::format::located;
use crate::format::manifest::{SegmentEntry, ShardManifest};
use crate::format::record::record_bytes;
use crate::format::segment::{Header, RECORDS_START};
use crate::io::mmap::SegmentMap;
use crate::io::{Access, DiskFile, Mode, replace_file};
use crate::segment::create::{SEGMENT_BYTES_MIN, create_file, log_path, new_salt, write_zeros};
use crate::segment::map_file;
use crate::segment::seal::{Sealing, seal};

/// How far ahead of the tail pages are made present. Small enough that few of them are synced as zeros first, large
/// enough for 25 ms at 80 MB/s.
pub(crate) const POPULATE_BYTES: usize = 2 << 20;

/// The name of a shard's manifest in its directory.
pub(crate) const MANIFEST_NAME: &str = "MANIFEST";

/// Where the next segment's file is on its way to be.
#[derive(Debug, Default)]
pub(crate) enum Preparation {
    #[default]
    Idle,
    Running,
    /// The file is there, but the manifest that should name it could not be written. The one on disk may name it
    /// nevertheless, so it stays, and no other file takes its number.
    Unlisted(Prepared),
    Ready(Prepared),
}

/// A new segment's file, mapped: nothing that can fail lies between it and the first record.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) map: Arc<SegmentMap>,
    pub(crate) header: Header,
}

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
            Job::Seal => {
                while !self.frozen.lock().is_empty() && !self.is_closed() {
                    self.seal_oldest()?;
                }
                Ok(())
            }
            Job::Merge => self.merge_due(&mut |_| Ok(())),
            Job::Pack => self.pack_due(&mut |_| Ok(())),
        }
    }

    /// Makes the next segment's file, unless it is there or under way.
    pub(crate) fn prepare(&self) -> Result<()> {
        let unlisted = {
            let mut preparation = self.preparation.lock();
            match std::mem::replace(&mut *preparation, Preparation::Running) {
                Preparation::Idle => None,
                Preparation::Unlisted(prepared) => Some(prepared),
                other => {
                    *preparation = other;
                    return Ok(());
                }
            }
        };
        let (after, outcome) = match unlisted.map_or_else(|| self.make_segment(), Ok) {
            Ok(prepared) => match self.list_segment(&prepared.header) {
                Ok(()) => (Preparation::Ready(prepared), Ok(())),
                Err(error) => (Preparation::Unlisted(prepared), Err(error)),
            },
            Err(error) => (Preparation::Idle, Err(error)),
        };
        *self.preparation.lock() = after;
        self.preparation_done.notify_all();
        outcome
    }

    /// The next segment's file: waits for it if it is under way, makes it if it isn't.
    pub(crate) fn take_prepared(&self) -> Result<Prepared> {
        let mut preparation = self.preparation.lock();
        loop {
            match std::mem::take(&mut *preparation) {
                Preparation::Ready(prepared) => return Ok(prepared),
                Preparation::Running => {
                    *preparation = Preparation::Running;
                    self.rollover_waits.fetch_add(1, Ordering::Relaxed);
                    self.preparation_done.wait(&mut preparation);
                }
                other @ (Preparation::Idle | Preparation::Unlisted(_)) => {
                    // The background has failed or hasn't begun. Here a full disk reaches the caller as an error.
                    *preparation = other;
                    drop(preparation);
                    self.rollover_waits.fetch_add(1, Ordering::Relaxed);
                    self.prepare()?;
                    preparation = self.preparation.lock();
                }
            }
            if let Some(error) = self.refusal() {
                return Err(error);
            }
        }
    }

    /// Whether a rollover would find the next segment's file.
    #[cfg(feature = "async")]
    pub(crate) fn next_segment_is_ready(&self) -> bool {
        matches!(*self.preparation.lock(), Preparation::Ready(_))
            && self.frozen.lock().len() < super::FROZEN_MAX
    }

    /// Creates and populates a new segment's file; durable, but not in the manifest yet.
    fn make_segment(&self) -> Result<Prepared> {
        // Only whoever prepares takes numbers, and that is one at a time.
        let (id, before) = {
            let manifest = self.manifest.lock();
            (manifest.next_segment, manifest.segments.len())
        };
        let path = log_path(&self.dir, id);
        // A shard's segments grow by doubling, so that a small store is small. By how many there are, not by their
        // numbers: each opening gives a new number to the file that is prepared and not used yet.
        let doubled = SEGMENT_BYTES_MIN << before.min(20);
        let mut file_bytes = doubled.min(self.context.segment_bytes_max);
        let (file, header) = loop {
            let header = Header {
                store_id: self.context.store_id,
                shard: self.id.get(),
                generation: 0,
                segment: id,
                file_bytes,
                salt: new_salt()?,
                created_at_micros: self.context.clock.wall_micros(),
            };
            match create_file(&*self.context.disk, &path, &header) {
                Ok(file) => break (file, header),
                // A nearly full disk may still have room for a smaller one.
                Err(error) if error.kind() == ErrorKind::StorageFull && file_bytes > SEGMENT_BYTES_MIN => {
                    file_bytes = (file_bytes / 2).max(SEGMENT_BYTES_MIN);
                }
                Err(error) => return Err(error),
            }
        };
        let mapped = map_file(&file, RECORDS_START, Access::Write).and_then(|map| {
            if self.context.write_ahead {
                write_zeros(&*file)?;
                map.populate_for_reading(0, POPULATE_BYTES);
            } else {
                map.populate(0, POPULATE_BYTES);
            }
            Ok(map)
        });
        match mapped {
            Ok(map) => Ok(Prepared { file, map, header }),
            Err(error) => {
                let _ = self.context.disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Puts a new segment into the manifest.
    fn list_segment(&self, header: &Header) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        changed.next_segment = header.segment + 1;
        changed.segments.push(SegmentEntry {
            id: header.segment,
            generation: 0,
            salt: header.salt.0,
            file_bytes: header.file_bytes,
            sealed: false,
        });
        self.write_manifest(&changed)?;
        *manifest = changed;
        Ok(())
    }

    /// Replaces the manifest on disk. The caller holds the lock.
    pub(crate) fn write_manifest(&self, manifest: &ShardManifest) -> Result<()> {
        let path = self.dir.join(MANIFEST_NAME);
        let bytes = manifest.encode().map_err(located(&path, 0))?;
        replace_file(&*self.context.disk, &path, &bytes, Mode::Shared)
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

    /// Seals the oldest segment that was rolled over: footer, run, manifest, view, in this order.
    pub(crate) fn seal_oldest(&self) -> Result<()> {
        let _sealing = self.sealing.lock();
        let Some(frozen) = self.frozen.lock().first().cloned() else { return Ok(()) };
        let segment = &frozen.segment;
        let Sealing { footer, times, .. } = seal(segment, frozen.users_total).inspect_err(|error| {
            // Records may be among what the sync lost. A full disk can't be the cause: the space was allocated.
            if error.kind() != ErrorKind::Corruption {
                self.set_poisoned(error);
            }
        })?;
        // Every earlier segment is sealed, so everything up to here is synced.
        self.tell_durable(segment.end());
        let run = write_run(&self.context, &self.dir, &Covered::by(segment), &frozen.tail, &times)?;
        let id = segment.header().segment;
        self.mark_sealed(id)?;
        let _ = segment.map().publish_up_to(segment.map().len());
        let sealed = Arc::new(segment.with_footer(footer));
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
        // A courtesy to people with editors; the bytes are durable and published already.
        let _ = sealed.file().set_read_only();
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
        if durable != self.published()
            || durable <= self.slot_floor.load(Ordering::Relaxed)
            || self.poison().is_some()
        {
            return;
        }
        let view = self.view();
        let Some(segment) = view.segments.last() else { return };
        let written = segment.write_slot(durable, false).and_then(|()| segment.sync());
        match written {
            Ok(()) => self.slot_floor.store(durable, Ordering::Relaxed),
            Err(error) => self.set_poisoned(&error),
        }
    }

    /// Marks the active segment as closed cleanly. All must be synced, and nobody may write any more.
    pub(crate) fn mark_clean(&self) -> Result<()> {
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
        let known: u64 = view.segments.iter().map(|segment| segment.header().file_bytes).sum();
        let manifest = self.manifest.lock();
        let unpacked = manifest.segments.iter().filter(|entry| manifest.pack_of(entry.id).is_none());
        let listed: u64 = unpacked.map(|entry| entry.file_bytes).sum();
        room + listed.saturating_sub(known)
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
        for source in &view.sources {
            if let Source::Run(run) = source {
                run.verify()?;
            }
        }
        view.check_index(&self.context.key)
    }
}
