//! Merged runs against the list that their inputs were made of; and what comes of inputs that don't fit each other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run::{before, open};
use super::*;
use crate::format::posting::ACTION_CODE_OWN_FIRST;
use crate::format::run::{Dictionaries, RUN_RECORDS_MAX};
use crate::index::UserHead;
use crate::index::builder::{RunBuilder, RunScope, UserPostings};
use crate::index::merge::Merge;
use crate::index::run::{BLOCKS_READ, Run};
use crate::io::memory::MemoryDisk;
use crate::io::mmap::{SegmentMap, SharedWords};
use crate::io::{Access, Disk, DiskFile};

/// In the lists, services 1 to 3 are these, and this action is one of the application's own.
const SERVICES: [&str; 3] = ["s1", "s2", "s3"];
const OWN_ACTION: u16 = 4;

fn scope(base: u64, records: u64, level: u32) -> RunScope {
    RunScope { store_id: [3; 16], shard: 7, base, records, salt: 99, time_base: 5_000, level }
}

/// The names of a part: each part has them in another order.
fn names(part: usize) -> Dictionaries {
    let mut services = SERVICES.map(str::to_owned).to_vec();
    services.rotate_left(part % 3);
    let mut actions = vec!["own.four".to_owned(), "own.other".to_owned()];
    actions.rotate_left(part % 2);
    Dictionaries { actions, services }
}

/// The code of a service or an action of the lists in a run with these names.
fn code(dictionaries: &Dictionaries, service: u16, action: u16) -> (u16, u16) {
    let place = |names: &[String], name: &str| names.iter().position(|other| other == name);
    let service = match SERVICES.get(usize::from(service).wrapping_sub(1)) {
        Some(name) => place(&dictionaries.services, name).map_or(1000, |n| u16::try_from(n).unwrap() + 1),
        None => service,
    };
    let action = match action {
        OWN_ACTION => place(&dictionaries.actions, "own.four")
            .map_or(1000, |n| u16::try_from(n).unwrap() + ACTION_CODE_OWN_FIRST),
        other => other,
    };
    (service, action)
}

/// The run of `part` of a list; none if it holds nobody's events alone.
fn part_of(list: &List, number: usize, part: std::ops::Range<usize>) -> Option<Run> {
    let users: BTreeSet<usize> = list.0[part.clone()].iter().filter_map(|(owner, _)| *owner).collect();
    let mut users: Vec<usize> = users.into_iter().collect();
    if users.is_empty() {
        return None;
    }
    users.sort_unstable_by_key(|user| fingerprint(*user));
    let dictionaries = names(number);
    let mut builder = RunBuilder::new(scope(BASE + part.start as u64, part.len() as u64, 0), users.len());
    for user in users {
        let mut listed = list.of(user, part.end);
        let earlier = listed.iter().filter(|listed| (listed.ordinal as usize) < part.start).count();
        listed.drain(..earlier);
        let postings: Vec<Posting> = listed
            .iter()
            .map(|Listed { ordinal, entry }| {
                let (service, action) = code(&dictionaries, entry.service, entry.action);
                posting(*ordinal as usize - part.start, &Entry { action, service, ..*entry })
            })
            .collect();
        let times: Vec<_> = listed.iter().map(|listed| TimeRange::at(listed.entry.at)).collect();
        let count_before = before(user) + earlier as u64;
        let postings = &postings[..];
        builder.push(UserPostings { user: fingerprint(user), count_before, postings }, times).unwrap();
    }
    Some(open(&builder.finish(&dictionaries).unwrap()).unwrap())
}

fn merge(runs: &[&Run]) -> Result<Run> {
    let (first, last) = (runs[0].header(), runs[runs.len() - 1].header());
    let level = 1 + runs.iter().map(|run| run.header().level).max().unwrap();
    let scope = scope(first.base, last.base + last.records - first.base, level);
    let path = Path::new("some.run");
    let disk = MemoryDisk::default();
    let mut told = 0;
    let merge = Merge::plan(runs, scope, &mut |_| Ok(()))?;
    let file = merge.write(|bytes| disk.allocate(path, bytes), &mut |written| {
        told += written;
        Ok(())
    })?;
    let run = Run::open(path, file.map(0, file.len(), Access::Read)?)?;
    run.verify()?;
    assert_eq!(run.totals()?, merge.totals());
    assert_eq!(told, run.file_bytes(), "all of it is told to whoever paces the work");
    Ok(run)
}

/// The question in the codes of a run.
fn selection(wanted: &Wanted, run: &Run) -> Selection {
    let names = run.dictionaries();
    let services = wanted.services.as_ref();
    let actions = wanted.actions.as_ref();
    Selection {
        services: services.map(|codes| codes.iter().map(|service| code(names, *service, 0).0).collect()),
        actions: actions.map(|codes| codes.iter().map(|action| code(names, 0, *action).1).collect()),
        ..wanted.selection()
    }
}

type Question = ((u8, u8), Direction, Wanted, usize);

fn check(run: &Run, list: &List, user: usize, questions: &[Question]) -> Result<(), TestCaseError> {
    let expected = list.of(user, usize::MAX);
    let found = run.user(fingerprint(user)).unwrap();
    prop_assert_eq!(found.is_some(), !expected.is_empty());
    let Some((found, newest)) = found.zip(expected.last()) else { return Ok(()) };
    let count = before(user) + expected.len() as u64;
    let last_sequence = BASE + u64::from(newest.ordinal);
    prop_assert_eq!(found.head(), UserHead { count, last_sequence });
    prop_assert_eq!(found.count_before(), before(user));
    for (part, direction, wanted, limit) in questions {
        let range = range_of(expected.len(), *part, *direction);
        let selection = selection(wanted, run);
        let all = gather(usize::MAX, |sink| found.walk(range, &selection, sink)).unwrap();
        compare(&all, &expected, before(user), range, wanted)?;
        let some = gather(*limit, |sink| found.walk(range, &selection, sink)).unwrap();
        prop_assert_eq!(&some[..], &all[..all.len().min(*limit)], "a walk ends when it is told to");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_merged_run_answers_as_the_list(
        list in lists(40, 50..1500),
        cuts in vec(any::<u8>(), 1..7),
        questions in vec((any::<(u8, u8)>(), direction(), wanted(), 1_usize..40), 1..5),
    ) {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| list.0.len() * usize::from(*cut) / 256).collect();
        ends.extend([0, list.0.len()]);
        ends.sort_unstable();
        ends.dedup();
        let parts = ends.windows(2).enumerate();
        let runs: Vec<Run> = parts.filter_map(|(n, part)| part_of(&list, n, part[0]..part[1])).collect();
        let runs: Vec<&Run> = runs.iter().collect();
        prop_assume!(runs.len() > 1);
        // What is left out is at the edges, and nobody's.
        let whole = |run: &Run| {
            let header = run.header();
            (header.base, header.base + header.records)
        };
        let begin = usize::try_from(whole(runs[0]).0 - BASE).unwrap();
        prop_assume!(begin == 0);
        let once = merge(&runs).unwrap();
        let (oldest, rest) = runs.split_at(runs.len() / 2 + 1);
        let older = merge(oldest).unwrap();
        let twice = merge(&[&[&older], rest].concat()).unwrap();
        prop_assert_eq!((once.header().level, twice.header().level), (1, 2));
        for user in 0..42 {
            check(&once, &list, user, &questions)?;
            check(&twice, &list, user, &questions)?;
        }
    }
}

/// How many names each part has in the test of a full dictionary.
const EACH: usize = 2_500;

fn plain(at: usize) -> Entry {
    let at = i64::try_from(at).unwrap() * 1_000;
    Entry { level: 0, category: 0, status: 0, action: 1, service: 0, at }
}

/// Blocks are joined, never cut: a time that lies in one block's range lies in no other's, also after two merges.
#[test]
fn the_times_of_blocks_stay_exact() {
    let list = List((0..4_000).map(|n| (Some(n % 3), plain(n))).collect());
    let runs: Vec<Run> = (0..16).map(|n| part_of(&list, n, n * 250..(n + 1) * 250).unwrap()).collect();
    let merged: Vec<Run> =
        runs.chunks(4).map(|runs| merge(&runs.iter().collect::<Vec<_>>()).unwrap()).collect();
    let twice = merge(&merged.iter().collect::<Vec<_>>()).unwrap();
    let user = twice.user(fingerprint(0)).unwrap().unwrap();
    let range = Range { from: 0, to: user.count(), direction: Direction::NewestFirst };
    let blocks = user.blocks().unwrap();
    // Every part has 83 or 84 of a user's events: two don't fit one block.
    assert_eq!(blocks.len(), 16);
    let mut latest = i64::MIN;
    for number in 0..blocks.len() {
        let block = blocks.decode(number).unwrap();
        let first = block.postings()[0].ordinal;
        assert_eq!(block.times.min, i64::from(first) * 1_000);
        assert!(block.times.min > latest);
        latest = block.times.max;
    }
    for bound in (0..4_000_000).step_by(9_000) {
        let wanted = Wanted { since: Some(bound), ..Wanted::default() };
        let found = gather(usize::MAX, |sink| user.walk(range, &wanted.selection(), sink)).unwrap();
        let asked = found.iter().filter(|candidate| candidate.ask).count();
        assert!(asked <= 128, "{asked} records asked for the bound {bound}");
    }
}

/// Who has exactly as many as fit a block has no table of blocks before them, and is merged on as such.
#[test]
fn a_block_that_is_just_full_has_no_table() {
    let list = List((0..400).map(|n| (Some(n % 2), plain(n))).collect());
    let part = |number: usize, part| part_of(&list, number, part).unwrap();
    let once = merge(&[&part(0, 0..128), &part(1, 128..256)]).unwrap();
    for user in [0, 1] {
        let found = once.user(fingerprint(user)).unwrap().unwrap();
        assert_eq!((found.count(), found.blocks().unwrap().len()), (128, 1));
    }
    let twice = merge(&[&once, &part(2, 256..400)]).unwrap();
    let questions = [Direction::NewestFirst, Direction::OldestFirst]
        .map(|direction| ((0, 255), direction, Wanted::default(), 100));
    for user in [0, 1] {
        assert_eq!(twice.user(fingerprint(user)).unwrap().unwrap().blocks().unwrap().len(), 2);
        check(&twice, &list, user, &questions).unwrap();
    }
}

#[test]
fn a_walk_ends_with_the_block_that_holds_its_last_posting() {
    for count in [127, 128, 129, 256, 300] {
        let list = List((0..count).map(|n| (Some(0), plain(n))).collect());
        let part = part_of(&list, 0, 0..count).unwrap();
        let merged = merge(&[&part]).unwrap();
        for run in [&part, &merged] {
            let found = run.user(fingerprint(0)).unwrap().unwrap();
            for to in 1..=count {
                let to = u32::try_from(to).unwrap();
                let range = Range { from: 0, to, direction: Direction::OldestFirst };
                let before = BLOCKS_READ.get();
                let all = gather(usize::MAX, |sink| found.walk(range, &Selection::ALL, sink)).unwrap();
                let read = BLOCKS_READ.get() - before;
                assert_eq!((all.len(), read), (to as usize, to.div_ceil(128) as usize), "{to} of {count}");
            }
        }
    }
}

/// When the united dictionary is full, further names get the code for which the record is asked: an event of theirs is
/// offered to whoever looks for that name, and to nobody as if it had another.
#[test]
fn a_dictionary_that_overflows_makes_records_be_asked() {
    let service = |n: usize| format!("service-{n:05}");
    let part = |number: usize| {
        let mut builder = RunBuilder::new(scope(BASE + (number * EACH) as u64, EACH as u64, 0), 1);
        let postings: Vec<Posting> = (0..EACH)
            .map(|n| posting(n, &Entry { service: u16::try_from(n + 1).unwrap(), ..plain(n) }))
            .collect();
        let times = vec![TimeRange::at(0); EACH];
        let count_before = (number * EACH) as u64;
        let user = fingerprint(0);
        builder.push(UserPostings { user, count_before, postings: &postings }, times).unwrap();
        let services = (0..EACH).map(|n| service(number * EACH + n)).collect();
        open(&builder.finish(&Dictionaries { actions: Vec::new(), services }).unwrap()).unwrap()
    };
    let merged = merge(&[&part(0), &part(1)]).unwrap();
    let names = &merged.dictionaries().services;
    assert_eq!(names.len(), 4_094, "as many as there are codes");
    let user = merged.user(fingerprint(0)).unwrap().unwrap();
    let range = Range { from: 0, to: user.count(), direction: Direction::OldestFirst };
    for wanted in [0, 17, 4_093, 4_094, 4_999] {
        let place = names.iter().position(|name| *name == service(wanted));
        assert_eq!(place.is_some(), wanted < 4_094);
        let codes = place.map(|place| u16::try_from(place + 1).unwrap()).into_iter().collect();
        let selection = Selection { services: Some(codes), ..Selection::ALL };
        let found = gather(usize::MAX, |sink| user.walk(range, &selection, sink)).unwrap();
        let sure: Vec<u64> =
            found.iter().filter(|found| !found.ask).map(|found| found.user_sequence).collect();
        let asked: Vec<u64> =
            found.iter().filter(|found| found.ask).map(|found| found.user_sequence).collect();
        assert_eq!(sure, place.map(|_| wanted as u64).into_iter().collect::<Vec<_>>());
        assert_eq!(asked, (4_094..5_000).collect::<Vec<_>>());
    }
}

#[test]
fn runs_that_contradict_each_other_are_not_merged() {
    let list = List((0..400).map(|n| (Some(n % 3), plain(n))).collect());
    let run = |part| part_of(&list, 0, part).unwrap();
    let refused = |runs: &[&Run]| merge(runs).unwrap_err().kind();
    let (a, b, c) = (run(0..100), run(100..200), run(200..300));
    assert!(merge(&[&a, &b, &c]).is_ok());
    assert_eq!(refused(&[&a, &c]), ErrorKind::Corruption, "a run between them is missing");
    assert_eq!(refused(&[&a, &a]), ErrorKind::Corruption);
    assert_eq!(refused(&[&b, &a]), ErrorKind::Corruption);
    let scope = scope(BASE, RUN_RECORDS_MAX + 1, 1);
    let error = Merge::plan(&[&a, &b], scope, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

#[test]
fn a_merge_ends_when_it_is_told_to() {
    let list = List((0..400).map(|n| (Some(n), plain(n))).collect());
    let (a, b) = (part_of(&list, 0, 0..200).unwrap(), part_of(&list, 1, 200..400).unwrap());
    let scope = scope(BASE, 400, 1);
    let stop = |_| Err(Error::new(ErrorKind::Closed, "stop"));
    let runs = [&a, &b];
    assert_eq!(Merge::plan(&runs, scope, &mut { stop }).unwrap_err().kind(), ErrorKind::Closed);
    let merge = Merge::plan(&runs, scope, &mut |_| Ok(())).unwrap();
    let disk = Arc::new(MemoryDisk::default());
    let written = merge.write(|bytes| disk.allocate(Path::new("some.run"), bytes), &mut { stop });
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Closed);
}

/// A file in memory that counts its writes and its syncs.
#[derive(Debug)]
struct Counted {
    file: Arc<dyn DiskFile>,
    writes: Arc<AtomicUsize>,
    syncs: Arc<AtomicUsize>,
}

impl DiskFile for Counted {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(offset, buffer)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.file.write_all_at(offset, bytes)
    }

    fn sync_data(&self) -> Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn map(&self, start: u64, published: u64, access: Access) -> Result<Arc<SegmentMap>> {
        self.file.map(start, published, access)
    }

    fn map_words(&self, access: Access) -> Result<SharedWords> {
        self.file.map_words(access)
    }

    fn set_read_only(&self) -> Result<()> {
        self.file.set_read_only()
    }
}

/// Merges runs that hold these users' postings one after the other: the merged one's length, how often was written and
/// synced, and what was told each time.
fn merge_of_many(users: usize, each: usize) -> (u64, usize, usize, Vec<u64>) {
    let mut fingerprints: Vec<Fingerprint> = (0..users).map(fingerprint).collect();
    fingerprints.sort_unstable();
    let records = (users * each) as u64;
    let mut builder = RunBuilder::new(scope(BASE, records, 0), users);
    let times = vec![TimeRange::at(6_000); each];
    for (place, user) in fingerprints.iter().enumerate() {
        let tags = Tags::new(1, 1, 1, 1, 0);
        let ordinal = |n: usize| u32::try_from(place * each + n).unwrap();
        let postings: Vec<Posting> = (0..each).map(|n| Posting { ordinal: ordinal(n), tags }).collect();
        let (user, postings) = (*user, &postings[..]);
        builder.push(UserPostings { user, count_before: 0, postings }, times.iter().copied()).unwrap();
    }
    let run = open(&builder.finish(&names(0)).unwrap()).unwrap();
    let disk = MemoryDisk::default();
    let runs = [&run];
    let merge = Merge::plan(&runs, scope(BASE, records, 1), &mut |_| Ok(())).unwrap();
    let mut told = Vec::new();
    let (writes, syncs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let make = |bytes| {
        let file = disk.allocate(Path::new("some.run"), bytes)?;
        Ok(Arc::new(Counted { file, writes: Arc::clone(&writes), syncs: Arc::clone(&syncs) })
            as Arc<dyn DiskFile>)
    };
    let file = merge
        .write(make, &mut |written| {
            told.push(written);
            Ok(())
        })
        .unwrap();
    (file.len(), writes.load(Ordering::Relaxed), syncs.load(Ordering::Relaxed), told)
}

#[test]
fn a_large_merge_is_told_and_synced_in_pieces() {
    // One sync at the end for what is small; one more after eight megabytes.
    let (bytes, writes, syncs, told) = merge_of_many(40_000, 1);
    assert_eq!((told.iter().sum::<u64>(), syncs), (bytes, 1));
    assert!(writes < 50 && told.len() < 100, "{writes} writes, told {} times", told.len());
    let (bytes, writes, syncs, told) = merge_of_many(30, 62_500);
    assert_eq!((told.iter().sum::<u64>(), syncs), (bytes, 2));
    assert!(bytes > 9 << 20 && writes < 100, "{bytes} bytes, {writes} writes");
    let largest = told.iter().max().copied().unwrap_or_default();
    assert!(largest < 1 << 20, "{largest} bytes were told at once");
}
