//! The in-memory twin of the disk: stores for tests, and the base of the disk that fails on purpose.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::MmapMut;
use parking_lot::Mutex;

use super::mmap::{Memory, SegmentMap, SharedWords};
use super::{Access, Disk, DiskFile, LockGuard, Mode};
use crate::error::{Error, ErrorKind, Result};

/// A disk that is gone with its last owner.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<PathBuf, Stored>>>,
    locked: Arc<AtomicBool>,
}

/// A file. Memory comes in pages at least: the length is the file's own.
#[derive(Debug, Clone)]
struct Stored {
    memory: Arc<Memory>,
    bytes: u64,
    /// The memory is another disk's: to be copied before it is written.
    #[cfg(any(test, fuzzing))]
    borrowed: bool,
}

impl Stored {
    fn new(memory: Arc<Memory>, bytes: u64) -> Self {
        Self {
            memory,
            bytes,
            #[cfg(any(test, fuzzing))]
            borrowed: false,
        }
    }

    /// Makes sure that the memory may be written.
    #[cfg(any(test, fuzzing))]
    fn own(&mut self, path: &Path) -> Result<()> {
        if self.borrowed {
            let mut bytes = vec![0; self.memory.len()];
            self.memory.copy_out(0, &mut bytes);
            let memory = anonymous(self.bytes, path)?;
            memory.copy_in(0, &bytes);
            *self = Self::new(memory, self.bytes);
        }
        Ok(())
    }
}

fn anonymous(bytes: u64, path: &Path) -> Result<Arc<Memory>> {
    let length = usize::try_from(bytes.max(1))
        .map_err(|_| Error::at(ErrorKind::InvalidOption, path, "the file is too large to be mapped"))?;
    let memory =
        MmapMut::map_anon(length).map_err(|source| Error::io("allocate memory for", path, source))?;
    Ok(Memory::anonymous(memory))
}

fn missing(operation: &str, path: &Path) -> Error {
    Error::io(operation, path, io::Error::from(io::ErrorKind::NotFound))
}

impl MemoryDisk {
    fn file(&self, operation: &str, path: &Path) -> Result<MemoryFile> {
        let stored = self.files.lock().get(path).cloned().ok_or_else(|| missing(operation, path))?;
        Ok(MemoryFile { memory: stored.memory, path: path.to_owned(), bytes: stored.bytes })
    }

    /// The names of all files.
    #[cfg(test)]
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.files.lock().keys().cloned().collect()
    }

    fn insert(&self, path: &Path, memory: Arc<Memory>, bytes: u64) {
        self.files.lock().insert(path.to_owned(), Stored::new(memory, bytes));
    }

    /// Before a file is written through what is opened now.
    #[cfg(any(test, fuzzing))]
    fn own(&self, path: &Path) -> Result<()> {
        self.files.lock().get_mut(path).map_or(Ok(()), |stored| stored.own(path))
    }
}

/// Images: disks that share their files' memory with another one until they write them.
#[cfg(any(test, fuzzing))]
impl MemoryDisk {
    /// A disk with the same files. This one must not be written to while there are images of it.
    pub(crate) fn image(&self) -> Self {
        let mut files = self.files.lock().clone();
        for stored in files.values_mut() {
            stored.borrowed = true;
        }
        Self { files: Arc::new(Mutex::new(files)), locked: Arc::default() }
    }

    /// Puts a file there, or another in its place.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.write_unsynced(path, bytes)
    }

    /// Every file's bytes.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let bytes = |path: &PathBuf| self.read(path, u64::MAX).unwrap_or_default();
        let paths: Vec<PathBuf> = self.files.lock().keys().cloned().collect();
        paths.into_iter().map(|path| (path.clone(), bytes(&path))).collect()
    }
}

#[cfg(test)]
impl MemoryDisk {
    /// Changes a file's bytes under those who have mapped it.
    pub(crate) fn forget(&self, path: &Path, offset: usize, bytes: &[u8]) {
        self.files.lock().get(path).unwrap().memory.forget(offset, bytes);
    }

    /// Puts a file there: zeros, but for these pieces.
    pub(crate) fn put_pieces<'p>(
        &self,
        path: &Path,
        bytes: u64,
        pieces: impl Iterator<Item = (usize, &'p [u8])>,
    ) {
        let memory = anonymous(bytes, path).unwrap();
        for (offset, piece) in pieces {
            assert!(memory.copy_in(offset, piece));
        }
        self.insert(path, memory, bytes);
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let files = self.files.lock();
        let mut names: Vec<String> = files
            .keys()
            .filter_map(|name| name.strip_prefix(path).ok()?.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    /// A directory is there as soon as it holds a file.
    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.files.lock().keys().any(|name| name.starts_with(path)))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let file = self.file("open", path)?;
        if file.bytes > bytes_max {
            return Err(Error::corruption(path, bytes_max, "the file is longer than it can be"));
        }
        let mut bytes = vec![0; usize::try_from(file.bytes).unwrap_or_default()];
        file.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    fn write_synced(&self, path: &Path, bytes: &[u8], _mode: Mode) -> Result<()> {
        let memory = anonymous(bytes.len() as u64, path)?;
        memory.copy_in(0, bytes);
        self.insert(path, memory, bytes.len() as u64);
        Ok(())
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.write_synced(path, bytes, Mode::Shared)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut files = self.files.lock();
        let stored = files.remove(from).ok_or_else(|| missing("rename", from))?;
        files.insert(to.to_owned(), stored);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.files.lock().remove(path);
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn allocate(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>> {
        let memory = anonymous(bytes, path)?;
        self.insert(path, Arc::clone(&memory), bytes);
        Ok(Arc::new(MemoryFile { memory, path: path.to_owned(), bytes }))
    }

    fn shorten(&self, path: &Path, bytes: u64) -> Result<()> {
        let shortened = self.read(path, u64::MAX)?;
        let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(shortened.len());
        self.write_synced(path, shortened.get(..length).unwrap_or_default(), Mode::Shared)
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        #[cfg(any(test, fuzzing))]
        if access == Access::Write {
            self.own(path)?;
        }
        let _ = access;
        Ok(Arc::new(self.file("open", path)?))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        if self.locked.swap(true, Ordering::AcqRel) {
            return Err(Error::at(ErrorKind::Locked, path, "the store is open for writing by this process"));
        }
        Ok(Box::new(MemoryLock(Arc::clone(&self.locked))))
    }

    fn keep_writers_away(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        Ok(self.lock(path).ok())
    }

    fn shared_words(&self, path: &Path, words: usize, access: Access) -> Result<SharedWords> {
        #[cfg(any(test, fuzzing))]
        if access == Access::Write {
            self.own(path)?;
        }
        let bytes = words as u64 * 8;
        let found = self.file("open", path);
        let memory = match (found, access) {
            (Ok(file), _) if file.bytes >= bytes => file.memory,
            (Ok(file), Access::Read) => {
                return Err(Error::corruption(path, file.bytes, "the file is too short"));
            }
            (Err(error), Access::Read) => return Err(error),
            (found, Access::Write) => {
                let memory = anonymous(bytes, path)?;
                if let Ok(file) = found {
                    let mut begin = vec![0; usize::try_from(file.bytes).unwrap_or_default()];
                    file.read_exact_at(0, &mut begin)?;
                    memory.copy_in(0, &begin);
                }
                self.insert(path, Arc::clone(&memory), bytes);
                memory
            }
        };
        Ok(SharedWords::new(memory, access))
    }

    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    fn used_bytes(&self, path: &Path) -> Result<u64> {
        let files = self.files.lock();
        Ok(files.iter().filter(|(name, _)| name.starts_with(path)).map(|(_, stored)| stored.bytes).sum())
    }
}

#[derive(Debug)]
struct MemoryLock(Arc<AtomicBool>);

impl LockGuard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct MemoryFile {
    memory: Arc<Memory>,
    path: PathBuf,
    bytes: u64,
}

impl DiskFile for MemoryFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let inside = offset.checked_add(buffer.len() as u64).is_some_and(|end| end <= self.bytes);
        if inside && self.memory.copy_out(usize::try_from(offset).unwrap_or(usize::MAX), buffer) {
            return Ok(());
        }
        Err(Error::corruption(&self.path, offset, "the file ends too early"))
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.memory.copy_in(usize::try_from(offset).unwrap_or(usize::MAX), bytes) {
            return Ok(());
        }
        Err(Error::io("write beyond the end of", &self.path, io::Error::from(io::ErrorKind::InvalidInput)))
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, start: u64, published: u64, _access: Access) -> Result<Arc<SegmentMap>> {
        let bound = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(SegmentMap::new(&self.memory, bound(start), bound(published)))
    }

    fn map_words(&self, access: Access) -> Result<SharedWords> {
        Ok(SharedWords::new(Arc::clone(&self.memory), access))
    }

    fn set_read_only(&self) -> Result<()> {
        Ok(())
    }
}
