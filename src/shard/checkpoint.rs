//! Index checkpoints of segments that aren't sealed: when one is written, and whether one that is found is believed.
//!
//! A checkpoint is a cache: nothing waits for it, a failure to write it is no failure, and one that is missing, damaged or
//! of another segment is passed over. It covers only what was durable when it was made. So it is never synced itself, and
//! one that is found intact is true whatever else a power cut took.

use std::path::Path;
use std::sync::Arc;

use super::replay::Replayed;
use super::view::Source;
use super::{Context, Shard};
use crate::error::{Error, Result};
use crate::event::EventView;
use crate::format::checkpoint::{Builder, Checkpoint, Scope};
use crate::format::located;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::Header;
use crate::index::tail::TailIndex;
use crate::io::{DiskFile, temporary_name};
use crate::segment::Segment;
use crate::segment::create::checkpoint_path;
use crate::segment::scan::{Start, is_intact};

/// The longest checkpoint that is read: of a segment of 1 GiB of the shortest records, each of a user of its own.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 30;

/// How much of the log a store that is closed leaves without a checkpoint: reading so little costs less than the file.
const CLOSING_BYTES: u64 = 256 << 10;

/// What a segment's checkpoint says.
#[derive(Debug)]
pub(super) struct Found {
    /// Everything below this sequence was on stable storage. Holds whether or not the checkpoint can be used.
    pub(super) floor: u64,
    /// Where the records begin that must be read.
    pub(super) start: Start,
    /// What is known of the records before.
    pub(super) known: Option<Known>,
}

impl Found {
    /// No checkpoint: all records must be read.
    pub(super) fn nothing(base: u64) -> Self {
        Self { floor: 0, start: Start::whole(base), known: None }
    }
}

/// What a checkpoint knows of a segment's first records.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) checkpoint: Checkpoint,
    pub(super) tail: TailIndex,
}

/// The checkpoint of a segment, if there is one that is intact.
pub(super) fn find(context: &Context, dir: &Path, header: &Header) -> Option<Checkpoint> {
    let bytes = context.disk.read(&checkpoint_path(dir, header.segment), CHECKPOINT_BYTES_MAX).ok()?;
    Checkpoint::decode(bytes).ok().filter(|checkpoint| checkpoint.scope.is_of(header))
}

/// Reads the checkpoint of the segment in `file`, whose first record has the sequence `base`.
pub(super) fn read(
    context: &Context,
    dir: &Path,
    file: &Arc<dyn DiskFile>,
    header: &Header,
    base: u64,
) -> Found {
    let nothing = Found::nothing(base);
    let Some(checkpoint) = find(context, dir, header) else { return nothing };
    let scope = checkpoint.scope;
    let floor = scope.end();
    let start = Start { skipped: scope.records, offset: scope.records_end, ..Start::whole(base) };
    let last = checkpoint.offsets().last().unwrap_or_default();
    // A log that was replaced by an older copy of itself ends too early: then all of it is looked at, and the floor
    // tells what is missing.
    let reaches = scope.base == base
        && is_intact(file, header.salt, u64::from(last), floor.wrapping_sub(1)).unwrap_or_default();
    match TailIndex::restore(header.records_max(), &checkpoint).filter(|_| reaches) {
        Some(tail) => Found { floor, start, known: Some(Known { checkpoint, tail }) },
        None => Found { floor, ..nothing },
    }
}

/// What a checkpoint is written of: the first so many records of a segment.
struct Due {
    tail: Arc<TailIndex>,
    segment: Arc<Segment>,
    records: u64,
}

impl Known {
    /// Which records it knows.
    pub(super) fn scope(&self) -> Scope {
        self.checkpoint.scope
    }

    /// Publishes what it knows in a segment in which nothing is published yet; the index goes with it.
    pub(super) fn restore(self, segment: &Segment) -> Result<(TailIndex, Replayed)> {
        let Self { checkpoint, tail } = self;
        let offsets = (0..).zip(checkpoint.offsets());
        for (ordinal, offset) in offsets {
            if !segment.note_offset(ordinal, offset as usize) {
                return Err(Error::corruption(
                    segment.path(),
                    u64::from(offset),
                    "more records than there can be",
                ));
            }
        }
        let Scope { records, records_end, recorded_max_micros, .. } = checkpoint.scope;
        segment.publish(records);
        // Of a new generation it says nothing on disk.
        if checkpoint.scope.is_of(segment.header()) {
            segment.note_checkpoint(records_end);
        }
        Ok((tail, Replayed { recorded_max_micros, new_users: checkpoint.new_users() }))
    }
}

impl Shard {
    /// Whether enough became durable since the last checkpoint for a new one.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.records_behind_checkpoint(self.context.checkpoint_bytes).is_ok_and(|due| due.is_some())
    }

    /// Writes a checkpoint, if enough became durable since the last. Appends and reads go on meanwhile.
    pub(crate) fn write_checkpoint(&self) -> Result<()> {
        let Some(_writing) = self.checkpointing.try_lock() else { return Ok(()) };
        if self.is_closed() {
            return Ok(());
        }
        self.write_checkpoint_of(self.context.checkpoint_bytes)
    }

    /// Writes a last checkpoint, so that the next opening reads no log.
    pub(crate) fn write_closing_checkpoint(&self) -> Result<()> {
        let _writing = self.checkpointing.lock();
        self.write_checkpoint_of(self.context.checkpoint_bytes.min(CLOSING_BYTES))
    }

    fn write_checkpoint_of(&self, bytes_min: u64) -> Result<()> {
        let Some(Due { tail, segment, records }) = self.records_behind_checkpoint(bytes_min)? else {
            return Ok(());
        };
        let bytes = self.make_checkpoint(&tail, &segment, records)?;
        let path = checkpoint_path(&self.dir, segment.header().segment);
        let temporary = temporary_name(&path);
        let disk = &self.context.disk;
        let written = disk.write_unsynced(&temporary, &bytes).and_then(|()| disk.rename(&temporary, &path));
        if let Err(error) = written {
            let _ = disk.remove(&temporary);
            return Err(error);
        }
        segment.note_checkpoint(segment.end_of(records)? as u64);
        // Sealed meanwhile, and perhaps packed: whoever sealed it looked for the file too early.
        let id = segment.header().segment;
        if !self.view().segments.iter().any(|segment| segment.header().segment == id && !segment.is_sealed())
        {
            disk.remove(&path)?;
        }
        Ok(())
    }

    /// The newest segment with durable records and how many there are, if `bytes_min` of them lie behind its checkpoint.
    fn records_behind_checkpoint(&self, bytes_min: u64) -> Result<Option<Due>> {
        if self.poison().is_some() {
            return Ok(None);
        }
        let durable = self.durable();
        #[cfg(test)]
        let durable = if has(Bug::CheckpointAhead) { self.published() } else { durable };
        let view = self.view();
        let newest = view.sources.iter().rev().find_map(|source| match source {
            Source::Tail(tail, segment) if segment.base() < durable => Some((tail, segment)),
            _ => None,
        });
        let Some((tail, segment)) = newest else { return Ok(None) };
        let records = segment.published().min(durable - segment.base());
        let due = segment.end_of(records)? as u64 >= segment.checkpointed_to().saturating_add(bytes_min);
        Ok(due.then(|| Due { tail: Arc::clone(tail), segment: Arc::clone(segment), records }))
    }

    /// The checkpoint of the first `records` records of a segment, all of them durable.
    fn make_checkpoint(&self, tail: &TailIndex, segment: &Segment, records: u64) -> Result<Vec<u8>> {
        let header = segment.header();
        let last = records.saturating_sub(1);
        let offset = segment.offset_of(last).unwrap_or_default();
        let event = EventView::parse(segment.leaf_at(last, offset)?)
            .map_err(|error| Error::corruption(segment.path(), offset as u64, error.to_string()))?;
        let scope = Scope {
            store_id: self.context.store_id,
            shard: self.id.get(),
            generation: header.generation,
            segment: header.segment,
            salt: header.salt,
            base: segment.base(),
            records,
            records_end: segment.end_of(records)? as u64,
            // It never falls along a log.
            recorded_max_micros: event.recorded_at().as_micros(),
            occurred: tail.occurred(),
        };
        let offset = |ordinal| segment.offset_of(ordinal).and_then(|offset| u32::try_from(offset).ok());
        let offsets = (0..records).map(|ordinal| offset(ordinal).unwrap_or_default());
        let mut builder = Builder::new(scope, offsets);
        tail.save(records, &mut builder);
        builder.finish(&tail.dictionaries()).map_err(located(segment.path(), 0))
    }
}
