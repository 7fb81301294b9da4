//! The twin of the disk that fails on purpose: it knows what is durable and what is in the cache alone, counts operations,
//! fails or stops at one of them, and makes the disks that a power cut at that moment may leave.
//!
//! What is modelled, a page being 4096 bytes and a sector 512:
//!
//! - Bytes are durable after `sync_data` (or `write_synced`) has returned. Before, each page may be on the disk as it was,
//!   as it is, or torn at sectors; the kernel may have written it back at any time.
//! - Names (creations, renames, removals, directories) are durable after `sync_dir` of their directory. Before, each
//!   may have happened or not.
//! - A failed sync marks its pages clean: no later sync writes them, and the cache may drop them ([`FaultyDisk::evict`]).
//!
//! Stores on it have no threads. Must not know what is in a file.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::mmap::{Memory, SegmentMap, SharedWords};
use super::{Access, Disk, DiskFile, LockGuard, Mode};
use crate::error::{Error, ErrorKind, Result};
pub(crate) use model::{Damage, Dice};
use model::{Inode, NameChange, Names, memory_of, pages};

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
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    durable_names: Names,
    /// Changes of names since their directory was synced, in order.
    pending: Vec<NameChange>,
    faults: Vec<(Fault, usize)>,
    lies: Lies,
    write_back: Option<Dice>,
    trace: Vec<Kind>,
    stopped: bool,
    locked: bool,
}

/// What the operation is to do.
enum Verdict {
    Go,
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
}

impl State {
    fn begin(&mut self, kind: Kind) -> Verdict {
        if self.stopped {
            return Verdict::Fail(io::Error::other("the machine has stopped"), Happens::Nothing);
        }
        let number = self.trace.len();
        self.trace.push(kind);
        if let Some(mut dice) = self.write_back
            && kind != Kind::Look
        {
            if dice.below(8) == 0 {
                self.inodes.values_mut().for_each(|inode| inode.write_back(&mut dice));
            }
            self.write_back = Some(dice);
        }
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
            Some((Fault::NoSpace, _)) if kind.takes_space() => {
                Verdict::Fail(io::Error::from_raw_os_error(28), Happens::Nothing)
            }
            None | Some((Fault::NoSpace, _)) => Verdict::Go,
        }
    }

    fn change(&mut self, change: NameChange) {
        self.names.apply(&change);
        self.pending.push(change);
    }

    fn sync_dir(&mut self, path: &Path) {
        let (now, later): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|change| change.directory() == path);
        for change in &now {
            self.durable_names.apply(change);
        }
        self.pending = later;
    }

    fn inode(&self, operation: &str, path: &Path) -> Result<u64> {
        let missing = || Error::io(operation, path, io::Error::from(io::ErrorKind::NotFound));
        self.names.files.get(path).copied().ok_or_else(missing)
    }

    fn add(&mut self, inode: Inode) -> u64 {
        let number = self.inodes.last_key_value().map_or(0, |(number, _)| number + 1);
        self.inodes.insert(number, inode);
        number
    }

    fn make_file(&mut self, path: &Path, inode: Inode) -> u64 {
        let number = self.add(inode);
        self.change(NameChange::Set(path.to_owned(), number));
        number
    }
}

/// A disk that fails as it is told to. Its clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
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

    /// Nothing goes wrong any more; what was lost stays lost.
    pub(crate) fn heal(&self) {
        self.0.lock().faults.clear();
    }

    /// Flips a bit of every file whose name ends like this: in the cache and on the disk. No store is open.
    pub(crate) fn flip_bit(&self, name_end: &str, offset: usize) {
        let mut state = self.0.lock();
        let named = state.names.files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(name_end));
        let numbers: Vec<u64> = named.map(|(_, number)| *number).collect();
        for number in numbers {
            let Some(inode) = state.inodes.get_mut(&number) else { continue };
            let mut bytes = inode.current();
            bytes[offset] ^= 1;
            inode.memory = memory_of(&bytes);
            inode.durable[offset] ^= 1;
            inode.clean[offset] ^= 1;
        }
    }

    /// The disk lies from now on.
    pub(crate) fn lie(&self, lies: Lies) {
        self.0.lock().lies = lies;
    }

    /// The kernel writes pages back whenever it likes.
    pub(crate) fn write_back(&self, seed: u64) {
        self.0.lock().write_back = Some(Dice(seed));
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
        let mut state = self.0.lock();
        for inode in state.inodes.values_mut() {
            let current = inode.current();
            for page in pages(inode.bytes) {
                if current[page.clone()] == inode.clean[page.clone()] {
                    inode.memory.forget(page.start, &inode.durable[page.clone()]);
                    inode.clean[page.clone()].copy_from_slice(&inode.durable[page]);
                }
            }
        }
    }

    /// The disk after a power cut now.
    pub(crate) fn after_power_cut(&self, damage: Damage, seed: u64) -> Self {
        let state = self.0.lock();
        let mut dice = Dice(seed);
        let mut names = state.durable_names.clone();
        // Half of the time as a journal does it: names happen in order.
        let in_order = dice.chance(50);
        let journaled = dice.below(state.pending.len() + 1);
        for (place, change) in state.pending.iter().enumerate() {
            let happened = damage.name(&mut dice);
            if if damage == Damage::Random && in_order { place < journaled } else { happened } {
                names.apply(change);
            }
        }
        let mut after = State::default();
        for (path, number) in &names.files {
            if !names.reachable(path) {
                continue;
            }
            let left = state.inodes[number].damaged(damage, &mut dice);
            let inode = Inode {
                memory: memory_of(&left),
                bytes: left.len(),
                durable_bytes: left.len(),
                clean: left.clone(),
                durable: left,
            };
            let number = after.add(inode);
            after.names.files.insert(path.clone(), number);
        }
        after.names.directories =
            names.directories.iter().filter(|path| names.reachable(path)).cloned().collect();
        after.durable_names = after.names.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    /// The disk after the process was killed: the cache is what it was.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.0.lock();
        let inodes = state.inodes.iter().map(|(number, inode)| {
            let copy = Inode {
                memory: memory_of(&inode.current()),
                durable: inode.durable.clone(),
                clean: inode.clean.clone(),
                bytes: inode.bytes,
                durable_bytes: inode.durable_bytes,
            };
            (*number, copy)
        });
        let after = State {
            inodes: inodes.collect(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending: state.pending.clone(),
            ..State::default()
        };
        Self(Arc::new(Mutex::new(after)))
    }

    fn file(&self, path: &Path, number: u64, state: &State) -> Arc<dyn DiskFile> {
        let inode = &state.inodes[&number];
        Arc::new(FaultyFile {
            disk: self.clone(),
            number,
            memory: Arc::clone(&inode.memory),
            path: path.to_owned(),
            bytes: inode.bytes as u64,
        })
    }

    fn look(&self, operation: &str, path: &Path) -> Result<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.0.lock();
        match state.begin(Kind::Look) {
            Verdict::Go => Ok(state),
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
            Verdict::Go => action(&mut state, Happens::All),
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
        self.change(Kind::CreateDir, "create the directory", path, |state, _| {
            let mut missing: Vec<&Path> = path
                .ancestors()
                .filter(|dir| !dir.as_os_str().is_empty() && !state.names.directories.contains(*dir))
                .collect();
            missing.reverse();
            for dir in missing {
                state.change(NameChange::Directory(dir.to_owned()));
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let state = self.look("list the directory", path)?;
        if !state.names.directories.contains(path) {
            return Err(Error::at(ErrorKind::NotAStore, path, "there is no such directory"));
        }
        let all = state.names.files.keys().chain(&state.names.directories);
        let names: BTreeSet<String> = all
            .filter(|name| name.parent() == Some(path))
            .filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let state = self.look("look for", path)?;
        Ok(state.names.files.contains_key(path) || state.names.directories.contains(path))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let state = self.look("read", path)?;
        let bytes = state.inodes[&state.inode("open", path)?].current();
        if bytes.len() as u64 > bytes_max {
            return Err(Error::corruption(path, bytes_max, "the file is longer than it can be"));
        }
        Ok(bytes)
    }

    fn write_synced(&self, path: &Path, bytes: &[u8], _mode: Mode) -> Result<()> {
        self.change(Kind::WriteSynced, "write", path, |state, happens| {
            let length = if happens == Happens::Half { bytes.len() / 2 } else { bytes.len() };
            let mut inode = Inode::new(length);
            inode.memory = memory_of(&bytes[..length]);
            if happens == Happens::All {
                inode.sync(false);
            }
            state.make_file(path, inode);
            Ok(())
        })
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.change(Kind::WriteUnsynced, "write", path, |state, happens| {
            let length = if happens == Happens::Half { bytes.len() / 2 } else { bytes.len() };
            let mut inode = Inode::new(length);
            inode.memory = memory_of(&bytes[..length]);
            state.make_file(path, inode);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.change(Kind::Rename, "rename", to, |state, _| {
            let number = state.inode("rename", from)?;
            state.change(NameChange::Rename(from.to_owned(), to.to_owned(), number));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.change(Kind::Remove, "remove", path, |state, _| {
            if state.names.files.contains_key(path) {
                state.change(NameChange::Gone(path.to_owned()));
            }
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.change(Kind::SyncDir, "sync the directory", path, |state, happens| {
            if happens == Happens::All && !state.lies.sync_dir {
                state.sync_dir(path);
            }
            Ok(())
        })
    }

    fn allocate(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>> {
        let mut made = None;
        self.change(Kind::Allocate, "allocate", path, |state, _| {
            let number = state.make_file(path, Inode::new(usize::try_from(bytes).unwrap()));
            made = Some(self.file(path, number, state));
            Ok(())
        })?;
        Ok(made.unwrap())
    }

    fn shorten(&self, path: &Path, bytes: u64) -> Result<()> {
        self.change(Kind::Write, "shorten", path, |state, _| {
            let number = state.inode("shorten", path)?;
            if let Some(inode) = state.inodes.get_mut(&number) {
                inode.shorten(usize::try_from(bytes).unwrap());
            }
            Ok(())
        })
    }

    fn open(&self, path: &Path, _access: Access) -> Result<Arc<dyn DiskFile>> {
        let state = self.look("open", path)?;
        let number = state.inode("open", path)?;
        Ok(self.file(path, number, &state))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        let mut state = self.look("lock", path)?;
        if state.locked {
            return Err(Error::at(ErrorKind::Locked, path, "the store is open for writing by this process"));
        }
        state.locked = true;
        if !state.names.files.contains_key(path) {
            state.make_file(path, Inode::new(0));
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
        self.change(Kind::SharedWords, "open", path, |state, _| {
            let found = state.names.files.get(path).copied();
            let number = match found.filter(|number| state.inodes[number].bytes == words * 8) {
                Some(number) => number,
                None => state.make_file(path, Inode::new(words * 8)),
            };
            made = Some(SharedWords::new(Arc::clone(&state.inodes[&number].memory), access));
            Ok(())
        })?;
        Ok(made.unwrap())
    }

    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    fn used_bytes(&self, path: &Path) -> Result<u64> {
        let state = self.look("examine", path)?;
        let files = state.names.files.iter().filter(|(name, _)| name.starts_with(path));
        Ok(files.map(|(_, number)| state.inodes[number].bytes as u64).sum())
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
    memory: Arc<Memory>,
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
        let _state = self.disk.look("read", &self.path)?;
        let inside = offset.checked_add(buffer.len() as u64).is_some_and(|end| end <= self.bytes);
        if inside && self.memory.copy_out(usize::try_from(offset).unwrap(), buffer) {
            return Ok(());
        }
        Err(Error::corruption(&self.path, offset, "the file ends too early"))
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.disk.change(Kind::Write, "write", &self.path, |state, happens| {
            let length = if happens == Happens::Half { bytes.len() / 2 } else { bytes.len() };
            let offset = usize::try_from(offset).unwrap();
            if self.memory.copy_in(offset, &bytes[..length]) {
                state.inodes.get_mut(&self.number).unwrap().mark_dirty(offset..offset + length);
                return Ok(());
            }
            Err(Error::io(
                "write beyond the end of",
                &self.path,
                io::Error::from(io::ErrorKind::InvalidInput),
            ))
        })
    }

    fn sync_data(&self) -> Result<()> {
        let mut state = self.disk.0.lock();
        let (outcome, happens) = match state.begin(Kind::SyncData) {
            Verdict::Go => (Ok(()), Happens::All),
            Verdict::Fail(error, happens) => (Err(Error::io("sync", &self.path, error)), happens),
        };
        let lies = state.lies.sync_data;
        let stopped = state.stopped;
        if let Some(inode) = state.inodes.get_mut(&self.number).filter(|_| !stopped && !lies) {
            // A sync that fails marks the pages clean nevertheless.
            inode.sync(happens != Happens::All);
        }
        outcome
    }

    fn map(&self, start: u64, published: u64, _access: Access) -> Result<Arc<SegmentMap>> {
        let _state = self.disk.look("map", &self.path)?;
        Ok(SegmentMap::new(
            &self.memory,
            usize::try_from(start).unwrap(),
            usize::try_from(published).unwrap(),
        ))
    }

    fn map_words(&self, access: Access) -> Result<SharedWords> {
        let _state = self.disk.look("map", &self.path)?;
        Ok(SharedWords::new(Arc::clone(&self.memory), access))
    }

    fn set_read_only(&self) -> Result<()> {
        self.disk.look("make read-only", &self.path).map(drop)
    }
}
