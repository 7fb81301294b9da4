//! A segment by itself, on memory: what is stored, what is seen of it, what a scan finds of it.
//!
//! Owns the small segment that these tests write. Uses no store: what follows from a scan is the shard's to decide.

mod packs;
mod reading;
mod scanning;

use std::path::Path;
use std::sync::Arc;

use memmap2::MmapMut;

use super::create::create_file;
use super::{Segment, map_file, seal};
use crate::event::{Action, Assigned, EventId, NewEvent, Timestamp, assign, encode_leaf};
use crate::format::posting::TimeRange;
use crate::format::record::{self, Envelope, Salt};
use crate::format::segment::{Footer, Header, RECORDS_START};
use crate::io::memory::MemoryDisk;
use crate::io::mmap::{Appender, Memory, SegmentMap};
use crate::io::{Access, DiskFile};

const BASE: u64 = 1_000;
const SALT: Salt = Salt(0x5eed_0f5a_1700_0001);
const FILE_BYTES: u64 = 64 << 10;

fn header() -> Header {
    Header {
        store_id: [3; 16],
        shard: 2,
        generation: 5,
        segment: 9,
        file_bytes: FILE_BYTES,
        salt: SALT,
        created_at_micros: 77,
    }
}

/// The leaf of an event that says when it happened; its length grows with the sequence.
fn leaf(sequence: u64) -> Vec<u8> {
    let occurred_at = Timestamp::from_micros(occurred(sequence));
    let event = NewEvent::builder(Action::AUTH_LOGIN).occurred_at(occurred_at).build().unwrap();
    let mut leaf = Vec::new();
    encode_leaf(&event, &mut leaf);
    let recorded_at = Timestamp::from_micros(recorded(sequence));
    let id = EventId::from_u128(u128::from(sequence));
    assign(&mut leaf, &Assigned { sequence, user_sequence: None, previous: None, recorded_at, id });
    // What a later version may have put behind the fields.
    leaf.resize(leaf.len() + usize::try_from(sequence % 7).unwrap(), 0xee);
    leaf
}

/// Out of order, as callers may send events.
fn occurred(sequence: u64) -> i64 {
    5_000_000 - i64::try_from(sequence * 7919 % 1000).unwrap()
}

fn recorded(sequence: u64) -> i64 {
    9_000_000 + i64::try_from(sequence).unwrap()
}

fn alone(floor: u64) -> Envelope {
    Envelope { durable_floor: floor, group_index: 0, group_count: 1 }
}

/// A record to lie at `offset`.
fn record(sequence: u64, offset: usize, envelope: Envelope) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::begin(&mut bytes);
    bytes.extend_from_slice(&leaf(sequence));
    record::seal(&mut bytes, SALT, offset as u64, envelope).unwrap();
    bytes
}

/// A segment that is being written, and where its records begin.
struct Writing {
    segment: Segment,
    appender: Appender,
    offsets: Vec<usize>,
}

impl Writing {
    fn over(file: Arc<dyn DiskFile>, map: Arc<SegmentMap>) -> Self {
        let segment = Segment::growing(file, map, header(), BASE);
        let appender = segment.appender().unwrap();
        Self { segment, appender, offsets: Vec::new() }
    }

    /// One more record, stored and noted, not published.
    fn store(&mut self) {
        let (ordinal, offset) = (self.offsets.len() as u64, self.appender.end());
        assert!(self.appender.store(&record(BASE + ordinal, offset, alone(BASE))));
        assert!(self.segment.note_offset(ordinal, offset));
        self.offsets.push(offset);
    }

    fn publish(&mut self) {
        self.appender.publish();
        self.segment.publish(self.offsets.len() as u64);
    }

    /// Where the last record ends.
    fn end(&self) -> usize {
        self.appender.end()
    }
}

fn new_file(disk: &MemoryDisk) -> Arc<dyn DiskFile> {
    create_file(disk, Path::new("9.log"), &header()).unwrap()
}

/// A segment with so many records, all of them published.
fn written(disk: &MemoryDisk, records: usize) -> Writing {
    let file = new_file(disk);
    let map = map_file(&file, RECORDS_START, Access::Write).unwrap();
    let mut writing = Writing::over(file, map);
    (0..records).for_each(|_| writing.store());
    writing.publish();
    writing
}

/// The same on memory that the test has in its hands.
fn written_on_memory(records: usize) -> (Arc<Memory>, Writing) {
    let memory = Memory::anonymous(MmapMut::map_anon(usize::try_from(FILE_BYTES).unwrap()).unwrap());
    let start = usize::try_from(RECORDS_START).unwrap();
    let mut writing = Writing::over(new_file(&MemoryDisk::default()), SegmentMap::new(&memory, start, start));
    (0..records).for_each(|_| writing.store());
    writing.publish();
    (memory, writing)
}

/// Seals a segment, and gives its file back with where its records lie, and the footer.
fn sealed(disk: &MemoryDisk, records: usize) -> (Arc<dyn DiskFile>, Vec<usize>, Footer) {
    let Writing { segment, appender, offsets } = written(disk, records);
    drop(appender);
    let sealing = seal::seal(&segment, 4, TimeRange::EMPTY).unwrap();
    (Arc::clone(segment.file().unwrap()), offsets, sealing.footer)
}

fn open_sealed(file: &Arc<dyn DiskFile>) -> Segment {
    let footer = seal::read_footer(&**file, SALT).unwrap();
    let map = map_file(file, file.len(), Access::Read).unwrap();
    Segment::sealed(file.path(), map, header(), footer)
}
