//! Runs that were made wrong on purpose, their checksums right: each promise of the header and of the directory is kept, or the
//! run says no.

use std::path::Path;
use std::sync::Arc;

use memmap2::MmapMut;

use super::run::{dictionaries, open};
use super::*;
use crate::format::run::{
    DirectoryEntry, ENTRY_BYTES, PAGE_BYTES, RUN_HEADER_BYTES, RunHeader, Section, filter,
};
use crate::index::builder::{RunBuilder, RunScope, UserPostings};
use crate::index::run::Run;
use crate::io::mmap::{Memory, SegmentMap};

/// A run in which each of so many users has one event.
fn of_users(users: usize) -> Vec<u8> {
    let scope = RunScope {
        store_id: [3; 16],
        shard: 7,
        base: BASE,
        records: users as u64,
        salt: 99,
        time_base: 5_000,
        level: 0,
    };
    let mut fingerprints: Vec<Fingerprint> = (0..users).map(fingerprint).collect();
    fingerprints.sort_unstable();
    let mut builder = RunBuilder::new(scope, users);
    for (place, user) in fingerprints.into_iter().enumerate() {
        let tags = Tags::new(1, 2, 1, 3, 1);
        let postings = [Posting { ordinal: u32::try_from(place).unwrap(), tags }];
        builder
            .push(UserPostings { user, count_before: 4, postings: &postings }, [TimeRange::at(6_000)])
            .unwrap();
    }
    builder.finish(&dictionaries()).unwrap()
}

fn header_of(bytes: &[u8]) -> RunHeader {
    RunHeader::decode(&bytes[..RUN_HEADER_BYTES]).unwrap()
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// The run with another header.
fn with_header(bytes: &[u8], header: RunHeader) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[..RUN_HEADER_BYTES].copy_from_slice(&header.encode());
    bytes
}

/// The run with another body, and the checksums that belong to it.
fn with_body(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let header = header_of(&bytes);
    let end = at(header.checksums_offset);
    change(&mut bytes[..end]);
    let table: Vec<u8> = bytes[PAGE_BYTES..end]
        .chunks(PAGE_BYTES)
        .flat_map(|page| crc32c::crc32c(page).to_le_bytes())
        .collect();
    bytes[end..].copy_from_slice(&table);
    with_header(&bytes, RunHeader { checksums_crc: crc32c::crc32c(&table), ..header })
}

/// The run on memory that the test has in its hands.
fn on_memory(bytes: &[u8]) -> (Arc<Memory>, Run) {
    let memory = Memory::anonymous(MmapMut::map_anon(bytes.len()).unwrap());
    assert!(memory.copy_in(0, bytes));
    let run = Run::open(Path::new("some.run"), SegmentMap::new(&memory, 0, bytes.len())).unwrap();
    (memory, run)
}

#[test]
fn a_header_that_contradicts_the_file_is_refused() {
    let sound = of_users(20);
    let header = header_of(&sound);
    assert!(open(&with_header(&sound, header)).is_ok());
    let filter = header.filter;
    let dictionaries = Section { bytes: header.checksums_offset, ..header.dictionaries };
    let postings = Section { bytes: header.checksums_offset, ..header.postings };
    // Each breaks one promise, and keeps the others.
    let wrong = [
        RunHeader { dictionaries, ..header },
        RunHeader { postings, ..header },
        RunHeader { filter: Section { bytes: header.checksums_offset, ..filter }, ..header },
        RunHeader { dictionaries: Section { offset: u64::MAX, ..header.dictionaries }, ..header },
        RunHeader { directory_offset: header.directory_offset + 8, ..header },
        RunHeader { users: header.users + 1, ..header },
        RunHeader { filter: Section { offset: filter.offset + 8, ..filter }, ..header },
        RunHeader { filter: Section { bytes: filter.bytes - 8, ..filter }, ..header },
        RunHeader { filter: Section { bytes: 0, ..filter }, ..header },
        RunHeader { users: 0, directory_offset: header.postings.offset, ..header },
    ];
    for header in wrong {
        let error = open(&with_header(&sound, header)).unwrap_err();
        assert!(error.to_string().contains("contradicts"), "{error}: {header:?}");
        assert_eq!(error.offset(), Some(0));
    }
    let mut longer = sound.clone();
    longer.extend_from_slice(&[0; 4]);
    assert!(open(&longer).unwrap_err().to_string().contains("contradicts"), "a table that is too long");
    // Where the checksums begin is no page's edge, and the table is as long as it must be.
    longer.extend_from_slice(&[0; 4]);
    let shifted = RunHeader { checksums_offset: header.checksums_offset + 8, ..header };
    assert!(open(&with_header(&longer, shifted)).unwrap_err().to_string().contains("contradicts"));
    assert!(open(&sound[..RUN_HEADER_BYTES - 1]).unwrap_err().to_string().contains("cut short"));
}

#[test]
fn a_block_that_is_no_block_is_named() {
    let sound = of_users(20);
    let postings = header_of(&sound).postings.offset;
    let places = {
        let run = open(&sound).unwrap();
        [1, 2].map(|index| postings + run.user_at(index).unwrap().postings_offset())
    };
    let run = open(&with_body(&sound, |body| body[at(places[0])..at(places[1])].fill(0xff))).unwrap();
    let block = |index| run.user_at(index).unwrap().blocks().unwrap().decode(0);
    let error = block(1).err().unwrap();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(places[0])));
    assert!(block(0).is_ok() && block(2).is_ok());
}

#[test]
fn a_directory_out_of_order_is_told() {
    let sound = of_users(20);
    assert_eq!(open(&sound).unwrap().totals().unwrap(), (20, 20));
    let header = header_of(&sound);
    let entry = |index: usize| at(header.directory_offset) + index * ENTRY_BYTES;
    let swapped = with_body(&sound, |body| {
        let (before, after) = body.split_at_mut(entry(8));
        before[entry(7)..].swap_with_slice(&mut after[..ENTRY_BYTES]);
    });
    let run = open(&swapped).unwrap();
    run.verify().unwrap();
    let error = run.totals().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(entry(8) as u64)));
    let twice = with_body(&sound, |body| body.copy_within(entry(7)..entry(8), entry(8)));
    assert_eq!(open(&twice).unwrap().totals().unwrap_err().offset(), Some(entry(8) as u64));
}

#[test]
fn an_entry_that_leads_beyond_the_end_is_told() {
    let sound = of_users(20);
    let header = header_of(&sound);
    let first = at(header.directory_offset);
    let entry = DirectoryEntry::decode(&sound[first..first + ENTRY_BYTES]).unwrap();
    for postings_offset in [header.checksums_offset + (1 << 30), 1 << 40] {
        let wrong = DirectoryEntry { postings_offset, ..entry };
        let forged =
            with_body(&sound, |body| body[first..first + ENTRY_BYTES].copy_from_slice(&wrong.encode()));
        let run = open(&forged).unwrap();
        let found = run.user(entry.user).unwrap().unwrap();
        let range = Range { from: 0, to: 1, direction: Direction::NewestFirst };
        let error = found.walk(range, &Selection::ALL, &mut |_| unreachable!()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.to_string().contains("beyond its end"), "{error}");
    }
}

#[test]
fn each_page_is_compared_the_first_time_that_it_is_read() {
    // More pages than a word has bits.
    let bytes = of_users(8_000);
    let header = header_of(&bytes);
    let pages = header.checksums_offset / PAGE_BYTES as u64;
    assert!(pages > 70, "{pages}");
    let words = usize::try_from(pages - 1).unwrap() / 64 + 1;
    let names: usize =
        dictionaries().actions.iter().chain(&dictionaries().services).map(|name| name.len() + 24).sum();
    let whole = open(&bytes).unwrap();
    assert_eq!(whole.memory_bytes(), words * 8 + names);
    assert_eq!(whole.end(), BASE + 8_000);
    assert_eq!(whole.map().len(), bytes.len());
    let first = header.directory_offset / PAGE_BYTES as u64;
    let last = (header.postings.offset - 1) / PAGE_BYTES as u64;
    for page in [first, first + 1, first + 62, first + 63, first + 64, last] {
        let place = at(page * PAGE_BYTES as u64) + 40;
        let changed = [bytes[place] ^ 1];
        let (memory, run) = on_memory(&bytes);
        memory.forget(place, &changed);
        for _ in 0..2 {
            let error = run.totals().unwrap_err();
            assert_eq!(error.offset(), Some(page * PAGE_BYTES as u64), "{error}");
        }
        memory.forget(place, &bytes[place..=place]);
        assert_eq!(run.totals().unwrap(), (8_000, 8_000));
        // What was compared is not compared again, but by one who asks for it.
        memory.forget(place, &changed);
        let again = run.totals();
        assert!(again.is_ok() || again.unwrap_err().to_string().contains("out of order"));
        assert_eq!(run.verify().unwrap_err().offset(), Some(page * PAGE_BYTES as u64));
    }
}

#[test]
fn every_page_is_compared_by_who_verifies() {
    let bytes = of_users(300);
    let header = header_of(&bytes);
    let (memory, run) = on_memory(&bytes);
    run.verify().unwrap();
    for page in 1..at(header.checksums_offset) / PAGE_BYTES {
        for place in [page * PAGE_BYTES, (page + 1) * PAGE_BYTES - 1] {
            memory.forget(place, &[bytes[place] ^ 1]);
            let error = run.verify().unwrap_err();
            assert_eq!(error.offset(), Some((page * PAGE_BYTES) as u64));
            memory.forget(place, &bytes[place..=place]);
        }
    }
    run.verify().unwrap();
    assert_eq!(header.filter.bytes % filter::BLOCK_BYTES as u64, 0);
}
