//! What every disk keeps to: the machine's own, the one in memory, and the one that fails on purpose. A test that runs on a twin
//! says something of the real one only as far as they answer alike.

use std::io::ErrorKind as IoKind;
use std::path::Path;
use std::sync::Arc;

use super::faulty::FaultyDisk;
use super::memory::MemoryDisk;
use super::real::RealDisk;
use super::{Access, Disk, Mode};
use crate::error::{Error, ErrorKind};

/// Runs a test on each disk, in a directory that is there and empty.
fn on_each(test: impl Fn(&dyn Disk, &Path)) {
    let temporary = tempfile::tempdir().unwrap();
    let disks: [(Box<dyn Disk>, &Path); 3] = [
        (Box::new(RealDisk::default()), temporary.path()),
        (Box::new(MemoryDisk::default()), Path::new("memory")),
        (Box::new(FaultyDisk::default()), Path::new("faulty")),
    ];
    for (disk, dir) in disks {
        disk.create_dir(dir).unwrap();
        test(&*disk, dir);
    }
}

#[track_caller]
fn assert_names(error: &Error, kind: ErrorKind, path: &Path) {
    assert_eq!((error.kind(), error.path()), (kind, Some(path)), "{error}");
}

#[track_caller]
fn assert_missing(error: &Error, path: &Path) {
    assert_names(error, ErrorKind::Io, path);
    assert_eq!(error.io_kind(), Some(IoKind::NotFound), "{error}");
}

#[test]
fn a_file_is_read_whole_or_refused() {
    on_each(|disk, dir| {
        let path = dir.join("file");
        assert_missing(&disk.read(&path, 100).unwrap_err(), &path);
        assert!(!disk.exists(&path).unwrap());
        disk.write_synced(&path, b"first", Mode::Private).unwrap();
        assert_eq!(disk.read(&path, 5).unwrap(), b"first");
        disk.write_unsynced(&path, b"the second").unwrap();
        assert_eq!(disk.read(&path, 10).unwrap(), b"the second");
        let error = disk.read(&path, 9).unwrap_err();
        assert_names(&error, ErrorKind::Corruption, &path);
        assert_eq!(error.offset(), Some(9));
        assert_eq!(disk.list(dir).unwrap(), ["file"]);
        assert_eq!(disk.used_bytes(dir).unwrap(), 10);
    });
}

#[test]
fn names_change_in_one_step() {
    on_each(|disk, dir| {
        let (old, new) = (dir.join("old"), dir.join("new"));
        let error = disk.rename(&old, &new).unwrap_err();
        assert_eq!(error.io_kind(), Some(IoKind::NotFound), "{error}");
        disk.write_synced(&old, b"old", Mode::Shared).unwrap();
        disk.write_synced(&new, b"new", Mode::Shared).unwrap();
        disk.rename(&old, &new).unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["new"]);
        assert_eq!(disk.read(&new, 10).unwrap(), b"old");
        disk.remove(&new).unwrap();
        disk.remove(&new).unwrap();
        disk.sync_dir(dir).unwrap();
        assert!(disk.list(dir).unwrap().is_empty());
    });
}

#[test]
fn an_allocated_file_reads_as_zeros_up_to_its_end_and_no_further() {
    on_each(|disk, dir| {
        let path = dir.join("segment");
        assert_missing(&disk.open(&path, Access::Read).unwrap_err(), &path);
        let file = disk.allocate(&path, 10_000).unwrap();
        assert_eq!((file.len(), file.path(), file.has_name()), (10_000, &*path, true));
        file.check_size_limit().unwrap();
        file.write_all_at(9_990, b"0123456789").unwrap();
        file.sync_data().unwrap();
        let again = disk.open(&path, Access::Read).unwrap();
        let mut bytes = vec![1; 10_000];
        again.read_exact_at(0, &mut bytes).unwrap();
        assert!(bytes[..9_990].iter().all(|byte| *byte == 0) && bytes.ends_with(b"0123456789"));
        for offset in [9_991, 10_000, 1 << 40] {
            let error = again.read_exact_at(offset, &mut [0; 10]).unwrap_err();
            assert_names(&error, ErrorKind::Corruption, &path);
            assert_eq!(error.offset(), Some(offset));
        }
        assert!(file.data_from(9_990).unwrap().is_some_and(|data| data.contains(&9_999)));
        file.write_zeros(9_000, 1_000).unwrap();
        again.read_exact_at(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        drop((file, again));
        disk.shorten(&path, 4_000).unwrap();
        assert_eq!(disk.open(&path, Access::Write).unwrap().len(), 4_000);
    });
}

#[test]
fn one_at_a_time_has_the_lock() {
    on_each(|disk, dir| {
        let path = dir.join("LOCK");
        let lock = disk.lock(&path).unwrap();
        assert_names(&disk.lock(&path).unwrap_err(), ErrorKind::Locked, &path);
        assert!(disk.keep_writers_away(&path).unwrap().is_none(), "a writer is there");
        drop(lock);
        let kept = disk.keep_writers_away(&path).unwrap();
        assert!(kept.is_some());
        assert_names(&disk.lock(&path).unwrap_err(), ErrorKind::Locked, &path);
        drop(kept);
        disk.lock(&path).unwrap();
    });
}

#[test]
fn shared_words_are_made_by_whoever_may_write() {
    on_each(|disk, dir| {
        let path = dir.join("LIVE");
        assert_missing(&disk.shared_words(&path, 4, Access::Read).unwrap_err(), &path);
        let words = disk.shared_words(&path, 4, Access::Write).unwrap();
        words.store(3, 77);
        let read = disk.shared_words(&path, 4, Access::Read).unwrap();
        assert_eq!((read.load(0), read.load(3)), (0, 77));
        let error = disk.shared_words(&path, 5, Access::Read).unwrap_err();
        assert_names(&error, ErrorKind::Corruption, &path);
        drop((words, read));
        let longer = disk.shared_words(&path, 1000, Access::Write).unwrap();
        assert_eq!((longer.len(), longer.load(999)), (1000, 0));
    });
}

#[test]
fn the_real_disk_names_what_is_in_the_way() {
    let temporary = tempfile::tempdir().unwrap();
    let disk = RealDisk::default();
    let file = temporary.path().join("file");
    disk.write_unsynced(&file, b"1234567").unwrap();
    let (below, nowhere) = (file.join("below"), temporary.path().join("nowhere"));
    assert_names(&disk.list(&file).unwrap_err(), ErrorKind::NotAStore, &file);
    assert_names(&disk.list(&nowhere).unwrap_err(), ErrorKind::NotAStore, &nowhere);
    assert_missing(&disk.sync_dir(&nowhere).unwrap_err(), &nowhere);
    assert_missing(&disk.keep_open(&nowhere).unwrap_err(), &nowhere);
    assert_missing(&disk.allocate(&nowhere.join("file"), 10).unwrap_err(), &nowhere.join("file"));
    assert_missing(&disk.lock(&nowhere.join("LOCK")).unwrap_err(), &nowhere.join("LOCK"));
    // Nobody can have begun to write where there is no lock file.
    assert!(disk.keep_writers_away(&nowhere.join("LOCK")).unwrap().is_some());

    // A directory where a file should be, and a file where a directory should be.
    let directory = temporary.path().join("directory");
    disk.create_dir(&directory).unwrap();
    for (failed, path) in [
        (disk.read(&directory, 10).err(), &directory),
        (disk.write_synced(&directory, b"1", Mode::Shared).err(), &directory),
        (disk.write_unsynced(&directory, b"1").err(), &directory),
        (disk.remove(&directory).err(), &directory),
        (disk.lock(&directory).err(), &directory),
        (disk.shorten(&directory, 0).err(), &directory),
        (disk.shared_words(&directory, 4, Access::Read).err(), &directory),
        (disk.create_dir(&below).err(), &below),
        (disk.keep_writers_away(&below).err(), &below),
    ] {
        assert_names(&failed.unwrap(), ErrorKind::Io, path);
    }

    // What lies deeper counts as well.
    disk.write_unsynced(&directory.join("deeper"), b"123").unwrap();
    assert_eq!(disk.used_bytes(temporary.path()).unwrap(), 10);
    assert!(disk.memory_bytes().is_none_or(|bytes| bytes > 1 << 20));

    let opened = disk.open(&file, Access::Write).unwrap();
    disk.remove(&file).unwrap();
    assert!(!opened.has_name());
}

#[test]
fn a_mapping_shows_what_was_published() {
    on_each(|disk, dir| {
        let path = dir.join("mapped");
        let file = disk.allocate(&path, 8_192).unwrap();
        let map = file.map(0, 0, Access::Write).unwrap();
        let mut appender = map.appender().unwrap();
        assert!(appender.store(b"record"));
        assert!(map.get(0, 6).is_none(), "nothing is published");
        appender.publish();
        assert_eq!(map.get(0, 6), Some(&b"record"[..]));
        drop(appender);
        file.sync_data().unwrap();
        let other = disk.open(&path, Access::Read).unwrap();
        let map = Arc::clone(&other.map(0, 6, Access::Read).unwrap());
        assert_eq!(map.get(0, 6), Some(&b"record"[..]));
    });
}
