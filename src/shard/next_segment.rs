//! The next segment: its file is made ahead, used at once, and made durable behind the writer's back.
//!
//! A new file is *ready* when its space is allocated, its header written and its first pages present: nothing that can fail
//! lies between it and the first record, and nothing of it was synced. It is *established* when its header and its name are
//! durable and the manifest lists it. No record in it is told to be durable before (`Shard::establish` is part of such a
//! commit); a kill in between loses nothing, since opening looks for files behind the last that is listed.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::maintain::POPULATE_BYTES;
use super::{Context, Shard};
use crate::error::{ErrorKind, Result};
use crate::format::manifest::{SegmentEntry, ShardManifest};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::{Header, RECORDS_START};
use crate::ids::ShardId;
use crate::io::mmap::SegmentMap;
use crate::io::{Access, DiskFile};
use crate::segment::create::{
    SEGMENT_BYTES_MIN, allocate_file, log_path, new_salt, read_header, write_zeros,
};
use crate::segment::{Segment, map_file};

/// Where the next segment's file is on its way to be.
#[derive(Debug)]
pub(crate) struct Preparation {
    /// A thread makes it.
    making: bool,
    /// Oldest first: one, or two while segments are small.
    ready: VecDeque<Prepared>,
    /// The shard has rolled over since it was opened.
    rolls: bool,
    /// The number that the file after it gets.
    next: u64,
    /// How many segments there are, prepared ones too. Not asked of the manifest: its lock is held while the disk syncs.
    segments: usize,
}

/// A segment that is smaller may be full before the next file is there: it takes milliseconds to make one while directories
/// are synced.
const SMALL_BYTES: u64 = 16 << 20;

impl Preparation {
    fn wants_more(&self) -> bool {
        let small = self.ready.back().is_some_and(|last| last.header.file_bytes < SMALL_BYTES);
        self.ready.len() < if self.rolls && small { 2 } else { 1 }
    }

    pub(crate) fn behind(manifest: &ShardManifest) -> Self {
        let (next, segments) = (manifest.next_segment, manifest.segments.len());
        Self { making: false, ready: VecDeque::new(), rolls: false, next, segments }
    }
}

/// A new segment's file, mapped: nothing that can fail lies between it and the first record.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) map: Arc<SegmentMap>,
    pub(crate) header: Header,
}

/// A segment's file that the manifest doesn't list yet.
#[derive(Clone, Debug)]
pub(crate) struct Unlisted {
    header: Header,
    file: Arc<dyn DiskFile>,
    /// Header and name are on stable storage.
    durable: bool,
}

impl SegmentEntry {
    fn unsealed(header: &Header) -> Self {
        Self {
            id: header.segment,
            generation: header.generation,
            salt: header.salt.0,
            file_bytes: header.file_bytes,
            sealed: false,
        }
    }
}

impl Shard {
    /// Makes the next segments' files, unless they are there or under way.
    pub(crate) fn prepare(&self) -> Result<()> {
        let mut preparation = self.preparation.lock();
        while !preparation.making && preparation.wants_more() && !self.is_closed() {
            preparation.making = true;
            let (id, before) = (preparation.next, preparation.segments);
            let made = MutexGuard::unlocked(&mut preparation, || self.make_segment(id, before));
            preparation.making = false;
            self.preparation_done.notify_all();
            let prepared = made?;
            let (header, file) = (prepared.header, Arc::clone(&prepared.file));
            self.unlisted.lock().push(Unlisted { header, file, durable: false });
            preparation.next += 1;
            preparation.segments += 1;
            preparation.ready.push_back(prepared);
        }
        Ok(())
    }

    /// Waits for the file that is being made, if one is.
    pub(super) fn wait_for_preparation(&self) {
        let mut preparation = self.preparation.lock();
        while preparation.making {
            self.preparation_done.wait(&mut preparation);
        }
    }

    /// The next segment's file: waits for it if it is under way, makes it if it isn't.
    pub(crate) fn take_prepared(&self) -> Result<Prepared> {
        let mut preparation = self.preparation.lock();
        loop {
            preparation.rolls = true;
            if let Some(prepared) = preparation.ready.pop_front() {
                return Ok(prepared);
            }
            self.rollover_waits.fetch_add(1, Ordering::Relaxed);
            if preparation.making {
                self.preparation_done.wait(&mut preparation);
            } else {
                // The background has failed or hasn't begun. Here a full disk reaches the caller as an error.
                drop(preparation);
                self.prepare()?;
                preparation = self.preparation.lock();
            }
            if let Some(error) = self.refusal() {
                return Err(error);
            }
        }
    }

    /// Whether a rollover would find the next segment's file.
    #[cfg(feature = "async")]
    pub(crate) fn next_segment_is_ready(&self) -> bool {
        !self.preparation.lock().ready.is_empty()
            && !self.must_seal_before(self.context.shares.tail_bytes_max)
    }

    /// Allocates and populates a new segment's file; nothing of it is synced.
    fn make_segment(&self, id: u64, before: usize) -> Result<Prepared> {
        let path = log_path(&self.dir, id);
        // A shard's segments grow by doubling, so that a small store is small. By how many there are, not by their
        // numbers: each opening gives a new number to the file that is prepared and not used yet.
        let doubled = SEGMENT_BYTES_MIN << before.min(20);
        let wanted = self.segment_bytes_wanted.load(Ordering::Relaxed);
        let mut file_bytes = doubled.min(self.context.segment_bytes_max).min(wanted);
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
            match allocate_file(&*self.context.disk, &path, &header) {
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
                // Its space is of more use to others.
                let _ = self.context.disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Makes header and name of every new segment durable, and lists it in the manifest.
    ///
    /// A failed sync poisons the shard. A manifest that can't be written doesn't: the file is found by its name, and listed
    /// the next time.
    pub(crate) fn establish(&self) -> Result<()> {
        let _establishing = self.establishing.lock();
        let pending = self.unlisted.lock().clone();
        if pending.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.poison() {
            return Err(error.clone());
        }
        if pending.iter().any(|new| !new.durable) {
            let mut new = pending.iter().filter(|new| !new.durable);
            let synced = new
                .try_for_each(|new| new.file.sync_data())
                .and_then(|()| self.context.disk.sync_dir(&self.dir));
            // Told to everybody before the lock is given up: the kernel tells of an error once.
            synced.inspect_err(|error| self.set_poisoned(error))?;
            for new in self.unlisted.lock().iter_mut().take(pending.len()) {
                new.durable = true;
            }
        }
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        for new in &pending {
            changed.next_segment = new.header.segment + 1;
            changed.segments.push(SegmentEntry::unsealed(&new.header));
        }
        self.write_manifest(&changed)?;
        *manifest = changed;
        self.unlisted.lock().drain(..pending.len());
        Ok(())
    }

    /// The files that the manifest doesn't list yet, but for those that are `known`, together.
    pub(super) fn unlisted_bytes(&self, known: impl Fn(u64) -> bool) -> u64 {
        let unlisted = self.unlisted.lock();
        let others = unlisted.iter().filter(|new| !known(new.header.segment));
        others.map(|new| new.header.file_bytes).sum()
    }

    /// Before records of this segment are told to be durable: establishes it, if that isn't done.
    pub(super) fn establish_this(&self, segment: &Segment) {
        #[cfg(test)]
        if has(Bug::NameNotSynced) {
            return;
        }
        let number = segment.header().segment;
        if self.unlisted.lock().iter().any(|new| !new.durable && new.header.segment == number) {
            // What failed has poisoned the shard, or is tried again.
            let _ = self.establish();
        }
    }
}

/// Makes the header of a segment durable that the manifest is going to list: a store whose manifest names a file without one
/// can't be opened. It is written again, since a sync of it that failed in another process would not be repeated.
fn settle_header(file: &dyn DiskFile, header: &Header) -> Result<()> {
    #[cfg(test)]
    if has(Bug::UnlistedNotSynced) {
        return Ok(());
    }
    file.write_all_at(0, &header.encode())?;
    file.sync_data()
}

/// Adds the segments that a writer began to use before it listed them: the files numbered on from the last that is listed,
/// as far as their headers are whole; for writing, makes these and their names durable. Says whether there were any.
pub(super) fn add_unlisted(
    context: &Context,
    dir: &Path,
    shard: ShardId,
    manifest: &mut ShardManifest,
) -> Result<bool> {
    let listed = manifest.next_segment;
    #[cfg(test)]
    if has(Bug::UnlistedForgotten) {
        return Ok(false);
    }
    loop {
        let path = log_path(dir, manifest.next_segment);
        if !context.disk.exists(&path)? {
            break;
        }
        let file = context.disk.open(&path, context.access)?;
        let header = match read_header(&*file) {
            Ok(header) => header,
            // Its creation was cut off, so no record in it was ever told to be durable.
            Err(error) if error.kind() == ErrorKind::Corruption => break,
            Err(error) => return Err(error),
        };
        let own = (header.store_id, header.shard, header.segment, header.generation)
            == (context.store_id, shard.get(), manifest.next_segment, 0);
        if !own {
            break;
        }
        if context.access == Access::Write {
            settle_header(&*file, &header)?;
        }
        manifest.segments.push(SegmentEntry::unsealed(&header));
        manifest.next_segment += 1;
    }
    let found = manifest.next_segment > listed;
    if found && context.access == Access::Write {
        context.disk.sync_dir(dir)?;
    }
    Ok(found)
}
