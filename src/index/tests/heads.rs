//! The head table against a map: what it says of a user is true, or it says nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::run::open as open_run;
use super::*;
use crate::format::heads::{LINES_AT, Mark, TableHeader};
use crate::format::run::Dictionaries;
use crate::index::UserHead;
use crate::index::builder::{RunBuilder, RunScope, UserPostings};
use crate::index::heads::{HeadTable, Look, Refusal};
use crate::index::run::Run;
use crate::io::faulty::{FaultyDisk, Kind};
use crate::io::memory::MemoryDisk;
use crate::io::mmap::SharedWords;
use crate::io::{Access, Disk, Mode};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A log of users, a segment at a time, and what each user has had.
#[derive(Default)]
struct Log {
    end: u64,
    heads: HashMap<usize, UserHead>,
}

impl Log {
    /// The run of a segment with an event of each of these users, in this order.
    fn segment(&mut self, users: &[usize]) -> Run {
        let base = self.end;
        let mut postings: BTreeMap<Fingerprint, (u64, Vec<Posting>)> = BTreeMap::new();
        for (ordinal, user) in (0..).zip(users) {
            let had = self.heads.get(user).map_or(0, |head| head.count);
            let place = postings.entry(fingerprint(*user)).or_insert((had, Vec::new()));
            place.1.push(Posting { ordinal, tags: Tags(0) });
            let last_sequence = base + u64::from(ordinal);
            self.heads.insert(*user, UserHead { count: had + 1, last_sequence });
        }
        self.end += users.len() as u64;
        let records = users.len() as u64;
        let scope = RunScope { store_id: [3; 16], shard: 7, base, records, salt: 1, time_base: 0, level: 0 };
        let mut builder = RunBuilder::new(scope, postings.len());
        for (user, (count_before, postings)) in &postings {
            let times = vec![TimeRange::at(0); postings.len()];
            let user = UserPostings { user: *user, count_before: *count_before, postings };
            builder.push(user, times).unwrap();
        }
        open_run(&builder.finish(&Dictionaries::default()).unwrap()).unwrap()
    }
}

fn header(lines: u64) -> TableHeader {
    TableHeader { store_id: [3; 16], shard: 7, lines, salt: 4_711 }
}

/// A table in memory, and its words as a disk has them.
fn table(lines: u64) -> (HeadTable, SharedWords, MemoryDisk) {
    let disk = MemoryDisk::default();
    let file = disk.allocate(Path::new("HEADS"), header(lines).file_bytes()).unwrap();
    let words = file.map_words(Access::Write).unwrap();
    (HeadTable::create(file, header(lines), &GO_ON).unwrap().unwrap(), words, disk)
}

fn take_in(table: &HeadTable, run: &Run) {
    table.fold(run, &GO_ON).unwrap().unwrap();
    table.set_covers(run.end());
}

fn reopen(disk: &MemoryDisk) -> Result<HeadTable> {
    HeadTable::open(disk.open(Path::new("HEADS"), Access::Write)?)
}

fn says_what_is_true(table: &HeadTable, log: &Log, users: usize) {
    for user in 0..users {
        assert_eq!(
            table.look_up(fingerprint(user)),
            Look::Known(log.heads.get(&user).copied()),
            "user {user}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_says_what_the_map_says(segments in vec(vec(0_usize..300, 1..200), 1..8), again in any::<bool>()) {
        let mut log = Log::default();
        let (mut table, _, mut disk) = table(64);
        for users in &segments {
            let run = log.segment(users);
            match table.fold(&run, &GO_ON).unwrap() {
                Ok(()) => {
                    // Taking the same run in twice changes nothing.
                    if again {
                        table.fold(&run, &GO_ON).unwrap().unwrap();
                    }
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal, Refusal::Full);
                    let (larger, _, larger_disk) = self::table(TableHeader::lines_for(log.heads.len() as u64));
                    larger.fold_table(&table, &GO_ON).unwrap();
                    prop_assert_eq!(larger.covers(), table.covers());
                    (table, disk) = (larger, larger_disk);
                    table.fold(&run, &GO_ON).unwrap().unwrap();
                }
            }
            table.set_covers(run.end());
            says_what_is_true(&table, &log, 310);
        }
        table.close(Mark { end: log.end, salt: 1 }).unwrap();
        let reopened = reopen(&disk).unwrap();
        prop_assert_eq!(reopened.state().covers, Mark { end: log.end, salt: 1 });
        prop_assert!(reopened.state().clean);
        prop_assert_eq!(reopened.users(), log.heads.len() as u64);
        says_what_is_true(&reopened, &log, 310);
    }

    #[test]
    fn half_a_run_taken_in_does_no_harm(first in vec(0_usize..90, 1..100), second in vec(0_usize..90, 1..100)) {
        let mut log = Log::default();
        let (table, _, _disk) = table(64);
        take_in(&table, &log.segment(&first));
        let before = Log { end: log.end, heads: log.heads.clone() };
        let run = log.segment(&second);
        table.fold(&run, &GO_ON).unwrap().unwrap();
        prop_assert!(table.is_ahead());
        // Whoever is in the second segment is found in its run, which is asked first.
        for user in (0..90).filter(|user| !second.contains(user)) {
            prop_assert_eq!(table.look_up(fingerprint(user)), Look::Known(before.heads.get(&user).copied()));
        }
        for user in &second {
            prop_assert_eq!(table.look_up(fingerprint(*user)), Look::Unknown);
        }
        // A copy leaves out what is ahead, and takes it in from the run.
        let (copy, _, _disk) = self::table(64);
        copy.fold_table(&table, &GO_ON).unwrap();
        take_in(&copy, &run);
        says_what_is_true(&copy, &log, 95);
    }
}

#[test]
fn a_full_table_takes_no_more_and_stays_right() {
    let mut log = Log::default();
    let (table, _, _disk) = table(64);
    let most = usize::try_from(header(64).users_max()).unwrap();
    let users: Vec<usize> = (0..most).collect();
    take_in(&table, &log.segment(&users));
    says_what_is_true(&table, &log, most + 50);
    let before = Log { end: log.end, heads: log.heads.clone() };
    let run = log.segment(&[most, most + 1]);
    assert_eq!(table.fold(&run, &GO_ON).unwrap(), Err(Refusal::Full));
    says_what_is_true(&table, &before, most + 50);
}

#[test]
fn a_table_that_is_told_to_stop_does() {
    let mut log = Log::default();
    let (table, _, disk) = table(64);
    let stop = AtomicBool::new(true);
    let run = log.segment(&[1, 2, 3]);
    assert_eq!(table.fold(&run, &stop).unwrap(), Err(Refusal::Stopped));
    assert_eq!(table.fold_table(&reopen(&disk).unwrap(), &stop), Err(Refusal::Stopped));
    let file = disk.open(Path::new("HEADS"), Access::Write).unwrap();
    assert_eq!(HeadTable::create(file, header(64), &stop).unwrap().unwrap_err(), Refusal::Stopped);
}

#[test]
fn a_head_never_goes_back() {
    let mut log = Log::default();
    let (table, _, disk) = table(64);
    let runs = [&[1, 2, 2, 3][..], &[2, 3, 3, 3], &[3]].map(|users| log.segment(users));
    for run in &runs {
        take_in(&table, run);
    }
    assert!(!table.is_ahead());
    // A run that was taken in is taken in again after a crash, and what is newer was, too.
    table.fold(&runs[0], &GO_ON).unwrap().unwrap();
    assert!(table.is_ahead());
    table.fold(&runs[1], &GO_ON).unwrap().unwrap();
    says_what_is_true(&table, &log, 9);
    assert_eq!(table.users(), 3);
    assert_eq!(table.file_bytes(), disk.read(Path::new("HEADS"), u64::MAX).unwrap().len() as u64);
}

#[test]
fn what_a_rolled_back_history_left_ahead_is_not_copied() {
    let mut log = Log::default();
    let (table, _, _disk) = table(64);
    take_in(&table, &log.segment(&[0, 1, 2]));
    let mut lost = Log { end: log.end, heads: log.heads.clone() };
    table.fold(&lost.segment(&[1, 1, 1, 4]), &GO_ON).unwrap().unwrap();
    // Other events took the places of those.
    let (copy, _, _disk) = self::table(64);
    copy.fold_table(&table, &GO_ON).unwrap();
    take_in(&copy, &log.segment(&[5, 1, 0, 5]));
    says_what_is_true(&copy, &log, 9);
}

#[test]
fn what_was_closed_is_clean_until_it_is_used() {
    let mut log = Log::default();
    let (table, _, disk) = table(64);
    take_in(&table, &log.segment(&[1, 2, 2]));
    let (covers, later) = (Mark { end: log.end, salt: 5 }, Mark { end: log.end + 9, salt: 6 });
    table.close(covers).unwrap();
    let reopened = reopen(&disk).unwrap();
    assert!(reopened.state().clean && reopened.state().covers == covers);
    reopened.begin_use().unwrap();
    assert!(!reopen(&disk).unwrap().state().clean);
    reopened.checkpoint(later).unwrap();
    let state = reopen(&disk).unwrap().state();
    assert!(!state.clean && state.covers == later && state.users == 2, "{state:?}");
}

#[test]
fn what_a_table_says_of_itself_is_synced() {
    let disk = FaultyDisk::default();
    let file = disk.allocate(Path::new("HEADS"), header(64).file_bytes()).unwrap();
    let table = HeadTable::create(file, header(64), &GO_ON).unwrap().unwrap();
    let mut log = Log::default();
    take_in(&table, &log.segment(&[1, 2, 2]));
    let covers = Mark { end: log.end, salt: 5 };
    let syncs = |what: &dyn Fn() -> Result<()>| {
        let count = || disk.trace().iter().filter(|kind| **kind == Kind::SyncData).count();
        let before = count();
        what().unwrap();
        count() - before
    };
    // The entries before it is said that they are there; when it is closed, what is said, too.
    assert_eq!(syncs(&|| table.checkpoint(covers)), 1);
    assert_eq!(syncs(&|| table.close(covers)), 2);
    // Only what is clean must not stay so.
    assert_eq!([1, 0].map(|_| syncs(&|| table.begin_use())), [1, 0]);
}

#[test]
fn damage_is_told_from_an_entry_that_is_being_written() {
    let (log, words, disk) = closed_table();
    for word in (LINES_AT..words.len()).step_by(4) {
        words.store(word, !words.load(word));
    }
    let table = reopen(&disk).unwrap();
    table.writing(|| {
        assert_eq!(table.look_up(fingerprint(5)), Look::Unknown);
        assert!(!table.is_damaged());
    });
    assert_eq!(table.look_up(fingerprint(5)), Look::Unknown);
    assert!(table.is_damaged() && log.heads.contains_key(&5));
}

#[test]
fn a_table_of_another_length_is_refused() {
    let (_log, words, disk) = closed_table();
    let (path, head) = (Path::new("HEADS"), LINES_AT * 8);
    let whole = disk.read(path, u64::MAX).unwrap();
    assert_eq!(whole.len(), words.len() * 8);
    for length in [0, 8, head - 8, head, head + 8, whole.len() - 8, whole.len() + 8] {
        let mut bytes = whole.clone();
        bytes.resize(length, 0);
        disk.write_synced(path, &bytes, Mode::Shared).unwrap();
        let error = reopen(&disk).unwrap_err().to_string();
        let told = if length < head { "cut short" } else { "contradicts its header" };
        assert!(error.contains(told), "{length}: {error}");
    }
}

/// A table of three segments, closed, on its disk.
fn closed_table() -> (Log, SharedWords, MemoryDisk) {
    let mut log = Log::default();
    let (table, words, disk) = table(64);
    for users in [0..60_usize, 30..80, 70..90] {
        take_in(&table, &log.segment(&users.collect::<Vec<_>>()));
    }
    table.checkpoint(Mark { end: log.end, salt: 5 }).unwrap();
    (log, words, disk)
}

#[test]
fn every_flipped_bit_of_a_table_is_harmless_or_seen() {
    let (log, words, disk) = closed_table();
    let mut unknown = 0_usize;
    for bit in 0..words.len() * 64 {
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        words.store(word, words.load(word) ^ mask);
        match reopen(&disk) {
            Err(error) => assert!(word < LINES_AT, "bit {bit}: {error}"),
            Ok(table) => {
                let state = table.state();
                assert!(
                    state.covers.end == log.end || word < LINES_AT && state.covers.end < log.end,
                    "bit {bit}"
                );
                if word >= LINES_AT {
                    // The line that was hit, and its neighbours.
                    for user in 0..100 {
                        match table.look_up(fingerprint(user)) {
                            Look::Known(head) => assert_eq!(head, log.heads.get(&user).copied(), "bit {bit}"),
                            Look::Unknown => {
                                assert!(table.is_damaged(), "bit {bit}");
                                unknown += 1;
                            }
                        }
                    }
                    assert_eq!(
                        table_copy(&table).err(),
                        Some(Refusal::Damaged),
                        "bit {bit}: a copy looks at every entry"
                    );
                }
            }
        }
        words.store(word, words.load(word) ^ mask);
    }
    assert!(unknown > 10_000, "users were looked up in places that were hit: {unknown}");
}

fn table_copy(from: &HeadTable) -> Result<HeadTable, Refusal> {
    let (copy, _, _) = table(64);
    copy.fold_table(from, &GO_ON).map(|()| copy)
}

#[test]
fn pages_that_read_as_zeros_or_lie_in_another_place_are_seen() {
    let (log, words, disk) = closed_table();
    let whole: Vec<u64> = (0..words.len()).map(|index| words.load(index)).collect();
    // Sectors, as a torn write has them.
    for sector in (LINES_AT..words.len()).step_by(64) {
        for from in [None, Some(LINES_AT + (sector + 64 - LINES_AT) % (words.len() - LINES_AT))] {
            for word in 0..64 {
                words.store(sector + word, from.map_or(0, |from| whole[from + word]));
            }
            let table = reopen(&disk).unwrap();
            for user in 0..100 {
                if let Look::Known(head) = table.look_up(fingerprint(user)) {
                    assert_eq!(head, log.heads.get(&user).copied(), "sector {sector}");
                }
            }
            assert_eq!(table_copy(&table).err(), Some(Refusal::Damaged));
        }
        for word in 0..64 {
            words.store(sector + word, whole[sector + word]);
        }
    }
    says_what_is_true(&reopen(&disk).unwrap(), &log, 100);
}

#[test]
fn a_reader_beside_the_one_who_takes_in_finds_every_user_that_was_there() {
    let mut log = Log::default();
    let (table, _, _disk) = table(2560);
    let table = Arc::new(table);
    let old: Vec<usize> = (0..1000).collect();
    take_in(&table, &log.segment(&old));
    let run = log.segment(&(1000..3000).collect::<Vec<_>>());
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (table, stop, heads) = (Arc::clone(&table), Arc::clone(&stop), log.heads.clone());
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for user in 0..1000 {
                    match table.look_up(fingerprint(user)) {
                        Look::Known(head) => assert_eq!(head, heads.get(&user).copied()),
                        // An entry on the way was being written.
                        Look::Unknown => {}
                    }
                }
            }
        })
    };
    for _ in 0..20 {
        table.fold(&run, &GO_ON).unwrap().unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    reader.join().unwrap();
    assert!(!table.is_damaged(), "an entry that is being written is not damage");
    table.set_covers(run.end());
    says_what_is_true(&table, &log, 3100);
}
