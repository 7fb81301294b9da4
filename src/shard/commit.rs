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

use super::Shard;
use super::group::Group;
use crate::error::{ErrorKind, Result};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::segment::Segment;

/// The committer of a store.
#[derive(Debug)]
pub(crate) struct Committer {
    shards: Arc<[Arc<Shard>]>,
    group: Group,
    helpers: Vec<Helper>,
    commits: AtomicU64,
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
        let synced = self.segments.iter().try_for_each(|segment| segment.sync());
        #[cfg(test)]
        let synced = if has(Bug::SyncErrorForgotten) { Ok(()) } else { synced };
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
            group: Group::default(),
            helpers: (0..helpers).filter_map(Helper::start).collect(),
            commits: AtomicU64::new(0),
        }
    }

    /// Waits until the record before `end` is on stable storage. Commits itself if nobody else does.
    pub(crate) fn wait_durable(&self, shard: &Shard, end: u64) -> Result<()> {
        self.group.wait(|| outcome(shard, end), || self.commit())
    }

    /// Syncs everything that was published before the call; a shard that fails does not keep the others from it.
    pub(crate) fn flush(&self) -> Result<()> {
        let ends: Vec<u64> = self.shards.iter().map(|shard| shard.published()).collect();
        let waits = self.shards.iter().zip(ends).map(|(shard, end)| self.wait_durable(shard, end));
        let outcome = waits.fold(Ok(()), Result::and);
        // A shard may have failed without a commit: its tasks would wait for one in vain.
        self.group.wake_tasks();
        outcome
    }

    /// Whether the record before `end` is durable; if not, the waker is woken when a commit or flush has ended.
    pub(crate) fn poll_durable(&self, shard: &Shard, end: u64, waker: &Waker) -> Option<Result<()>> {
        self.group.poll(|| outcome(shard, end), waker)
    }

    /// How many commits have synced something.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
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

/// What a waiter can be told now.
fn outcome(shard: &Shard, end: u64) -> Option<Result<()>> {
    #[cfg(test)]
    if has(Bug::AcknowledgedBeforeSync) {
        return Some(Ok(()));
    }
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
