//! What is seen of a segment: while it grows, when it is sealed, when its bytes are wrong.

use std::path::Path;
use std::sync::Arc;

use super::super::create::{checkpoint_path, log_path, merged_run_path, read_header, run_path, write_zeros};
use super::super::{Segment, map_file, seal};
use super::{
    BASE, FILE_BYTES, SALT, Writing, header, leaf, new_file, occurred, open_sealed, recorded, sealed,
    written, written_on_memory,
};
use crate::error::ErrorKind;
use crate::format::posting::TimeRange;
use crate::format::record::record_bytes;
use crate::format::segment::{Footer, RECORDS_START, TRAILER_BYTES, encode_footer};
use crate::io::faulty::{FaultyDisk, Kind};
use crate::io::memory::MemoryDisk;
use crate::io::{Access, Disk};

#[test]
fn files_are_named_by_their_numbers() {
    let dir = Path::new("shard");
    assert_eq!(log_path(dir, 7), Path::new("shard/0000000000000007.log"));
    assert_eq!(run_path(dir, 7), Path::new("shard/0000000000000007.run"));
    assert_eq!(checkpoint_path(dir, 7), Path::new("shard/0000000000000007.ckpt"));
    assert_eq!(merged_run_path(dir, 7, 12), Path::new("shard/0000000000000007-0000000000000012.run"));
}

#[test]
fn records_are_seen_from_when_they_are_published() {
    let disk = MemoryDisk::default();
    let mut writing = written(&disk, 0);
    assert_eq!(
        (writing.segment.published(), writing.segment.end(), writing.segment.record_bytes()),
        (0, BASE, 0)
    );
    assert_eq!(writing.segment.end_of(0).unwrap() as u64, RECORDS_START);
    writing.store();
    writing.store();
    assert_eq!(writing.segment.leaf(BASE).unwrap_err().kind(), ErrorKind::InvalidOption);
    writing.publish();
    writing.store();
    let segment = &writing.segment;
    assert_eq!((segment.base(), segment.published(), segment.end()), (BASE, 2, BASE + 2));
    assert_eq!(segment.leaf(BASE).unwrap(), leaf(BASE));
    assert_eq!(segment.leaf(BASE + 1).unwrap(), leaf(BASE + 1));
    for sequence in [0, BASE - 1, BASE + 2, u64::MAX] {
        let error = segment.leaf(sequence).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(error.to_string().contains(&format!("no record {sequence} here")), "{error}");
    }
    assert_eq!(segment.offset_of(1), Some(writing.offsets[1]));
    assert_eq!(segment.end_of(1).unwrap(), writing.offsets[1]);
    assert_eq!(segment.end_of(2).unwrap(), writing.offsets[2]);
    assert_eq!(segment.record_bytes(), writing.offsets[2] as u64 - RECORDS_START);
    assert!(!segment.is_sealed() && segment.footer().is_none() && segment.sidecar().is_none());
    assert_eq!((segment.closed_end(), segment.used_to()), (None, 0));
    assert_eq!(segment.path(), Path::new("9.log"));
}

#[test]
fn a_segment_that_grows_says_what_it_takes() {
    let disk = MemoryDisk::default();
    let writing = written(&disk, 1);
    let memory = writing.segment.memory();
    assert!(memory.offsets >= 4, "{memory:?}");
    assert_eq!((memory.checked, memory.rescued), (0, 0));
    assert_eq!(writing.segment.records_max() as u64, FILE_BYTES / record_bytes(96) as u64);
    assert!(!writing.segment.note_offset(u64::MAX, 0));
    assert!(!writing.segment.note_offset(0, 1 << 40), "an offset has 32 bits");
}

#[test]
fn a_sealed_segment_has_the_same_records() {
    let disk = MemoryDisk::default();
    let (file, offsets, footer) = sealed(&disk, 70);
    let sequences = BASE..BASE + 70;
    assert_eq!(seal::read_footer(&*file, SALT).unwrap(), footer);
    let end = offsets[69] + record_bytes(leaf(BASE + 69).len());
    assert_eq!(
        footer,
        Footer {
            base: BASE,
            count: 70,
            records_end: end as u64,
            sidecar_offset: end as u64,
            occurred_min_micros: sequences.clone().map(occurred).min().unwrap(),
            occurred_max_micros: sequences.clone().map(occurred).max().unwrap(),
            recorded_min_micros: recorded(BASE),
            recorded_max_micros: recorded(BASE + 69),
            users_total: 4,
        }
    );
    assert_eq!(read_header(&*file).unwrap(), header());
    let segment = open_sealed(&file);
    assert!(segment.is_sealed());
    assert_eq!((segment.published(), segment.end(), segment.footer()), (70, BASE + 70, Some(&footer)));
    assert_eq!(segment.sidecar(), Some(end..end + 70 * 4));
    for (sequence, offset) in sequences.clone().zip(&offsets) {
        assert_eq!(segment.offset_of(sequence - BASE), Some(*offset));
        // The first time it is compared with its checksum, the second time it is known.
        assert_eq!(segment.leaf(sequence).unwrap(), leaf(sequence));
        assert_eq!(segment.leaf(sequence).unwrap(), leaf(sequence));
    }
    assert_eq!(segment.offset_of(u64::MAX), None);
    let memory = segment.memory();
    assert_eq!((memory.offsets, memory.checked, memory.rescued), (0, 16, 0), "a bit a record");
    let mut seen = Vec::new();
    segment
        .verify(|leaf| {
            seen.push(leaf.to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, sequences.map(leaf).collect::<Vec<_>>());
}

#[test]
fn what_this_process_sealed_needs_no_second_look() {
    let disk = MemoryDisk::default();
    let writing = written(&disk, 3);
    drop(writing.appender);
    let sealing = seal::seal(&writing.segment, 1, TimeRange::EMPTY).unwrap();
    let times: Vec<_> = (0..3).map(|ordinal| sealing.times.of(ordinal)).collect();
    assert_eq!(times, (BASE..BASE + 3).map(|sequence| TimeRange::at(occurred(sequence))).collect::<Vec<_>>());
    let again = writing.segment.with_footer(&sealing);
    assert_eq!((again.base(), again.published(), again.memory().checked), (BASE, 3, 0));
    // Nobody has published the sidecar in this mapping yet.
    assert_eq!(again.offset_of(0), None);
    assert!(again.map().publish_up_to(usize::try_from(FILE_BYTES).unwrap()));
    assert_eq!(again.leaf(BASE + 2).unwrap(), leaf(BASE + 2));
}

#[test]
fn a_record_that_is_damaged_is_told_and_hides_no_other() {
    let disk = MemoryDisk::default();
    let (file, offsets, _) = sealed(&disk, 70);
    for ordinal in [0_u64, 1, 63, 64, 69] {
        let at = offsets[usize::try_from(ordinal).unwrap()] as u64 + 70;
        let mut byte = [0];
        file.read_exact_at(at, &mut byte).unwrap();
        file.write_all_at(at, &[byte[0] ^ 1]).unwrap();
        let segment = open_sealed(&file);
        for other in 0..70 {
            let read = segment.leaf(BASE + other);
            assert_eq!(read.is_err(), other == ordinal, "{other}");
        }
        // Told each time, not the first time alone.
        let error = segment.leaf(BASE + ordinal).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(error.offset(), Some(at - 70));
        assert!(error.to_string().contains(&format!("record {} is damaged", BASE + ordinal)), "{error}");
        let mut seen = 0;
        let refused = segment
            .verify(|_| {
                seen += 1;
                Ok(())
            })
            .unwrap_err();
        assert_eq!((refused.offset(), seen), (Some(at - 70), ordinal));
        drop(segment);
        file.write_all_at(at, &byte).unwrap();
    }
}

#[test]
fn an_offset_that_leads_astray_is_told() {
    let disk = MemoryDisk::default();
    let (file, offsets, footer) = sealed(&disk, 3);
    for (wrong, why) in [
        (offsets[1], "another record lies in this one's place"),
        (1 << 30, "the record's offset is out of range"),
        (16, "the record's offset is out of range"),
    ] {
        let bytes = u32::try_from(wrong).unwrap().to_le_bytes();
        file.write_all_at(footer.sidecar_offset, &bytes).unwrap();
        let segment = open_sealed(&file);
        for _ in 0..2 {
            let error = segment.leaf(BASE).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        assert_eq!(segment.leaf(BASE + 1).unwrap(), leaf(BASE + 1));
    }
}

#[test]
fn records_that_nobody_looked_at_are_compared_and_those_behind_are_known() {
    let (memory, writing) = written_on_memory(4);
    let map = Arc::clone(writing.segment.map());
    let file = new_file(&MemoryDisk::default());
    let segment = Segment::growing_behind(file, map, header(), BASE, 2);
    for (ordinal, offset) in writing.offsets.iter().enumerate() {
        assert!(segment.note_offset(ordinal as u64, *offset));
        // A byte of the leaf that only a checksum can tell.
        memory.forget(offset + 70, &[0xaa]);
    }
    segment.publish(4);
    assert_eq!(segment.memory().checked, 8);
    for (ordinal, refused) in [(0, true), (1, true), (2, false), (3, false)] {
        assert_eq!(segment.leaf(BASE + ordinal).is_err(), refused, "{ordinal}");
    }
}

#[test]
fn what_a_failed_sync_may_lose_is_read_from_memory() {
    let (memory, writing) = written_on_memory(4);
    let segment = &writing.segment;
    segment.rescue(4);
    assert_eq!(segment.memory().rescued, 0, "all of it was synced");
    segment.rescue(2);
    let (from, end) = (writing.offsets[2], writing.end());
    assert_eq!(segment.memory().rescued, end - from);
    // The kernel drops the pages: what was never written to the disk reads as zeros.
    memory.forget(writing.offsets[0], &vec![0; end - writing.offsets[0]]);
    segment.rescue(0);
    assert_eq!(segment.memory().rescued, end - from, "the first failure counts");
    for (ordinal, refused) in [(0, true), (1, true), (2, false), (3, false)] {
        assert_eq!(segment.leaf(BASE + ordinal).is_err(), refused, "{ordinal}");
    }
    assert_eq!(segment.leaf(BASE + 3).unwrap(), leaf(BASE + 3));
}

#[test]
fn a_header_that_contradicts_its_file_is_refused() {
    let disk = MemoryDisk::default();
    let path = Path::new("1.log");
    for (bytes, place) in [(FILE_BYTES - 8, FILE_BYTES - 8), (FILE_BYTES + 8, FILE_BYTES)] {
        let file = disk.allocate(path, bytes).unwrap();
        file.write_all_at(0, &header().encode()).unwrap();
        let error = read_header(&*file).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(place)));
        disk.remove(path).unwrap();
    }
}

#[test]
fn a_footer_that_contradicts_its_file_is_refused() {
    let disk = MemoryDisk::default();
    let (file, _, sound) = sealed(&disk, 3);
    let trailer_at = FILE_BYTES - TRAILER_BYTES as u64;
    let footer_at = (sound.sidecar_offset + 12).next_multiple_of(16);
    let read = |footer: &Footer| {
        let (archive, trailer) = encode_footer(footer, SALT, footer_at).unwrap();
        file.write_all_at(footer_at, &archive).unwrap();
        file.write_all_at(trailer_at, &trailer).unwrap();
        seal::read_footer(&*file, SALT)
    };
    assert_eq!(read(&sound).unwrap(), sound);
    let room = (footer_at - sound.sidecar_offset) / 4;
    let most = Footer { count: room, ..sound };
    assert_eq!(read(&most).unwrap(), most);
    for wrong in [
        Footer { count: room + 1, ..sound },
        Footer { count: u64::MAX / 4, ..sound },
        Footer { count: u64::MAX, ..sound },
        Footer { records_end: sound.sidecar_offset + 1, ..sound },
        Footer { sidecar_offset: footer_at - 8, ..sound },
    ] {
        let error = read(&wrong).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(footer_at)), "{wrong:?}");
    }
    let behind = Footer { records_end: sound.sidecar_offset - 8, ..sound };
    assert_eq!(read(&behind).unwrap(), behind);
}

/// The same records in a segment in which nobody has looked at any.
fn unread(writing: &Writing) -> Segment {
    let (file, map) = (new_file(&MemoryDisk::default()), Arc::clone(writing.segment.map()));
    let count = writing.offsets.len() as u64;
    let segment = Segment::growing_behind(file, map, header(), BASE, count);
    (0..).zip(&writing.offsets).for_each(|(ordinal, offset)| assert!(segment.note_offset(ordinal, *offset)));
    segment.publish(count);
    segment
}

#[test]
fn a_damaged_record_is_sealed_over_where_it_is_known_when_it_can_have_occurred() {
    let (memory, writing) = written_on_memory(70);
    let intact = seal::plan(&unread(&writing), 1, None).unwrap().footer;
    for damaged in [0, 30, 69] {
        memory.forget(writing.offsets[damaged] + 70, &[0xaa]);
    }
    let segment = unread(&writing);
    assert_eq!(seal::plan(&segment, 1, None).unwrap_err().offset(), Some(writing.offsets[0] as u64));
    let within = TimeRange { min: occurred(BASE) - 1_000_000, max: occurred(BASE) + 1_000_000 };
    let sealing = seal::plan(&segment, 1, Some(within)).unwrap();
    assert_eq!(sealing.times.damaged(), 3);
    for ordinal in 0..70 {
        let known = TimeRange::at(occurred(BASE + ordinal as u64));
        assert_eq!(sealing.times.of(ordinal), if [0, 30, 69].contains(&ordinal) { within } else { known });
    }
    assert_eq!(sealing.times.base(), within.min);
    let footer = sealing.footer;
    // Nothing is written over the last one.
    assert_eq!((footer.records_end, footer.sidecar_offset), (intact.records_end, intact.sidecar_offset));
    assert_eq!((footer.occurred_min_micros, footer.occurred_max_micros), (within.min, within.max));
    assert_eq!(
        (footer.recorded_min_micros, footer.recorded_max_micros),
        (recorded(BASE + 1), recorded(BASE + 68))
    );
}

#[test]
fn a_closed_segment_is_sealed_behind_what_was_used() {
    let disk = MemoryDisk::default();
    let mut writing = written(&disk, 2);
    let used_to = writing.end() as u64 + 4096;
    writing.segment.close(BASE + 2, used_to);
    assert_eq!((writing.segment.closed_end(), writing.segment.used_to()), (Some(BASE + 2), used_to));
    let sealing = seal::plan(&writing.segment, 1, None).unwrap();
    assert_eq!(sealing.footer.sidecar_offset, used_to);
    assert_eq!(sealing.footer.records_end, writing.end() as u64);
    let [(sidecar_at, sidecar), (footer_at, _), (trailer_at, trailer)] = sealing.parts;
    assert_eq!((sidecar_at, sidecar.len()), (used_to, 8));
    assert_eq!(footer_at, (used_to + 8).next_multiple_of(16));
    assert_eq!(trailer_at + trailer.len() as u64, FILE_BYTES);
}

#[test]
fn zeros_are_written_from_the_first_record_to_the_end() {
    let disk = MemoryDisk::default();
    let path = Path::new("zeros");
    // Not a whole number of pieces.
    let file = disk.allocate(path, (300 << 10) + 8).unwrap();
    let length = usize::try_from(file.len()).unwrap();
    file.write_all_at(0, &vec![7; length]).unwrap();
    write_zeros(&*file).unwrap();
    let bytes = disk.read(path, u64::MAX).unwrap();
    let start = usize::try_from(RECORDS_START).unwrap();
    assert!(bytes[..start].iter().all(|byte| *byte == 7), "the header stays");
    assert!(bytes[start..].iter().all(|byte| *byte == 0));
    // Each piece is synced before the next is written: there are few.
    let disk = FaultyDisk::default();
    let file = disk.allocate(path, (300 << 10) + 8).unwrap();
    let before = disk.trace().len();
    write_zeros(&*file).unwrap();
    assert_eq!(disk.trace()[before..], [Kind::Write, Kind::SyncData].repeat(3));
}

#[test]
fn a_mapping_lends_what_was_published() {
    let disk = MemoryDisk::default();
    let (file, offsets, _) = sealed(&disk, 2);
    let map = map_file(&file, offsets[1] as u64, Access::Read).unwrap();
    assert_eq!(map.published(), offsets[1]);
    assert!(map.get(offsets[0], 8).is_some() && map.get(offsets[1], 1).is_none() && map.get(0, 1).is_none());
}

#[test]
fn a_checksum_is_compared_once_but_by_who_verifies() {
    let (memory, writing) = written_on_memory(70);
    let segment = unread(&writing);
    for (ordinal, offset) in (0..).zip(&writing.offsets) {
        assert_eq!(segment.leaf(BASE + ordinal).unwrap(), leaf(BASE + ordinal));
        // Nothing changes a byte that was lent; here the test does, to see who looks.
        memory.forget(offset + 70, &[0xaa]);
        assert!(segment.leaf(BASE + ordinal).is_ok(), "{ordinal}");
        assert_eq!(segment.verify(|_| Ok(())).unwrap_err().offset(), Some(writing.offsets[0] as u64));
    }
}

#[test]
fn a_segment_remembers_its_checkpoint() {
    let segment = written(&MemoryDisk::default(), 1).segment;
    assert_eq!(segment.checkpointed_to(), RECORDS_START);
    segment.note_checkpoint(5_000);
    assert_eq!(segment.checkpointed_to(), 5_000);
}
