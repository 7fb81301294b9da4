//! Group commit: whoever waits for a shard and finds nobody committing it commits for all who wait for it.
//!
//! A commit takes the shard's published tail, syncs the files that hold what is not durable yet (the older before the
//! newer), then moves the durable tail and wakes the waiters. A failed sync poisons the shard; those who wait for it are
//! told that the outcome is unknown. Each shard has commits of its own: while one is synced, those whom another has just
//! served append again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::Shard;
use super::group::Group;
use crate::error::{ErrorKind, Result};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::segment::Segment;

/// The committer of a store.
#[derive(Debug)]
pub(crate) struct Committer {
    lanes: Box<[CachePadded<Lane>]>,
}

/// The commits of one shard.
#[derive(Debug)]
struct Lane {
    shard: Arc<Shard>,
    group: Group,
    commits: AtomicU64,
    /// A task asked for a commit that no thread has begun.
    asked: AtomicBool,
}

/// What a shard has to sync.
struct Dirty<'s> {
    shard: &'s Shard,
    /// One past the last sequence that will be durable.
    end: u64,
    written_bytes: u64,
    segments: Vec<Arc<Segment>>,
}

impl<'s> Dirty<'s> {
    /// What a shard has published and not synced; `None` if nothing.
    fn of(shard: &'s Shard) -> Option<Self> {
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
        Some(Self { shard, end, written_bytes, segments })
    }

    fn sync(&self) {
        #[cfg(test)]
        if has(Bug::ToldBeforeSync) {
            self.shard.tell_durable(self.end);
        }
        // Older before newer: a record's floor speaks for everything before it.
        for (place, segment) in self.segments.iter().enumerate() {
            let begun = Instant::now();
            let synced = segment.sync();
            #[cfg(test)]
            let synced = if has(Bug::SyncErrorForgotten) { Ok(()) } else { synced };
            if let Err(error) = synced {
                self.shard.set_poisoned(&error);
                return;
            }
            self.shard.establish_this(segment);
            // What somebody removed is gone at the next opening: no reason to tell anyone that it is durable. What was told
            // to be durable meanwhile was sealed, and its file may have made place for a pack.
            if let Err(error) = segment.check_name()
                && self.shard.durable() < self.end.min(segment.end())
            {
                self.shard.set_poisoned(&error);
            }
            if self.shard.poison().is_some() {
                return;
            }
            // Told segment by segment, so that writers who are slowed see the disk's progress.
            self.shard.tell_durable(self.end.min(segment.end()));
            let later: u64 = self.segments.iter().skip(place + 1).map(|later| later.record_bytes()).sum();
            self.note_synced(self.written_bytes.saturating_sub(later), begun.elapsed());
        }
        self.note_synced(self.written_bytes, Duration::ZERO);
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

impl Dirty<'_> {
    fn note_synced(&self, written: u64, spent: Duration) {
        let before = self.shard.synced_bytes.fetch_max(written, Ordering::AcqRel);
        if written > before && !spent.is_zero() {
            self.shard.pace.synced(written - before, spent);
        }
    }
}

impl Committer {
    pub(crate) fn new(shards: &[Arc<Shard>]) -> Self {
        let lane = |shard: &Arc<Shard>| Lane {
            shard: Arc::clone(shard),
            group: Group::default(),
            commits: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        };
        Self { lanes: shards.iter().map(|shard| CachePadded::new(lane(shard))).collect() }
    }

    /// The shard is one of the store's: a missing lane must not pass for a commit.
    fn lane(&self, shard: &Shard) -> &Lane {
        &self.lanes[usize::from(shard.id.get())]
    }

    /// Waits until the record before `end` is on stable storage. Commits itself if nobody else does.
    pub(crate) fn wait_durable(&self, shard: &Shard, end: u64) -> Result<()> {
        self.lane(shard).wait_durable(end)
    }

    /// Syncs everything that was published before the call; a shard that fails does not keep the others from it.
    pub(crate) fn flush(&self) -> Result<()> {
        let ends: Vec<u64> = self.lanes.iter().map(|lane| lane.shard.published()).collect();
        let settled: Vec<Result<()>> =
            self.lanes.iter().zip(ends).map(|(lane, end)| lane.settle(end)).collect();
        settled.into_iter().collect()
    }

    /// Whether the record before `end` is durable; if not, the waker is woken when a commit or flush has ended.
    pub(crate) fn poll_durable(&self, shard: &Shard, end: u64, waker: &Waker) -> Option<Result<()>> {
        self.lane(shard).group.poll(|| outcome(shard, end), waker)
    }

    /// For a task, which must not commit by itself: whether a thread must be asked for [`Self::commit_asked`].
    pub(crate) fn ask(&self, shard: &Shard) -> bool {
        !self.lane(shard).asked.swap(true, Ordering::AcqRel)
    }

    /// The commit that was asked for.
    pub(crate) fn commit_asked(&self, shard: &Shard) {
        let lane = self.lane(shard);
        // Who asks from now on may have published behind what this commit takes.
        lane.asked.store(false, Ordering::Release);
        // A failure poisons the shard, where writers and waiters find it.
        let _ = lane.settle(shard.published());
    }

    /// How many commits have synced something.
    pub(crate) fn commits(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.commits.load(Ordering::Relaxed)).sum()
    }
}

impl Lane {
    fn wait_durable(&self, end: u64) -> Result<()> {
        self.group.wait(|| outcome(&self.shard, end), || self.commit())
    }

    /// The same, for the tasks too.
    fn settle(&self, end: u64) -> Result<()> {
        let outcome = self.wait_durable(end);
        // What became durable or failed without a commit: its tasks would wait for one in vain.
        self.group.wake_tasks();
        outcome
    }

    fn commit(&self) {
        if let Some(dirty) = Dirty::of(&self.shard) {
            self.commits.fetch_add(1, Ordering::Relaxed);
            dirty.sync();
        }
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
