//! What a cold page asks the disk for, seen from outside: the kernel counts each touch of a page that was neither in memory
//! nor on its way there. And that pages from packs are those of the index.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise, statfs};

use super::background::tests::work_off;
use super::open::{Host, WorkersKind, create_new, open};
use super::{Options, PackAfter, Store, UserLogQuery};
use crate::event::{Action, Category, Details, Level, NewEvent, Service, Timestamp, UserId};
use crate::figures::skipped;
use crate::format::cursor::UserLogCursor;
use crate::format::seeded::{Bug, seed};
use crate::index::run::BLOCKS_READ;
use crate::io::faults::unasked_reads;
use crate::io::memory::MemoryDisk;
use crate::io::mmap::WITHHELD;
use crate::io::real::RealDisk;
use crate::query::{Order, Page};
use crate::shard::Job;

/// Few enough that each has more than a page, so many that no two records of one lie in one page of memory.
const USERS: usize = 30;
const EVENTS: usize = 4_500;
/// A look at a page may meet a page of the program's own code that has to be read: then it is looked at again.
const ATTEMPTS: usize = 3;

fn user(number: usize) -> UserId<'static> {
    UserId::new(format!("user-{number}")).unwrap()
}

fn options() -> Options {
    Options::new().shards(1).segment_bytes_max(1 << 20).pack_after(PackAfter::Never)
}

fn host() -> Host {
    Host { workers: WorkersKind::Caller, ..Host::machine(RealDisk::default()) }
}

fn fill(store: &Store, events: usize) {
    for number in 0..events {
        let text = serde_json::json!({ "number": number, "text": "x".repeat(900) });
        let event = NewEvent::builder(Action::AUTH_LOGIN).user(user(number % USERS));
        store.append(&event.details(Details::from_value(&text).unwrap()).build().unwrap()).unwrap();
    }
}

/// A closed store on the machine's disk; `None` where files are in memory alone, or the kernel doesn't count.
fn on_disk(test: &str, packed: bool) -> Option<tempfile::TempDir> {
    // From `linux/magic.h`.
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    let dir = tempfile::tempdir().unwrap();
    if i128::from(statfs(dir.path()).unwrap().f_type) == TMPFS_MAGIC || unasked_reads().is_none() {
        skipped(format!("{test}: files are in memory alone, or the kernel does not count reads of a thread"));
        return None;
    }
    let store = create_new(&options(), &host(), dir.path().join("store")).unwrap();
    fill(&store, EVENTS);
    if packed {
        assert!(store.pack().unwrap().events > 0);
    }
    store.close().unwrap();
    Some(dir)
}

/// Opens the store with nothing of its files in memory.
fn open_cold(dir: &Path) -> Store {
    let dir = dir.join("store");
    for dir in [dir.clone(), dir.join("shard-00")] {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let file = File::open(path).unwrap();
                file.sync_all().unwrap();
                fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            }
        }
    }
    open(&options(), &host(), dir).unwrap()
}

/// How many pages of memory the call touched that were not asked for.
fn unasked<T>(call: impl FnOnce() -> T) -> (u64, T) {
    let before = unasked_reads().unwrap();
    let result = call();
    (unasked_reads().unwrap() - before, result)
}

fn read(page: &Page) -> usize {
    page.iter().inspect(|event| assert!(event.is_ok(), "{event:?}")).count()
}

/// The least of some attempts, each with a cold store.
fn least(dir: &Path, count: impl Fn(&Store) -> u64) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..ATTEMPTS {
        let store = open_cold(dir);
        least = least.min(count(&store));
        store.close().unwrap();
        if least == 0 {
            break;
        }
    }
    least
}

/// All that some users' pages touch without having asked for it.
fn of_pages(store: &Store) -> u64 {
    let view = store.0.core.shards[0].view();
    let over_two_pages = |number: &usize| {
        let key = store.0.core.key.fingerprint(user(*number).as_str().as_bytes()).prefix();
        view.packs.iter().any(|pack| pack.is_over_two_pages(key))
    };
    // First whoever's entries in a pack's directory begin in a page before the newest ones', while it is not in memory.
    let users = [(0..USERS).find(over_two_pages).unwrap_or(7), 3, 17, 29];
    let counted = users.map(|number| {
        let query = store.user_log(&user(number)).limit(100);
        let (unasked, records) = unasked(|| read(&query.page().unwrap()));
        assert_eq!(records, 100);
        unasked
    });
    counted.iter().sum()
}

#[test]
fn a_cold_page_asks_for_all_that_it_touches() {
    for packed in [false, true] {
        let Some(dir) = on_disk("cold_tests::a_cold_page_asks_for_all_that_it_touches", packed) else {
            return;
        };
        assert_eq!(least(dir.path(), of_pages), 0, "packed: {packed}");
        // The same without asking shows that there was something to wait for, and that it is counted.
        WITHHELD.set(true);
        let touched = least(dir.path(), of_pages);
        WITHHELD.set(false);
        assert!(touched >= if packed { 3 } else { 250 }, "packed: {packed}: {touched}");
    }
}

#[test]
fn a_page_that_forgets_to_ask_for_records_is_noticed() {
    let Some(dir) = on_disk("cold_tests::a_page_that_forgets_to_ask_for_records_is_noticed", false) else {
        return;
    };
    seed(Some(Bug::RecordsNotAsked));
    let touched = least(dir.path(), of_pages);
    seed(None);
    assert!(touched > 250, "{touched}");
}

#[test]
fn no_record_is_touched_before_all_are_asked_for() {
    let Some(dir) = on_disk("cold_tests::no_record_is_touched_before_all_are_asked_for", false) else {
        return;
    };
    let store = open_cold(dir.path());
    // What is asked for doesn't come: so whatever was touched before the events are read, is known from what then has to
    // be read no more.
    WITHHELD.set(true);
    let page = store.user_log(&user(11)).limit(100).page().unwrap();
    let (touched, records) = unasked(|| read(&page));
    WITHHELD.set(false);
    assert_eq!(records, 100);
    // Each lies in a page of its own.
    assert!(touched >= 100, "{touched}");
}

#[test]
fn what_look_ups_pass_is_brought_in_after_opening() {
    let Some(dir) = on_disk("cold_tests::what_look_ups_pass_is_brought_in_after_opening", false) else {
        return;
    };
    for bug in [None, Some(Bug::WarmingForgotten)] {
        let touched = least(dir.path(), |store| {
            // In a thread of its own, whose priority is lowered.
            std::thread::scope(|scope| {
                let counting = scope.spawn(|| {
                    seed(bug);
                    let shard = store.0.core.shard_at(0);
                    work_off([Job::Warm, Job::WarmRest].map(|job| (Arc::clone(shard), job)));
                    WITHHELD.set(true);
                    let (unasked, page) = unasked(|| store.user_log(&user(5)).limit(100).page().unwrap());
                    assert_eq!(read(&page), 100);
                    unasked
                });
                counting.join().unwrap()
            })
        });
        assert_eq!(touched > 0, bug.is_some(), "{bug:?}: {touched}");
    }
}

/// All events of a user, by pages of so many, in an order.
fn whole_log(store: &Store, number: usize, order: Order, limit: usize) -> Vec<u64> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut query = store.user_log(&user(number)).limit(limit).order(order);
        if let Some(cursor) = &cursor {
            query = query.cursor(cursor.as_str());
        }
        let page = query.page().unwrap();
        found.extend(page.iter().map(|event| event.unwrap().sequence()));
        cursor = page.next_cursor();
        assert_eq!(page.has_more(), cursor.is_some());
        if cursor.is_none() {
            return found;
        }
    }
}

#[test]
fn pages_from_packs_are_those_of_the_index() {
    let host = Host { workers: WorkersKind::Caller, ..Host::machine(MemoryDisk::default()) };
    let store = create_new(&options(), &host, "memory".into()).unwrap();
    // Someone whose events are all in packs, someone who has none there, and packs of several ages.
    let rare = |number: usize| {
        let event = NewEvent::builder(Action::AUTH_LOGIN).user(user(number)).build().unwrap();
        store.append(&event).unwrap();
    };
    for round in 0..4 {
        rare(1_000 + round);
        fill(&store, 2_500);
        if round < 3 {
            store.maintain().unwrap();
            assert!(store.pack().unwrap().events > 0);
        }
        rare(2_000);
        for number in [0, 7, USERS - 1, 1_000, 1_001, 1_002, 1_003, 2_000, 3_000] {
            let mut expected = whole_log(&store, number, Order::Oldest, 500);
            expected.reverse();
            for limit in [1, 7, 100, 499, 500] {
                let found = whole_log(&store, number, Order::Newest, limit);
                assert_eq!(found, expected, "round {round}, user {number}, limit {limit}");
            }
            let expected_events = match number {
                0..USERS => 2_500 * (round + 1) / USERS,
                1_000..2_000 => usize::from(number - 1_000 <= round),
                2_000 => round + 1,
                _ => 0,
            };
            assert!(expected.len().abs_diff(expected_events) <= round + 1, "{number}: {}", expected.len());
        }
    }
    // No postings are looked at where all is in packs: nor those of runs that reach beyond them.
    store.pack().unwrap();
    let blocks = |number: usize, limit: usize| {
        let before = BLOCKS_READ.get();
        store.user_log(&user(number)).limit(limit).page().unwrap();
        BLOCKS_READ.get() - before
    };
    assert_eq!(blocks(1_001, 100), 0);
    assert!(blocks(7, 300) <= 3, "of what is not packed alone");
}

/// An event of a log of which several packs are made, as the questions of a test see it.
#[derive(Clone, Copy)]
struct Noted {
    user: usize,
    sequence: u64,
    level: Level,
    category: Category,
    second: i64,
}

const LEVELS: [Level; 3] = [Level::Info, Level::Warning, Level::Suspicious];
const CATEGORIES: [Category; 3] = [Category::Auth, Category::Data, Category::System];

/// A log of which so many bytes stay unpacked, and several packs are made as it grows.
fn many_packs(keep: u64) -> (Store, Vec<Noted>) {
    let host = Host { workers: WorkersKind::Caller, ..Host::machine(MemoryDisk::default()) };
    let options = options().pack_after(PackAfter::Bytes(keep));
    let store = create_new(&options, &host, "memory".into()).unwrap();
    let mut log = Vec::new();
    for number in 0..3_000_usize {
        // Some come in the first third alone, one comes in the last alone.
        let user = match number % 50 {
            7 if number < 1_000 => 100 + number % 3,
            8 if number > 2_900 => 200,
            _ => number * number % 11,
        };
        let (level, category) = (LEVELS[number % 3], CATEGORIES[number / 3 % 3]);
        let second = i64::try_from(number * 7 % 2_000).unwrap();
        let text = serde_json::json!({ "number": number, "text": "x".repeat(2_500) });
        let event =
            NewEvent::builder(Action::AUTH_LOGIN).user(self::user(user)).level(level).category(category);
        let event = event.occurred_at(Timestamp::from_micros(second * 1_000_000));
        let event = event.service(Service::new(["web", "app", "sync"][number % 3]).unwrap());
        let event = event.details(Details::from_value(&text).unwrap()).build().unwrap();
        let sequence = store.append(&event).unwrap().sequence.get();
        log.push(Noted { user, sequence, level, category, second });
    }
    (store, log)
}

/// In how many blocks of packs the page's events lie.
fn blocks_of(page: &Page) -> usize {
    let packed = page.places.iter().filter(|place| place.is_packed());
    packed.map(|place| place.segment).collect::<std::collections::BTreeSet<_>>().len()
}

/// The sequences that a page shows; what it says of itself is so.
fn shown(page: &Page, order: Order, limit: usize) -> Vec<u64> {
    let mut found = Vec::new();
    let mut events = page.iter();
    for left in (0..page.len()).rev() {
        found.push(events.next().unwrap().unwrap().sequence());
        assert_eq!(events.len(), left);
    }
    assert!(events.next().is_none());
    assert_eq!((page.is_empty(), page.limit()), (found.is_empty(), limit));
    if let Some(token) = page.end_cursor() {
        let position = UserLogCursor::decode(&token, &page.key).unwrap();
        assert_eq!((Some(&position.sequence), position.oldest_first), (found.last(), order == Order::Oldest));
    }
    found
}

#[test]
fn pages_over_several_packs_are_those_of_a_list() {
    // With packs alone, and with segments beside them that a run covers together with packed ones.
    for keep in [0, 2 << 20] {
        let (store, log) = many_packs(keep);
        pages_are_those_of(&store, &log, usize::from(keep > 0));
    }
}

/// Asks for pages, and counts the blocks of postings that are read for somebody who has none but in packs.
fn pages_are_those_of(store: &Store, log: &[Noted], blocks_max: usize) {
    type Question = (fn(UserLogQuery<'_>) -> UserLogQuery<'_>, fn(&Noted) -> bool);
    let view = store.0.core.shards[0].view();
    let segments: Vec<_> = view.packs.iter().map(|pack| pack.parts().len()).collect();
    assert!(segments.len() > 1 && segments[0] > 1, "{segments:?}");
    let questions: [Question; 4] = [
        (|query| query, |_| true),
        (|query| query.level(Level::Suspicious), |event| event.level == Level::Suspicious),
        (
            |query| query.category(Category::Data).category(Category::System).level(Level::Info),
            |event| event.category != Category::Auth && event.level == Level::Info,
        ),
        // Postings don't say when an event happened: the records are asked.
        (
            |query| {
                query.since(Timestamp::from_micros(300_000_000)).until(Timestamp::from_micros(900_000_000))
            },
            |event| (300..900).contains(&event.second),
        ),
    ];
    for user in [0, 3, 5, 100, 101, 200, 300] {
        for (number, (ask, passes)) in questions.into_iter().enumerate() {
            let by_records = number == 3;
            let mine = log.iter().filter(|event| event.user == user);
            let all = mine.clone().count() as u64;
            let expected: Vec<_> = mine.filter(|event| passes(event)).map(|event| event.sequence).collect();
            for (order, limit) in
                [(Order::Newest, 1), (Order::Newest, 40), (Order::Newest, 500), (Order::Oldest, 33)]
            {
                let mut expected = expected.clone();
                if order == Order::Newest {
                    expected.reverse();
                }
                let (mut found, mut cursor) = (Vec::new(), None::<String>);
                // Of many pages of one event, the first.
                for _ in 0..12 {
                    let id = self::user(user);
                    let query = ask(store.user_log(&id)).limit(limit).order(order);
                    let query = cursor.iter().fold(query, |query, cursor| query.cursor(cursor.as_str()));
                    let page = query.page().unwrap();
                    // Where the postings decide, no record is read that is not shown; else none twice.
                    let read = page.records_read();
                    assert!(
                        read == page.len() as u64 || by_records && (page.len() as u64..=all).contains(&read)
                    );
                    let some_fail = by_records && user == 0 && limit == 500;
                    assert!(!some_fail || read > page.len() as u64, "most are read in vain");
                    assert!(
                        by_records || number == 0 || page.packed.blocks() == blocks_of(&page),
                        "once each"
                    );
                    found.extend(shown(&page, order, limit));
                    assert_eq!(
                        page.has_more(),
                        found.len() < expected.len(),
                        "user {user}, {order:?}, {limit}"
                    );
                    cursor = page.next_cursor();
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!(found, expected[..found.len()], "user {user}, {order:?}, {limit}");
                assert!(cursor.is_some() || found.len() == expected.len());
            }
        }
        packs_need_no_postings(store, log, user, blocks_max);
    }
}

/// What is packed is found without postings, in one look at each block.
fn packs_need_no_postings(store: &Store, log: &[Noted], user: usize, blocks_max: usize) {
    let view = store.0.core.shards[0].view();
    let before = BLOCKS_READ.get();
    let page = store.user_log(&self::user(user)).limit(500).page().unwrap();
    // Those have none in what is not packed.
    let read = BLOCKS_READ.get() - before;
    assert!(![100, 101, 300].contains(&user) || read <= blocks_max, "user {user}: {read}");
    // Who has some: no more postings than a page of these alone, however many blocks of packs follow.
    let unpacked = |event: &&Noted| event.user == user && event.sequence >= view.packs_end();
    let unpacked = log.iter().filter(unpacked).count();
    if blocks_max == 0 && unpacked > 1 {
        let before = BLOCKS_READ.get();
        let page = store.user_log(&self::user(user)).limit(unpacked - 1).page().unwrap();
        assert_eq!((page.len(), BLOCKS_READ.get() - before), (unpacked - 1, read), "user {user}");
    }
    // And those of a pack in which the user might have had some.
    let (read, shown) = (page.packed.blocks(), blocks_of(&page));
    assert!((shown..=shown + view.packs.len()).contains(&read), "user {user}: {read}");
}
