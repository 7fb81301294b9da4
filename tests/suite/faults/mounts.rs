//! File systems that become read-only: because somebody says so, or because the kernel found them broken.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use usertrail::{Durability, ErrorKind, Options, Store};

use super::{append, assert_holds, event, options, process};
use crate::figures::{Controls, figure, skipped};

fn succeeds(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A mounted file system, gone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, args: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut args = args.to_vec();
        args.push(at.to_str().unwrap());
        succeeds("mount", &args).then(|| Self(at.to_owned()))
    }

    fn remount(&self, how: &str) -> bool {
        succeeds("mount", &["-o", &format!("remount,{how}"), self.0.to_str().unwrap()])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_file_system_that_is_made_read_only_is_read_and_not_written() {
    let name = "faults::mounts::a_file_system_that_is_made_read_only_is_read_and_not_written";
    let temporary = tempfile::tempdir().unwrap();
    let Some(mount) =
        Mount::new(&temporary.path().join("mount"), &["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
    else {
        return skipped(format!("{name}: mounting a tmpfs isn't allowed"));
    };
    let dir = mount.0.join("store");
    let store = options().create_new(&dir).unwrap();
    let count = append(&store, 0, 2_000);
    // The kernel refuses while there is a file that is open for writing.
    assert!(!mount.remount("ro"), "made read-only under a writer");
    let count = append(&store, count, 2_000);
    store.close().unwrap();
    drop(store);
    assert!(mount.remount("ro"));
    for _ in 0..2 {
        let error = Store::open(&dir).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
        let error = options().create_new(mount.0.join("other")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    }
    let reader = Options::new().read_only(true).open(&dir).unwrap();
    assert_holds(&reader, count);
    reader.check().unwrap();
    drop(reader);
    assert!(mount.remount("rw"));
    let store = Store::open(&dir).unwrap();
    let count = append(&store, count, 2_000);
    assert_holds(&store, count);
}

/// An ext4 without extents, which is an ext3: it has no `fallocate`, so each segment's blocks are allocated by writing zeros, and
/// a file system that is full is told while a file is made, not by a signal while a mapping of it is stored to.
#[test]
fn a_file_system_that_cannot_allocate_ahead_is_written_and_may_be_full() {
    let name = "faults::mounts::a_file_system_that_cannot_allocate_ahead_is_written_and_may_be_full";
    let temporary = tempfile::tempdir().unwrap();
    let image = temporary.path().join("image");
    fs::File::create(&image).unwrap().set_len(24 << 20).unwrap();
    let path = image.to_str().unwrap();
    if !succeeds("mkfs.ext4", &["-q", "-O", "^extents,^64bit", path]) {
        return skipped(format!("{name}: there is no mkfs.ext4"));
    }
    let Some(mount) = Mount::new(&temporary.path().join("mount"), &["-o", "loop", path]) else {
        return skipped(format!("{name}: mounting a file isn't allowed"));
    };
    let probe = fs::File::create(mount.0.join("probe")).unwrap();
    let refused = rustix::fs::fallocate(&probe, rustix::fs::FallocateFlags::empty(), 0, 4096);
    assert_eq!(refused, Err(rustix::io::Errno::OPNOTSUPP), "it can, so that this test shows nothing");
    let dir = mount.0.join("store");
    let store = options().create_new(&dir).unwrap();
    let mut count = append(&store, 0, 5_000);
    let error = loop {
        match store.append(&event(count)) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert_holds(&store, count);
    // What is full can be closed, read, and opened again.
    let _ = store.close();
    drop(store);
    let reader = Options::new().read_only(true).open(&dir).unwrap();
    assert_holds(&reader, count);
    reader.check().unwrap();
}

/// Appends without end, and tells of each event that it is durable.
pub(super) fn append_until_it_fails(dir: &Path, durability: Durability) {
    let store = options().durability(durability).create_new(dir).unwrap();
    for number in 0.. {
        match store.append(&event(number)) {
            Ok(_) => println(&format!("durable {number}")),
            Err(error) => {
                let kinds =
                    [ErrorKind::OutcomeUnknown, ErrorKind::Poisoned, ErrorKind::ReadOnly, ErrorKind::Io];
                assert!(kinds.contains(&error.kind()), "{error}");
                // What waits for no sync may go on for a while, in a file that was made before.
                let goes_on = store.append(&event(number)).is_ok();
                assert!(!goes_on || durability == Durability::Buffered, "it went on");
                println(&format!("failed {error}"));
                return;
            }
        }
    }
}

fn println(line: &str) {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}").unwrap();
}

/// A real ext4, whose kernel code is told that it found an error: it makes the file system read-only at once, under all that
/// is open and mapped. How many events were told to be durable before, and how many are there afterwards; or why it can't be had.
fn broken(task: &str) -> Result<(u64, u64), &'static str> {
    let temporary = tempfile::tempdir().unwrap();
    let image = temporary.path().join("image");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let path = image.to_str().unwrap();
    if !succeeds("mkfs.ext4", &["-q", path]) {
        return Err("there is no mkfs.ext4");
    }
    let at = temporary.path().join("mount");
    let mount =
        Mount::new(&at, &["-o", "loop,errors=remount-ro", path]).ok_or("mounting a file isn't allowed")?;
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let device = mounts.lines().find(|line| line.split(' ').nth(1) == at.to_str()).unwrap();
    let device = device.split(' ').next().unwrap().rsplit('/').next().unwrap();
    let trigger = PathBuf::from(format!("/sys/fs/ext4/{device}/trigger_fs_error"));
    if !trigger.exists() {
        return Err("this kernel's ext4 can't be told of an error");
    }
    let dir = mount.0.join("store");
    let mut child = process(task, &dir, "").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut durable = 0_u64;
    let mut failure = None;
    for line in lines.by_ref() {
        if let Some((_, number)) = line.rsplit_once("durable ") {
            assert_eq!(number.parse(), Ok(durable));
            durable += 1;
            if durable == 200 {
                fs::write(&trigger, "1").unwrap();
            }
        } else if let Some(error) = line.strip_prefix("failed ") {
            failure = Some(error.to_owned());
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success() && failure.is_some(), "{status}, {failure:?}");
    drop(mount);
    // 1: errors were corrected.
    let checked = Command::new("e2fsck").args(["-f", "-y", path]).output().unwrap();
    assert!(checked.status.code().is_some_and(|code| code <= 1), "{checked:?}");
    let mount = Mount::new(&at, &["-o", "loop", path]).unwrap();
    let store = match Store::open(mount.0.join("store")) {
        Ok(store) => store,
        Err(error) => {
            eprintln!("{error}");
            return Ok((durable, 0));
        }
    };
    let there = store.user_count(&crate::fixture::user("alice")).unwrap();
    assert_holds(&store, there);
    store.check().unwrap();
    Ok((durable, there))
}

#[test]
fn a_file_system_that_breaks_keeps_what_was_durable() {
    let name = "faults::mounts::a_file_system_that_breaks_keeps_what_was_durable";
    let (durable, there) = match broken("append") {
        Ok(counts) => counts,
        Err(why) => return skipped(format!("{name}: {why}")),
    };
    assert!(there >= durable, "{durable} were durable, {there} are there");
    // A writer that says so before anything was synced.
    let mut controls = Controls::default();
    let (said, kept) = broken("append-unsynced").unwrap();
    controls.add(kept < said);
    assert_eq!(controls.caught, controls.seeded, "{said} were said to be durable, {kept} are there");
    figure(
        "a file system that breaks keeps what was durable",
        name,
        format!(
            "an ext4 made read-only by its own error: {durable} durable, {there} there afterwards, 0 lost"
        ),
        controls,
    );
}
