//! How a store is made and opened.

use std::path::PathBuf;
use std::time::Duration;

use super::Store;
use super::open::Host;
use crate::error::{Error, ErrorKind, Result};
use crate::io::real::RealDisk;
use crate::segment::create::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::shard::memory::{budget_default, budget_min};
use crate::shard::merging::MERGE_FAN_OUT;
use crate::shard::recovery::Repair;

/// When an append is acknowledged, and so what it survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When it is stored in the mapped file: survives the process being killed.
    Buffered,
    /// As `Buffered`, and synced at least this often: a power cut takes at most the interval.
    Interval(Duration),
    /// When it is on stable storage: survives a power cut. Those who wait share one sync.
    Durable,
}

impl Default for Durability {
    /// `Interval` of 100 ms.
    fn default() -> Self {
        Self::Interval(Duration::from_millis(100))
    }
}

impl Durability {
    /// Whether an append waits for the disk.
    pub(crate) fn waits(self) -> bool {
        self == Self::Durable
    }
}

/// How a store is made or opened.
///
/// ```no_run
/// use usertrail::{Durability, Options};
///
/// let store = Options::new().shards(8).durability(Durability::Durable).create_if_missing(true).open("trail")?;
/// # Ok::<(), usertrail::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) shards: Option<u16>,
    pub(super) segment_bytes_max: u64,
    pub(super) durability: Option<Durability>,
    pub(super) name: Option<String>,
    pub(super) create_if_missing: bool,
    pub(super) read_only: bool,
    pub(super) unsynced_bytes_max: u64,
    pub(super) memory_budget: Option<u64>,
    pub(super) checkpoint_bytes: u64,
    pub(super) clock_jump_max: Duration,
    pub(super) merge_fan_out: usize,
    pub(super) repair: Repair,
    pub(super) pack_after: PackAfter,
}

/// When the oldest sealed segments of a store are packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PackAfter {
    /// When more bytes of sealed segments are unpacked than half of the machine's memory.
    #[default]
    HalfOfMemory,
    /// When more bytes of sealed segments are unpacked than this; 0: as soon as they are sealed.
    Bytes(u64),
    /// Not on its own; [`Store::pack`] still packs.
    Never,
}

impl PackAfter {
    /// How many bytes each of the shards keeps unpacked.
    pub(super) fn bytes_of_shard(self, memory_bytes: Option<u64>, shards: u16) -> Option<u64> {
        let all = match self {
            // A machine that doesn't say how much memory it has keeps its segments as they are.
            Self::HalfOfMemory => memory_bytes? / 2,
            Self::Bytes(bytes) => bytes,
            Self::Never => return None,
        };
        Some(all / u64::from(shards.max(1)))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults, each named at its setter.
    pub fn new() -> Self {
        Self {
            shards: None,
            segment_bytes_max: 64 << 20,
            durability: None,
            name: None,
            create_if_missing: false,
            read_only: false,
            unsynced_bytes_max: 2 << 30,
            memory_budget: None,
            checkpoint_bytes: 16 << 20,
            clock_jump_max: Duration::from_mins(1),
            merge_fan_out: MERGE_FAN_OUT,
            repair: Repair::No,
            pack_after: PackAfter::default(),
        }
    }

    /// How many shards a new store gets: a power of two from 1 to 16,384, fixed for life. Default: the first power of
    /// two from twice the cores on, at least 4.
    #[must_use]
    pub fn shards(mut self, shards: u16) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How large the segments of a new store grow, in bytes: 1 MiB to 1 GiB. Default 64 MiB.
    #[must_use]
    pub fn segment_bytes_max(mut self, bytes: u64) -> Self {
        self.segment_bytes_max = bytes;
        self
    }

    /// When appends are acknowledged. A new store keeps it as its default; an existing one uses it this time.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// The name of a new store, 1 to 200 bytes of printable ASCII without spaces or `+`; it stays with copies of the
    /// directory. Default: a random one.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Makes the store where there is none. Default: no.
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// Opens for reading only, beside a running writer if there is one. Changes nothing on disk. Default: no.
    ///
    /// Without a running writer, only what is known to be on stable storage is shown:
    /// [`RecoveryReport::needs_recovery`](super::RecoveryReport::needs_recovery) says if there is more.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How many bytes may wait for a sync, at every durability; each shard gets an equal part. Default 2 GiB.
    ///
    /// From three quarters of it on, writers are slowed to what the disk takes, smoothly; at the bound they wait for a sync.
    #[must_use]
    pub fn unsynced_bytes_max(mut self, bytes: u64) -> Self {
        self.unsynced_bytes_max = bytes;
        self
    }

    /// How many bytes of memory the store may allocate: for the indexes of segments that aren't sealed, for sealing them,
    /// and for what it knows of sealed ones. Default 256 MiB, or what the shards need at least if that is more: 8 MiB, and
    /// 2 MiB for each.
    ///
    /// With less memory, segments end earlier where many users take turns, and writers help to seal. Mapped files are not
    /// counted (the kernel drops their pages when it needs memory), nor are pages and events that the caller holds.
    /// [`Stats::memory`](super::Stats::memory) says what is used for what.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// After how many bytes of a shard's log an index checkpoint is written, in the background: about so much of each shard
    /// is read when the store is opened after the process was killed. Default 16 MiB; `u64::MAX` for none.
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = bytes;
        self
    }

    /// How far the clock may jump forward before a `system.clock_jumped` event records it. Default 60 s.
    #[must_use]
    pub fn clock_jump_max(mut self, jump: Duration) -> Self {
        self.clock_jump_max = jump;
        self
    }

    /// How many neighbouring index runs become one, from 2 to 64. Default 8.
    ///
    /// Each sealed segment has an index run of its own; they are merged in the background, so that a look-up meets less than
    /// this many runs of each size. Fewer make look-ups faster and write more: every entry of the index, about 12 bytes an
    /// event, is written again once for each power of this number that the shard's count of segments has reached.
    #[must_use]
    pub fn merge_fan_out(mut self, runs: usize) -> Self {
        self.merge_fan_out = runs;
        self
    }

    /// Lets opening roll a segment back to its first bad record, also where that record was on stable storage.
    ///
    /// Without this such damage is refused. What lies behind the damage is given up too. The files of all segments that lose
    /// records are kept as `<name>.damaged-<generation>`, which takes as much room again; what was lost is in the
    /// [report](Store::recovery).
    #[must_use]
    pub fn repair(mut self, repair: bool) -> Self {
        self.repair = if repair { Repair::RollBack } else { Repair::No };
        self
    }

    /// When the oldest sealed segments are packed: sorted by user and compressed, in the background. Default:
    /// [`PackAfter::HalfOfMemory`].
    ///
    /// A pack takes about a quarter of the room, and a user's old events lie side by side in it, which costs fewer
    /// reads where they are not in memory; where they are, a page of them costs more time. Events stay byte for
    /// byte what they were, and [`Store::unpack`] makes segments of them again.
    #[must_use]
    pub fn pack_after(mut self, pack_after: PackAfter) -> Self {
        self.pack_after = pack_after;
        self
    }

    /// Opens the store in a directory.
    ///
    /// # Errors
    ///
    /// As [`Store::open`], and [`InvalidOption`](ErrorKind::InvalidOption).
    pub fn open(self, path: impl Into<PathBuf>) -> Result<Store> {
        self.check()?;
        super::open::open(&self, &Host::machine(RealDisk::default()), path.into())
    }

    /// Makes a new store in a directory that is empty or not there.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists), [`InvalidOption`](ErrorKind::InvalidOption), or what the operating
    /// system says.
    pub fn create_new(self, path: impl Into<PathBuf>) -> Result<Store> {
        self.check()?;
        super::open::create_new(&self, &Host::machine(RealDisk::default()), path.into())
    }

    /// A new store in memory, gone with its last clone.
    ///
    /// # Errors
    ///
    /// [`InvalidOption`](ErrorKind::InvalidOption), or if memory can't be had.
    pub fn in_memory(self) -> Result<Store> {
        self.check()?;
        super::open::in_memory(&self)
    }

    fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
        if let Some(shards) = self.shards
            && (!shards.is_power_of_two() || shards > 1 << 14)
        {
            return invalid(format!("{shards} shards: must be a power of two from 1 to 16384"));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes_max) {
            return invalid(format!(
                "segments of {} bytes: must be from 1 MiB to 1 GiB",
                self.segment_bytes_max
            ));
        }
        if self.durability == Some(Durability::Interval(Duration::ZERO)) {
            return invalid("a sync interval of zero: Durable is what waits for every sync".to_owned());
        }
        if let Some(name) = &self.name
            && (name.is_empty()
                || name.len() > 200
                || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+'))
        {
            return invalid(
                "the store's name must be 1 to 200 printable ASCII characters but spaces and +".to_owned(),
            );
        }
        if self.checkpoint_bytes == 0 {
            return invalid("checkpoint_bytes: must be at least 1".to_owned());
        }
        if !(2..=64).contains(&self.merge_fan_out) {
            return invalid(format!("merging {} runs into one: must be from 2 to 64", self.merge_fan_out));
        }
        if self.unsynced_bytes_max < SEGMENT_BYTES_MIN {
            return invalid("unsynced_bytes_max: must be at least 1 MiB".to_owned());
        }
        Ok(())
    }

    /// The memory budget of a store with this many shards.
    pub(super) fn memory_budget_or_default(&self, shards: u16) -> Result<u64> {
        let least = budget_min(shards);
        match self.memory_budget {
            Some(bytes) if bytes < least => Err(Error::new(
                ErrorKind::InvalidOption,
                format!(
                    "a memory budget of {bytes} bytes: a store with {shards} shards needs at least {least}"
                ),
            )),
            Some(bytes) => Ok(bytes),
            None => Ok(budget_default(shards)),
        }
    }

    /// Twice the cores, at least four, rounded up to a power of two.
    pub(super) fn shards_or_default(&self) -> u16 {
        self.shards.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
            u16::try_from((2 * cores).clamp(4, 256).next_power_of_two()).unwrap_or(4)
        })
    }
}
