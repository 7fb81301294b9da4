//! Runs, written by the builder and read back through the in-memory disk, against the list.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::format::run::Dictionaries;
use crate::index::UserHead;
use crate::index::builder::{RunBuilder, RunScope, UserPostings};
use crate::index::run::Run;
use crate::io::memory::MemoryDisk;
use crate::io::{Access, Disk, Mode};

pub(super) fn before(user: usize) -> u64 {
    user as u64 * 70_000
}

pub(super) fn dictionaries() -> Dictionaries {
    Dictionaries {
        actions: vec!["own.one".to_owned(), "own.zwei.\u{e4}".to_owned()],
        services: vec!["billing".to_owned()],
    }
}

/// The run of a list. None of its users may be missing.
pub(super) fn build(list: &List) -> Vec<u8> {
    let users: BTreeSet<usize> = list.0.iter().filter_map(|(owner, _)| *owner).collect();
    let mut users: Vec<usize> = users.into_iter().collect();
    users.sort_unstable_by_key(|user| fingerprint(*user));
    let scope = RunScope {
        store_id: [3; 16],
        shard: 7,
        base: BASE,
        records: list.0.len() as u64,
        salt: 99,
        time_base: 5_000,
        level: 0,
    };
    let mut builder = RunBuilder::new(scope, users.len());
    for user in users {
        let listed = list.of(user, usize::MAX);
        let postings: Vec<Posting> =
            listed.iter().map(|listed| posting(listed.ordinal as usize, &listed.entry)).collect();
        let times: Vec<_> = listed.iter().map(|listed| TimeRange::at(listed.entry.at)).collect();
        let user_postings =
            UserPostings { user: fingerprint(user), count_before: before(user), postings: &postings };
        builder.push(user_postings, times).unwrap();
    }
    builder.finish(&dictionaries()).unwrap()
}

pub(super) fn open(bytes: &[u8]) -> Result<Run> {
    let path = Path::new("some.run");
    let disk = MemoryDisk::default();
    disk.write_synced(path, bytes, Mode::Shared)?;
    let file = disk.open(path, Access::Read)?;
    Run::open(path, file.map(0, file.len(), Access::Read)?)
}

/// A run's block is decided by its times, unless a bound lies between them.
fn asked_at_most(list: &[Listed], wanted: &Wanted) -> usize {
    let edges = list.chunks(128).filter(|block| {
        let all = |test: &dyn Fn(i64) -> bool| block.iter().all(|listed| test(listed.entry.at));
        let before = all(&|at| wanted.since.is_some_and(|since| at < since));
        let behind = all(&|at| wanted.until.is_some_and(|until| at >= until));
        let inside = block.iter().all(|listed| wanted.in_time(&listed.entry));
        !before && !behind && !inside
    });
    edges.map(<[Listed]>::len).sum()
}

fn check_user(
    run: &Run,
    list: &List,
    user: usize,
    questions: &[((u8, u8), Direction, Wanted, usize)],
) -> Result<(), TestCaseError> {
    let expected = list.of(user, usize::MAX);
    let found = run.user(fingerprint(user)).unwrap();
    prop_assert_eq!(found.is_some(), !expected.is_empty());
    let Some((found, newest)) = found.zip(expected.last()) else { return Ok(()) };
    prop_assert_eq!(found.count() as usize, expected.len());
    prop_assert_eq!(found.count_before(), before(user));
    let head = UserHead {
        count: before(user) + expected.len() as u64,
        last_sequence: BASE + u64::from(newest.ordinal),
    };
    prop_assert_eq!(found.head(), head);
    for (part, direction, wanted, limit) in questions {
        let range = range_of(expected.len(), *part, *direction);
        let selection = wanted.selection();
        let all = gather(usize::MAX, |sink| found.walk(range, &selection, sink)).unwrap();
        let asked = compare(&all, &expected, before(user), range, wanted)?;
        prop_assert!(asked <= asked_at_most(&expected, wanted), "{} asked for their time", asked);
        let some = gather(*limit, |sink| found.walk(range, &selection, sink)).unwrap();
        prop_assert_eq!(&some[..], &all[..all.len().min(*limit)], "a walk ends when it is told to");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_answers_as_the_list(
        list in lists(40, 1..900).prop_filter("somebody's", |list| list.0.iter().any(|(owner, _)| owner.is_some())),
        questions in vec((any::<(u8, u8)>(), direction(), wanted(), 1_usize..40), 1..5),
    ) {
        let bytes = build(&list);
        let run = open(&bytes).unwrap();
        run.verify().unwrap();
        prop_assert_eq!(run.dictionaries(), &dictionaries());
        prop_assert_eq!((run.header().base, run.header().records), (BASE, list.0.len() as u64));
        prop_assert_eq!(run.file_bytes(), bytes.len() as u64);
        for user in 0..42 {
            check_user(&run, &list, user, &questions)?;
        }
    }
}

/// Thousands of postings of one user between thousands of users with one each; and thousands who are not there, among
/// whom the filter lets some pass to the directory.
#[test]
fn a_large_run() {
    const USERS: usize = 5_000;
    let entry = |n: usize| Entry {
        level: u8::try_from(n % 4).unwrap(),
        category: u8::try_from(n % 7).unwrap(),
        status: u8::try_from(n % 3).unwrap(),
        action: u16::try_from(n % 40 + 1).unwrap(),
        service: u16::try_from(n % 5).unwrap(),
        at: i64::try_from(n).unwrap() * 1_000,
    };
    let list = (0..2 * USERS).map(|n| (Some(if n % 2 == 0 { 0 } else { 1 + n / 2 }), entry(n))).collect();
    let list = List(list);
    let run = open(&build(&list)).unwrap();
    let bounds = Wanted { since: Some(3_333_000), until: Some(7_777_000), ..Wanted::default() };
    let rare = Wanted { actions: Some(vec![17]), statuses: vec![1], ..Wanted::default() };
    let questions: Vec<_> = [Direction::NewestFirst, Direction::OldestFirst]
        .into_iter()
        .flat_map(|way| {
            [Wanted::default(), bounds.clone(), rare.clone()].map(|wanted| ((20, 250), way, wanted, 101))
        })
        .collect();
    check_user(&run, &list, 0, &questions).unwrap();
    for user in 1..=USERS {
        let found = run.user(fingerprint(user)).unwrap().unwrap();
        assert_eq!((found.count(), found.count_before()), (1, before(user)), "user {user}");
    }
    for stranger in USERS + 1..10 * USERS {
        assert!(run.user(fingerprint(stranger)).unwrap().is_none(), "user {stranger}");
    }
}

#[test]
fn a_users_postings_are_read_and_no_others() {
    let entry = |at| Entry { level: 0, category: 0, status: 0, action: 1, service: 0, at };
    let list =
        List((0..9_216).map(|n| (Some(n % 3), entry(i64::try_from(n * 7_919 % 9_216).unwrap()))).collect());
    let mut bytes = build(&list);
    let postings = open(&bytes).unwrap().header().postings;
    let end = usize::try_from(postings.offset + postings.bytes).unwrap();
    // Not the last page, in which dictionaries begin, too.
    bytes[end - 5_000] ^= 1;
    let run = open(&bytes).unwrap();
    let mut users = [0, 1, 2];
    users.sort_unstable_by_key(|user| fingerprint(*user));
    for (place, user) in users.into_iter().enumerate() {
        let found = run.user(fingerprint(user)).unwrap().unwrap();
        let range = Range { from: 0, to: found.count(), direction: Direction::OldestFirst };
        let all = gather(usize::MAX, |sink| found.walk(range, &Selection::ALL, sink));
        // The last one's are damaged.
        assert_eq!(
            all.map_err(|error| error.kind()).map(|all| all.len()),
            [Ok(3_072), Ok(3_072), Err(ErrorKind::Corruption)][place]
        );
    }
}
