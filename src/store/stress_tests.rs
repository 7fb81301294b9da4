//! Many threads on one store: writers, readers of every kind in this store and in one that is open for reading beside it, and
//! one that seals, merges, packs and unpacks meanwhile. Each page is looked at: user sequences without a gap, nothing
//! seen twice, groups whole, nothing that was seen missing later. Bounded by counts, never by time.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::figures::{Controls, figure};
use crate::fixture::{numbered, whole_log};
use crate::format::seeded::{Bug, seed};
use crate::{
    Action, Durability, Event, Message, NewEvent, Options, Order, PackAfter, Page, Receipt, Result, Status,
    Store,
};

const WRITERS: usize = 4;
const USERS: usize = 6;
/// Events that each writer appends; and where each waits for the disk.
const EVENTS: usize = 4_000;
const EVENTS_DURABLE: usize = 300;
/// Events in an atomic group.
const GROUP: usize = 5;
/// How often somebody else opens the store for reading.
const OPENINGS: usize = 20;

/// Padded so that segments are rolled over all the time.
fn event(owner: usize, writer: usize, message: &str) -> NewEvent<'static> {
    NewEvent::builder(Action::AUTH_LOGIN)
        .user(numbered(owner))
        .status(if writer.is_multiple_of(2) { Status::Success } else { Status::Failure })
        .message(Message::new(format!("{message:>400}")).unwrap())
        .build()
        .unwrap()
}

fn options() -> Options {
    let mut options = Options::new().shards(4).merge_fan_out(2).pack_after(PackAfter::Bytes(512 << 10));
    options.segment_bytes_max = 64 << 10;
    options
}

/// A run: what its threads share.
struct Stress<'s> {
    store: &'s Store,
    /// Open for reading beside the writer; or the writer itself.
    reader: &'s Store,
    /// How many events each writer appends.
    events: usize,
    /// What is wrong on purpose where pages are made.
    bug: Option<Bug>,
    writing: AtomicBool,
    pages: AtomicU64,
}

impl Stress<'_> {
    /// One writer's share: single events, batches and atomic groups, in turn, for all users.
    fn write(&self, writer: usize) {
        let store = self.store;
        for round in writer..writer + self.events / GROUP {
            let owner = round % USERS;
            let events = |what: &str| -> Vec<_> {
                (0..GROUP).map(|part| event(owner, writer, &format!("{what} part {part}"))).collect()
            };
            let single = || events(&format!("writer {writer} round {round}"));
            let receipts: Vec<Receipt> = match round / USERS % 3 {
                0 => single().iter().map(|event| store.append(event).unwrap()).collect(),
                1 => store.append_batch(&single()).unwrap(),
                _ => store.append_atomic(&events("group")).unwrap(),
            };
            // What was acknowledged is there at the next read, in this thread and every other.
            let count = store.user_count(&numbered(owner)).unwrap();
            assert!(receipts.iter().all(|receipt| receipt.user_sequence.unwrap().get() < count));
            assert!(store.event(receipts[0].id).unwrap().is_some());
        }
    }

    /// How many events each user will have.
    fn expected(&self) -> Vec<u64> {
        let mut counts = vec![0; USERS];
        for writer in 0..WRITERS {
            for round in writer..writer + self.events / GROUP {
                counts[round % USERS] += GROUP as u64;
            }
        }
        counts
    }

    fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire)
    }

    /// Of a durable store only what is durable is shown.
    fn check_page(&self, store: &Store, page: &Page) -> Vec<Event> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let events = page.to_events().unwrap();
        if self.store.durability() == Durability::Durable {
            for event in &events {
                let core = &store.0.core;
                let shard = core.shard_of(event.user_id().unwrap().as_bytes());
                assert!(event.sequence() < core.durable(shard), "an event is shown that is not durable");
            }
        }
        events
    }

    /// A newest-first page has no gap, and where a group's end is on it, so is all of the group.
    fn check_newest(&self, store: &Store, page: &Page) -> u64 {
        let events = self.check_page(store, page);
        let sequences: Vec<u64> = events.iter().map(|event| event.user_sequence().unwrap()).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] == pair[1] + 1), "{sequences:?}");
        // Whole or not at all: the newest event that is seen never stands within a group.
        if let Some(part) = events.first().and_then(group_part) {
            assert_eq!(part, GROUP - 1, "a part of a group is seen");
        }
        sequences.first().map_or(0, |newest| newest + 1)
    }

    /// Follows one user's log by its cursor until `expected` events were seen; each must be the next.
    fn follow(&self, store: &Store, owner: usize, limit: usize, expected: u64) {
        let who = numbered(owner);
        let mut cursor: Option<String> = None;
        let mut next = 0;
        while next < expected {
            let writing = self.is_writing();
            let mut query = store.user_log(&who).order(Order::Oldest).limit(limit);
            if let Some(cursor) = &cursor {
                query = query.cursor(cursor.clone());
            }
            let page = query.page().unwrap();
            for found in self.check_page(store, &page) {
                assert_eq!(found.user_sequence(), Some(next), "neither again nor skipped");
                next += 1;
            }
            assert!(writing || !page.is_empty(), "{next} of {expected} events are shown");
            if page.is_empty() {
                thread::yield_now();
            }
            // An empty page leaves the place where it was.
            cursor = page.end_cursor().or(cursor);
            assert!(page.has_more() == page.next_cursor().is_some());
        }
        assert_eq!(next, expected);
    }

    /// Pages back from the newest with a cursor, while more is appended in front: each page goes on where the last ended.
    fn page_back(&self, store: &Store, owner: usize, limit: usize) {
        let who = numbered(owner);
        let mut page = store.user_log(&who).limit(limit).page().unwrap();
        let mut below = self.check_newest(store, &page);
        loop {
            for found in page.iter() {
                below -= 1;
                assert_eq!(found.unwrap().user_sequence(), Some(below));
            }
            assert_eq!(page.has_more(), below > 0);
            let Some(cursor) = page.next_cursor() else { return };
            page = store.user_log(&who).limit(limit).cursor(cursor).page().unwrap();
        }
    }

    /// The same with a filter: what passes, once each. Says how many these are.
    fn page_back_filtered(&self, store: &Store, owner: usize) -> usize {
        let who = numbered(owner);
        let query = || store.user_log(&who).status(Status::Failure).limit(90);
        let mut page = query().page().unwrap();
        let mut last = u64::MAX;
        let mut count = 0;
        loop {
            for found in self.check_page(store, &page) {
                assert_eq!(found.status(), Status::Failure);
                assert!(found.user_sequence().unwrap() < last, "nothing is seen twice");
                last = found.user_sequence().unwrap();
                count += 1;
            }
            let Some(cursor) = page.next_cursor() else { return count };
            page = query().cursor(cursor).page().unwrap();
        }
    }

    /// Looks at the newest again and again: what was seen stays.
    fn watch(&self, store: &Store, owner: usize) {
        let (mut seen, mut filtered) = (0, 0);
        while self.is_writing() {
            let newest =
                self.check_newest(store, &store.user_log(&numbered(owner)).limit(100).page().unwrap());
            assert!(newest >= seen, "what was seen stays");
            seen = newest;
            self.page_back(store, owner, 333);
            let count = self.page_back_filtered(store, owner);
            assert!(count >= filtered, "what was seen stays");
            filtered = count;
        }
    }

    /// Another process after the other opens the store and looks.
    fn come_and_go(&self, open: &(dyn Fn() -> Result<Store> + Sync)) {
        let mut seen = [0; USERS];
        for opening in 0..OPENINGS {
            let store = open().unwrap();
            let owner = opening % USERS;
            let newest =
                self.check_newest(&store, &store.user_log(&numbered(owner)).limit(50).page().unwrap());
            assert!(newest >= seen[owner], "what was seen stays");
            seen[owner] = newest;
            self.page_back(&store, owner, 400);
        }
    }

    /// Does what the background does, and undoes it, as long as anybody writes.
    fn tend(&self) {
        let mut round = 0_u64;
        while self.is_writing() {
            match round % 4 {
                0 => self.store.maintain().unwrap(),
                1 => drop(self.store.pack().unwrap()),
                2 => drop(self.store.unpack().unwrap()),
                _ => self.store.flush().unwrap(),
            }
            round += 1;
        }
    }

    /// A thread that reads, with what is wrong on purpose.
    fn reading<'scope>(&self, scope: &'scope thread::Scope<'scope, '_>, read: impl FnOnce() + Send + 'scope) {
        let bug = self.bug;
        scope.spawn(move || {
            seed(bug);
            read();
        });
    }

    fn run(&self, open: Option<&(dyn Fn() -> Result<Store> + Sync)>) {
        let expected = self.expected();
        thread::scope(|scope| {
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(move || self.write(writer))).collect();
            for (owner, expected) in expected.iter().copied().enumerate() {
                let source = if owner.is_multiple_of(2) { self.store } else { self.reader };
                self.reading(scope, move || self.follow(source, owner, 17 + 50 * owner, expected));
            }
            self.reading(scope, || self.watch(self.store, 0));
            self.reading(scope, || self.watch(self.reader, 1));
            if let Some(open) = open {
                self.reading(scope, move || self.come_and_go(open));
            }
            scope.spawn(|| self.tend());
            let written = writers.into_iter().flat_map(thread::ScopedJoinHandle::join).count();
            self.writing.store(false, Ordering::Release);
            assert_eq!(written, WRITERS, "a writer failed");
        });
    }

    fn check_end(&self, store: &Store) {
        let mut ids = HashSet::new();
        for (owner, count) in self.expected().into_iter().enumerate() {
            assert_eq!(store.user_count(&numbered(owner)).unwrap(), count);
            let events = whole_log(store, &numbered(owner), Order::Oldest, 500).unwrap();
            assert_eq!(events.len() as u64, count);
            // A group's parts stand side by side.
            let mut parts = events.iter().map(group_part);
            while let Some(part) = parts.next() {
                if part.is_some() {
                    let group: Vec<_> = std::iter::once(part).chain(parts.by_ref().take(GROUP - 1)).collect();
                    assert_eq!(group, (0..GROUP).map(Some).collect::<Vec<_>>());
                }
            }
            assert!(events.iter().all(|event| ids.insert(event.id())), "ids are unique");
        }
        store.check().unwrap();
        let stats = store.stats().unwrap();
        assert_eq!((stats.events, stats.users), ((WRITERS * self.events) as u64, USERS as u64));
    }
}

fn group_part(event: &Event) -> Option<usize> {
    let text = event.message()?.trim_start().strip_prefix("group")?;
    text.rsplit(' ').next()?.parse().ok()
}

fn stress<'s>(store: &'s Store, reader: &'s Store, events: usize, bug: Option<Bug>) -> Stress<'s> {
    Stress { store, reader, events, bug, writing: AtomicBool::new(true), pages: AtomicU64::new(0) }
}

/// On a real disk, with a reader beside the writer, and others that come and go. Says how many pages there were.
fn on_disk(durability: Durability, events: usize, bug: Option<Bug>) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let host = crate::store::open::Host::machine(crate::io::real::RealDisk::default());
    let options = options().durability(durability);
    let store = crate::store::open::create_new(&options, &host, path.clone()).unwrap();
    let open = || Options::new().read_only(true).open(&path);
    let reader = open().unwrap();
    let stress = stress(&store, &reader, events, bug);
    stress.run(Some(&open));
    stress.check_end(&store);
    stress.check_end(&reader);
    assert!(store.stats().unwrap().merges > 0, "runs were merged meanwhile");
    store.close().unwrap();
    stress.check_end(&crate::store::open::open(&options, &host, path.clone()).unwrap());
    stress.pages.load(Ordering::Relaxed)
}

/// How many runs a bug gets to be noticed in: what the threads meet depends on whose turn it is.
const RUNS_OF_A_BUG: usize = 20;
/// What the readers of a run with this bug must notice.
const BUGS: [(Bug, Durability); 4] = [
    (Bug::CursorPastMerged, Durability::Buffered),
    (Bug::TagsForgottenInRuns, Durability::Buffered),
    (Bug::FollowingForgotten, Durability::Buffered),
    (Bug::UnpublishedShown, Durability::Durable),
];

#[test]
fn writers_readers_and_another_process_at_once() {
    let pages =
        on_disk(Durability::Buffered, EVENTS, None) + on_disk(Durability::Durable, EVENTS_DURABLE, None);
    let mut controls = Controls::default();
    for (bug, durability) in BUGS {
        let events = if durability.waits() { EVENTS_DURABLE } else { EVENTS / 5 };
        let is_noticed =
            |_| catch_unwind(AssertUnwindSafe(|| on_disk(durability, events, Some(bug)))).is_err();
        controls.add((0..RUNS_OF_A_BUG).any(is_noticed));
        assert_eq!(controls.caught, controls.seeded, "{bug:?} was not noticed");
    }
    let promise = "readers beside writers see dense logs, nothing twice, nothing gone";
    let test = "store::stress_tests::writers_readers_and_another_process_at_once";
    let threads = WRITERS + USERS + 4;
    figure(
        promise,
        test,
        format!("{threads} threads, {} events, {pages} pages, 0 wrong", WRITERS * (EVENTS + EVENTS_DURABLE)),
        controls,
    );
}

#[test]
fn writers_and_readers_of_a_durable_store_in_memory() {
    let store = crate::store::open::in_memory(&options().durability(Durability::Durable)).unwrap();
    let stress = stress(&store, &store, EVENTS, None);
    stress.run(None);
    stress.check_end(&store);
}
