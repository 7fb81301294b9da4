//! Many threads at once: what each sees, and that none waits for ever. Bounded by counts, never by time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use usertrail::{Action, Durability, Message, NewEvent, Options};

use crate::fixture::numbered;

/// How long a test waits for threads that should need a second, before it says that they hang.
const PATIENCE: Duration = Duration::from_mins(2);
const WRITERS: usize = 4;

/// Padded so that segments of 1 MiB are rolled over and sealed while the threads run.
fn event(owner: usize, message: &str) -> NewEvent<'static> {
    NewEvent::builder(Action::AUTH_LOGIN)
        .user(numbered(owner))
        .message(Message::new(format!("{message:>400}")).unwrap())
        .build()
        .unwrap()
}

fn options() -> Options {
    Options::new().shards(2).segment_bytes_max(1 << 20)
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
    assert_eq!(reader.user_count(&numbered(0)).unwrap(), appended + 1);
    assert_eq!(reader.stats().unwrap().segments, store.stats().unwrap().segments);
}

/// A writer that opens the store removes files that nothing names, also between a reader's listing and its look at them: what is
/// listed and can't be found is no damage. A name that leads nowhere stands for that moment.
#[test]
fn a_file_that_is_gone_when_a_reader_looks_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().shards(1).create_new(&path).unwrap();
    store.append(&event(0, "here")).unwrap();
    store.close().unwrap();
    let shard = path.join("shard-00");
    std::os::unix::fs::symlink(shard.join("gone"), shard.join("4000000000.log")).unwrap();
    for read_only in [true, false] {
        let store = Options::new().read_only(read_only).open(&path).unwrap();
        assert_eq!(store.user_count(&numbered(0)).unwrap(), 1);
        store.close().unwrap();
    }
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
                    assert_eq!(
                        store.user_count(&numbered(writer)).unwrap(),
                        50,
                        "visible before it is durable"
                    );
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

    use usertrail::{AsyncStore, Order, Receipt, Result};

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
            let first = store.user_log(numbered(0), 3, Order::Newest, None).await.unwrap();
            assert!(first.has_more);
            let rest = store.user_log(numbered(0), 3, Order::Newest, first.next_cursor).await.unwrap();
            assert!(!rest.has_more && rest.next_cursor.is_none());
            let texts: Vec<_> = first
                .events
                .iter()
                .chain(&rest.events)
                .map(|event| event.message().unwrap().trim())
                .collect();
            assert_eq!(texts, ["five", "four", "three", "two", "one"]);
            assert_eq!(store.run(|store| store.user_count(&numbered(1))).await.unwrap(), 1);
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
            assert_eq!(store.user_count(&numbered(0)).unwrap(), 100);
        });
    }
}
