//! The machine's disk: what a bare write and sync costs, and how its files get out of the page cache.
//!
//! Must not know what the files hold.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

/// What a commit writes at least.
const PAGE_BYTES: u64 = 4096;
/// As long as a segment.
const FILE_BYTES: u64 = 64 << 20;

/// The least that a durable append can cost: 4 KiB written and synced, page by page, in a file that was allocated, written
/// and synced whole before.
#[derive(Debug)]
pub struct BareSync {
    file: File,
    bytes: Box<[u8]>,
    offset: u64,
}

impl BareSync {
    /// Makes the file, of 64 MiB.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
        let zeros = vec![0; 1 << 20];
        for place in 0..FILE_BYTES >> 20 {
            file.write_all_at(&zeros, place << 20)?;
        }
        file.sync_all()?;
        Ok(Self { file, bytes: vec![0x5a; 4096].into_boxed_slice(), offset: 0 })
    }

    /// Writes the next page and waits for the disk.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn write_and_sync(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.bytes, self.offset)?;
        self.offset = (self.offset + PAGE_BYTES) % FILE_BYTES;
        self.file.sync_data()
    }
}

/// How files got out of the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheDrop {
    /// All that the kernel keeps of any file: 3 in `/proc/sys/vm/drop_caches`, which takes root, and slows everything else
    /// on the machine for a while.
    Kernel,
    /// These files alone: `posix_fadvise(DONTNEED)`.
    Advise,
}

/// Gets what the files below a directory hold out of memory, so that the next read comes from the disk: `Kernel` if that
/// is asked for, or if nothing is and it is permitted; else `Advise`.
///
/// Nobody may have them mapped: the kernel keeps mapped pages, whatever it is told.
///
/// # Errors
///
/// What the operating system says.
pub fn drop_page_cache(dir: &Path, way: Option<CacheDrop>) -> io::Result<CacheDrop> {
    // Only what is on disk can be dropped.
    sync_disks();
    if way != Some(CacheDrop::Advise) {
        match fs::write("/proc/sys/vm/drop_caches", "3") {
            Ok(()) => return Ok(CacheDrop::Kernel),
            Err(error) if way == Some(CacheDrop::Kernel) => return Err(error),
            Err(_) => {}
        }
    }
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else {
                // Without a length: to the end.
                fadvise(File::open(entry.path())?, 0, None, Advice::DontNeed)?;
            }
        }
    }
    Ok(CacheDrop::Advise)
}

/// Waits until the disk has written what was left behind before: each measurement begins with an idle disk.
pub fn sync_disks() {
    rustix::fs::sync();
}

/// Whether a directory's files are in memory alone (tmpfs), so that syncs and cold reads say nothing.
///
/// # Errors
///
/// What the operating system says.
pub fn is_in_memory(dir: &Path) -> io::Result<bool> {
    // From `linux/magic.h`.
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    Ok(i128::from(rustix::fs::statfs(dir)?.f_type) == TMPFS_MAGIC)
}
