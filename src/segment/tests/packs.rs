//! Packs by themselves, on memory: each record is found where the pack says that it is, damage is told where it is and hides
//! nothing else, and what a pack was made of can be made again.

use std::ops::Range;
use std::path::PathBuf;

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::format::bytes::u64_at;
use crate::format::compression::Decompressor;
use crate::format::pack::{
    BlockEntry, ENTRY_BYTES, PACK_HEADER_BYTES, PAGE_BYTES, PAGE_ENTRIES, PackHeader, PageStart, Part,
    block_crc,
};
use crate::format::pack_block::BLOCK_BYTES_MAX;
use crate::format::run::Section;
use crate::io::Disk;
use crate::io::faulty::{FaultyDisk, Kind};
use crate::segment::pack::Pack;
use crate::segment::pack::input::{Input, Merge};
use crate::segment::pack::restore::restore;
use crate::segment::pack::writer::{Plan, write};

const MIDDLE: u64 = BASE + 1_300;
const END: u64 = MIDDLE + 1_300;
const SEGMENT_BYTES: u64 = 3 << 20;

/// Whose a record is. The first record is the first of the first key.
fn key(sequence: u64) -> u64 {
    let user = ((sequence - BASE).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 37;
    user * (u64::MAX / 40)
}

fn key_of(leaf: &[u8]) -> std::result::Result<u64, String> {
    u64_at(leaf, 0).map(key).ok_or_else(|| "no sequence".to_owned())
}

fn ordinal(sequence: u64) -> u32 {
    u32::try_from(sequence - BASE).unwrap()
}

/// A leaf that no compression makes shorter: eight of them fill a block.
fn long_leaf(sequence: u64) -> Vec<u8> {
    let mut leaf = leaf(sequence);
    let mut state = sequence + 1;
    for _ in 0..255 + sequence % 13 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        leaf.extend_from_slice(&state.to_le_bytes());
    }
    leaf
}

/// A sealed segment that is nearly full.
fn log(disk: &MemoryDisk, segment: u64, sequences: Range<u64>) -> Arc<Segment> {
    let header = Header { segment, file_bytes: SEGMENT_BYTES, ..header() };
    let file = create_file(disk, Path::new(&format!("{segment}.log")), &header).unwrap();
    let map = map_file(&file, RECORDS_START, Access::Write).unwrap();
    let growing = Segment::growing(Arc::clone(&file), map, header, sequences.start);
    let mut appender = growing.appender().unwrap();
    for (ordinal, sequence) in (0..).zip(sequences.clone()) {
        let mut bytes = Vec::new();
        record::begin(&mut bytes);
        bytes.extend_from_slice(&long_leaf(sequence));
        record::seal(&mut bytes, SALT, appender.end() as u64, alone(sequences.start)).unwrap();
        assert!(growing.note_offset(ordinal, appender.end()) && appender.store(&bytes));
    }
    appender.publish();
    growing.publish(sequences.end - sequences.start);
    drop(appender);
    let footer = seal::seal(&growing, 4, TimeRange::EMPTY).unwrap().footer;
    let map = map_file(&file, file.len(), Access::Read).unwrap();
    Arc::new(Segment::sealed(file.path(), map, header, footer))
}

fn part(segment: &Segment) -> Part {
    let footer = segment.footer().unwrap();
    Part {
        segment: segment.header().segment,
        generation: segment.header().generation,
        salt: segment.header().salt.0,
        file_bytes: segment.header().file_bytes,
        created_at_micros: segment.header().created_at_micros,
        base: footer.base,
        count: footer.count,
        recorded_max_micros: footer.recorded_max_micros,
        users_total: footer.users_total,
    }
}

fn input(segment: &Arc<Segment>) -> Input {
    Input::of_segment(segment, &key_of, &mut || Ok(())).unwrap()
}

struct Packing {
    disk: MemoryDisk,
    segments: [Arc<Segment>; 2],
}

impl Packing {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let segments = [log(&disk, 4, BASE..MIDDLE), log(&disk, 5, MIDDLE..END)];
        Self { disk, segments }
    }

    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn write(
        &self,
        parts: Vec<Part>,
        inputs: Vec<Input>,
        wait: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Pack> {
        let plan = Plan { store_id: [3; 16], shard: 2, number: 6, salt: 99, parts };
        let mut merge = Merge::new(inputs, &key_of);
        write(&self.shared(), Path::new("6.pack"), &plan, &mut merge, wait)?;
        Pack::open(&self.disk, Path::new("6.pack"))
    }

    /// The pack of both segments.
    fn pack(&self) -> Pack {
        let [older, newer] = &self.segments;
        self.write(vec![part(older), part(newer)], vec![input(newer), input(older)], &mut |_| Ok(())).unwrap()
    }

    fn open(&self, bytes: &[u8]) -> Result<Pack> {
        self.disk.put(Path::new("other.pack"), bytes).unwrap();
        Pack::open(&self.disk, Path::new("other.pack"))
    }

    fn bytes(&self) -> Vec<u8> {
        self.disk.read(Path::new("6.pack"), u64::MAX).unwrap()
    }
}

/// Everything that a pack hands out, in its order.
fn sequences(pack: &Pack) -> Result<Vec<u64>> {
    let mut sequences = Vec::new();
    pack.verify(|leaf| {
        sequences.push(u64_at(leaf, 0).unwrap());
        assert_eq!(leaf, long_leaf(*sequences.last().unwrap()));
        Ok(())
    })?;
    Ok(sequences)
}

fn sorted() -> Vec<u64> {
    let mut sorted: Vec<_> = (BASE..END).collect();
    sorted.sort_by_key(|sequence| (key(*sequence), *sequence));
    sorted
}

#[test]
fn every_record_is_where_the_pack_says() {
    let packing = Packing::new();
    let pack = packing.pack();
    assert_eq!((pack.base(), pack.records(), pack.end()), (BASE, END - BASE, END));
    assert_eq!(pack.parts(), packing.segments.each_ref().map(|segment| part(segment)));
    assert_eq!(
        pack.header().leaf_bytes,
        (BASE..END).map(|sequence| long_leaf(sequence).len() as u64).sum::<u64>()
    );
    let of_summary = size_of_val(pack.parts()) + 3 * size_of::<PageStart>();
    let Section { offset, bytes } = pack.header().dictionary;
    let dictionary =
        packing.bytes()[usize::try_from(offset).unwrap()..][..usize::try_from(bytes).unwrap()].to_vec();
    let of_dictionary = Decompressor::new(Some(&dictionary)).unwrap().memory_bytes();
    assert!(of_dictionary > dictionary.len() && !dictionary.is_empty());
    assert_eq!(pack.memory_bytes(), of_summary + of_dictionary + 8, "and a bit for each page");
    assert_eq!(sequences(&pack).unwrap(), sorted());
    let blocks = u32::try_from(pack.header().blocks).unwrap();
    assert!(blocks as usize > 2 * PAGE_ENTRIES, "{blocks}");
    let firsts: Vec<_> = (0..blocks)
        .map(|number| pack.block(number).unwrap().sequence(0).unwrap())
        .map(|sequence| (key(sequence), ordinal(sequence)))
        .collect();
    // A record, and what would lie beside it.
    let own = |sequence: u64| (key(sequence), ordinal(sequence));
    let beside = |(key, ordinal): (u64, u32)| {
        [(key, ordinal), (key, ordinal + 1), (key, u32::MAX), (key + 1, 0), (key.saturating_sub(1), u32::MAX)]
    };
    for place in sorted().into_iter().map(own).flat_map(beside) {
        let found = pack.block_of(place.0, place.1).unwrap();
        let number = firsts.partition_point(|first| *first <= place).saturating_sub(1);
        assert_eq!(found.number as usize, number, "{place:?}");
        assert!(found.holds(place) && found.holds(firsts[number]));
        assert!(firsts.get(number + 1).is_none_or(|next| !found.holds(*next)));
        assert!(number == 0 || !found.holds(firsts[number - 1]));
    }
    for sequence in BASE..END {
        let (block, index) = pack.find(sequence).unwrap();
        assert_eq!(block.leaf(index).unwrap(), long_leaf(sequence));
        let found = pack.block_of(key(sequence), ordinal(sequence)).unwrap();
        assert_eq!((found.number, found.offset), (block.number, block.offset));
        for near in [0, index, index + 1, index.wrapping_sub(1), block.len(), usize::MAX] {
            assert_eq!(block.find(sequence, near), Some(index));
        }
        assert_eq!(block.find(END, index), None);
        assert_eq!((block.leaf(block.len()), block.sequence(block.len())), (None, None));
    }
    for sequence in [0, BASE - 1, END, u64::MAX] {
        let error = pack.find(sequence).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(pack.path())));
        assert!(error.to_string().contains("does not hold the record"), "{error}");
    }
    assert!(pack.block(blocks).unwrap_err().to_string().contains("no such block"));
}

#[test]
fn a_cold_look_up_asks_for_the_pages_of_the_directory_that_it_looks_at() {
    let pack = Packing::new().pack();
    let blocks = u32::try_from(pack.header().blocks).unwrap();
    let keys: Vec<_> =
        (0..blocks).map(|number| key(pack.block(number).unwrap().sequence(0).unwrap())).collect();
    let (mut in_one, mut in_two) = (0, 0);
    for key in keys.iter().flat_map(|key| [key.saturating_sub(1), *key, *key + 1]).chain([0, u64::MAX]) {
        let newest = keys.partition_point(|first| *first <= key).saturating_sub(1);
        // The walk back ends at a block that begins with another key: the key's oldest records may lie there.
        let oldest = (0..=newest).rev().find(|number| keys[*number] < key).unwrap_or(0);
        let pages = (oldest / PAGE_ENTRIES, newest / PAGE_ENTRIES);
        assert_eq!(pack.newest_pages(key), pages, "{key:x}");
        assert_eq!(pack.is_over_two_pages(key), pages.0 < pages.1);
        *(if pages.0 < pages.1 { &mut in_two } else { &mut in_one }) += 1;
    }
    assert!(in_one > 0 && in_two > 0, "{in_one} in one page, {in_two} in two");
}

#[test]
fn a_damaged_page_of_the_index_is_told_and_hides_no_other() {
    let packing = Packing::new();
    let header = *packing.pack().header();
    let bytes = packing.bytes();
    let mut of_opening = 0;
    for page in (header.directory_offset..header.checksums_offset).step_by(PAGE_BYTES) {
        let mut damaged = bytes.clone();
        damaged[usize::try_from(page).unwrap() + 70] ^= 1;
        let pack = match packing.open(&damaged) {
            Ok(pack) => pack,
            Err(error) => {
                assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(page)));
                of_opening += 1;
                continue;
            }
        };
        let (mut told, mut fine) = (0, 0);
        for sequence in BASE..END {
            match pack.find(sequence).and_then(|_| pack.block_of(key(sequence), ordinal(sequence))) {
                Ok(found) => {
                    assert!(found.holds((key(sequence), ordinal(sequence))));
                    fine += 1;
                }
                Err(error) => {
                    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(page)));
                    told += 1;
                }
            }
        }
        assert!(told > 0 && fine > 0, "page at {page}: {told} told, {fine} fine");
        assert_eq!(sequences(&pack).unwrap_err().offset(), Some(page));
    }
    assert!(of_opening > 0, "the summary lies in one of them");
    for (at, what) in [(header.checksums_offset, "table of checksums"), (100, "header")] {
        let mut damaged = bytes.clone();
        damaged[usize::try_from(at).unwrap()] ^= 1;
        let error = packing.open(&damaged).unwrap_err();
        assert!(error.kind() == ErrorKind::Corruption && error.to_string().contains(what), "{error}");
    }
    let missing = Pack::open(&packing.disk, Path::new("7.pack")).unwrap_err();
    assert!(missing.kind() == ErrorKind::Corruption && missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn a_page_of_the_index_is_compared_once_but_by_who_verifies() {
    let packing = Packing::new();
    let pack = packing.pack();
    let bytes = packing.bytes();
    // The last block of each page of the directory but the last, and the checksum in its entry.
    for number in [PAGE_ENTRIES - 1, 2 * PAGE_ENTRIES - 1] {
        let block = pack.block(u32::try_from(number).unwrap() - 1).unwrap();
        let crc = entry_at(pack.header(), u32::try_from(number).unwrap()) + 12;
        // Nothing changes a byte that was lent; here the test does, to see who looks.
        packing.disk.forget(pack.path(), crc, &[bytes[crc] ^ 1]);
        let sequence = block.sequence(0).unwrap();
        assert_eq!(pack.block_of(key(sequence), ordinal(sequence)).unwrap().number, block.number);
        let page = crc / PAGE_BYTES * PAGE_BYTES;
        assert_eq!(sequences(&pack).unwrap_err().offset(), Some(page as u64));
        packing.disk.forget(pack.path(), crc, &[bytes[crc]]);
        sequences(&pack).unwrap();
    }
    // So is what was read when the pack was opened, also where no entry and no part of the map lies beside it.
    let header = pack.header();
    for at in [header.dictionary.offset, header.checksums_offset - 1] {
        let at = usize::try_from(at).unwrap();
        packing.disk.forget(pack.path(), at, &[bytes[at] ^ 1]);
        let page = at / PAGE_BYTES * PAGE_BYTES;
        assert_eq!(sequences(&pack).unwrap_err().offset(), Some(page as u64));
        packing.disk.forget(pack.path(), at, &[bytes[at]]);
        sequences(&pack).unwrap();
    }
}

/// A pack's file with another index, and checksums as if it had been written so.
fn resealed(bytes: &[u8], change: impl FnOnce(&PackHeader, &mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut header = PackHeader::decode(&bytes, bytes.len() as u64).unwrap();
    change(&header, &mut bytes);
    let place = |offset: u64| usize::try_from(offset).unwrap();
    let (begin, end) = (place(header.directory_offset), place(header.checksums_offset));
    let pages = bytes[begin..end].chunks(PAGE_BYTES);
    let checksums: Vec<u8> = pages.flat_map(|page| crc32c::crc32c(page).to_le_bytes()).collect();
    bytes[end..].copy_from_slice(&checksums);
    header.checksums_crc = crc32c::crc32c(&checksums);
    bytes[..PACK_HEADER_BYTES].copy_from_slice(&header.encode());
    bytes
}

fn entry_at(header: &PackHeader, number: u32) -> usize {
    usize::try_from(header.directory_offset).unwrap() + number as usize * ENTRY_BYTES
}

#[test]
fn an_index_that_contradicts_its_blocks_is_told() {
    type Change = fn(&PackHeader, &mut BlockEntry);
    let packing = Packing::new();
    let blocks = u32::try_from(packing.pack().header().blocks).unwrap();
    let bytes = packing.bytes();
    assert_eq!(sequences(&packing.open(&resealed(&bytes, |_, _| ())).unwrap()).unwrap(), sorted());
    let changes: [(Change, &str); 7] = [
        (|_, entry| entry.offset = PAGE_BYTES as u64 - 1, "a directory entry is damaged"),
        (|header, entry| entry.offset = header.blocks_end, "a directory entry is damaged"),
        (|_, entry| entry.offset = u64::MAX, "a directory entry is damaged"),
        (|_, entry| entry.bytes = BLOCK_BYTES_MAX + 1, "a directory entry is damaged"),
        (|_, entry| entry.crc ^= 1, "does not match its checksum"),
        (|_, entry| entry.compressed_bytes -= 1, "does not match its checksum"),
        (|_, entry| entry.ordinal += 1, "begins with another record"),
    ];
    for (change, message) in changes {
        let image = resealed(&bytes, |header, bytes| {
            let at = entry_at(header, 200);
            let mut entry = BlockEntry::decode(&bytes[at..]).unwrap();
            change(header, &mut entry);
            bytes[at..at + ENTRY_BYTES].copy_from_slice(&entry.encode());
        });
        let pack = packing.open(&image).unwrap();
        assert!(pack.block(199).is_ok() && pack.block(201).is_ok());
        let told = pack.block(200).unwrap_err();
        assert!(told.to_string().contains(message), "{told}");
        assert!(sequences(&pack).is_err());
    }
    // Two blocks that have changed places, each with the checksum for where it is now.
    let swapped = resealed(&bytes, |header, bytes| {
        let [first, second] =
            [7, 8].map(|number| BlockEntry::decode(&bytes[entry_at(header, number)..]).unwrap());
        for (number, mut entry) in [(7, second), (8, first)] {
            let begin = usize::try_from(entry.offset).unwrap();
            entry.crc =
                block_crc(header.salt, number, &bytes[begin..begin + entry.compressed_bytes as usize]);
            bytes[entry_at(header, number)..][..ENTRY_BYTES].copy_from_slice(&entry.encode());
        }
    });
    let swapped = packing.open(&swapped).unwrap();
    assert!(swapped.block(7).is_ok() && swapped.block(8).is_ok());
    assert!(sequences(&swapped).is_err());
    // The map says another block of the first record, or one that isn't there.
    for number in [1, blocks, (1 << 9) - 1] {
        let map = resealed(&bytes, |header, bytes| {
            assert_eq!(header.map_bits, 9);
            let at = usize::try_from(header.map_offset).unwrap();
            let word = u16::from_le_bytes([bytes[at], bytes[at + 1]]) & !511 | u16::try_from(number).unwrap();
            bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
        });
        let pack = packing.open(&map).unwrap();
        let error = pack.find(BASE).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(pack.path())));
        assert!(pack.find(BASE + 1).is_ok());
        assert!(sequences(&pack).unwrap_err().to_string().contains("another block"));
    }
}

#[test]
fn packs_and_segments_become_one_pack_and_segments_again() {
    let packing = Packing::new();
    let [older, newer] = &packing.segments;
    let whole = packing.pack();
    let first = packing.write(vec![part(older)], vec![input(older)], &mut |_| Ok(())).unwrap();
    packing.disk.rename(first.path(), Path::new("first.pack")).unwrap();
    let first = Arc::new(Pack::open(&packing.disk, Path::new("first.pack")).unwrap());
    let inputs = || vec![Input::of_pack(&first, &key_of).unwrap(), input(newer)];
    let (mut told, mut calls) = (0, 0);
    let merged = packing.write(vec![part(older), part(newer)], inputs(), &mut |bytes| {
        (told, calls) = (told + bytes as u64, calls + 1);
        Ok(())
    });
    let merged = merged.unwrap();
    assert_eq!((told, calls), (2 * whole.header().leaf_bytes, 2 * (END - BASE)), "written and compared");
    assert_eq!((merged.base(), merged.end(), merged.parts()), (BASE, END, whole.parts()));
    assert_eq!(sequences(&merged).unwrap(), sorted());
    assert_eq!(merged.header().blocks, whole.header().blocks);

    let names = [4, 5].map(|segment| PathBuf::from(format!("again-{segment}.log")));
    restore(&packing.shared(), &merged, &names, &mut |_| Ok(())).unwrap();
    for (name, segment) in names.iter().zip(&packing.segments) {
        let whole = packing.disk.read(segment.path(), u64::MAX).unwrap();
        assert!(packing.disk.read(name, u64::MAX).unwrap() == whole, "{}", name.display());
    }
}

/// Whoever makes the segments again, or a run of them, allocates for as many records as the pack says that there are.
#[test]
fn a_pack_of_segments_without_room_for_their_records_is_refused() {
    let packing = Packing::new();
    let [older, newer] = &packing.segments;
    for file_bytes in [0, 40 << 10, 1 << 32, u64::MAX] {
        let parts = vec![part(older), Part { file_bytes, ..part(newer) }];
        let error = packing.write(parts, vec![input(newer), input(older)], &mut |_| Ok(())).unwrap_err();
        let place = (error.kind(), error.path());
        assert_eq!(place, (ErrorKind::Corruption, Some(Path::new("6.pack"))), "{file_bytes}: {error}");
    }
}

#[test]
fn what_does_not_fit_together_is_not_packed() {
    let packing = Packing::new();
    let [older, newer] = &packing.segments;
    let parts = vec![part(older), part(newer)];
    let twice = packing.write(parts.clone(), vec![input(older), input(older)], &mut |_| Ok(())).unwrap_err();
    assert!(twice.to_string().contains("comes twice"), "{twice}");
    let far = log(&packing.disk, 8, END + 1..END + 9);
    let gap = packing.write(parts.clone(), vec![input(newer), input(&far)], &mut |_| Ok(())).unwrap_err();
    assert!(gap.to_string().contains("a record is missing"), "{gap}");
    let nothing = packing.write(parts.clone(), Vec::new(), &mut |_| Ok(())).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::InvalidOption);
    // Whoever is told to stop stops: while it writes, and while it compares.
    for enough in [0, 1_000, 3_000] {
        let mut calls = 0;
        let stopped = packing.write(parts.clone(), vec![input(older), input(newer)], &mut |_| {
            calls += 1;
            if calls > enough { Err(Error::new(ErrorKind::Closed, "enough")) } else { Ok(()) }
        });
        assert_eq!((stopped.unwrap_err().kind(), calls), (ErrorKind::Closed, enough + 1));
    }
}

#[test]
fn a_large_pack_is_written_and_synced_in_pieces() {
    let disk = MemoryDisk::default();
    let bases = (0..4).map(|segment| BASE + segment * 1_300);
    let segments: Vec<_> =
        (4..).zip(bases).map(|(number, base)| log(&disk, number, base..base + 1_300)).collect();
    let parts = segments.iter().map(|segment| part(segment)).collect();
    let plan = Plan { store_id: [3; 16], shard: 2, number: 6, salt: 99, parts };
    let mut merge = Merge::new(segments.iter().map(input).collect(), &key_of);
    let traced = FaultyDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(traced.clone());
    write(&shared, Path::new("6.pack"), &plan, &mut merge, &mut |_| Ok(())).unwrap();
    let count = |kind| traced.trace().iter().filter(|other| **other == kind).count();
    // Eleven million bytes, about a million at a time, and index and header; synced behind eight of them and at the end.
    assert!((11..=16).contains(&count(Kind::Write)), "{}", count(Kind::Write));
    assert_eq!(count(Kind::SyncData), 2);
}
