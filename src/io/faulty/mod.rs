//! The twin of the disk that fails on purpose: it knows what is durable and what is in the cache alone, counts operations,
//! fails or stops at one of them, and makes the disks that a power cut at that moment may leave.
//!
//! What is modelled, a page being 4096 bytes and a sector 512:
//!
//! - Bytes are durable after `sync_data` (or `write_synced`) has returned. Before, each page may be on the disk as it was at
//!   any moment since it was durable last, also with half of what was being copied in then, and each of its sectors as at
//!   another moment. A page's changes are kept until a sync, so nothing is written back at a moment of its own.
//! - Names (creations, renames, removals, directories) are durable after `sync_dir` of their directory. Before, each
//!   may have happened or not; of a rename, the new name may be there beside the old one.
//! - A failed sync marks its pages clean: no later sync writes them, and the cache may drop them ([`FaultyDisk::evict`]).
//!
//! What happens can be recorded, stores through mappings included, and gone through again ([`Replay`]).
//!
//! Stores on it have no threads. Must not know what is in a file.

mod damage;
mod names;
mod pages;
mod recording;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::mmap::{Memory, SegmentMap, SharedWords, Watch};
use super::{Access, Disk, DiskFile, LockGuard, Mode};
use crate::error::{Error, ErrorKind, Result};
pub(crate) use damage::{Damage, Dice};
use names::NameChange;
use pages::Inode;
use recording::{Event, Shadow};
pub(crate) use recording::{Recording, Replay};

/// What goes wrong, at the operation whose number is named (from 0) or from it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The machine stops: this operation may have taken effect in the cache, no later one does.
    Crash,
    /// An input/output error, and nothing happened.
    ErrorOnce,
    /// The same from there on.
    ErrorsForEver,
    /// From there on nothing that takes space succeeds, until [`FaultyDisk::heal`].
    NoSpace,
    /// Half of a write happens, then an error.
    ShortWrite,
    /// All of it happens, and yet an error is reported.
    Phantom,
    /// The call reports success, the cache shows it, and nothing of it ever reaches the disk.
    Silent,
}

/// What the disk does wrong all the time: what tests must catch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lies {
    /// `sync_data` does nothing.
    pub(crate) sync_data: bool,
    /// `sync_dir` does nothing.
    pub(crate) sync_dir: bool,
}

/// The kind of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Looks and changes nothing.
    Look,
    CreateDir,
    WriteSynced,
    WriteUnsynced,
    Rename,
    Remove,
    SyncDir,
    Allocate,
    Write,
    SyncData,
    SharedWords,
    /// Not an operation: bytes stored through a mapping.
    Store,
    /// Not an operation: a moment between two that a test named.
    Moment,
}

impl Kind {
    fn takes_space(self) -> bool {
        matches!(
            self,
            Self::CreateDir | Self::WriteSynced | Self::WriteUnsynced | Self::Allocate | Self::SharedWords
        )
    }
}

#[derive(Debug, Default)]
struct State {
    shadow: Shadow,
    recording: Option<Recording>,
    faults: Vec<(Fault, usize)>,
    lies: Lies,
    trace: Vec<Kind>,
    stopped: bool,
    locked: bool,
}

/// What the operation is to do.
enum Verdict {
    Go(Happens),
    /// It fails, with this error, after this much of it happened.
    Fail(io::Error, Happens),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Happens {
    Nothing,
    Half,
    /// All of it, but in the cache alone where it should be durable.
    InCache,
    All,
    /// In the cache alone, for ever.
    Silently,
}

impl State {
    fn begin(&mut self, kind: Kind) -> Verdict {
        if self.stopped {
            return Verdict::Fail(io::Error::other("the machine has stopped"), Happens::Nothing);
        }
        let number = self.trace.len();
        self.trace.push(kind);
        let error = || io::Error::from_raw_os_error(5);
        let struck = self.faults.iter().find(|(fault, at)| match fault {
            Fault::ErrorsForEver | Fault::NoSpace => *at <= number,
            _ => *at == number,
        });
        match struck.copied() {
            Some((Fault::Crash, _)) => {
                self.stopped = true;
                Verdict::Fail(io::Error::other("the machine stops"), Happens::InCache)
            }
            Some((Fault::ErrorOnce | Fault::ErrorsForEver, _)) => Verdict::Fail(error(), Happens::Nothing),
            Some((Fault::ShortWrite, _)) => Verdict::Fail(error(), Happens::Half),
            Some((Fault::Phantom, _)) => Verdict::Fail(error(), Happens::All),
            Some((Fault::Silent, _)) => Verdict::Go(Happens::Silently),
            Some((Fault::NoSpace, _)) if kind.takes_space() => {
                // A file that is written as a whole is begun; one that is allocated is not.
                let begun = matches!(kind, Kind::WriteSynced | Kind::WriteUnsynced);
                let happens = if begun { Happens::Half } else { Happens::Nothing };
                Verdict::Fail(io::Error::from_raw_os_error(28), happens)
            }
            None | Some((Fault::NoSpace, _)) => Verdict::Go(Happens::All),
        }
    }

    fn happen(&mut self, kind: Kind, event: &Event) {
        self.shadow.apply(event);
        if let Some(recording) = &mut self.recording {
            recording.push(kind, event);
        }
    }

    fn name(&mut self, kind: Kind, change: NameChange, happens: Happens) {
        self.happen(kind, &Event::Named { change, lost: happens == Happens::Silently });
    }

    fn inode(&self, operation: &str, path: &Path) -> Result<u64> {
        let missing = || Error::io(operation, path, io::Error::from(io::ErrorKind::NotFound));
        self.shadow.names.files.get(path).copied().ok_or_else(missing)
    }

    fn make_file(&mut self, kind: Kind, path: &Path, bytes: usize, happens: Happens) -> u64 {
        let number = self.shadow.next_number();
        self.happen(kind, &Event::Made { number, bytes });
        self.name(kind, NameChange::Set(path.to_owned(), number), happens);
        number
    }

    /// Makes a file with these bytes, or half of them.
    fn write_file(&mut self, kind: Kind, path: &Path, bytes: &[u8], happens: Happens) -> u64 {
        let length = if happens == Happens::Half { bytes.len() / 2 } else { bytes.len() };
        let number = self.make_file(kind, path, length, happens);
        self.write(kind, number, 0, &bytes[..length], happens);
        number
    }

    fn write(&mut self, kind: Kind, number: u64, offset: usize, bytes: &[u8], happens: Happens) {
        self.happen(kind, &Event::Wrote { number, offset, bytes: bytes.into(), words: false });
        if happens == Happens::Silently {
            self.happen(kind, &Event::Synced { number, lost: true });
        }
    }

    /// What is mapped of a file.
    fn memory(&mut self, disk: &FaultyDisk, number: u64) -> Arc<Memory> {
        let inode = &self.shadow.inodes[&number];
        let watcher = || Watcher { disk: Arc::downgrade(&disk.0), number };
        let map = || Memory::watched(inode.mapped(), Box::new(watcher()));
        Arc::clone(inode.memory.0.get_or_init(map))
    }
}

/// Hears of what is stored through a mapping.
#[derive(Debug)]
struct Watcher {
    disk: Weak<Mutex<State>>,
    number: u64,
}

impl Watch for Watcher {
    fn stored(&self, offset: usize, bytes: &[u8]) {
        let Some(state) = self.disk.upgrade() else { return };
        let mut state = state.lock();
        if !state.stopped {
            // Single words alone are stored by themselves: those of shared arrays.
            let event =
                Event::Wrote { number: self.number, offset, bytes: bytes.into(), words: bytes.len() == 8 };
            state.happen(Kind::Store, &event);
        }
    }
}

/// A disk that fails as it is told to. Its clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
    fn of(shadow: Shadow) -> Self {
        Self(Arc::new(Mutex::new(State { shadow, ..State::default() })))
    }

    /// Lets this go wrong, counting operations from now on.
    pub(crate) fn inject(&self, fault: Fault, at: usize) {
        let mut state = self.0.lock();
        state.trace.clear();
        state.faults = vec![(fault, at)];
    }

    /// Lets this go wrong, too.
    pub(crate) fn inject_also(&self, fault: Fault, at: usize) {
        self.0.lock().faults.push((fault, at));
    }

    /// Whether nothing goes wrong, but that the machine may stop.
    pub(crate) fn is_healthy(&self) -> bool {
        self.0.lock().faults.iter().all(|(fault, _)| *fault == Fault::Crash)
    }

    /// Nothing goes wrong any more; what was lost stays lost.
    pub(crate) fn heal(&self) {
        self.0.lock().faults.clear();
    }

    /// Records what happens from now on.
    pub(crate) fn record(&self) {
        let mut state = self.0.lock();
        state.recording = Some(Recording { base: state.shadow.copied(), events: Vec::new() });
    }

    /// How many events were recorded.
    pub(crate) fn recorded(&self) -> usize {
        self.0.lock().recording.as_ref().map_or(0, Recording::len)
    }

    /// What was recorded.
    pub(crate) fn take_recording(&self) -> Option<Recording> {
        self.0.lock().recording.take()
    }

    /// Flips a bit of every file whose name ends like this: in the cache and on the disk. No store is open.
    pub(crate) fn flip_bit(&self, name_end: &str, offset: usize) {
        let shadow = &mut self.0.lock().shadow;
        let named = shadow.names.files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(name_end));
        let numbers: Vec<u64> = named.map(|(_, number)| *number).collect();
        for number in numbers {
            if let Some(inode) = shadow.inodes.get_mut(&number) {
                inode.flip_bit(offset);
            }
        }
    }

    /// The disk lies from now on.
    pub(crate) fn lie(&self, lies: Lies) {
        self.0.lock().lies = lies;
    }

    /// The operations since the last [`Self::inject`].
    pub(crate) fn trace(&self) -> Vec<Kind> {
        self.0.lock().trace.clone()
    }

    /// Whether the machine has stopped.
    pub(crate) fn stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// A moment between two operations, at which the machine may stop, too.
    pub(crate) fn moment(&self) {
        let _ = self.0.lock().begin(Kind::Moment);
    }

    /// The kernel drops the pages whose writing failed: they are read from the disk again.
    ///
    /// The caller holds no page or event of a store on this disk.
    pub(crate) fn evict(&self) {
        self.0.lock().shadow.inodes.values_mut().for_each(Inode::evict);
    }

    /// The disk after a power cut now.
    pub(crate) fn after_power_cut(&self, damage: Damage, seed: u64) -> Self {
        Self::of(self.0.lock().shadow.after_power_cut(damage, seed).0)
    }

    /// The disk after the process was killed: the cache is what it was.
    pub(crate) fn after_kill(&self) -> Self {
        Self::of(self.0.lock().shadow.copied())
    }

    fn look(&self, operation: &str, path: &Path) -> Result<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.0.lock();
        match state.begin(Kind::Look) {
            Verdict::Go(_) => Ok(state),
            Verdict::Fail(error, _) => Err(Error::io(operation, path, error)),
        }
    }

    /// Does something that changes the disk, as far as its fate lets it.
    fn change(
        &self,
        kind: Kind,
        operation: &str,
        path: &Path,
        action: impl FnOnce(&mut State, Happens) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.0.lock();
        match state.begin(kind) {
            Verdict::Go(happens) => action(&mut state, happens),
            Verdict::Fail(error, happens) => {
                if happens != Happens::Nothing {
                    let _ = action(&mut state, happens);
                }
                Err(Error::io(operation, path, error))
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> Result<()> {
        self.change(Kind::CreateDir, "create the directory", path, |state, happens| {
            let mut missing: Vec<&Path> = path
                .ancestors()
                .filter(|dir| !dir.as_os_str().is_empty() && !state.shadow.names.directories.contains(*dir))
                .collect();
            missing.reverse();
            for dir in missing {
                state.name(Kind::CreateDir, NameChange::Directory(dir.to_owned()), happens);
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let state = self.look("list the directory", path)?;
        let names = &state.shadow.names;
        if !names.directories.contains(path) {
            return Err(Error::at(ErrorKind::NotAStore, path, "there is no such directory"));
        }
        let all = names.files.keys().chain(&names.directories);
        let names: BTreeSet<String> = all
            .filter(|name| name.parent() == Some(path))
            .filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let state = self.look("look for", path)?;
        let names = &state.shadow.names;
        Ok(names.files.contains_key(path) || names.directories.contains(path))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let state = self.look("read", path)?;
        let bytes = state.shadow.inodes[&state.inode("open", path)?].bytes();
        if bytes.len() as u64 > bytes_max {
            return Err(Error::corruption(path, bytes_max, "the file is longer than it can be"));
        }
        Ok(bytes)
    }

    fn write_synced(&self, path: &Path, bytes: &[u8], _mode: Mode) -> Result<()> {
        let kind = Kind::WriteSynced;
        self.change(kind, "write", path, |state, happens| {
            let number = state.write_file(kind, path, bytes, happens);
            if happens == Happens::All && !state.lies.sync_data {
                state.happen(kind, &Event::Synced { number, lost: false });
            }
            Ok(())
        })
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let kind = Kind::WriteUnsynced;
        self.change(kind, "write", path, |state, happens| {
            state.write_file(kind, path, bytes, happens);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.change(Kind::Rename, "rename", to, |state, happens| {
            let number = state.inode("rename", from)?;
            state.name(Kind::Rename, NameChange::Rename(from.to_owned(), to.to_owned(), number), happens);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.change(Kind::Remove, "remove", path, |state, happens| {
            if state.shadow.names.files.contains_key(path) {
                state.name(Kind::Remove, NameChange::Gone(path.to_owned()), happens);
            }
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.change(Kind::SyncDir, "sync the directory", path, |state, happens| {
            let lost = happens == Happens::Silently;
            if (happens == Happens::All || lost) && !state.lies.sync_dir {
                state.happen(Kind::SyncDir, &Event::DirectorySynced { path: path.to_owned(), lost });
            }
            Ok(())
        })
    }

    fn allocate(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>> {
        let mut made = None;
        self.change(Kind::Allocate, "allocate", path, |state, happens| {
            made = Some(state.make_file(Kind::Allocate, path, usize::try_from(bytes).unwrap(), happens));
            Ok(())
        })?;
        let number = made.unwrap();
        Ok(Arc::new(FaultyFile { disk: self.clone(), number, path: path.to_owned(), bytes }))
    }

    fn shorten(&self, path: &Path, bytes: u64) -> Result<()> {
        self.change(Kind::Write, "shorten", path, |state, _| {
            let number = state.inode("shorten", path)?;
            let bytes = usize::try_from(bytes).unwrap();
            state.happen(Kind::Write, &Event::Shortened { number, bytes });
            Ok(())
        })
    }

    fn open(&self, path: &Path, _access: Access) -> Result<Arc<dyn DiskFile>> {
        let state = self.look("open", path)?;
        let number = state.inode("open", path)?;
        let bytes = state.shadow.inodes[&number].bytes as u64;
        Ok(Arc::new(FaultyFile { disk: self.clone(), number, path: path.to_owned(), bytes }))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        let mut state = self.look("lock", path)?;
        if state.locked {
            return Err(Error::at(ErrorKind::Locked, path, "the store is open for writing by this process"));
        }
        state.locked = true;
        if !state.shadow.names.files.contains_key(path) {
            state.make_file(Kind::Allocate, path, 0, Happens::All);
        }
        Ok(Box::new(FaultyLock(self.clone())))
    }

    fn keep_writers_away(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        let mut state = self.look("probe the lock of", path)?;
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(FaultyLock(self.clone()))))
    }

    fn shared_words(&self, path: &Path, words: usize, access: Access) -> Result<SharedWords> {
        let mut made = None;
        if access == Access::Read {
            let mut state = self.look("open", path)?;
            let number = state.inode("open", path)?;
            let bytes = state.shadow.inodes[&number].bytes;
            if bytes < words * 8 {
                return Err(Error::corruption(path, bytes as u64, "the file is too short"));
            }
            return Ok(SharedWords::new(state.memory(self, number), access));
        }
        self.change(Kind::SharedWords, "open", path, |state, happens| {
            let found = state.shadow.names.files.get(path).copied();
            let number = match found.filter(|number| state.shadow.inodes[number].bytes == words * 8) {
                Some(number) => number,
                None => state.make_file(Kind::SharedWords, path, words * 8, happens),
            };
            made = Some(SharedWords::new(state.memory(self, number), access));
            Ok(())
        })?;
        Ok(made.unwrap())
    }

    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    fn used_bytes(&self, path: &Path) -> Result<u64> {
        let state = self.look("examine", path)?;
        let files = state.shadow.names.files.iter().filter(|(name, _)| name.starts_with(path));
        Ok(files.map(|(_, number)| state.shadow.inodes[number].bytes as u64).sum())
    }
}

#[derive(Debug)]
struct FaultyLock(FaultyDisk);

impl LockGuard for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        self.0.0.lock().locked = false;
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    number: u64,
    path: PathBuf,
    bytes: u64,
}

impl DiskFile for FaultyFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let state = self.disk.look("read", &self.path)?;
        let inode = &state.shadow.inodes[&self.number];
        let offset = usize::try_from(offset).unwrap();
        let inside = offset.checked_add(buffer.len()).is_some_and(|end| end <= inode.bytes);
        if inside {
            inode.read_at(offset, buffer);
            return Ok(());
        }
        Err(Error::corruption(&self.path, offset as u64, "the file ends too early"))
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.disk.change(Kind::Write, "write", &self.path, |state, happens| {
            let length = if happens == Happens::Half { bytes.len() / 2 } else { bytes.len() };
            let offset = usize::try_from(offset).unwrap();
            let inode = &state.shadow.inodes[&self.number];
            let inside = offset.checked_add(length).is_some_and(|end| end <= inode.bytes);
            let memory = inode.memory.0.get();
            if inside && memory.is_none_or(|memory| memory.copy_in(offset, &bytes[..length])) {
                state.write(Kind::Write, self.number, offset, &bytes[..length], happens);
                return Ok(());
            }
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            Err(Error::io("write beyond the end of", &self.path, error))
        })
    }

    fn sync_data(&self) -> Result<()> {
        let mut state = self.disk.0.lock();
        let (outcome, happens) = match state.begin(Kind::SyncData) {
            Verdict::Go(happens) => (Ok(()), happens),
            Verdict::Fail(error, happens) => (Err(Error::io("sync", &self.path, error)), happens),
        };
        if !state.stopped && !state.lies.sync_data {
            // A sync that fails marks the pages clean nevertheless.
            let lost = happens != Happens::All;
            state.happen(Kind::SyncData, &Event::Synced { number: self.number, lost });
        }
        outcome
    }

    fn map(&self, start: u64, published: u64, _access: Access) -> Result<Arc<SegmentMap>> {
        let memory = self.disk.look("map", &self.path)?.memory(&self.disk, self.number);
        Ok(SegmentMap::new(&memory, usize::try_from(start).unwrap(), usize::try_from(published).unwrap()))
    }

    fn map_words(&self, access: Access) -> Result<SharedWords> {
        let memory = self.disk.look("map", &self.path)?.memory(&self.disk, self.number);
        Ok(SharedWords::new(memory, access))
    }

    fn set_read_only(&self) -> Result<()> {
        self.disk.look("make read-only", &self.path).map(drop)
    }
}
