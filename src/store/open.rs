//! Opens stores, for writing and for reading: the directory's own files, the lock, every shard.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::background::{Inline, Workers, start};
use super::create::{
    Created, KEY_NAME, LIVE_NAME, LOCK_NAME, STORE_NAME, create_files, is_vacant, random, shard_dir,
};
use super::options::{Durability, Options};
use super::{Core, Inner, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventView;
use crate::format::event_id;
use crate::format::keys::{IndexKey, KEY_FILE_BYTES, ROUTE_HASH_VERSION};
use crate::format::located;
use crate::format::manifest::{MANIFEST_BYTES_MAX, StoreManifest};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::ids::ShardId;
use crate::io::clock::{Clock, SystemClock};
use crate::io::memory::MemoryDisk;
use crate::io::mmap::{OpenHere, SharedWords};
use crate::io::{Access, Disk, LockGuard, TEMPORARY_SUFFIX};
use crate::shard::commit::Committer;
use crate::shard::follow::{self, Extent};
use crate::shard::memory::Shares;
use crate::shard::recovery::{self, ShardRecovery};
use crate::shard::{Background, Context, Opened, Shard, live_word};

/// The word of the live file that says that its shards' words are valid: the writer's session.
const LIVE_SESSION: usize = 0;
/// The word of the live file that is not zero where readers see durable records only.
const LIVE_READERS_WAIT: usize = 1;

/// What opening a store had to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The shards in which something was rescued or rolled back.
    pub shards: Vec<ShardRecovery>,
    /// Opened for reading without a running writer: records above the durable floor are not shown. Opening the store for
    /// writing once makes them durable and readable.
    pub needs_recovery: bool,
}

impl RecoveryReport {
    /// Whether acknowledged events may have been lost.
    pub fn rolled_back(&self) -> bool {
        self.shards.iter().any(|shard| shard.rolled_back_from.is_some())
    }
}

/// What a store runs on: the machine, or what a test puts in its place.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) workers: WorkersKind,
}

/// Who does a store's background work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WorkersKind {
    /// Threads of its own.
    Threads,
    /// The caller that causes it, at once; nothing happens by time.
    Caller,
    /// Whoever can't go on without it: background threads may be late for ever.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests alone do without threads"))]
    Nobody,
}

impl Host {
    /// The machine, with this disk.
    pub(super) fn machine(disk: impl Disk + 'static) -> Self {
        Self { disk: Arc::new(disk), clock: Arc::new(SystemClock::new()), workers: WorkersKind::Threads }
    }
}

pub(super) fn open(options: &Options, host: &Host, dir: PathBuf) -> Result<Store> {
    if options.read_only {
        return open_reader(options, host, dir);
    }
    if options.create_if_missing && is_vacant(&*host.disk, &dir)? {
        let (Created::Here(lock) | Created::ByAnother(lock)) = create(options, host, &dir)?;
        return open_locked(options, host, dir, lock);
    }
    open_writer(options, host, dir)
}

pub(super) fn create_new(options: &Options, host: &Host, dir: PathBuf) -> Result<Store> {
    if is_vacant(&*host.disk, &dir)?
        && let Created::Here(lock) = create(options, host, &dir)?
    {
        return open_locked(options, host, dir, lock);
    }
    let what = if host.disk.exists(&dir.join(STORE_NAME))? { "a store" } else { "something else" };
    Err(Error::at(ErrorKind::AlreadyExists, &dir, format!("there is {what} in the directory already")))
}

/// Makes the store's files, where it was vacant a moment ago.
pub(super) fn create(options: &Options, host: &Host, dir: &Path) -> Result<Created> {
    // Before anything is made: what can't be opened afterwards.
    options.memory_budget_or_default(options.shards_or_default())?;
    create_files(options, host, dir)
}

pub(super) fn in_memory(options: &Options) -> Result<Store> {
    create_new(options, &Host::machine(MemoryDisk::default()), PathBuf::from("memory"))
}

/// Reads the store's manifest and key.
fn read_identity(disk: &dyn Disk, dir: &Path) -> Result<(StoreManifest, IndexKey)> {
    let path = dir.join(STORE_NAME);
    // A directory that isn't there, or isn't one, says so itself.
    disk.list(dir)?;
    if !disk.exists(&path)? {
        return Err(Error::at(ErrorKind::NotAStore, dir, "the directory is not a usertrail store"));
    }
    let bytes = disk.read(&path, MANIFEST_BYTES_MAX)?;
    let manifest = StoreManifest::decode(&bytes).map_err(located(&path, 0))?;
    if manifest.route_hash_version > ROUTE_HASH_VERSION {
        let message =
            format!("routing hash version {} is newer than this program", manifest.route_hash_version);
        return Err(Error::at(ErrorKind::NewerFormat, &path, message));
    }
    if !manifest.shards.is_power_of_two() || manifest.shards > 1 << 14 {
        return Err(Error::corruption(&path, 0, "the number of shards is no power of two"));
    }
    let path = dir.join(KEY_NAME);
    let bytes = disk.read(&path, KEY_FILE_BYTES as u64).map_err(|error| match error.io_kind() {
        Some(std::io::ErrorKind::NotFound) => Error::corruption(&path, 0, "the store's key file is missing"),
        _ => error,
    })?;
    let key = IndexKey::decode(&bytes).map_err(located(&path, 0))?;
    Ok((manifest, key))
}

fn open_writer(options: &Options, host: &Host, dir: PathBuf) -> Result<Store> {
    // Before the lock: a directory that is no store is left as it is.
    read_identity(&*host.disk, &dir)?;
    let lock = host.disk.lock(&dir.join(LOCK_NAME))?;
    open_locked(options, host, dir, lock)
}

pub(super) fn live_words(manifest: &StoreManifest) -> usize {
    live_word(ShardId::new(manifest.shards))
}

fn context(
    options: &Options,
    host: &Host,
    manifest: &StoreManifest,
    key: &Arc<IndexKey>,
    live: SharedWords,
    access: Access,
) -> Result<Context> {
    let budget = options.memory_budget_or_default(manifest.shards)?;
    Ok(Context {
        disk: Arc::clone(&host.disk),
        clock: Arc::clone(&host.clock),
        key: Arc::clone(key),
        store_id: manifest.store_id,
        segment_bytes_max: manifest.segment_bytes_max,
        write_ahead: durability(options, manifest).waits(),
        readers_wait: access == Access::Write && durability(options, manifest).waits(),
        merge_fan_out: options.merge_fan_out,
        unsynced_bytes_max: options.unsynced_bytes_max / u64::from(manifest.shards),
        shares: Shares::of(budget, manifest.shards),
        checkpoint_bytes: options.checkpoint_bytes,
        live,
        access,
        pack_after: options.pack_after.bytes_of_shard(host.disk.memory_bytes(), manifest.shards),
    })
}

fn durability(options: &Options, manifest: &StoreManifest) -> Durability {
    options.durability.unwrap_or(match manifest.durability {
        0 => Durability::Buffered,
        2 => Durability::Durable,
        _ => Durability::Interval(Duration::from_micros(manifest.sync_interval_micros.max(1))),
    })
}

fn open_locked(options: &Options, host: &Host, dir: PathBuf, lock: Box<dyn LockGuard>) -> Result<Store> {
    let disk = Arc::clone(&host.disk);
    let (manifest, key) = read_identity(&*disk, &dir)?;
    let key = Arc::new(key);
    settle_names(&*disk, &dir)?;
    let live = disk.shared_words(&dir.join(LIVE_NAME), live_words(&manifest), Access::Write)?;
    // Readers beside the writer before this one must look again.
    live.store(LIVE_SESSION, 0);
    let context = context(options, host, &manifest, &key, live.clone(), Access::Write)?;
    let (shards, reports) =
        open_shards(&context, &dir, &manifest, options, host.workers == WorkersKind::Threads)?;
    check_key(&key, &shards, &dir)?;
    let session = u64::from_le_bytes(random()?) | 1;
    live.store(LIVE_READERS_WAIT, u64::from(context.readers_wait));
    live.store(LIVE_SESSION, session);
    let recovery = RecoveryReport {
        shards: reports
            .into_iter()
            .filter(|report| report.rescued > 0 || report.rolled_back_from.is_some())
            .collect(),
        needs_recovery: false,
    };
    let durability = durability(options, &manifest);
    let workers = (host.workers == WorkersKind::Threads).then(Workers::channels);
    let inline = || Arc::new(Inline { runs: host.workers == WorkersKind::Caller }) as Arc<dyn Background>;
    let core = Arc::new(Core {
        committer: Committer::new(&shards),
        disk,
        dir,
        key,
        background: workers.as_ref().map_or_else(inline, Workers::background),
        shards,
        durability,
        memory_budget: options.memory_budget_or_default(manifest.shards)?,
        access: Access::Write,
        live,
        late_live: None,
        open: OpenHere::new()?,
        round_robin: AtomicU64::new(0),
        reads: CachePadded::default(),
        manifest,
    });
    match &workers {
        Some(workers) => workers.start(&core, &host.clock, options.clock_jump_max)?,
        None => start(&core),
    }
    Ok(Store(Arc::new(Inner { core, workers, recovery, lock: Mutex::new(Some(lock)) })))
}

/// Removes what a creation that was cut short has left, and makes the store's own names durable: the process that made it may
/// have been killed when they were in the cache alone.
fn settle_names(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for name in disk.list(dir)?.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
        disk.remove(&dir.join(name))?;
    }
    #[cfg(test)]
    if has(Bug::OpenedNameNotSynced) {
        return Ok(());
    }
    disk.sync_dir(dir)
}

type Shards = Arc<[Arc<Shard>]>;

/// Opens all shards, several at a time: recovery waits for the disk.
fn open_shards(
    context: &Context,
    dir: &Path,
    manifest: &StoreManifest,
    options: &Options,
    threads: bool,
) -> Result<(Shards, Vec<ShardRecovery>)> {
    let open_one = |number: u16| {
        let (id, dir) = (ShardId::new(number), shard_dir(dir, number));
        let (opened, report) = recovery::open(context, &dir, id, options.repair)?;
        let shard = Shard::new(id, context.clone(), dir, opened);
        if threads && !context.write_ahead {
            // The first segment may be full before a background thread has begun. What fails here is tried again there.
            let _ = shard.prepare();
        }
        Ok::<_, Error>((Arc::new(shard), report))
    };
    let numbers: Vec<u16> = (0..manifest.shards).collect();
    let open_some = |numbers: &[u16]| numbers.iter().map(|number| open_one(*number)).collect::<Vec<_>>();
    let together = || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = numbers
                .chunks(numbers.len().div_ceil(8))
                .map(|chunk| {
                    // Where there can be no more threads, this one does it.
                    let thread = std::thread::Builder::new().spawn_scoped(scope, || open_some(chunk));
                    thread.map_err(|_| chunk)
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    Err(chunk) => open_some(chunk),
                })
                .collect()
        })
    };
    let opened: Vec<Result<(Arc<Shard>, ShardRecovery)>> =
        if threads { together() } else { open_some(&numbers) };
    let mut shards = Vec::with_capacity(opened.len());
    let mut reports = Vec::with_capacity(opened.len());
    for shard in opened {
        let (shard, report) = shard?;
        shards.push(shard);
        reports.push(report);
    }
    Ok((shards.into(), reports))
}

fn open_reader(options: &Options, host: &Host, dir: PathBuf) -> Result<Store> {
    let disk = Arc::clone(&host.disk);
    let (manifest, key) = read_identity(&*disk, &dir)?;
    let key = Arc::new(key);
    let live = disk.shared_words(&dir.join(LIVE_NAME), live_words(&manifest), Access::Read);
    // Held until everything is open: nobody begins to write below a reader that looks for the end of the log.
    let writers_away = disk.keep_writers_away(&dir.join(LOCK_NAME))?;
    let running = writers_away.is_none();
    // Without the file there is nothing to follow, until a writer comes and makes it.
    let (live, late_live) = match live {
        Ok(live) => (live, None),
        Err(error) if running => return Err(error),
        Err(_) => {
            let words = live_words(&manifest);
            let none = MemoryDisk::default().shared_words(Path::new(LIVE_NAME), words, Access::Write)?;
            (none, Some(OnceLock::new()))
        }
    };
    let context = context(options, host, &manifest, &key, live.clone(), Access::Read)?;
    let (shards, needs_recovery) = loop {
        let session = live.load(LIVE_SESSION);
        let opened = open_followers(&context, &dir, manifest.shards, session, running && session != 0);
        #[cfg(test)]
        tests::MEANWHILE.take().into_iter().for_each(|happens| happens());
        // Whoever began or ended a session meanwhile may have made a shard another one than this reader took it for.
        if !running || live.load(LIVE_SESSION) == session {
            break opened?;
        }
    };
    check_key(&key, &shards, &dir)?;
    let background: Arc<dyn Background> = Arc::new(Inline { runs: false });
    let core = Arc::new(Core {
        committer: Committer::new(&shards),
        disk,
        dir,
        key,
        background,
        shards,
        durability: durability(options, &manifest),
        memory_budget: options.memory_budget_or_default(manifest.shards)?,
        access: Access::Read,
        live,
        late_live,
        open: OpenHere::new()?,
        round_robin: AtomicU64::new(0),
        reads: CachePadded::default(),
        manifest,
    });
    let recovery = RecoveryReport { shards: Vec::new(), needs_recovery };
    drop(writers_away);
    Ok(Store(Arc::new(Inner { core, workers: None, recovery, lock: Mutex::new(None) })))
}

/// Sees that the key is the store's own. The key of another store would be taken for intact, and under it no user is found:
/// every log would be empty. An event's id leads to its record under the one key alone. Costs a look at one record.
fn check_key(key: &IndexKey, shards: &[Arc<Shard>], dir: &Path) -> Result<()> {
    #[cfg(test)]
    if has(Bug::KeyUnchecked) {
        return Ok(());
    }
    for shard in shards {
        let view = shard.view();
        let Some(last) = view.end().checked_sub(1).filter(|last| *last >= view.start()) else { continue };
        // What is damaged is told where it is read.
        let Ok(leaf) = view.leaf(last) else { continue };
        let Ok(event) = EventView::parse(&leaf) else { continue };
        if event_id::locate(key, event.id().as_u128()) == Some((shard.id.get(), last)) {
            return Ok(());
        }
        let message = "it is not the key that the store's events were written with";
        return Err(Error::corruption(&dir.join(KEY_NAME), 0, message));
    }
    Ok(())
}

/// Opens all shards for reading; beside a writer that has published something in its session, up to that. Says also whether
/// something was left out that only a writer can recover.
fn open_followers(
    context: &Context,
    dir: &Path,
    shards: u16,
    session: u64,
    published: bool,
) -> Result<(Shards, bool)> {
    let extent =
        |id| if published { Extent::Published(tail_word(&context.live, id)) } else { Extent::Durable };
    let mut opened_shards = Vec::new();
    let mut needs_recovery = false;
    for number in 0..shards {
        let (id, dir) = (ShardId::new(number), shard_dir(dir, number));
        let (opened, left_out) = open_follower(context, &dir, id, &extent)?;
        needs_recovery |= left_out;
        let shard = Shard::new(id, context.clone(), dir, opened);
        shard.begin_following(session, published);
        opened_shards.push(Arc::new(shard));
    }
    Ok((opened_shards.into(), needs_recovery))
}

/// Opens a shard beside the writer; the writer may replace the manifest meanwhile, so a failure is looked at again.
fn open_follower(
    context: &Context,
    dir: &Path,
    id: ShardId,
    extent: &dyn Fn(ShardId) -> Extent,
) -> Result<(Opened, bool)> {
    let mut attempts = 0;
    loop {
        let extent = extent(id);
        match follow::open(context, dir, id, extent) {
            Err(_) if extent != Extent::Durable && attempts < 10 => attempts += 1,
            outcome => return outcome,
        }
    }
}

/// The tail up to which readers of a running writer's shard may read.
fn tail_word(live: &SharedWords, shard: ShardId) -> u64 {
    live.load(live_word(shard) + usize::from(live.load(LIVE_READERS_WAIT) != 0))
}

impl Core {
    /// In a store opened for reading: takes in what the writer has published since.
    pub(super) fn follow(&self, shard: &Shard) -> Result<()> {
        if self.access == Access::Write {
            return Ok(());
        }
        let live = self.live();
        loop {
            let session = live.load(LIVE_SESSION);
            let tail = tail_word(live, shard.id);
            // A tail of another writer's is no bound for this one's.
            if live.load(LIVE_SESSION) == session {
                return shard.follow(session, tail);
            }
        }
    }

    /// What a writer tells readers in other processes.
    fn live(&self) -> &SharedWords {
        let Some(late) = &self.late_live else { return &self.live };
        if late.get().is_none()
            && let Ok(made) =
                self.disk.shared_words(&self.dir.join(LIVE_NAME), live_words(&self.manifest), Access::Read)
        {
            return late.get_or_init(|| made);
        }
        late.get().unwrap_or(&self.live)
    }

    /// One past the last sequence of a shard that is known to be on stable storage: what this process has synced or
    /// found, or what the writer beside this reader says.
    pub(super) fn durable(&self, shard: &Shard) -> u64 {
        let told = match self.access {
            Access::Read if shard.follows_a_writer() => self.live().load(live_word(shard.id) + 1),
            _ => 0,
        };
        shard.durable().max(told)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::event::{Action, NewEvent};
    use crate::io::real::RealDisk;

    thread_local! {
        /// What happens while this thread opens a store for reading.
        pub(super) static MEANWHILE: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
    }

    #[test]
    fn a_reader_looks_again_when_a_writer_has_begun_meanwhile() {
        let host = Host { workers: WorkersKind::Nobody, ..Host::machine(RealDisk::default()) };
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("store");
        let options = Options::new().shards(2).durability(Durability::Buffered);
        let writer = create_new(&options, &host, dir.clone()).unwrap();
        for _ in 0..10 {
            writer.append(&NewEvent::builder(Action::AUTH_LOGIN).build().unwrap()).unwrap();
        }
        // As a writer that hasn't opened all shards yet.
        let live = writer.0.core.live.clone();
        let session = live.load(LIVE_SESSION);
        live.store(LIVE_SESSION, 0);
        for begins in [false, true] {
            let live = live.clone();
            let begin = move || live.store(LIVE_SESSION, session);
            MEANWHILE.set(begins.then(|| Box::new(begin) as Box<dyn FnOnce()>));
            let reader = open(&Options::new().read_only(true), &host, dir.clone()).unwrap();
            // Nothing is durable yet: without a session that is all that may be shown.
            assert_eq!(reader.recovery().needs_recovery, !begins);
            assert_eq!(reader.stats().unwrap().events, if begins { 10 } else { 0 });
        }
    }
}
