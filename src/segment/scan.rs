//! Reads a segment that was not sealed, after a crash or a clean close: which records are intact, what lies behind
//! them, what was known to be durable.
//!
//! Owns what the bytes say. What follows from it (rollback, refusal) is the shard's to decide.

use std::sync::Arc;

use crate::error::Result;
use crate::format::bytes::u64_at;
use crate::format::record::{self, Salt};
use crate::format::segment::{FloorSlot, RECORDS_START, SLOT_BYTES, SLOT_OFFSETS};
use crate::io::mmap::SegmentMap;
use crate::io::{Access, DiskFile};

/// What was found in an unsealed segment.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The sequence of the segment's first record.
    pub(crate) base: u64,
    /// How many records were not looked at: an index checkpoint speaks for them.
    pub(crate) skipped: u64,
    /// The offsets of the intact records behind those, without a hole.
    pub(crate) offsets: Vec<u32>,
    /// Where the last of them ends.
    pub(crate) end_offset: u64,
    /// The highest durable floor in any intact record or slot.
    pub(crate) floor: u64,
    /// The highest sequence of an intact record behind the first damaged place, plus one.
    pub(crate) beyond: Option<u64>,
    /// Bytes other than zero lie behind the last intact record.
    pub(crate) dirty: bool,
    /// How many of the last records belong to an atomic group that isn't whole.
    pub(crate) open_group: u64,
    /// The newer slot.
    pub(crate) slot: Option<FloorSlot>,
}

impl Scan {
    /// Nothing was looked at but the slots.
    fn beginning(start: Start, slot: Option<FloorSlot>) -> Self {
        Self {
            base: start.base,
            skipped: start.skipped,
            offsets: Vec::new(),
            end_offset: start.offset,
            // What was closed had been durable.
            floor: slot.map_or(0, |slot| slot.floor).max(start.end.unwrap_or_default()),
            beyond: None,
            dirty: false,
            open_group: 0,
            slot,
        }
    }

    /// How many records there are, intact as far as they were looked at.
    pub(crate) fn count(&self) -> u64 {
        self.skipped + self.offsets.len() as u64
    }

    /// One past the last intact record's sequence.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.count()
    }

    /// Whether the segment was closed cleanly and nothing was written since.
    pub(crate) fn is_clean(&self) -> bool {
        self.slot.is_some_and(|slot| slot.clean && slot.floor == self.end())
            && self.beyond.is_none()
            && self.open_group == 0
    }
}

/// Reads the newer of the two floor slots.
pub(crate) fn read_slot(file: &dyn DiskFile, salt: Salt) -> Result<Option<FloorSlot>> {
    let mut newest: Option<FloorSlot> = None;
    for offset in SLOT_OFFSETS {
        let mut bytes = [0; SLOT_BYTES];
        file.read_exact_at(offset, &mut bytes)?;
        if let Some(slot) = FloorSlot::decode(&bytes, salt)
            && newest.is_none_or(|newest| slot.counter > newest.counter)
        {
            newest = Some(slot);
        }
    }
    Ok(newest)
}

/// Where a scan begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    /// The sequence that the segment's first record must have.
    pub(crate) base: u64,
    /// So many records are not looked at,
    pub(crate) skipped: u64,
    /// and this is where they end.
    pub(crate) offset: u64,
    /// One past the last sequence, where recovery has closed the segment: what lies behind are no records.
    pub(crate) end: Option<u64>,
}

impl Start {
    /// At the segment's first record.
    pub(crate) fn whole(base: u64) -> Self {
        Self { base, skipped: 0, offset: RECORDS_START, end: None }
    }
}

/// Whether the record at this offset is intact and has this sequence.
pub(crate) fn is_intact(file: &Arc<dyn DiskFile>, salt: Salt, offset: u64, sequence: u64) -> Result<bool> {
    let map = file.map(RECORDS_START, file.len(), Access::Read)?;
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    Ok(intact(&map, salt, offset, Some(sequence)).is_some())
}

/// The highest durable floor that a slot or an intact record of the file speaks of, wherever in a log they belong. Reads all
/// that was ever written to it.
pub(crate) fn floor_in(file: &Arc<dyn DiskFile>, salt: Salt) -> Result<u64> {
    let map = file.map(RECORDS_START, file.len(), Access::Read)?;
    let mut scan = Scan::beginning(Start::whole(0), read_slot(&**file, salt)?);
    look_behind(&**file, &map, salt, &mut scan)?;
    Ok(scan.floor)
}

/// Scans a segment from `start` to the end of the file.
pub(crate) fn scan(file: &Arc<dyn DiskFile>, salt: Salt, start: Start) -> Result<Scan> {
    // All bytes may be read: nobody writes to an unsealed segment while it is scanned.
    let map = file.map(RECORDS_START, file.len(), Access::Read)?;
    let mut scan = Scan::beginning(start, read_slot(&**file, salt)?);
    let mut offset = usize::try_from(start.offset).unwrap_or(usize::MAX);
    while start.end.is_none_or(|end| scan.end() < end)
        && let Some((record, envelope)) = intact(&map, salt, offset, Some(scan.end()))
    {
        scan.offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
        scan.floor = scan.floor.max(envelope.durable_floor);
        let place = u64::from(envelope.group_index) + 1;
        // A record that claims a place behind others that aren't there doesn't reach into the segment before.
        scan.open_group = if place == u64::from(envelope.group_count) { 0 } else { place.min(scan.count()) };
        #[cfg(test)]
        if crate::format::seeded::has(crate::format::seeded::Bug::GroupIgnored) {
            scan.open_group = 0;
        }
        offset += record;
    }
    scan.end_offset = offset as u64;
    let closed = scan.slot.is_some_and(|slot| slot.clean && slot.floor == scan.end());
    if !closed && start.end.is_none() {
        look_behind(&**file, &map, salt, &mut scan)?;
    }
    Ok(scan)
}

/// Looks for anything behind the last intact record: after a power cut, pages reach the disk in any order.
fn look_behind(file: &dyn DiskFile, map: &SegmentMap, salt: Salt, scan: &mut Scan) -> Result<()> {
    // Only what was ever written: reading the rest would bring zeros into memory, a page at a time.
    let mut from = scan.end_offset;
    while let Some(data) = file.data_from(from)? {
        let bound = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(map.len());
        let (begin, end) = (bound(data.start), bound(data.end));
        let bytes = map.get_from(begin).and_then(|bytes| bytes.get(..end - begin)).unwrap_or_default();
        if let Some(first) = first_set(bytes) {
            look_at_rest(map, salt, begin + first / 8 * 8, scan);
            return Ok(());
        }
        from = data.end;
    }
    Ok(())
}

/// The place of the first byte that isn't zero.
fn first_set(bytes: &[u8]) -> Option<usize> {
    // Whole lines at a time: mostly all of it is zero, and there may be much of it.
    let lines = bytes.as_chunks::<64>().0;
    let clear = lines.iter().take_while(|line| line.iter().fold(0, |sum, byte| sum | byte) == 0).count() * 64;
    let rest = bytes.get(clear..).unwrap_or_default();
    rest.iter().position(|byte| *byte != 0).map(|place| clear + place)
}

/// Something lies here: looks for records from here on.
fn look_at_rest(map: &SegmentMap, salt: Salt, from: usize, scan: &mut Scan) {
    scan.dirty = true;
    let mut offset = from;
    while offset < map.len() {
        match intact(map, salt, offset, None) {
            Some((record, envelope)) => {
                let sequence = map.get(offset + record::ENVELOPE_BYTES, 8).and_then(|leaf| u64_at(leaf, 0));
                scan.beyond = scan.beyond.max(sequence.map(|sequence| sequence.saturating_add(1)));
                scan.floor = scan.floor.max(envelope.durable_floor);
                offset += record;
            }
            None => offset += 8,
        }
    }
}

/// The length and envelope of the record at `offset`, if it is intact and has the expected sequence.
fn intact(
    map: &SegmentMap,
    salt: Salt,
    offset: usize,
    sequence: Option<u64>,
) -> Option<(usize, record::Envelope)> {
    let bytes = map.get_from(offset)?;
    let (envelope, leaf) = record::verify(bytes, salt, offset as u64).ok()?;
    let plausible = envelope.group_index < envelope.group_count
        && sequence.is_none_or(|sequence| u64_at(leaf, 0) == Some(sequence));
    plausible.then_some((record::record_bytes(leaf.len()), envelope))
}
