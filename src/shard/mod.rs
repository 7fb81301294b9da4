//! One shard: one writer under its lock, one published view, a manifest, and what recovery makes of it all.
//!
//! Owns the order of things: what is stored before what is published, synced before what is acknowledged, written
//! before what is deleted. Must not know other shards, but for the committer, which syncs all of them together.

mod beyond;
pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod follow;
mod group;
mod heads;
mod leftovers;
pub(crate) mod maintain;
pub(crate) mod memory;
pub(crate) mod merging;
pub(crate) mod next_segment;
pub(crate) mod pace;
pub(crate) mod packing;
pub(crate) mod recovery;
pub(crate) mod replay;
pub(crate) mod sealed;
pub(crate) mod view;
pub(crate) mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::format::keys::IndexKey;
use crate::format::manifest::ShardManifest;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::ids::ShardId;
use crate::index::tail::TailIndex;
use crate::io::clock::Clock;
use crate::io::mmap::SharedWords;
use crate::io::sync::CountTail;
use crate::io::{Access, Disk};
use crate::segment::Segment;
use next_segment::{Preparation, Unlisted};
use view::{Reading, ShardView};
use writer::Writer;

/// What a shard needs of its store.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: Arc<IndexKey>,
    pub(crate) store_id: [u8; 16],
    pub(crate) segment_bytes_max: u64,
    /// A new segment's blocks are written before it is used: a commit into blocks that were never written also commits the
    /// file's metadata. Pays where every commit is awaited.
    pub(crate) write_ahead: bool,
    /// Readers see what is durable only.
    pub(crate) readers_wait: bool,
    /// How many neighbouring index runs are merged into one.
    pub(crate) merge_fan_out: usize,
    /// How many bytes of one shard may wait for a sync before its writers do.
    pub(crate) unsynced_bytes_max: u64,
    /// How much memory one shard's indexes may take.
    pub(crate) shares: memory::Shares,
    /// After how many bytes of log an index checkpoint is written.
    pub(crate) checkpoint_bytes: u64,
    /// The published and durable tails, for other processes.
    pub(crate) live: SharedWords,
    pub(crate) access: Access,
    /// How many bytes of sealed segments a shard keeps unpacked; `None`: all of them.
    pub(crate) pack_after: Option<u64>,
}

/// Work that a shard leaves to the background.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Job {
    /// Make the next segment's file, unsynced.
    Prepare,
    /// Populate pages ahead of the tail.
    Populate,
    /// Make new segments durable, and seal what was rolled over.
    Seal,
    /// Bring the little that every look-up passes into memory.
    Warm,
    /// Bring in more: what look-ups of newer events pass, and the newest records.
    WarmRest,
    /// Make the head table what it should be.
    Heads,
    /// Write an index checkpoint.
    Checkpoint,
    /// Merge index runs.
    Merge,
    /// Pack old sealed segments, merge packs.
    Pack,
}

/// Where a shard's jobs go.
pub(crate) trait Background: Send + Sync + std::fmt::Debug {
    /// Takes a job; it may run at once, in the caller, or later. Never called with a shard's locks held.
    fn submit(&self, shard: &Arc<Shard>, job: Job);
    /// Asks for a commit of the shard by somebody else than the caller, soon: for tasks.
    fn commit_soon(&self, shard: &Arc<Shard>);
    /// Whether there are threads at all: else work that the caller waits for is the caller's alone, too.
    fn has_threads(&self) -> bool;
}

/// A segment that was rolled over and waits to be sealed.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) segment: Arc<Segment>,
    pub(crate) tail: Arc<TailIndex>,
    /// How many users the shard had seen when the segment ended.
    pub(crate) users_total: u64,
    /// What its index takes of memory.
    pub(crate) index_bytes: u64,
}

/// How many rolled-over segments may wait to be sealed before writers wait: bounds the memory of their indexes.
pub(crate) const FROZEN_MAX: usize = 4;

/// One shard of a store.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) context: Context,
    pub(crate) dir: PathBuf,
    view: ArcSwap<ShardView>,
    /// The writer; `None` in a store opened for reading.
    writer: CachePadded<Mutex<Option<Writer>>>,
    epoch: u32,
    /// Held while the view is replaced by one made from it.
    view_change: Mutex<()>,
    pub(crate) manifest: Mutex<ShardManifest>,
    pub(crate) preparation: Mutex<Preparation>,
    pub(crate) preparation_done: Condvar,
    /// Segments that the manifest on disk doesn't list yet, oldest first.
    unlisted: Mutex<Vec<Unlisted>>,
    /// Held while they are made durable and listed.
    establishing: Mutex<()>,
    pub(crate) frozen: Mutex<Vec<Frozen>>,
    /// Held while sealing, so that two threads don't seal the same segment.
    pub(crate) sealing: Mutex<()>,
    /// Held while the head table is tended.
    building: Mutex<()>,
    /// Up to where the log was sealed when tending the head table failed.
    heads_failed_at: AtomicU64,
    /// The store is going to be closed: what can be left undone is.
    leaving: AtomicBool,
    /// Held while an index checkpoint is written.
    checkpointing: Mutex<()>,
    pub(crate) merging: Mutex<merging::Merging>,
    /// How many merges were done, and how many bytes they have written.
    pub(crate) merges: AtomicU64,
    pub(crate) merged_bytes: AtomicU64,
    pub(crate) packing: Mutex<packing::Packing>,
    /// Segments that may hold records that are not synced, oldest first; the active one is always the last.
    pub(crate) unsynced: Mutex<Vec<Arc<Segment>>>,
    /// One past the last published sequence.
    published: CachePadded<CountTail>,
    /// One past the last sequence known to be on stable storage.
    durable: CachePadded<CountTail>,
    /// Bytes of records written, and how many of them were synced.
    pub(crate) written_bytes: AtomicU64,
    pub(crate) synced_bytes: AtomicU64,
    pub(crate) pace: pace::Pace,
    /// The floor that the active segment's slot holds.
    pub(crate) slot_floor: AtomicU64,
    pub(crate) users_total: AtomicU64,
    pub(crate) rollover_waits: AtomicU64,
    /// Records that were found damaged when their segments were sealed.
    pub(crate) damaged_records: AtomicU64,
    /// How large a segment is filled before its index is, as the last one had it.
    segment_bytes_wanted: AtomicU64,
    /// What the sealing that runs takes of memory, about.
    sealing_bytes: AtomicU64,
    /// In a store opened for reading: whom it follows.
    pub(crate) following: Mutex<follow::Following>,
    poisoned: OnceLock<Error>,
    closed: AtomicBool,
}

/// Everything that opening a shard found out.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) view: ShardView,
    pub(crate) manifest: ShardManifest,
    pub(crate) writer: Option<Writer>,
    pub(crate) frozen: Vec<Frozen>,
    pub(crate) durable: u64,
    pub(crate) users_total: u64,
}

impl Shard {
    pub(crate) fn new(id: ShardId, context: Context, dir: PathBuf, opened: Opened) -> Self {
        let end = opened.view.end();
        let unsynced = opened.view.segments.last().cloned().into_iter().collect();
        let next_pack = opened.manifest.packs.iter().map(|pack| pack.number + 1).max().unwrap_or_default();
        let shard = Self {
            id,
            context,
            dir,
            epoch: opened.view.epoch(),
            view: ArcSwap::from_pointee(opened.view),
            writer: CachePadded::new(Mutex::new(opened.writer)),
            view_change: Mutex::new(()),
            preparation: Mutex::new(Preparation::behind(&opened.manifest)),
            preparation_done: Condvar::new(),
            unlisted: Mutex::default(),
            establishing: Mutex::default(),
            manifest: Mutex::new(opened.manifest),
            frozen: Mutex::new(opened.frozen),
            sealing: Mutex::new(()),
            building: Mutex::new(()),
            heads_failed_at: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            checkpointing: Mutex::new(()),
            merging: Mutex::default(),
            merges: AtomicU64::new(0),
            merged_bytes: AtomicU64::new(0),
            packing: Mutex::new(packing::Packing::behind(next_pack)),
            unsynced: Mutex::new(unsynced),
            published: CachePadded::new(CountTail::new(end)),
            durable: CachePadded::new(CountTail::new(opened.durable)),
            written_bytes: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            pace: pace::Pace::default(),
            slot_floor: AtomicU64::new(0),
            users_total: AtomicU64::new(opened.users_total),
            rollover_waits: AtomicU64::new(0),
            damaged_records: AtomicU64::new(0),
            segment_bytes_wanted: AtomicU64::new(u64::MAX),
            sealing_bytes: AtomicU64::new(0),
            following: Mutex::default(),
            poisoned: OnceLock::new(),
            closed: AtomicBool::new(false),
        };
        if shard.context.access == Access::Write {
            shard.tell_published(end);
            // As it is, though it was more before: a recovery may have rolled back what was not durable after all.
            shard.context.live.store(live_word(id) + 1, opened.durable);
        }
        shard
    }

    /// The view as it is now; it stays as it is for as long as it is held.
    #[inline]
    pub(crate) fn view(&self) -> Arc<ShardView> {
        self.view.load_full()
    }

    /// What a read sees from now on. The end comes first, so that the view covers it.
    #[inline]
    pub(crate) fn reading(&self) -> Reading {
        let readers_wait = self.context.readers_wait;
        #[cfg(test)]
        let readers_wait = readers_wait && !has(Bug::UnpublishedShown);
        let end = if readers_wait { self.durable() } else { self.published() };
        Reading { view: self.view(), end }
    }

    /// Replaces the view by a changed copy of it.
    pub(crate) fn change_view(&self, change: impl FnOnce(&mut ShardView)) {
        let _changing = self.view_change.lock();
        let mut view = ShardView::clone(&self.view());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// One past the last published sequence.
    #[inline]
    pub(crate) fn published(&self) -> u64 {
        self.published.get()
    }

    /// One past the last sequence known to be on stable storage.
    #[inline]
    pub(crate) fn durable(&self) -> u64 {
        self.durable.get()
    }

    #[inline]
    fn tell_published(&self, end: u64) {
        self.published.publish(end);
        self.context.live.store(live_word(self.id), end);
    }

    /// Lets this process's readers see the records below `end`, which another process wrote.
    fn follow_to(&self, end: u64) {
        self.published.publish(end);
    }

    pub(crate) fn tell_durable(&self, end: u64) {
        self.durable.raise(end);
        // A commit and the sealing of a segment tell at the same time: neither takes back what the other has told.
        self.context.live.raise(live_word(self.id) + 1, end);
    }

    /// Why the shard takes no more writes, if it doesn't.
    pub(crate) fn poison(&self) -> Option<&Error> {
        self.poisoned.get()
    }

    /// After a failed sync: no more writes, and what may be lost is kept in memory for readers.
    pub(crate) fn set_poisoned(&self, error: &Error) {
        let message = "a sync failed earlier, so this shard takes no more writes";
        let _ = self.poisoned.set(error.told_as(ErrorKind::Poisoned, message));
        // An append that passed the check before may publish behind what is copied here: its pages were dirtied after
        // the failure, so the kernel still has them.
        let durable = self.durable();
        #[cfg(test)]
        if has(Bug::CopyForgotten) {
            return;
        }
        for segment in self.unsynced.lock().iter() {
            segment.rescue(durable.saturating_sub(segment.base()));
        }
        self.preparation_done.notify_all();
    }

    /// Says whether the store is going to be closed, so that long work in the background is left undone.
    pub(crate) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// No more writes from now on; waits for the one that is under way, and for what other callers may be in the middle of: a
    /// segment that is prepared or sealed, a head table, a checkpoint, a merge, packing. Nobody must touch the directory when
    /// the store's lock is given up. Who takes one of these locks later finds the shard closed: that is asked under the lock.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.preparation_done.notify_all();
        drop(self.writer.lock());
        self.wait_for_preparation();
        drop(self.building.lock());
        drop(self.sealing.lock());
        drop(self.checkpointing.lock());
        drop(self.merging.lock());
        drop(self.packing.lock());
    }

    /// The current recovery epoch: fixed while the store is open.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Bytes of records that wait for a sync.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let written = self.written_bytes.load(Ordering::Relaxed);
        written.saturating_sub(self.synced_bytes.load(Ordering::Relaxed))
    }

    /// Why a write can't be taken now, if it can't.
    fn refusal(&self) -> Option<Error> {
        #[cfg(test)]
        if has(Bug::PoisonForgotten) {
            return None;
        }
        if let Some(error) = self.poison() {
            return Some(error.clone());
        }
        self.check_open().err()
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        Ok(())
    }
}

/// Where a shard's words begin in the live file: a cache line for each, behind one for the store.
pub(crate) fn live_word(shard: ShardId) -> usize {
    8 + usize::from(shard.get()) * 8
}
