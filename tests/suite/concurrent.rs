//! Many threads at once: what each sees, and that none waits for ever. Bounded by counts, never by time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use usertrail::{Action, Durability, Event, Message, NewEvent, Options, Order, Page, Store, UserId};

use crate::fixture::{user, whole_log};

/// How long a test waits for threads that should need a second, before it says that they hang.
const PATIENCE: Duration = Duration::from_mins(2);
const WRITERS: usize = 4;
const READERS: usize = 3;
const USERS: usize = 3;
/// Events that each writer appends.
const EVENTS: usize = 6_000;
/// Events in an atomic group.
const GROUP: usize = 5;

/// Padded so that segments of 1 MiB are rolled over and sealed while the threads run.
fn event(owner: usize, message: &str) -> NewEvent<'static> {
    NewEvent::builder(Action::AUTH_LOGIN)
        .user(name(owner))
        .message(Message::new(format!("{message:>400}")).unwrap())
        .build()
        .unwrap()
}

fn name(owner: usize) -> UserId<'static> {
    user(&format!("user-{owner}"))
}

fn options() -> Options {
    Options::new().shards(2).segment_bytes_max(1 << 20)
}

/// One writer's share: single events, batches and atomic groups, in turn, for all users.
fn write(store: &Store, writer: usize) {
    let mut written = 0;
    let mut round = writer;
    while written < EVENTS {
        let owner = round % USERS;
        let events: Vec<_> = (0..GROUP)
            .map(|index| event(owner, &format!("writer {writer} round {round} part {index}")))
            .collect();
        let receipts = match round / USERS % 3 {
            0 => events.iter().map(|event| store.append(event).unwrap()).collect(),
            1 => store.append_batch(&events).unwrap(),
            _ => {
                let group: Vec<_> =
                    (0..GROUP).map(|index| event(owner, &format!("group {GROUP} part {index}"))).collect();
                store.append_atomic(&group).unwrap()
            }
        };
        // What was acknowledged is there at the next read, in this thread and every other.
        let count = store.user_count(&name(owner)).unwrap();
        assert!(receipts.iter().all(|receipt| receipt.user_sequence.unwrap().get() < count));
        assert!(store.event(receipts[0].id).unwrap().is_some());
        written += GROUP;
        round += 1;
    }
}

/// A newest-first page has no gap, and where a group's end is on it, so is all of the group.
fn check_newest(page: &Page) -> u64 {
    let events = page.to_events().unwrap();
    let sequences: Vec<u64> = events.iter().map(|event| event.user_sequence().unwrap()).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] == pair[1] + 1), "{sequences:?}");
    if let Some(newest) = events.first() {
        // Whole or not at all: the newest event that is seen never stands within a group.
        if let Some(part) = group_part(newest) {
            assert_eq!(part, GROUP - 1, "a part of a group is seen");
        }
    }
    sequences.first().map_or(0, |newest| newest + 1)
}

fn group_part(event: &Event) -> Option<usize> {
    let text = event.message()?.trim_start().strip_prefix("group")?;
    text.rsplit(' ').next()?.parse().ok()
}

/// Follows one user's log by its cursor until `expected` events were seen; each must be the next.
fn follow(store: &Store, owner: usize, limit: usize, expected: u64) {
    let who = name(owner);
    let mut cursor: Option<String> = None;
    let mut next = 0;
    while next < expected {
        let mut query = store.user_log(&who).order(Order::Oldest).limit(limit);
        if let Some(cursor) = &cursor {
            query = query.cursor(cursor.clone());
        }
        let page = query.page().unwrap();
        for found in page.iter() {
            assert_eq!(found.unwrap().user_sequence(), Some(next), "neither again nor skipped");
            next += 1;
        }
        // An empty page leaves the place where it was.
        cursor = page.end_cursor().or(cursor);
        assert!(page.has_more() == page.next_cursor().is_some());
    }
    assert_eq!(next, expected);
}

/// Pages back from the newest with a cursor, while more is appended in front: each page goes on where the last ended.
fn page_back(store: &Store, owner: usize, limit: usize) {
    let who = name(owner);
    let mut page = store.user_log(&who).limit(limit).page().unwrap();
    let mut below = check_newest(&page);
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

/// How many events each user will have.
fn expected() -> Vec<u64> {
    let mut counts = vec![0; USERS];
    for writer in 0..WRITERS {
        for round in writer..writer + EVENTS / GROUP {
            counts[round % USERS] += GROUP as u64;
        }
    }
    counts
}

fn stress(store: &Store, reader: &Store) {
    let expected = expected();
    let writing = &AtomicBool::new(true);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(store, writer))).collect();
        for (owner, expected) in expected.iter().copied().enumerate() {
            scope.spawn(move || follow(store, owner, 17 + 50 * owner, expected));
            scope.spawn(move || follow(reader, owner, 500 - 100 * owner, expected));
        }
        for number in 0..READERS {
            scope.spawn(move || {
                let mut seen = [0; USERS];
                while writing.load(Ordering::Acquire) {
                    let owner = number % USERS;
                    let source = if number == 0 { reader } else { store };
                    let newest = check_newest(&source.user_log(&name(owner)).limit(100).page().unwrap());
                    assert!(newest >= seen[owner], "what was seen stays");
                    seen[owner] = newest;
                    page_back(source, owner, 333);
                }
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        writing.store(false, Ordering::Release);
    });
}

fn check_end(store: &Store) {
    let mut ids = HashSet::new();
    for (owner, count) in expected().into_iter().enumerate() {
        assert_eq!(store.user_count(&name(owner)).unwrap(), count);
        let events = whole_log(store, &name(owner), Order::Oldest, 500).unwrap();
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
    assert_eq!((stats.events, stats.users), ((WRITERS * EVENTS) as u64, USERS as u64));
    assert!(stats.segments > 4, "segments were rolled over meanwhile: {}", stats.segments);
}

#[test]
fn writers_readers_and_another_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().create_new(&path).unwrap();
    let reader = Options::new().read_only(true).open(&path).unwrap();
    stress(&store, &reader);
    check_end(&store);
    check_end(&reader);
    store.close().unwrap();
    drop(store);
    check_end(&Store::open(&path).unwrap());
}

#[test]
fn writers_and_readers_of_a_durable_store() {
    let store = options().durability(Durability::Durable).in_memory().unwrap();
    stress(&store, &store);
    check_end(&store);
}

/// What the writer has made ready is not where it writes: a reader must go on in the segment that is written to.
#[test]
fn a_reader_has_the_segments_that_hold_something() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().shards(1).create_new(&path).unwrap();
    // Until the background has made the next segment's file: then more is allocated than this one can hold.
    let mut appended = 0;
    while appended < 3_000 || store.stats().unwrap().bytes_ahead <= 1 << 20 {
        store.append(&event(0, "filler")).unwrap();
        appended += 1;
    }
    let reader = Options::new().read_only(true).open(&path).unwrap();
    let (of_reader, of_writer) = (reader.stats().unwrap(), store.stats().unwrap());
    assert_eq!(of_reader.segments, of_writer.segments);
    store.append(&event(0, "one more")).unwrap();
    assert_eq!(reader.user_count(&name(0)).unwrap(), appended + 1);
    assert_eq!(reader.stats().unwrap().segments, store.stats().unwrap().segments);
}

/// Runs what might hang in a thread of its own.
fn must_end(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        done.send(()).unwrap();
    });
    match ended.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("somebody waits for ever"),
        _ => thread.join().unwrap(),
    }
}

/// Several waiters whose events a running commit happens to cover: the one that is woken must wake the others.
#[test]
fn no_durable_waiter_is_forgotten() {
    must_end(|| {
        let store = options().durability(Durability::Durable).in_memory().unwrap();
        for _ in 0..200 {
            thread::scope(|scope| {
                for writer in 0..16 {
                    let (store, event) = (&store, event(writer, "durable"));
                    scope.spawn(move || {
                        for _ in 0..4 {
                            store.append(&event).unwrap();
                        }
                    });
                }
            });
        }
        assert_eq!(store.stats().unwrap().events, 200 * 16 * 4);
    });
}

/// Whoever appends without waiting can wait later, in any order and in another thread.
#[test]
fn appended_now_and_waited_for_later() {
    must_end(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = options().durability(Durability::Buffered).create_new(dir.path().join("store")).unwrap();
        let waited = AtomicU64::new(0);
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, waited) = (&store, &waited);
                scope.spawn(move || {
                    let pending: Vec<_> =
                        (0..50).map(|_| store.append_nowait(&event(writer, "later")).unwrap()).collect();
                    assert_eq!(store.user_count(&name(writer)).unwrap(), 50, "visible before it is durable");
                    for pending in pending.into_iter().rev() {
                        let receipt = pending.receipt();
                        assert_eq!(pending.wait().unwrap(), receipt);
                        waited.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(waited.into_inner(), 50 * WRITERS as u64);
        let stats = store.stats().unwrap();
        assert!(stats.per_shard.iter().all(|shard| shard.durable == shard.events));
    });
}

#[cfg(feature = "async")]
mod tasks {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use usertrail::{AsyncStore, Receipt, Result};

    use super::*;

    const CALLERS: usize = 64;
    const APPENDS: usize = 5;

    /// Awaits an append; notes if it gave the thread back before it was done.
    async fn watched(append: impl Future<Output = Result<Receipt>>, gave_back: &AtomicUsize) -> Receipt {
        let mut append = pin!(append);
        std::future::poll_fn(|context| {
            let outcome = append.as_mut().poll(context);
            if outcome.is_pending() {
                gave_back.fetch_add(1, Ordering::Relaxed);
            }
            outcome.map(|receipt| receipt.unwrap())
        })
        .await
    }

    /// All callers in one thread: if an append blocked it, no other could begin before that one's sync had ended.
    #[test]
    fn durable_callers_do_not_block_a_runtime_of_one_thread() {
        must_end(|| {
            let dir = tempfile::tempdir().unwrap();
            let store =
                options().durability(Durability::Durable).create_new(dir.path().join("store")).unwrap();
            let store = AsyncStore::new(store);
            let (gave_back, begun, most) =
                <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let callers: Vec<_> = (0..CALLERS)
                    .map(|caller| {
                        let (store, gave_back) = (store.clone(), Arc::clone(&gave_back));
                        let (begun, most) = (Arc::clone(&begun), Arc::clone(&most));
                        tokio::spawn(async move {
                            for expected in 0..APPENDS {
                                let under_way = begun.fetch_add(1, Ordering::Relaxed) + 1;
                                most.fetch_max(under_way, Ordering::Relaxed);
                                let receipt =
                                    watched(store.append(event(caller, "durable")), &gave_back).await;
                                begun.fetch_sub(1, Ordering::Relaxed);
                                assert_eq!(receipt.user_sequence.unwrap().get(), expected as u64);
                            }
                        })
                    })
                    .collect();
                for caller in callers {
                    caller.await.unwrap();
                }
                store.flush().await.unwrap();
            });
            assert!(gave_back.load(Ordering::Relaxed) > 0, "every append kept the thread until it was done");
            assert!(most.load(Ordering::Relaxed) > 1, "no append began before the one before it had ended");
            let stats = store.store().stats().unwrap();
            assert_eq!(stats.events, (CALLERS * APPENDS) as u64);
            assert!(stats.per_shard.iter().all(|shard| shard.durable == shard.events));
            assert!(stats.commits < stats.events, "they share syncs: {} commits", stats.commits);
        });
    }

    #[test]
    fn everything_can_be_awaited() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let store = AsyncStore::new(options().in_memory().unwrap());
            store.append(event(0, "one")).await.unwrap();
            store.append_with(event(0, "two"), Durability::Durable).await.unwrap();
            store.append_batch(vec![event(0, "three"), event(1, "other")]).await.unwrap();
            store.append_atomic(vec![event(0, "four"), event(0, "five")]).await.unwrap();
            let first = store.user_log(name(0), 3, Order::Newest, None).await.unwrap();
            assert!(first.has_more);
            let rest = store.user_log(name(0), 3, Order::Newest, first.next_cursor).await.unwrap();
            assert!(!rest.has_more && rest.next_cursor.is_none());
            let texts: Vec<_> = first
                .events
                .iter()
                .chain(&rest.events)
                .map(|event| event.message().unwrap().trim())
                .collect();
            assert_eq!(texts, ["five", "four", "three", "two", "one"]);
            assert_eq!(store.run(|store| store.user_count(&name(1))).await.unwrap(), 1);
            store.close().await.unwrap();
            assert!(store.append(event(0, "late")).await.is_err());
        });
    }

    /// A task that is dropped while it waits leaves nothing behind: the others are woken all the same.
    #[test]
    fn a_dropped_waiter_is_no_hindrance() {
        must_end(|| {
            let store = options().durability(Durability::Buffered).in_memory().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for _ in 0..50 {
                    let mut dropped = store.append_nowait(&event(0, "dropped")).unwrap();
                    let kept = store.append_nowait(&event(0, "kept")).unwrap();
                    std::future::poll_fn(|context| {
                        let _ = std::pin::Pin::new(&mut dropped).poll(context);
                        Poll::Ready(())
                    })
                    .await;
                    drop(dropped);
                    kept.await.unwrap();
                }
            });
            assert_eq!(store.user_count(&name(0)).unwrap(), 100);
        });
    }
}
