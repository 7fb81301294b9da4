//! Files, directories, locks, the clock, mappings and shared arrays, behind one trait so that a store runs on a real disk, in
//! memory, or on a disk that fails on purpose.
//!
//! Owns every system call of the crate. Must not know what is in a file: offsets and bytes only.

pub(crate) mod chunked;
pub(crate) mod clock;
#[cfg(test)]
mod contract_tests;
pub(crate) mod faults;
#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
pub(crate) mod lies;
pub(crate) mod memory;
pub(crate) mod mmap;
pub(crate) mod real;
pub(crate) mod sync;

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use mmap::{SegmentMap, SharedWords};

/// A tree of directories and files.
///
/// Names are absolute or relative paths as the caller got them; the twins treat them as keys.
pub(crate) trait Disk: Send + Sync + Debug {
    /// Makes the directory and its parents; fine if it is there.
    fn create_dir(&self, path: &Path) -> Result<()>;
    /// The names in a directory, sorted. [`ErrorKind::NotAStore`](crate::ErrorKind::NotAStore) if there is none.
    fn list(&self, path: &Path) -> Result<Vec<String>>;
    /// Whether a file of this name is there.
    fn exists(&self, path: &Path) -> Result<bool>;
    /// The whole file, at most `bytes_max` of it (more is an error).
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>>;
    /// Makes (or empties) the file, writes it and syncs it. Not the directory.
    fn write_synced(&self, path: &Path, bytes: &[u8], mode: Mode) -> Result<()>;
    /// Makes (or empties) the file and writes it, without a sync: for what may be lost, or be torn, in a power cut.
    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> Result<()>;
    /// Replaces `to` by `from` in one step. Durable after [`Self::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes the file; fine if it isn't there.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Makes the names in the directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;
    /// Keeps a directory open for as long as the disk is used, so that [`Self::sync_dir`] of it needs no new descriptor: a
    /// process that has none left must not take that for a failed sync.
    fn keep_open(&self, _directory: &Path) -> Result<()> {
        Ok(())
    }
    /// Makes a new file with all of its `bytes` allocated, reading as zeros. A failure leaves no file behind.
    fn allocate(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>>;
    /// Cuts a file that nobody has open or mapped to `bytes`: what was allocated and not used. For files that have their
    /// temporary name still; a file that serves is never cut. Durable after a sync of the file.
    fn shorten(&self, path: &Path, bytes: u64) -> Result<()>;
    /// Opens a file that is there.
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>>;
    /// Takes the exclusive lock at `path`, or says who has it.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>>;
    /// Keeps writers away for as long as the guard lives, for a reader that must not be written under; `None` if there
    /// is a writer. Several readers may do so at a time.
    fn keep_writers_away(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>>;
    /// A small file of words shared with other processes; made and sized if need be (when writable).
    fn shared_words(&self, path: &Path, words: usize, access: Access) -> Result<SharedWords>;
    /// How much memory the machine has to keep files in, if it says so.
    fn memory_bytes(&self) -> Option<u64>;
    /// The bytes that the directory's files take, apparent size.
    fn used_bytes(&self, path: &Path) -> Result<u64>;
}

/// An open file of fixed length.
pub(crate) trait DiskFile: Send + Sync + Debug {
    /// Where it was opened (for messages).
    fn path(&self) -> &Path;
    /// Its length in bytes.
    fn len(&self) -> u64;
    /// Fills `buffer` from `offset`; a short file is an error.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Whether the process may write to the end of the file now: a limit on the size of files holds for writing to longer ones
    /// too. A caller that takes a failed write for a failed disk asks before.
    fn check_size_limit(&self) -> Result<()> {
        Ok(())
    }
    /// The next bytes from `offset` on that may be other than zero; `None` if there are none up to the end.
    fn data_from(&self, offset: u64) -> Result<Option<Range<u64>>> {
        Ok((offset < self.len()).then(|| offset..self.len()))
    }
    /// Writes zeros, so that a sync of few bytes there writes few.
    ///
    /// A real disk's cache holds what one write brought as one unit (a folio), and a store into a mapping makes the whole
    /// unit dirty: behind writes of 128 KiB, a sync of one record writes 128 KiB.
    fn write_zeros(&self, offset: u64, length: u64) -> Result<()> {
        self.write_all_at(offset, &vec![0; usize::try_from(length).unwrap_or(usize::MAX)])
    }
    /// Makes the file's bytes durable (`fdatasync`).
    fn sync_data(&self) -> Result<()>;
    /// Whether a directory still has the file: one that was removed is gone when it is closed, synced or not.
    fn has_name(&self) -> bool {
        true
    }
    /// Maps the whole file. Bytes from `start` up to `published` may be read at once.
    fn map(&self, start: u64, published: u64, access: Access) -> Result<Arc<SegmentMap>>;
    /// Maps the whole file as 64-bit words. It must not be mapped in another way at the same time.
    fn map_words(&self, access: Access) -> Result<SharedWords>;
    /// Takes the write permission off the file, so that no tool changes it by accident.
    fn set_read_only(&self) -> Result<()>;
}

/// Held for as long as the lock is.
pub(crate) trait LockGuard: Send + Sync + Debug {}

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// As the process's mask says.
    Shared,
    /// Its owner alone (0600): keys.
    Private,
}

/// Replaces a file as a whole: temporary file, sync, rename, sync of the directory.
///
/// A crash at any step leaves the old content or the new, never a mixture.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
    let temporary = temporary_name(path);
    let replaced = disk.write_synced(&temporary, bytes, mode).and_then(|()| disk.rename(&temporary, path));
    replaced.inspect_err(|_| {
        // What was begun takes room that others need.
        let _ = disk.remove(&temporary);
    })?;
    disk.sync_dir(parent(path))
}

/// The name that a file is written under before it gets its own.
pub(crate) fn temporary_name(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}

/// What the names of unfinished files end in; opening a store removes them.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// The directory that a file is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
