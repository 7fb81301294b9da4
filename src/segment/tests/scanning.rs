//! What a scan finds of a segment that was not sealed.

use std::sync::Arc;

use super::super::scan::{Start, floor_in, is_intact, read_slot, scan};
use super::{BASE, FILE_BYTES, SALT, alone, new_file, record, written};
use crate::format::record::{Envelope, Salt};
use crate::format::segment::{FloorSlot, RECORDS_START, SLOT_OFFSETS};
use crate::io::DiskFile;
use crate::io::memory::MemoryDisk;

/// Writes records one behind the other from the first sequence on; where each begins, and where the last ends.
fn put(file: &Arc<dyn DiskFile>, envelopes: &[Envelope]) -> Vec<u64> {
    let mut places = vec![RECORDS_START];
    for (sequence, envelope) in (BASE..).zip(envelopes) {
        let at = places[places.len() - 1];
        let bytes = record(sequence, usize::try_from(at).unwrap(), *envelope);
        file.write_all_at(at, &bytes).unwrap();
        places.push(at + bytes.len() as u64);
    }
    places
}

fn put_slot(file: &Arc<dyn DiskFile>, place: usize, counter: u64, floor: u64, clean: bool) {
    let slot = FloorSlot { counter, floor, clean };
    file.write_all_at(SLOT_OFFSETS[place], &slot.encode(SALT)).unwrap();
}

fn flip(file: &Arc<dyn DiskFile>, at: u64) {
    let mut byte = [0];
    file.read_exact_at(at, &mut byte).unwrap();
    file.write_all_at(at, &[byte[0] ^ 1]).unwrap();
}

#[test]
fn an_empty_segment_has_nothing() {
    let file = new_file(&MemoryDisk::default());
    let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
    assert_eq!((found.base, found.count(), found.end(), found.end_offset), (BASE, 0, BASE, RECORDS_START));
    assert_eq!((found.floor, found.beyond, found.dirty, found.open_group), (0, None, false, 0));
    assert!(found.slot.is_none() && !found.is_clean());
}

#[test]
fn whole_records_are_found_and_the_highest_floor() {
    let file = new_file(&MemoryDisk::default());
    let places = put(&file, &[alone(BASE), alone(BASE + 2), alone(BASE + 1)]);
    let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
    let offsets: Vec<u64> = found.offsets.iter().map(|offset| u64::from(*offset)).collect();
    assert_eq!((offsets.as_slice(), found.end_offset), (&places[..3], places[3]));
    assert_eq!((found.count(), found.end(), found.floor), (3, BASE + 3, BASE + 2));
    assert!(!found.dirty && found.beyond.is_none());
    for (ordinal, place) in (0..3).zip(&places) {
        assert!(is_intact(&file, SALT, *place, BASE + ordinal).unwrap());
        assert!(!is_intact(&file, SALT, *place, BASE + ordinal + 1).unwrap());
        assert!(!is_intact(&file, SALT, *place + 8, BASE + ordinal).unwrap());
    }
    // In another segment's terms, or with other numbers, these are no records; yet something lies there.
    let foreign = scan(&file, Salt(1), Start::whole(BASE)).unwrap();
    assert_eq!((foreign.count(), foreign.dirty, foreign.beyond), (0, true, None));
    let other = scan(&file, SALT, Start::whole(BASE + 1)).unwrap();
    assert_eq!((other.count(), other.dirty, other.beyond), (0, true, Some(BASE + 3)));
}

#[test]
fn what_lies_behind_damage_is_told() {
    let file = new_file(&MemoryDisk::default());
    let places = put(&file, &[alone(BASE), alone(BASE), alone(BASE + 2), alone(BASE)]);
    flip(&file, places[1] + 40);
    let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
    assert_eq!((found.count(), found.end_offset), (1, places[1]));
    assert_eq!((found.dirty, found.beyond, found.floor), (true, Some(BASE + 4), BASE + 2));
}

#[test]
fn any_byte_behind_the_records_is_dirt() {
    for (from_end, expected) in [(0, true), (1, true), (63, true), (64, true), (4097, true)] {
        let file = new_file(&MemoryDisk::default());
        let places = put(&file, &[alone(BASE)]);
        file.write_all_at(places[1] + from_end, &[1]).unwrap();
        let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
        assert_eq!((found.count(), found.dirty, found.beyond), (1, expected, None), "{from_end}");
    }
    // Bytes that undo each other are dirt, too.
    let file = new_file(&MemoryDisk::default());
    let places = put(&file, &[alone(BASE)]);
    file.write_all_at(places[1] + 64, &[7, 7]).unwrap();
    assert!(scan(&file, SALT, Start::whole(BASE)).unwrap().dirty);
    let file = new_file(&MemoryDisk::default());
    put(&file, &[alone(BASE)]);
    file.write_all_at(FILE_BYTES - 1, &[1]).unwrap();
    assert!(scan(&file, SALT, Start::whole(BASE)).unwrap().dirty, "the last byte");
}

#[test]
fn a_lone_record_far_behind_is_found() {
    for gap in [8, 64, 72, 4096 + 8] {
        let file = new_file(&MemoryDisk::default());
        let places = put(&file, &[alone(BASE)]);
        let at = places[1] + gap;
        let bytes = record(BASE + 5, usize::try_from(at).unwrap(), alone(BASE + 1));
        file.write_all_at(at, &bytes).unwrap();
        let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
        assert_eq!((found.count(), found.beyond, found.floor), (1, Some(BASE + 6), BASE + 1), "{gap}");
    }
}

#[test]
fn a_record_that_begins_with_a_zero_is_found_where_it_begins() {
    // Its length is 256: the lowest byte comes first.
    let mut leaf = super::leaf(BASE + 5);
    leaf.resize(256, 0xee);
    let mut bytes = Vec::new();
    record::begin(&mut bytes);
    bytes.extend_from_slice(&leaf);
    record::seal(&mut bytes, SALT, RECORDS_START, alone(BASE)).unwrap();
    assert_eq!(bytes[..2], [0, 1]);
    let file = new_file(&MemoryDisk::default());
    file.write_all_at(RECORDS_START, &bytes).unwrap();
    let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
    assert_eq!((found.count(), found.dirty, found.beyond), (0, true, Some(BASE + 6)));
}

#[test]
fn the_highest_floor_of_a_file_is_found_wherever_it_stands() {
    let file = new_file(&MemoryDisk::default());
    let floor = || floor_in(&file, SALT).unwrap();
    assert_eq!(floor(), 0);
    // Whatever sequences the records have, and behind damage, too.
    let places = put(&file, &[alone(BASE), alone(BASE + 2), alone(BASE + 1)]);
    assert_eq!(floor(), BASE + 2);
    flip(&file, places[0] + 40);
    assert_eq!(floor(), BASE + 2);
    flip(&file, places[1] + 40);
    assert_eq!(floor(), BASE + 1);
    for (place, slot, expected) in [(0, 7, BASE + 1), (1, BASE + 9, BASE + 9)] {
        put_slot(&file, place, 1 + place as u64, slot, false);
        assert_eq!(floor(), expected);
    }
    assert_eq!(floor_in(&file, Salt(1)).unwrap(), 0, "nothing of it is another segment's");
}

#[test]
fn a_group_is_whole_or_open() {
    let part = |group_index, group_count| Envelope { durable_floor: 0, group_index, group_count };
    for (envelopes, open) in [
        (vec![part(0, 1)], 0),
        (vec![part(0, 3)], 1),
        (vec![part(0, 3), part(1, 3)], 2),
        (vec![part(0, 3), part(1, 3), part(2, 3)], 0),
        (vec![part(0, 2), part(1, 2), part(0, 2)], 1),
    ] {
        let file = new_file(&MemoryDisk::default());
        put(&file, &envelopes);
        let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
        assert_eq!((found.count(), found.open_group), (envelopes.len() as u64, open));
    }
    // A place that a group doesn't have is no record.
    let file = new_file(&MemoryDisk::default());
    put(&file, &[part(1, 1)]);
    assert_eq!(scan(&file, SALT, Start::whole(BASE)).unwrap().count(), 0);
}

#[test]
fn the_newer_slot_counts() {
    for (counters, floor) in [([1, 2], 200), ([2, 1], 100), ([0, 3], 200), ([3, 0], 100)] {
        let file = new_file(&MemoryDisk::default());
        put_slot(&file, 0, counters[0], 100, false);
        put_slot(&file, 1, counters[1], 200, false);
        assert_eq!(read_slot(&*file, SALT).unwrap().unwrap().floor, floor, "{counters:?}");
        assert_eq!(scan(&file, SALT, Start::whole(BASE)).unwrap().floor, floor);
    }
}

#[test]
fn a_segment_is_clean_if_its_slot_says_so_of_what_is_there() {
    for (floor, clean, expected) in
        [(BASE + 2, true, true), (BASE + 2, false, false), (BASE + 1, true, false), (BASE + 3, true, false)]
    {
        let file = new_file(&MemoryDisk::default());
        put(&file, &[alone(BASE), alone(BASE)]);
        put_slot(&file, 0, 1, floor, clean);
        let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
        assert_eq!(found.is_clean(), expected, "{floor} {clean}");
    }
    // What lies behind a clean end is not looked at; behind any other it is.
    for (clean, dirty) in [(true, false), (false, true)] {
        let file = new_file(&MemoryDisk::default());
        let places = put(&file, &[alone(BASE)]);
        put_slot(&file, 0, 1, BASE + 1, clean);
        file.write_all_at(places[1], &[1]).unwrap();
        assert_eq!(scan(&file, SALT, Start::whole(BASE)).unwrap().dirty, dirty);
    }
    // Half a group is never a clean end.
    let file = new_file(&MemoryDisk::default());
    put(&file, &[Envelope { durable_floor: 0, group_index: 0, group_count: 2 }]);
    put_slot(&file, 0, 1, BASE + 1, true);
    assert!(!scan(&file, SALT, Start::whole(BASE)).unwrap().is_clean());
}

#[test]
fn a_scan_begins_where_a_checkpoint_ends_and_ends_where_recovery_closed() {
    let file = new_file(&MemoryDisk::default());
    let places = put(&file, &[alone(BASE); 5]);
    let start = Start { skipped: 2, offset: places[2], ..Start::whole(BASE) };
    let found = scan(&file, SALT, start).unwrap();
    assert_eq!((found.count(), found.offsets.len(), found.end()), (5, 3, BASE + 5));
    let closed = Start { end: Some(BASE + 4), ..start };
    let found = scan(&file, SALT, closed).unwrap();
    assert_eq!((found.count(), found.end_offset, found.floor), (4, places[4], BASE + 4));
    assert!(!found.dirty && found.beyond.is_none(), "what lies behind are no records");
}

#[test]
fn slots_are_written_in_turn() {
    let disk = MemoryDisk::default();
    let segment = written(&disk, 1).segment;
    let slot = || read_slot(&**segment.file().unwrap(), SALT).unwrap();
    assert_eq!(slot(), None);
    segment.write_slot(BASE, false).unwrap();
    assert_eq!(slot(), Some(FloorSlot { counter: 1, floor: BASE, clean: false }));
    segment.write_slot(BASE + 1, true).unwrap();
    assert_eq!(slot(), Some(FloorSlot { counter: 2, floor: BASE + 1, clean: true }));
    // A torn write of the third leaves the second.
    segment.write_slot(BASE + 1, false).unwrap();
    flip(segment.file().unwrap(), SLOT_OFFSETS[1] + 8);
    assert_eq!(slot(), Some(FloorSlot { counter: 2, floor: BASE + 1, clean: true }));
    segment.continue_slots_after(41);
    segment.write_slot(BASE, false).unwrap();
    assert_eq!(slot(), Some(FloorSlot { counter: 42, floor: BASE, clean: false }));
    segment.continue_slots_after(u64::MAX);
    segment.write_slot(BASE, true).unwrap();
    assert_eq!(slot().map(|slot| slot.counter), Some(u64::MAX));
}

#[test]
fn a_group_is_not_longer_than_the_records_that_there_are() {
    let file = new_file(&MemoryDisk::default());
    // No writer makes such a record, but its checksum matches.
    put(&file, &[Envelope { durable_floor: BASE, group_index: 4, group_count: 10 }]);
    let found = scan(&file, SALT, Start::whole(BASE)).unwrap();
    assert_eq!((found.count(), found.open_group), (1, 1));
}
