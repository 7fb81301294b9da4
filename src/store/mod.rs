//! The store: shards behind one handle. Routing, durability, opening and closing.
//!
//! Owns what spans shards. Everything below it is private; this is what embedders see.

mod append;
#[cfg(feature = "async")]
pub(crate) mod asynchronous;
mod background;
#[cfg(test)]
mod closing_tests;
#[cfg(test)]
mod cold_tests;
#[cfg(test)]
mod crash_tests;
mod create;
#[cfg(test)]
mod damage_tests;
#[cfg(any(test, fuzzing))]
pub(crate) mod images;
mod inspect;
#[cfg(test)]
mod model_tests;
mod open;
mod options;
mod pack;
mod read;
#[cfg(test)]
mod removal_tests;
#[cfg(test)]
mod sealing_tests;
mod stats;
#[cfg(test)]
mod stress_tests;
#[cfg(test)]
mod wrong_index_tests;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

pub use append::{BatchError, Pending, Receipt};
pub use inspect::{PackLayout, RollbackNote, SegmentLayout, ShardLayout};
pub use open::RecoveryReport;
pub use options::{Durability, Options, PackAfter};
pub use pack::Packed;
pub use read::UserLogQuery;
pub use stats::{MemoryStats, ShardStats, Stats};

use crate::error::{Error, ErrorKind, Result};
use crate::format::keys::{IndexKey, route_hash};
use crate::format::manifest::StoreManifest;
use crate::io::mmap::{OpenHere, SharedWords};
use crate::io::{Access, Disk, LockGuard};
use crate::shard::commit::Committer;
use crate::shard::{Background, Job, Shard};
use background::Workers;

/// An event store: a directory, its shards, and the threads that look after them.
///
/// Cheap to clone; all clones are the same store. It is closed when [`Store::close`] is called or the last clone is
/// dropped; events that were acknowledged are safe without either, as far as the [`Durability`] says.
///
/// ```
/// use usertrail::{Level, NewEvent, SessionId, Store, UserId};
///
/// let store = Store::in_memory()?;
/// let alice = UserId::new("alice")?;
/// let login = NewEvent::login(alice.clone(), SessionId::new("s-1")?).ip("203.0.113.7".parse().unwrap()).build()?;
/// let receipt = store.append(&login)?;
/// assert_eq!(receipt.user_sequence.unwrap().get(), 0);
///
/// let page = store.user_log(&alice).limit(50).page()?;
/// for event in page.iter() {
///     let event = event?;
///     assert_eq!(event.level(), Level::Info);
/// }
/// # Ok::<(), usertrail::Error>(())
/// ```
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// Dropped with the last clone.
struct Inner {
    core: Arc<Core>,
    /// `None` in a store opened for reading.
    workers: Option<Workers>,
    recovery: RecoveryReport,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

/// What the background threads share with the handle.
pub(crate) struct Core {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    manifest: StoreManifest,
    key: Arc<IndexKey>,
    shards: Arc<[Arc<Shard>]>,
    committer: Committer,
    background: Arc<dyn Background>,
    durability: Durability,
    memory_budget: u64,
    access: Access,
    live: SharedWords,
    /// In a store opened for reading where there was no live file: the one that a writer has made since.
    late_live: Option<OnceLock<SharedWords>>,
    open: OpenHere,
    round_robin: AtomicU64,
    reads: CachePadded<Reads>,
}

/// What was read. On lines of its own: every page counts here, and every append reads what lies beside it.
#[derive(Default)]
struct Reads {
    records: AtomicU64,
    pages: AtomicU64,
}

impl Store {
    /// Opens the store in a directory, recovering it if its last writer didn't close it.
    ///
    /// Costs the headers of what is sealed and a replay of each shard's last segment: not the log.
    ///
    /// # Errors
    ///
    /// [`NotAStore`](ErrorKind::NotAStore), [`Locked`](ErrorKind::Locked) naming the process that has it open,
    /// [`NewerFormat`](ErrorKind::NewerFormat), [`Corruption`](ErrorKind::Corruption) naming file and offset (nothing is
    /// changed then), or what the operating system says.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Options::new().open(path)
    }

    /// A store in memory, for tests: the same code on a disk that is gone with the last clone.
    ///
    /// # Errors
    ///
    /// Only if memory can't be had.
    pub fn in_memory() -> Result<Self> {
        Options::new().in_memory()
    }

    /// The store's name, given when it was made.
    pub fn name(&self) -> &str {
        &self.0.core.manifest.name
    }

    /// How many shards there are: a power of two, fixed for life.
    pub fn shard_count(&self) -> u16 {
        self.0.core.manifest.shards
    }

    /// When an append is acknowledged.
    pub fn durability(&self) -> Durability {
        self.0.core.durability
    }

    /// What opening the store had to roll back, or make durable.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.0.recovery
    }

    /// Waits until everything that was appended before the call is on stable storage.
    ///
    /// # Errors
    ///
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) if a sync failed.
    pub fn flush(&self) -> Result<()> {
        self.0.core.check_open()?;
        match self.0.core.access {
            Access::Write => self.0.core.committer.flush(),
            Access::Read => Ok(()),
        }
    }

    /// Does what the background would do in its own time: seals segments that are full, merges index runs, and packs
    /// what is to be [packed](Options::pack_after). Returns when
    /// nothing of it is due any more.
    ///
    /// Never needed: the background keeps up by itself, slowly enough not to be in anybody's way. Useful after a large
    /// import, before a measurement, or in a test. Costs the writing of the runs that are due, which is at most about 12 bytes
    /// for each event and [size class](Options::merge_fan_out); appends and reads go on meanwhile.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) in a store opened for reading, [`Poisoned`](ErrorKind::Poisoned),
    /// [`StorageFull`](ErrorKind::StorageFull) (a merge needs the room of its result before it can remove what it was made
    /// of), [`Corruption`](ErrorKind::Corruption) naming what is damaged, [`Closed`](ErrorKind::Closed) also if the store is
    /// closed meanwhile. What was begun has no effect then; what was there stays.
    ///
    /// ```
    /// # let store = usertrail::Store::in_memory()?;
    /// store.maintain()?;
    /// # Ok::<(), usertrail::Error>(())
    /// ```
    pub fn maintain(&self) -> Result<()> {
        let core = &self.0.core;
        core.check_open()?;
        if core.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading only"));
        }
        for shard in &*core.shards {
            if let Some(error) = shard.poison() {
                return Err(error.clone());
            }
            shard.run(Job::Seal)?;
            shard.merge_due(&mut |_| core.check_open())?;
            shard.pack_due(&mut |_| core.check_open())?;
        }
        core.check_open()
    }

    /// Syncs everything, marks the store as closed cleanly, and stops its threads. Other clones can't use it any more.
    ///
    /// # Errors
    ///
    /// As [`Store::flush`]; the store is closed nevertheless, and the next opening recovers it. A second call does
    /// nothing.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.0.core.dir)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) -> Result<()> {
        let core = &self.core;
        if !core.open.close() {
            return Ok(());
        }
        let outcome = match core.access {
            Access::Read => Ok(()),
            Access::Write => self.close_writer(),
        };
        *self.lock.lock() = None;
        outcome
    }

    fn close_writer(&self) -> Result<()> {
        let core = &self.core;
        core.shards.iter().for_each(|shard| shard.set_leaving(true));
        if let Some(workers) = &self.workers {
            workers.stop();
        }
        core.shards.iter().for_each(|shard| shard.set_leaving(false));
        let sealed = core.shards.iter().try_for_each(|shard| shard.run(Job::Seal));
        core.shards.iter().for_each(|shard| shard.close());
        let flushed = core.committer.flush();
        // A shard that failed is not marked; the others are.
        let marks = core.shards.iter().map(|shard| shard.mark_clean());
        let marked = marks.fold(flushed, Result::and);
        for shard in &*core.shards {
            // Without it the next opening reads more of the log.
            let _ = shard.write_closing_checkpoint();
            shard.close_heads();
        }
        // What waits to be sealed is sealed at the next opening; only a full disk leads there.
        marked.and(sealed.or_else(|error| match error.kind() {
            ErrorKind::StorageFull => Ok(()),
            _ => Err(error),
        }))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to tell: what could not be synced is recovered, or reported, at the next opening.
        let _ = self.close();
    }
}

impl Core {
    fn check_open(&self) -> Result<()> {
        if self.open.is_open() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Closed,
            "the store is closed, or was opened by the process that forked this one",
        ))
    }

    /// The shard of a name: the low bits of its hash.
    fn shard_of(&self, name: &[u8]) -> &Arc<Shard> {
        self.shard_at(route_hash(name))
    }

    fn shard_at(&self, number: u64) -> &Arc<Shard> {
        let mask = u64::from(self.manifest.shards).wrapping_sub(1);
        // The count is a power of two, at least 1 and at most 2^14.
        &self.shards[usize::try_from(number & mask).unwrap_or_default()]
    }
}
