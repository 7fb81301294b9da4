//! Damage, and a disk that is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::{Ack, Place, command, content, feed, finish, list_all, login, run};

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 0x04;
    // A sealed file is read-only: a new one in its place is as damaged.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A store of one shard with several sealed segments.
fn sealed_store(place: &Place) -> PathBuf {
    let event = serde_json::json!({"action": "auth.login", "userId": "alice", "message": "m".repeat(600)});
    let input = format!("{event}\n").repeat(5_000);
    let store = place.store();
    let args = ["ingest", "--data", &store, "--format", "jsonl", "--shards", "1", "--segment-size", "1MiB"];
    feed(args, input.as_bytes()).ends_with(0);
    place.file("store").join("shard-00")
}

#[test]
fn damage_is_named_with_file_and_offset_and_exit_code_four() {
    let place = Place::new();
    let log = sealed_store(&place).join("0000000000000000.log");
    let store = place.store();
    let intact = run(["inspect", "--data", &store]).ends_with(0);
    assert!(intact.stdout.contains("intact: 5,000 events"), "{intact:?}");
    flip(&log, 4096 + 300);
    let named = |text: &str| text.contains("0000000000000000.log") && text.contains("4096");
    let oldest =
        run(["list", "--data", &store, "--user", "alice", "--order", "oldest", "--json"]).ends_with(4);
    assert!(named(oldest.complaint()) && oldest.stdout.is_empty(), "{oldest:?}");
    run(["list", "--data", &store, "--user", "alice", "--json"]).ends_with(0);
    let before = content(&place.file("store"));
    let inspected = run(["inspect", "--data", &store, "--json"]).ends_with(4);
    assert!(named(&inspected.stderr), "{inspected:?}");
    let found = inspected.json();
    assert_eq!((&found["intact"], found["damage"].as_array().unwrap().len()), (&Value::Bool(false), 1));
    assert_eq!((&found["damage"][0]["offset"], &found["damage"][0]["shard"]), (&4096.into(), &0.into()));
    assert!(found["damage"][0]["file"].as_str().unwrap().ends_with("0000000000000000.log"));
    assert_eq!(content(&place.file("store")), before);
}

#[test]
fn a_damaged_index_is_made_anew_by_a_repair() {
    let place = Place::new();
    let run_file = sealed_store(&place).join("0000000000000000.run");
    let store = place.store();
    let expected = list_all(&store, "alice");
    std::fs::remove_file(&run_file).unwrap();
    let refused = run(["list", "--data", &store, "--user", "alice"]).ends_with(4);
    assert!(refused.complaint().contains("0000000000000000.run"), "{refused:?}");
    let inspected = run(["inspect", "--data", &store]).ends_with(4);
    assert!(inspected.stderr.contains("0000000000000000.run"), "{inspected:?}");
    let repaired = run(["inspect", "--data", &store, "--repair"]).ends_with(0);
    assert!(
        repaired.stdout.contains("repair: found: ")
            && repaired.stdout.contains("no event had to be given up")
    );
    assert_eq!(list_all(&store, "alice"), expected);
}

#[test]
fn a_repair_tells_what_is_lost() {
    let place = Place::new();
    let store = place.store();
    let input = format!("{}\n", login("alice")).repeat(10);
    let args = ["ingest", "--data", &store, "--format", "jsonl", "--shards", "1", "--ack"];
    feed(args, input.as_bytes()).ends_with(0);
    let log = place.file("store").join("shard-00/0000000000000000.log");
    let before_damage = list_all(&store, "alice");
    let bytes = std::fs::read(&log).unwrap();
    // The eighth event's id lies in the eighth record.
    let id = before_damage[7]["id"].as_str().unwrap().replace('-', "");
    let id: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect();
    let offset = bytes.windows(16).position(|window| window == id).unwrap();
    flip(&log, offset);
    let damaged = content(&place.file("store"));
    for args in [
        vec!["list", "--data", &store, "--user", "alice"],
        vec!["stats", "--data", &store],
        vec!["inspect", "--data", &store],
        vec!["ingest", "--data", &store, "--format", "jsonl"],
    ] {
        let said = run(&args).ends_with(4);
        let told = said.stderr.split("0000000000000000.log at byte ").nth(1);
        let told = told.unwrap_or_else(|| panic!("{args:?}: {said:?}")).trim_end();
        // Where the record begins that holds the flipped bit.
        assert!((offset - 100..offset).contains(&told.parse().unwrap()), "{args:?}: {said:?}");
    }
    assert_eq!(content(&place.file("store")), damaged, "nothing is changed before somebody asks for it");
    let repaired = run(["inspect", "--data", &store, "--repair"]).ends_with(0);
    assert!(repaired.stdout.contains("repair: shard 0: records 7 to 9 are lost"), "{repaired:?}");
    assert_eq!(list_all(&store, "alice"), before_damage[..7]);
    feed(["ingest", "--data", &store, "--format", "jsonl"], login("alice").as_bytes()).ends_with(0);
    assert_eq!(list_all(&store, "alice").len(), 8);
}

/// A small file system in memory, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.0.path()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_to_be_full_and_loses_nothing() {
    let Some(disk) = SmallDisk::new("12m") else {
        crate::figures::skipped(
            "a_full_disk_is_said_to_be_full_and_loses_nothing: mounting a tmpfs isn't allowed",
        );
        return;
    };
    let store = disk.0.path().join("store");
    let store = store.to_str().unwrap();
    let place = Place::new();
    let event = serde_json::json!({"action": "auth.login", "userId": "alice", "message": "m".repeat(1_000)});
    let input = place.write("input", format!("{event}\n").repeat(20_000));
    let args =
        ["ingest", "--data", store, "--format", "jsonl", "--shards", "1", "--ack", "--segment-size", "2MiB"];
    let full = run(args.into_iter().chain([input.as_str()])).ends_with(1);
    assert!(
        full.stderr.contains("No space left") && full.stderr.contains("stopped at line"),
        "{}",
        full.stderr
    );
    let acks: Vec<Ack> = full.stdout.lines().map(Ack::parse).collect();
    assert!(acks.len() > 1_000, "{} events", acks.len());
    let listed = list_all(store, "alice");
    assert_eq!(listed.len(), acks.len(), "what is stored is what is acknowledged");
    assert!(acks.iter().zip(&listed).all(|(ack, event)| event["id"] == ack.id.as_str()));
    run(["inspect", "--data", store]).ends_with(0);
    // Still full: an error again, and still nothing lost.
    let again = finish(command(["ingest", "--data", store, "--format", "jsonl", &input])).ends_with(1);
    assert!(again.stderr.contains("No space left"), "{again:?}");
    let count = list_all(store, "alice").len();
    assert!(count >= acks.len());
    disk.resize("64m");
    feed(["ingest", "--data", store, "--format", "jsonl"], login("alice").as_bytes()).ends_with(0);
    assert_eq!(list_all(store, "alice").len(), count + 1);
    run(["inspect", "--data", store]).ends_with(0);
}

#[test]
fn a_disk_that_is_too_small_for_a_store_is_left_as_it_was() {
    let Some(disk) = SmallDisk::new("512k") else {
        crate::figures::skipped(
            "a_disk_that_is_too_small_for_a_store_is_left_as_it_was: mounting a tmpfs isn't allowed",
        );
        return;
    };
    let store = disk.0.path().join("store");
    let store = store.to_str().unwrap();
    let refused = run(["init", "--data", store, "--shards", "1"]).ends_with(1);
    assert!(refused.complaint().contains("No space left"), "{refused:?}");
    let missing = run(["stats", "--data", store]).ends_with(1);
    assert!(missing.complaint().contains("not a usertrail store"), "{missing:?}");
    disk.resize("16m");
    run(["init", "--data", store, "--shards", "1"]).ends_with(0);
}

#[test]
fn packing_saves_room_shows_the_same_and_is_undone() {
    let place = Place::new();
    let shard = sealed_store(&place);
    let store = place.store();
    let expected = list_all(&store, "alice");
    let packed = run(["pack", "--data", &store, "--json"]).ends_with(0).json();
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap();
    assert!(number(&packed, "events") > 3_000, "{packed}");
    assert!(number(&packed, "bytesAfter") * 2 < number(&packed, "bytesBefore"), "{packed}");
    assert!(!shard.join("0000000000000000.log").exists());
    assert_eq!(list_all(&store, "alice"), expected);
    run(["inspect", "--data", &store]).ends_with(0);
    let stats = run(["stats", "--data", &store, "--json"]).ends_with(0).json();
    assert_eq!(number(&stats, "packedEvents"), number(&packed, "events"));
    let undone = run(["pack", "--data", &store, "--undo"]).ends_with(0);
    assert!(undone.stdout.starts_with("unpacked "), "{undone:?}");
    assert!(shard.join("0000000000000000.log").exists());
    assert_eq!(list_all(&store, "alice"), expected);
    // An index run of packed segments is made anew, too.
    run(["pack", "--data", &store]).ends_with(0);
    let index = std::fs::read_dir(&shard).unwrap().map(|entry| entry.unwrap().path());
    let index: Vec<PathBuf> = index.filter(|path| path.extension().is_some_and(|end| end == "run")).collect();
    std::fs::remove_file(&index[0]).unwrap();
    run(["list", "--data", &store, "--user", "alice"]).ends_with(4);
    run(["inspect", "--data", &store, "--repair"]).ends_with(0);
    assert_eq!(list_all(&store, "alice"), expected);
}
