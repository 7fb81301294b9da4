//! Makes segments again from a pack: the same leaves at the same offsets, their envelopes anew.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Pack;
use super::writer::Pace;
use crate::error::{Error, Result};
use crate::format::bytes::u64_at;
use crate::format::located;
use crate::format::pack::Part;
use crate::format::record::{self, Envelope, Salt};
use crate::format::segment::{Header, RECORDS_START};
use crate::io::{Access, Disk, DiskFile};
use crate::segment::create::create_file;
use crate::segment::seal::plan;
use crate::segment::{Segment, map_file};

/// How many segments' files are open at a time: a pack may stand for more of them than a process may have files open. Records
/// come user by user, so behind more segments than these most records open a file anew.
const OPEN_MAX: usize = 16;

/// The files of segments on their way back, those that were opened last.
struct Files<'d> {
    disk: &'d dyn Disk,
    open: VecDeque<(u64, Arc<dyn DiskFile>)>,
}

impl Files<'_> {
    fn of(&mut self, made: &Making) -> Result<Arc<dyn DiskFile>> {
        let number = made.part.segment;
        if let Some((_, file)) = self.open.iter().find(|(other, _)| *other == number) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&made.path, Access::Write)?;
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((number, Arc::clone(&file)));
        Ok(file)
    }
}

/// A segment on its way back.
struct Making {
    part: Part,
    header: Header,
    path: PathBuf,
    /// Where each record begins, and behind them where the last one ends.
    offsets: Vec<u32>,
}

/// Writes the segments of a pack under temporary names, sealed, durable and verified, in order. The caller renames them,
/// and removes them after an error.
pub(crate) fn restore(disk: &Arc<dyn Disk>, pack: &Pack, names: &[PathBuf], wait: Pace<'_>) -> Result<()> {
    let mut making = begin(disk, pack, names, wait)?;
    let mut files = Files { disk: &**disk, open: VecDeque::with_capacity(OPEN_MAX) };
    let mut buffer = Vec::new();
    pack.verify(|leaf| {
        wait(leaf.len())?;
        let (segment, ordinal) = place(&mut making, pack, leaf)?;
        let offset = u64::from(segment.offsets.get(ordinal).copied().unwrap_or_default());
        buffer.clear();
        record::begin(&mut buffer);
        buffer.extend_from_slice(leaf);
        // All of it was on stable storage when it was packed. That records were stored together no longer matters then.
        let envelope = Envelope { durable_floor: segment.part.base, group_index: 0, group_count: 1 };
        record::seal(&mut buffer, segment.header.salt, offset, envelope).map_err(located(pack.path(), 0))?;
        files.of(segment)?.write_all_at(offset, &buffer)
    })?;
    let mut segments = Vec::with_capacity(making.len());
    for made in &making {
        segments.push(seal(&files.of(made)?, made)?);
    }
    // What the files hold now, not what was meant to be written.
    pack.verify(|leaf| {
        wait(leaf.len())?;
        let sequence = u64_at(leaf, 0).unwrap_or(u64::MAX);
        let segment = segments.iter().find(|segment| (segment.base()..segment.end()).contains(&sequence));
        let same = match segment {
            Some(segment) => segment.leaf(sequence)? == leaf,
            None => false,
        };
        let differs = || pack.damaged(0, "a record of a segment that was made again is not the packed one");
        if same { Ok(()) } else { Err(differs()) }
    })
}

/// Makes the files, and finds out where each record goes.
fn begin(disk: &Arc<dyn Disk>, pack: &Pack, names: &[PathBuf], wait: Pace<'_>) -> Result<Vec<Making>> {
    let mut making = Vec::with_capacity(names.len());
    for (part, name) in pack.parts().iter().zip(names) {
        let header = Header {
            store_id: pack.header().store_id,
            shard: pack.header().shard,
            generation: part.generation,
            segment: part.segment,
            file_bytes: part.file_bytes,
            salt: Salt(part.salt),
            created_at_micros: part.created_at_micros,
        };
        create_file(&**disk, name, &header)?;
        let offsets = vec![0; usize::try_from(part.count).unwrap_or_default() + 1];
        making.push(Making { part: *part, header, path: name.clone(), offsets });
    }
    pack.verify(|leaf| {
        wait(leaf.len())?;
        let (segment, ordinal) = place(&mut making, pack, leaf)?;
        let length = u32::try_from(record::record_bytes(leaf.len())).unwrap_or(u32::MAX);
        if let Some(behind) = segment.offsets.get_mut(ordinal + 1) {
            *behind = length;
        }
        Ok(())
    })?;
    for segment in &mut making {
        let mut end = u32::try_from(RECORDS_START).unwrap_or(u32::MAX);
        for offset in &mut segment.offsets {
            end = end.saturating_add(*offset);
            *offset = end;
        }
    }
    Ok(making)
}

/// The segment that a leaf belongs to, and its ordinal there.
fn place<'m>(making: &'m mut [Making], pack: &Pack, leaf: &[u8]) -> Result<(&'m mut Making, usize)> {
    let lost = || pack.damaged(0, "a record belongs to none of the pack's segments");
    let sequence = u64_at(leaf, 0).ok_or_else(lost)?;
    let behind = making.partition_point(|made| made.part.base <= sequence);
    let made = behind.checked_sub(1).and_then(|at| making.get_mut(at)).ok_or_else(lost)?;
    let ordinal = sequence - made.part.base;
    let ordinal = usize::try_from(ordinal).ok().filter(|ordinal| *ordinal + 1 < made.offsets.len());
    Ok((made, ordinal.ok_or_else(lost)?))
}

/// Writes what a sealed segment has beside its records, and syncs it.
fn seal(file: &Arc<dyn DiskFile>, made: &Making) -> Result<Segment> {
    let (end, offsets) = made.offsets.split_last().unwrap_or((&0, &[]));
    let map = map_file(file, u64::from(*end), Access::Read)?;
    let segment = Segment::growing(Arc::clone(file), map, made.header, made.part.base);
    for (ordinal, offset) in (0..).zip(offsets) {
        if !segment.note_offset(ordinal, *offset as usize) {
            return Err(Error::corruption(
                segment.path(),
                u64::from(*offset),
                "more records than there can be",
            ));
        }
    }
    segment.publish(made.part.count);
    let sealing = plan(&segment, made.part.users_total, None)?;
    for (offset, bytes) in &sealing.parts {
        file.write_all_at(*offset, bytes)?;
    }
    file.sync_data()?;
    // Nobody writes to it any more: its sidecar may be read, too.
    let _ = segment.map().publish_up_to(segment.map().len());
    Ok(segment.with_footer(&sealing))
}

/// The temporary names of the segments that a pack stands for.
pub(crate) fn temporary_names(pack: &Pack, path_of: impl Fn(u64) -> PathBuf) -> Vec<PathBuf> {
    pack.parts().iter().map(|part| crate::io::temporary_name(Path::new(&path_of(part.segment)))).collect()
}
