//! Copies what survived above the durable floor, so that it no longer hangs on the page cache: to a new segment behind the
//! durable part, or to a new generation of the whole segment where that part is small, or damage lies behind.
//!
//! Owns the copying. What survives, and what the manifest says of it, is decided elsewhere.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Decision, Found, Opening, Repair, list_generation};
use crate::error::Result;
use crate::format::located;
use crate::format::manifest::{ClosedEntry, SegmentEntry, ShardManifest};
use crate::format::record::{self, Envelope};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::{Header, RECORDS_START};
use crate::io::{Access, DiskFile, temporary_name};
use crate::segment::create::{log_path, new_salt};
use crate::segment::scan::Scan;
use crate::segment::seal::sealing_bytes;

/// How much is written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A segment's records in a file of their own.
struct Copied {
    file: Arc<dyn DiskFile>,
    header: Header,
    offsets: Vec<u32>,
    end_offset: u64,
}

impl Opening<'_> {
    /// Copies the records below `end` to a new generation of the segment, and puts it in place of the old one.
    pub(super) fn rewrite(&self, segment: &Found, end: u64) -> Result<Header> {
        let path = segment.file.path();
        let temporary = temporary_name(path);
        let header = Header { generation: segment.entry.generation + 1, ..self.new_header(segment)? };
        let disk = &self.context.disk;
        let copied = self
            .copy(segment, 0..end.saturating_sub(segment.scan.base), header, &temporary)
            .and_then(|_| disk.rename(&temporary, path))
            .and_then(|()| disk.sync_dir(self.dir));
        if let Err(error) = copied {
            let _ = disk.remove(&temporary);
            return Err(error);
        }
        Ok(header)
    }

    /// Whether a segment is better closed at the floor than copied whole: the durable part is worth more than the room that
    /// stays unused behind it, and nothing is damaged.
    pub(super) fn is_worth_closing(&self, segment: &Found, decision: &Decision) -> bool {
        let scan = &segment.scan;
        let Some(from) = decision.floor.checked_sub(scan.base) else { return false };
        let durable_end = segment.offset_of(from).unwrap_or(scan.end_offset);
        self.repair == Repair::No
            && scan.beyond.is_none()
            && scan.count() > 0
            && durable_end - RECORDS_START > self.context.checkpoint_bytes / 4
            && scan.end_offset + sealing_bytes(scan.count()) <= segment.header.file_bytes
    }

    /// Closes the segment at `place` at the floor, and copies what survived behind it, in it and in all later ones, to new
    /// segments. Those are durable, but nobody knows of them before the manifest is written.
    pub(super) fn close_and_move(
        &self,
        manifest: &mut ShardManifest,
        found: &mut Vec<Found>,
        place: usize,
        decision: &Decision,
    ) -> Result<()> {
        let mut moved = Vec::new();
        for (number, segment) in found.iter().skip(place).enumerate() {
            let scan = &segment.scan;
            let from = decision.floor.saturating_sub(scan.base).min(scan.count());
            let count = decision.end.saturating_sub(scan.base).min(scan.count());
            // The first new one is made in any case, to be written to.
            if number > 0 && count == 0 {
                continue;
            }
            let id = manifest.next_segment;
            // Not the first generation: the next opening must not take it for one that a writer began to use.
            let header = Header { segment: id, generation: 1, ..self.new_header(segment)? };
            let copied = self.copy(segment, from..count, header, &log_path(self.dir, id))?;
            manifest.next_segment += 1;
            moved.push(copied.found(scan.base + from));
        }
        #[cfg(test)]
        let named = if has(Bug::RescueNameNotSynced) { Ok(()) } else { self.context.disk.sync_dir(self.dir) };
        #[cfg(not(test))]
        let named = self.context.disk.sync_dir(self.dir);
        named?;
        let gone: Vec<u64> = found.drain(place + 1..).map(|segment| segment.entry.id).collect();
        manifest.segments.retain(|entry| !gone.contains(&entry.id));
        manifest.closed.retain(|closed| !gone.contains(&closed.segment));
        if let Some(segment) = found.get_mut(place) {
            let closed = segment.close_at(decision.floor);
            manifest.closed.push(closed);
            // Not the one that the manifest knows, where an opening that was cut off had begun with a copy of it.
            list_generation(manifest, &segment.header);
        }
        manifest.segments.extend(moved.iter().map(|segment| segment.entry));
        found.extend(moved);
        Ok(())
    }

    fn new_header(&self, segment: &Found) -> Result<Header> {
        let created_at_micros = self.context.clock.wall_micros();
        Ok(Header { salt: new_salt()?, created_at_micros, ..segment.header })
    }

    /// Copies some of a segment's records to a new file, and syncs it. Not its name.
    fn copy(&self, segment: &Found, ordinals: Range<u64>, header: Header, to: &Path) -> Result<Copied> {
        let file = self.context.disk.allocate(to, header.file_bytes)?;
        let copied = copy_records(segment, ordinals, header, file);
        if copied.is_err() {
            // Its room is of more use to others.
            let _ = self.context.disk.remove(to);
        }
        copied
    }
}

fn copy_records(
    segment: &Found,
    ordinals: Range<u64>,
    header: Header,
    file: Arc<dyn DiskFile>,
) -> Result<Copied> {
    let old = segment.file.map(RECORDS_START, segment.file.len(), Access::Read)?;
    let end = segment.scan.base + ordinals.end;
    let place = |ordinal: u64| usize::try_from(ordinal).unwrap_or(usize::MAX);
    let mut offsets = Vec::with_capacity(place(ordinals.end.saturating_sub(ordinals.start)));
    let mut written = RECORDS_START;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut record = Vec::with_capacity(1024);
    file.write_all_at(0, &header.encode())?;
    for offset in segment.offsets(ordinals.end).skip(place(ordinals.start)) {
        let told = located(segment.file.path(), u64::from(offset));
        let bytes = old.get_from(offset as usize).unwrap_or_default();
        let (envelope, leaf) =
            record::verify(bytes, segment.header.salt, u64::from(offset)).map_err(&told)?;
        let envelope = Envelope { durable_floor: envelope.durable_floor.min(end), ..envelope };
        record.clear();
        record::begin(&mut record);
        record.extend_from_slice(leaf);
        let to = written + piece.len() as u64;
        record::seal(&mut record, header.salt, to, envelope).map_err(&told)?;
        offsets.push(u32::try_from(to).unwrap_or(u32::MAX));
        piece.extend_from_slice(&record);
        if piece.len() >= PIECE_BYTES {
            file.write_all_at(written, &piece)?;
            written += piece.len() as u64;
            piece.clear();
        }
    }
    file.write_all_at(written, &piece)?;
    #[cfg(test)]
    let synced = if has(Bug::RescueNotSynced) { Ok(()) } else { file.sync_data() };
    #[cfg(not(test))]
    let synced = file.sync_data();
    synced?;
    Ok(Copied { file, header, offsets, end_offset: written + piece.len() as u64 })
}

impl Copied {
    /// The new segment, as scanning it would find it.
    fn found(self, base: u64) -> Found {
        let Self { file, header, offsets, end_offset } = self;
        let entry = SegmentEntry {
            id: header.segment,
            generation: header.generation,
            salt: header.salt.0,
            file_bytes: header.file_bytes,
            sealed: false,
        };
        let floor = base + offsets.len() as u64;
        let scan = Scan {
            base,
            skipped: 0,
            offsets,
            end_offset,
            floor,
            beyond: None,
            dirty: false,
            open_group: 0,
            slot: None,
        };
        Found { entry, file, header, scan, known: None }
    }
}

impl Found {
    /// Where record `ordinal` begins; `None` if it is the first that isn't there.
    fn offset_of(&self, ordinal: u64) -> Option<u64> {
        let place = usize::try_from(ordinal).ok()?;
        match ordinal.checked_sub(self.scan.skipped) {
            Some(behind) => self.scan.offsets.get(usize::try_from(behind).ok()?).copied(),
            None => self.known.as_ref()?.checkpoint.offsets().nth(place),
        }
        .map(u64::from)
    }

    /// Leaves out what lies from the sequence `end` on, for good.
    fn close_at(&mut self, end: u64) -> ClosedEntry {
        let count = end.saturating_sub(self.scan.base);
        let used_to = self.scan.end_offset;
        let end_offset = self.offset_of(count).unwrap_or(used_to);
        let scan = &mut self.scan;
        scan.offsets.truncate(usize::try_from(count.saturating_sub(scan.skipped)).unwrap_or(usize::MAX));
        scan.end_offset = end_offset;
        (scan.dirty, scan.open_group) = (false, 0);
        ClosedEntry { segment: self.entry.id, end, used_to }
    }
}
