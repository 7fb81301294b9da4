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
    files: Arc<Mutex<BTreeMap<PathBuf, Arc<Memory>>>>,
    lengths: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
    locked: Arc<AtomicBool>,
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
        let memory = self.files.lock().get(path).cloned().ok_or_else(|| missing(operation, path))?;
        let bytes = self.lengths.lock().get(path).copied().unwrap_or_default();
        Ok(MemoryFile { memory, path: path.to_owned(), bytes })
    }

    fn insert(&self, path: &Path, memory: Arc<Memory>, bytes: u64) {
        self.files.lock().insert(path.to_owned(), memory);
        self.lengths.lock().insert(path.to_owned(), bytes);
    }
}

#[cfg(test)]
impl MemoryDisk {
    /// Puts a file there: zeros, but for these pieces.
    pub(crate) fn put<'p>(&self, path: &Path, bytes: u64, pieces: impl Iterator<Item = (usize, &'p [u8])>) {
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

    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.files.lock().contains_key(path))
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
        let memory = self.files.lock().remove(from).ok_or_else(|| missing("rename", from))?;
        let bytes = self.lengths.lock().remove(from).unwrap_or_default();
        self.insert(to, memory, bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.files.lock().remove(path);
        self.lengths.lock().remove(path);
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

    fn open(&self, path: &Path, _access: Access) -> Result<Arc<dyn DiskFile>> {
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
        if let Some(memory) = self.files.lock().get(path) {
            return Ok(SharedWords::new(Arc::clone(memory), access));
        }
        let bytes = words as u64 * 8;
        let memory = anonymous(bytes, path)?;
        self.insert(path, Arc::clone(&memory), bytes);
        Ok(SharedWords::new(memory, access))
    }

    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    fn used_bytes(&self, path: &Path) -> Result<u64> {
        Ok(self
            .lengths
            .lock()
            .iter()
            .filter(|(name, _)| name.starts_with(path))
            .map(|(_, bytes)| bytes)
            .sum())
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
