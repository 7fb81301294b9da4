//! A filter that matches rarely: blocks that can't match are not looked into, wherever the postings lie.

use std::path::Path;

use super::run::open;
use super::*;
use crate::format::run::Dictionaries;
use crate::index::builder::{RunBuilder, RunScope, UserPostings};
use crate::index::merge::Merge;
use crate::index::run::{BLOCKS_READ, Run};
use crate::index::tail::TailIndex;
use crate::io::memory::MemoryDisk;
use crate::io::{Access, Disk};

const EVENTS: usize = 100_000;
/// Where the rare events are.
const RARE: [usize; 4] = [17, 40_000, 40_001, 99_990];

fn event(n: usize) -> Entry {
    let at = i64::try_from(n).unwrap() * 1_000_000;
    let action = u16::try_from(n % 12 + 1).unwrap();
    let common = Entry { level: 0, category: 0, status: 0, action, service: 1, at };
    if RARE.contains(&n) {
        Entry { level: 3, category: 5, status: 2, action: 30, service: 7, ..common }
    } else {
        common
    }
}

fn rare() -> [Wanted; 6] {
    let any = Wanted::default;
    let (since, until) = (Some(39_999_500_000), Some(40_001_500_000));
    [
        Wanted { levels: vec![3], ..any() },
        Wanted { categories: vec![5], ..any() },
        Wanted { statuses: vec![2], ..any() },
        Wanted { levels: vec![0], since, until, ..any() },
        Wanted { actions: Some(vec![30]), ..any() },
        Wanted { services: Some(vec![7]), ..any() },
    ]
}

/// How many blocks a walk has looked into, and how many postings it has found.
fn cost(
    walk: impl FnOnce(&mut dyn FnMut(Candidate) -> Result<ControlFlow<()>>) -> Result<ControlFlow<()>>,
) -> (usize, usize) {
    let before = BLOCKS_READ.get();
    let found = gather(usize::MAX, walk).unwrap().len();
    (BLOCKS_READ.get() - before, found)
}

fn run_of(part: std::ops::Range<usize>) -> Run {
    let (base, records) = (BASE + part.start as u64, part.len() as u64);
    let scope = RunScope { store_id: [0; 16], shard: 0, base, records, salt: 0, time_base: 0, level: 0 };
    let mut builder = RunBuilder::new(scope, 1);
    let postings: Vec<Posting> = part.clone().map(|n| posting(n - part.start, &event(n))).collect();
    let times: Vec<_> = part.clone().map(|n| TimeRange::at(event(n).at)).collect();
    let count_before = part.start as u64;
    let user = UserPostings { user: fingerprint(0), count_before, postings: &postings };
    builder.push(user, times).unwrap();
    let services = (1..=7).map(|n| format!("service {n}")).collect();
    open(&builder.finish(&Dictionaries { actions: Vec::new(), services }).unwrap()).unwrap()
}

fn check(run: &Run, wanted: &[Wanted]) {
    let user = run.user(fingerprint(0)).unwrap().unwrap();
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        let range = Range { from: 0, to: user.count(), direction };
        for wanted in wanted {
            let (read, found) = cost(|sink| user.walk(range, &wanted.selection(), sink));
            assert!(found >= 2, "{wanted:?}");
            assert!(read <= RARE.len(), "{read} blocks read for {wanted:?}");
        }
        let (read, found) = cost(|sink| user.walk(range, &Selection::ALL, sink));
        assert_eq!(found, EVENTS);
        assert!(read >= EVENTS / BLOCK_POSTINGS, "all blocks are read for everything");
    }
}

const BLOCK_POSTINGS: usize = crate::format::posting::BLOCK_POSTINGS_MAX;

#[test]
fn a_run_is_read_where_it_can_match() {
    // The table of one segment's run knows nothing of names.
    check(&run_of(0..EVENTS), &rare()[..4]);
}

#[test]
fn a_merged_run_is_read_where_it_can_match() {
    let parts: Vec<Run> = (0..4).map(|n| run_of(n * EVENTS / 4..(n + 1) * EVENTS / 4)).collect();
    let parts: Vec<&Run> = parts.iter().collect();
    let scope = RunScope {
        store_id: [0; 16],
        shard: 0,
        base: BASE,
        records: EVENTS as u64,
        salt: 0,
        time_base: 0,
        level: 1,
    };
    let merge = Merge::plan(&parts, scope, &mut |_| Ok(())).unwrap();
    let (disk, path) = (MemoryDisk::default(), Path::new("some.run"));
    let file = merge.write(|bytes| disk.allocate(path, bytes), &mut |_| Ok(())).unwrap();
    check(&Run::open(path, file.map(0, file.len(), Access::Read).unwrap()).unwrap(), &rare());
}

#[test]
fn a_tail_is_read_where_it_can_match() {
    let tail = TailIndex::new(BASE, EVENTS);
    for n in 0..EVENTS {
        let (event, user) = (event(n), fingerprint(0));
        let stored = match tail.slot(user) {
            Some(slot) => tail.push(slot, posting(n, &event), event.at),
            None => tail.insert(user, 0, posting(n, &event), event.at),
        };
        assert!(stored);
    }
    let user = tail.user(fingerprint(0), EVENTS as u64).unwrap();
    let range = Range { from: 0, to: user.count(), direction: Direction::NewestFirst };
    for wanted in &rare()[..4] {
        let (read, found) = cost(|sink| user.walk(range, &wanted.selection(), sink));
        assert!(found >= 2, "{wanted:?}");
        // The first blocks have no times of their own.
        assert!(read <= RARE.len() + 5, "{read} blocks read for {wanted:?}");
    }
}
