//! A memory cgroup that is smaller than what is stored.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use usertrail::{Durability, Options, Order, Store};

use super::{append, process, run, user};
use crate::figures::{Controls, figure, skipped};

const BYTES: u64 = 64 << 20;
/// About twice as many bytes.
const EVENTS: u64 = 110_000;

/// A group of its own below this process's, gone when dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let places = own.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            match controllers {
                "memory" => Some((Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes")),
                "" => Some((Path::new("/sys/fs/cgroup").join(path), "memory.max")),
                _ => None,
            }
        });
        let mut why = "there is no memory controller".to_owned();
        for (parent, limit) in places {
            let group = Self(parent.join(format!("usertrail-test-{}", std::process::id())));
            match fs::create_dir(&group.0).and_then(|()| fs::write(group.0.join(limit), BYTES.to_string())) {
                Ok(()) if group.0.join("cgroup.procs").exists() => return Ok(group),
                Ok(()) => {}
                Err(error) => why = format!("{}: {error}", group.0.display()),
            }
        }
        Err(why)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

pub(super) fn in_little_memory(dir: &Path) {
    let options = || {
        let interval = Durability::Interval(std::time::Duration::from_millis(20));
        Options::new().shards(1).segment_bytes_max(8 << 20).memory_budget(16 << 20).durability(interval)
    };
    let store = options().unsynced_bytes_max(16 << 20).create_new(dir.join("store")).unwrap();
    let mut count = 0;
    while count < EVENTS {
        count = append(&store, count, 10_000);
        let page = store.user_log(&user("alice")).limit(500).page().unwrap();
        assert_eq!(page.iter().next().unwrap().unwrap().user_sequence(), Some(count - 1));
    }
    store.close().unwrap();
    drop(store);
    let store: Store = options().open(dir.join("store")).unwrap();
    let mut cursor: Option<String> = None;
    let mut seen = 0;
    loop {
        let query = store.user_log(&user("alice")).order(Order::Oldest).limit(500);
        let page = if let Some(cursor) = cursor { query.cursor(cursor) } else { query }.page().unwrap();
        for event in page.iter() {
            assert_eq!(event.unwrap().user_sequence(), Some(seen));
            seen += 1;
        }
        cursor = page.next_cursor();
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, EVENTS);
}

/// What the group does to a process that needs more.
pub(super) fn with_more_than_there_is() {
    let bytes = vec![1_u8; usize::try_from(2 * BYTES).unwrap()];
    assert!(std::hint::black_box(bytes).iter().all(|byte| *byte == 1));
}

#[test]
fn a_store_larger_than_the_memory_it_may_use_is_written_and_read() {
    let name = "faults::memory::a_store_larger_than_the_memory_it_may_use_is_written_and_read";
    let dir = tempfile::tempdir().unwrap();
    if rustix::fs::statfs(dir.path()).is_ok_and(|told| told.f_type == 0x0102_1994) {
        return skipped(format!("{name}: temporary files are in memory themselves"));
    }
    let group = match Group::new() {
        Ok(group) => group,
        Err(why) => return skipped(format!("{name}: no memory cgroup: {why}")),
    };
    let enter = format!("echo $$ > '{}/cgroup.procs' || exit 9;", group.0.display());
    let mut controls = Controls::default();
    let ended = process("greedy", dir.path(), &enter).output().unwrap().status;
    controls.add(ended.signal() == Some(Signal::KILL.as_raw()));
    assert_eq!(controls.caught, controls.seeded, "{ended}");
    run("memory", dir.path(), &enter);
    let bytes: u64 = fs::read_dir(dir.path().join("store/shard-00"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes > 3 * BYTES / 2, "{bytes} bytes");
    figure(
        "a store is larger than the memory that it may use",
        name,
        format!(
            "{} MiB of files in a memory cgroup of {} MiB: written, reopened, read, not killed",
            bytes >> 20,
            BYTES >> 20
        ),
        controls,
    );
}
