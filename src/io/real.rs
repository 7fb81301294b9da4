//! The real disk: POSIX files, `fallocate`, `fdatasync`, `flock`.
//!
//! No file is made longer than the process may make one (`RLIMIT_FSIZE`): the kernel's answer to that is a signal, which
//! kills a process that doesn't expect it, and what signals do is for the program to say, not for a library.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::process::Resource;

#[cfg(test)]
use super::lies::{Lie, tells};
use super::mmap::{Memory, SegmentMap, SharedWords};
use super::{Access, Disk, DiskFile, LockGuard, Mode};
use crate::error::{Error, ErrorKind, Result};

/// The machine's own file system.
#[derive(Debug, Default)]
pub(crate) struct RealDisk {
    /// Directories that are kept open.
    kept: Mutex<BTreeMap<PathBuf, Arc<File>>>,
}

/// How long an opener waits for the lock while another writer holds it, who may be closing.
const WRITER_PATIENCE: Duration = Duration::from_millis(500);
/// And while readers do: each for as long as it opens the store, but there may be many.
const READERS_PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks meanwhile: readers leave short gaps.
const LOCK_POLL: Duration = Duration::from_millis(1);

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).map_err(|source| Error::io("create the directory", path, source))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let entries = fs::read_dir(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::at(ErrorKind::NotAStore, path, "there is no such directory"),
            io::ErrorKind::NotADirectory => Error::at(ErrorKind::NotAStore, path, "not a directory"),
            _ => Error::io("list the directory", path, source),
        })?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| Error::io("list the directory", path, source))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        path.try_exists().map_err(|source| Error::io("look for", path, source))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len()).min(bytes_max);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default().saturating_add(1));
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| Error::io("read", path, source))?;
        if bytes.len() as u64 > bytes_max {
            return Err(Error::corruption(path, bytes_max, "the file is longer than it can be"));
        }
        Ok(bytes)
    }

    fn write_synced(&self, path: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        if mode == Mode::Private {
            options.mode(0o600);
        }
        within_size_limit(bytes.len() as u64).map_err(|source| Error::io("write", path, source))?;
        let mut file = options.open(path).map_err(|source| Error::io("create", path, source))?;
        #[cfg(test)]
        if tells(Lie::ReplacementNotSynced) {
            return file.write_all(bytes).map_err(|source| Error::io("write", path, source));
        }
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|source| {
            // Give the space back: what failed to be written is of no use to anybody.
            let _ = fs::remove_file(path);
            Error::io("write", path, source)
        })
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        within_size_limit(bytes.len() as u64).and_then(|()| fs::write(path, bytes)).map_err(|source| {
            let _ = fs::remove_file(path);
            Error::io("write", path, source)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|source| Error::io("rename a new file to", to, source))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, source)),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        #[cfg(test)]
        if tells(Lie::DirectoryNotSynced) {
            return Ok(());
        }
        let kept = self.kept.lock().get(path).cloned();
        kept.map_or_else(|| File::open(path).map(Arc::new), Ok)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| Error::io("sync the directory", path, source))
    }

    fn keep_open(&self, directory: &Path) -> Result<()> {
        let file =
            File::open(directory).map_err(|source| Error::io("open the directory", directory, source))?;
        self.kept.lock().insert(directory.to_owned(), Arc::new(file));
        Ok(())
    }

    fn allocate(&self, path: &Path, bytes: u64) -> Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|source| Error::io("create", path, source))?;
        if let Err(source) = allocate_whole(&file, bytes) {
            // A failed fallocate keeps what it got; a file without a name gives it back.
            drop(file);
            let _ = fs::remove_file(path);
            return Err(Error::io(&format!("allocate {bytes} bytes for"), path, source));
        }
        Ok(Arc::new(RealFile { file, path: path.to_owned(), bytes }))
    }

    fn shorten(&self, path: &Path, bytes: u64) -> Result<()> {
        let file = OpenOptions::new().write(true).open(path);
        file.and_then(|file| file.set_len(bytes)).map_err(|source| Error::io("shorten", path, source))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .open(path)
            .map_err(|source| Error::io("open", path, source))?;
        let bytes = file.metadata().map_err(|source| Error::io("examine", path, source))?.len();
        Ok(Arc::new(RealFile { file, path: path.to_owned(), bytes }))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(
                |source| match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        Error::at(ErrorKind::ReadOnly, path, "no permission to write the lock file")
                    }
                    _ => Error::io("open the lock file", path, source),
                },
            )?;
        lock_patiently(&mut file, path, WRITER_PATIENCE, READERS_PATIENCE)?;
        // The holder's name helps people; the lock itself is the kernel's and ends with the process.
        let name = format!("process {}", std::process::id());
        let _ = within_size_limit(name.len() as u64 + 1)
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("{name}\n").as_bytes()));
        Ok(Box::new(RealLock { _file: Some(file) }))
    }

    fn keep_writers_away(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            // A writer makes the file before it does anything else.
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Box::new(RealLock { _file: None })));
            }
            Err(source) => return Err(Error::io("open the lock file", path, source)),
        };
        let got = is_got(file.try_lock_shared(), path)?;
        Ok(got.then(|| Box::new(RealLock { _file: Some(file) }) as Box<dyn LockGuard>))
    }

    fn shared_words(&self, path: &Path, words: usize, access: Access) -> Result<SharedWords> {
        let bytes = words as u64 * 8;
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .create(access == Access::Write)
            .truncate(false)
            .open(path)
            .map_err(|source| Error::io("open", path, source))?;
        let length = file.metadata().map_err(|source| Error::io("examine", path, source))?.len();
        if length < bytes {
            if access == Access::Read {
                return Err(Error::corruption(path, length, "the file is too short"));
            }
            allocate_whole(&file, bytes).map_err(|source| Error::io("allocate", path, source))?;
        }
        Ok(SharedWords::new(Memory::of_file(map_whole(&file, path, bytes, access)?), access))
    }

    fn memory_bytes(&self) -> Option<u64> {
        #[cfg(target_os = "linux")]
        {
            let system = rustix::system::sysinfo();
            system.totalram.checked_mul(u64::from(system.mem_unit)).filter(|bytes| *bytes > 0)
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    fn used_bytes(&self, path: &Path) -> Result<u64> {
        let mut sum = 0;
        for name in self.list(path)? {
            let path = path.join(name);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => sum += self.used_bytes(&path)?,
                Ok(metadata) => sum += metadata.len(),
                // Replaced or removed since it was listed.
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("examine", &path, source)),
            }
        }
        Ok(sum)
    }
}

/// Whether a lock was got; an error is not somebody else's having it.
fn is_got(outcome: std::result::Result<(), TryLockError>, path: &Path) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path, source)),
    }
}

/// Locks a writer's lock file, or says who has it.
fn lock_patiently(file: &mut File, path: &Path, of_writer: Duration, of_readers: Duration) -> Result<()> {
    let began = Instant::now();
    while !is_got(file.try_lock(), path)? {
        // What can be shared is not a writer's.
        let readers = is_got(file.try_lock_shared(), path)?;
        if readers {
            file.unlock().map_err(|source| Error::io("unlock", path, source))?;
        }
        if began.elapsed() < if readers { of_readers } else { of_writer } {
            // The kernel has no wait for a lock that ends with time: it is asked again.
            std::thread::sleep(LOCK_POLL);
            continue;
        }
        let message = if readers {
            "readers are opening the store, one after the other".to_owned()
        } else {
            let mut holder = String::new();
            let _ = file.take(200).read_to_string(&mut holder);
            let holder = if holder.is_empty() { "an unknown process" } else { holder.trim() };
            format!("the store is open for writing by {holder}")
        };
        return Err(Error::at(ErrorKind::Locked, path, message));
    }
    Ok(())
}

/// Refuses what would be longer than the process's limit on the size of files, before the kernel does.
fn within_size_limit(bytes: u64) -> io::Result<()> {
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if bytes > limit => Err(rustix::io::Errno::FBIG.into()),
        _ => Ok(()),
    }
}

/// Allocates every block, by writing zeros where the file system can't `fallocate`.
fn allocate_whole(file: &File, bytes: u64) -> io::Result<()> {
    within_size_limit(bytes)?;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = [0; 1 << 14];
            let mut offset = 0;
            while offset < bytes {
                let length = (bytes - offset).min(zeros.len() as u64);
                let chunk = zeros.get(..usize::try_from(length).unwrap_or(zeros.len())).unwrap_or(&zeros);
                file.write_all_at(chunk, offset)?;
                offset += length;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

fn map_whole(file: &File, path: &Path, bytes: u64, access: Access) -> Result<MmapRaw> {
    let length = usize::try_from(bytes)
        .map_err(|_| Error::at(ErrorKind::InvalidOption, path, "the file is too large to be mapped"))?;
    let mut options = MmapOptions::new();
    options.len(length);
    match access {
        Access::Write => options.map_raw(file),
        Access::Read => options.map_raw_read_only(file),
    }
    .map_err(|source| Error::io("map", path, source))
}

/// Lets other threads go before this one, where the system knows that of single threads. Best effort.
pub(crate) fn lower_thread_priority() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 10);
}

#[derive(Debug)]
struct RealLock {
    _file: Option<File>,
}

impl LockGuard for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl DiskFile for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::corruption(&self.path, offset, "the file ends too early"),
            _ => Error::io("read", &self.path, source),
        })
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        within_size_limit(offset.saturating_add(bytes.len() as u64))
            .and_then(|()| self.file.write_all_at(bytes, offset))
            .map_err(|source| Error::io("write", &self.path, source))
    }

    fn check_size_limit(&self) -> Result<()> {
        within_size_limit(self.bytes).map_err(|source| Error::io("write", &self.path, source))
    }

    fn data_from(&self, offset: u64) -> Result<Option<Range<u64>>> {
        let seek = |from| rustix::fs::seek(&self.file, from);
        let begin = match seek(SeekFrom::Data(offset)) {
            Ok(begin) => begin,
            // Nothing but holes, and blocks that were allocated and never written.
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // The file system can't tell.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => offset,
            Err(errno) => return Err(Error::io("look for data in", &self.path, errno.into())),
        };
        let end = seek(SeekFrom::Hole(begin)).unwrap_or(self.bytes);
        Ok((begin < end).then_some(begin..end))
    }

    fn write_zeros(&self, offset: u64, length: u64) -> Result<()> {
        let page = [0; 4 << 10];
        (0..length).step_by(page.len()).try_for_each(|at| {
            let rest = usize::try_from(length - at).unwrap_or(page.len());
            self.write_all_at(offset + at, page.get(..rest).unwrap_or(&page))
        })
    }

    fn sync_data(&self) -> Result<()> {
        #[cfg(test)]
        if tells(Lie::AsynchronousSync) || tells(Lie::SyncTooShort) {
            let map = map_whole(&self.file, &self.path, self.bytes, Access::Read)?;
            let half = map.len() / 2;
            let synced = if tells(Lie::SyncTooShort) { map.flush_range(0, half) } else { map.flush_async() };
            return synced.map_err(|source| Error::io("sync", &self.path, source));
        }
        self.file.sync_data().map_err(|source| Error::io("sync", &self.path, source))
    }

    fn has_name(&self) -> bool {
        self.file.metadata().map_or(true, |metadata| metadata.nlink() > 0)
    }

    fn map(&self, start: u64, published: u64, access: Access) -> Result<Arc<SegmentMap>> {
        let memory = map_whole(&self.file, &self.path, self.bytes, access)?;
        let bound = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(SegmentMap::new(&Memory::of_file(memory), bound(start), bound(published)))
    }

    fn map_words(&self, access: Access) -> Result<SharedWords> {
        let memory = map_whole(&self.file, &self.path, self.bytes, access)?;
        Ok(SharedWords::new(Memory::of_file(memory), access))
    }

    fn set_read_only(&self) -> Result<()> {
        let change = || {
            let mut permissions = self.file.metadata()?.permissions();
            permissions.set_mode(permissions.mode() & !0o222);
            self.file.set_permissions(permissions)
        };
        change().map_err(|source| Error::io("make read-only", &self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_not_to_be_had_says_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let disk = RealDisk::default();
        let message = |of_writer, of_readers| {
            let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let error = lock_patiently(&mut file, &path, of_writer, of_readers).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            error.to_string()
        };
        let (none, long) = (Duration::ZERO, Duration::from_mins(1));
        // Its name stays in the file when it has gone.
        drop(disk.lock(&path).unwrap());
        let reader = disk.keep_writers_away(&path).unwrap().unwrap();
        assert!(message(long, none).contains("readers are opening the store"));
        // A reader that has opened the store is out of a writer's way.
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| disk.lock(&path));
            drop(reader);
            writer.join().unwrap().unwrap();
        });
        let _writer = disk.lock(&path).unwrap();
        assert!(message(none, long).contains(&format!("for writing by process {}", std::process::id())));
        assert!(disk.keep_writers_away(&path).unwrap().is_none());
    }
}
