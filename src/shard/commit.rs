//! Group commit: one committer for the store. Whoever waits and finds nobody committing commits for all who wait.
//!
//! A commit takes each shard's published tail, syncs the files that hold what is not durable yet (of one shard the older
//! before the newer, of several shards in parallel), then moves the durable tails and wakes the waiters. A failed sync
//! poisons its shard; those who wait for it are told that the outcome is unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, unbounded};
use parking_lot::{Condvar, Mutex};

use super::Shard;
use crate::error::{Error, ErrorKind, Result};
use crate::segment::Segment;

/// The committer of a store.
#[derive(Debug)]
pub(crate) struct Committer {
    shards: Arc<[Arc<Shard>]>,
    state: Mutex<State>,
    finished: [Condvar; 2],
    helpers: Vec<Helper>,
    commits: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody commits now.
    leading: bool,
    /// How many commits have begun.
    begun: u64,
    /// How many threads wait for the commit after the one that runs.
    waiting: [usize; 2],
    /// Tasks that wait for any commit to end.
    wakers: Vec<Waker>,
}

/// A thread that syncs for the committer.
#[derive(Debug)]
struct Helper {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    dirty: Dirty,
    done: Sender<()>,
}

/// What one shard has to sync.
struct Dirty {
    shard: Arc<Shard>,
    /// One past the last sequence that will be durable.
    end: u64,
    written_bytes: u64,
    segments: Vec<Arc<Segment>>,
}

impl Dirty {
    /// What a shard has published and not synced; `None` if nothing.
    fn of(shard: &Arc<Shard>) -> Option<Self> {
        if shard.poison().is_some() {
            return None;
        }
        // The byte count first, then the tail, then the files: each covers at least what was read before it.
        let written_bytes = shard.written_bytes.load(Ordering::Acquire);
        let end = shard.published();
        if end <= shard.durable() {
            return None;
        }
        let segments = shard.unsynced.lock().clone();
        Some(Self { shard: Arc::clone(shard), end, written_bytes, segments })
    }

    fn sync(&self) {
        // Older before newer: a record's floor speaks for everything before it.
        let synced = self.segments.iter().try_for_each(|segment| segment.file().sync_data());
        if let Err(error) = synced {
            self.shard.set_poisoned(&error);
            return;
        }
        self.shard.tell_durable(self.end);
        self.shard.synced_bytes.fetch_max(self.written_bytes, Ordering::AcqRel);
        let mut unsynced = self.shard.unsynced.lock();
        let active = unsynced.len().saturating_sub(1);
        let mut place = 0;
        unsynced.retain(|segment| {
            let keep = place == active || segment.end() > self.end;
            place += 1;
            keep
        });
    }
}

impl Committer {
    /// For these shards, with a thread for each file that is synced beside the committer's own.
    pub(crate) fn new(shards: Arc<[Arc<Shard>]>, helpers: usize) -> Self {
        Self {
            shards,
            state: Mutex::default(),
            finished: [Condvar::new(), Condvar::new()],
            helpers: (0..helpers).filter_map(Helper::start).collect(),
            commits: AtomicU64::new(0),
        }
    }

    /// Waits until the record before `end` is on stable storage. Commits itself if nobody else does.
    pub(crate) fn wait_durable(&self, shard: &Shard, end: u64) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = outcome(shard, end) {
                // This thread may have been woken to lead: then another one must.
                self.hand_on(&state);
                return outcome;
            }
            if state.leading {
                // The commit that runs may have begun too early: the one after it will do.
                let next = parity(state.begun + 1);
                state.waiting[next] += 1;
                self.finished[next].wait(&mut state);
                state.waiting[next] -= 1;
            } else {
                state.leading = true;
                state.begun += 1;
                drop(state);
                self.commit();
                state = self.state.lock();
                self.end_commit(&mut state);
            }
        }
    }

    /// Syncs everything that was published before the call.
    pub(crate) fn flush(&self) -> Result<()> {
        let ends: Vec<u64> = self.shards.iter().map(|shard| shard.published()).collect();
        // A poisoned shard must not keep the others from being synced.
        let outcomes = self.shards.iter().zip(ends).map(|(shard, end)| self.wait_durable(shard, end));
        let outcome = outcomes.fold(Ok(()), Result::and);
        // Sealing makes records durable too, and a sync outside of a commit may poison a shard: then there was nothing
        // to commit here, and tasks that wait must be told nevertheless.
        let wakers = std::mem::take(&mut self.state.lock().wakers);
        wakers.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Whether the record before `end` is durable; if not, the waker is woken when a commit has ended.
    pub(crate) fn poll_durable(&self, shard: &Shard, end: u64, waker: &Waker) -> Option<Result<()>> {
        let mut state = self.state.lock();
        let outcome = outcome(shard, end);
        if outcome.is_none() && !state.wakers.iter().any(|other| other.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        outcome
    }

    /// How many commits have synced something.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn end_commit(&self, state: &mut State) {
        state.leading = false;
        let done = parity(state.begun);
        self.finished[done].notify_all();
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
    }

    /// Those who came too late for the last commit need one of them to lead the next.
    fn hand_on(&self, state: &State) {
        let next = parity(state.begun + 1);
        if !state.leading && state.waiting[next] > 0 {
            self.finished[next].notify_one();
        }
    }

    fn commit(&self) {
        let mut dirty: Vec<Dirty> = self.shards.iter().filter_map(Dirty::of).collect();
        let Some(own) = dirty.pop() else { return };
        self.commits.fetch_add(1, Ordering::Relaxed);
        let (done, helped) = unbounded();
        for (place, dirty) in dirty.into_iter().enumerate() {
            let sender = (!self.helpers.is_empty())
                .then(|| self.helpers.get(place % self.helpers.len())?.work.as_ref())
                .flatten();
            let work = Work { dirty, done: done.clone() };
            let refused = match sender {
                Some(sender) => sender.send(work).err().map(|error| error.0),
                None => Some(work),
            };
            if let Some(work) = refused {
                work.dirty.sync();
            }
        }
        own.sync();
        drop(done);
        // Ends when every helper has dropped its sender: then all files are synced, or their shards poisoned.
        while helped.recv().is_ok() {}
    }
}

fn parity(commit: u64) -> usize {
    usize::from(commit % 2 == 1)
}

/// What a waiter can be told now.
fn outcome(shard: &Shard, end: u64) -> Option<Result<()>> {
    if shard.durable() >= end {
        return Some(Ok(()));
    }
    let message = "the event was stored, but syncing it failed: whether it survives is not known";
    shard.poison().map(|error| Err(error.told_as(ErrorKind::OutcomeUnknown, message)))
}

impl Helper {
    fn start(number: usize) -> Option<Self> {
        let (work, jobs) = unbounded::<Work>();
        let run = move || {
            for Work { dirty, done } in jobs {
                dirty.sync();
                drop(done);
            }
        };
        // Without the thread the committer syncs by itself, only slower.
        let thread = std::thread::Builder::new().name(format!("usertrail-sync-{number}")).spawn(run).ok()?;
        Some(Self { work: Some(work), thread: Some(thread) })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("shard", &self.dirty.shard.id).finish_non_exhaustive()
    }
}

/// The error for waiting on a store whose committer can't be reached any more.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}
