//! A writer that is killed, and what `list` shows of its store afterwards.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::{Ack, BINARY, Ingest, Place, command, content, feed, finish, list_all, login, run};

const USERS: u64 = 5;

/// The event of a line: everything about it follows from round and line.
fn line(round: u32, number: u64) -> String {
    let user = format!("user-{}", number % USERS);
    let padding = "p".repeat(usize::try_from(number * 37 % 700).unwrap());
    json!({"action": "auth.login", "userId": user, "details": {"round": round, "line": number, "padding": padding}})
        .to_string()
}

/// Feeds lines without end to an `ingest --ack`, kills it after some acknowledgements, and gives all that were made.
fn kill_in_the_middle(store: &str, round: u32, durability: &str, acks_wanted: usize) -> Vec<Ack> {
    let mut ingest = Ingest::begin(store, &["--durability", durability, "--batch", "7"]);
    let mut stdin = ingest.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // Until the pipe is closed by the killed process's end.
        for number in 1.. {
            if stdin.write_all(format!("{}\n", line(round, number)).as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut acks = Vec::new();
    while acks.len() < acks_wanted {
        acks.push(ingest.ack().expect("more acknowledgements"));
    }
    ingest.child.kill().unwrap();
    // What it had told before it was killed is acknowledged, whether it was read by then or not.
    while let Some(ack) = ingest.ack() {
        acks.push(ack);
    }
    assert_eq!(ingest.child.wait().unwrap().code(), None, "killed by a signal");
    feeder.join().unwrap();
    acks
}

#[test]
fn what_was_acknowledged_before_a_kill_is_listed() {
    let place = Place::new();
    let store = place.store();
    run(["init", "--data", &store, "--shards", "2", "--segment-size", "1MiB"]).ends_with(0);
    let mut acknowledged: BTreeMap<(u32, u64), Ack> = BTreeMap::new();
    let rounds = [
        ("buffered", 1),
        ("interval", 40),
        ("durable", 9),
        ("buffered", 900),
        ("buffered", 6_000),
        ("interval", 3_000),
        ("durable", 300),
        ("interval", 333),
    ];
    for (round, (durability, wanted)) in (0_u32..).zip(rounds) {
        let acks = kill_in_the_middle(&store, round, durability, wanted);
        assert!(acks.iter().zip(1..).all(|(ack, number)| ack.line == number), "in the order of the input");
        acknowledged.extend(acks.into_iter().map(|ack| ((round, ack.line), ack)));
        let mut seen = 0;
        for user in 0..USERS {
            let listed = list_all(&store, &format!("user-{user}"));
            let mut by_line: BTreeMap<(u32, u64), &Value> = BTreeMap::new();
            let mut last = None;
            for (sequence, event) in listed.iter().enumerate() {
                assert_eq!(event["userSequence"], sequence, "dense, and none twice");
                let details = &event["details"];
                let place = (
                    u32::try_from(details["round"].as_u64().unwrap()).unwrap(),
                    details["line"].as_u64().unwrap(),
                );
                assert!(last < Some(place), "in the order of the input");
                last = Some(place);
                let expected: Value = serde_json::from_str(&line(place.0, place.1)).unwrap();
                assert_eq!((details, &event["userId"]), (&expected["details"], &expected["userId"]));
                by_line.insert(place, event);
            }
            for (place, ack) in acknowledged.iter().filter(|((_, line), _)| line % USERS == user) {
                let event = by_line.get(place).unwrap_or_else(|| panic!("{place:?} is lost: {ack:?}"));
                assert_eq!(
                    (&event["id"], &event["userSequence"]),
                    (&json!(ack.id), &json!(ack.user_sequence))
                );
                seen += 1;
            }
        }
        assert_eq!(seen, acknowledged.len());
    }
    let inspected = run(["inspect", "--data", &store, "--json"]).ends_with(0).json();
    assert_eq!(inspected["intact"], true);
    let notes = inspected["shards"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|shard| shard["rollbacks"].as_array().unwrap());
    assert!(notes.clone().count() > 0, "the kills are on record");
    assert!(notes.into_iter().all(|note| note["from"] == note["to"]), "nothing was lost");
}

#[test]
fn the_first_reader_after_a_kill_recovers_and_says_so() {
    let place = Place::new();
    let store = place.store();
    let mut ingest = Ingest::begin(&store, &["--durability", "buffered", "--shards", "1"]);
    for number in 0..5 {
        ingest.say(&login("alice"));
        assert_eq!(ingest.ack().unwrap().user_sequence, Some(number));
    }
    ingest.child.kill().unwrap();
    ingest.child.wait().unwrap();
    let first = run(["list", "--data", &store, "--user", "alice", "--json"]).ends_with(0);
    assert_eq!(first.json()["data"].as_array().unwrap().len(), 5);
    // Whether the second between syncs had passed by then is up to the machine.
    let rescued = first.stderr.lines().filter(|line| line.starts_with("usertrail: recovery: shard 0: "));
    assert!(rescued.count() <= 1 && first.stderr.lines().count() <= 1, "{first:?}");
    let second = run(["list", "--data", &store, "--user", "alice"]).ends_with(0);
    assert_eq!(second.stderr, "");
}

/// Gives a directory and all in it to somebody who is not the superuser, with these rights.
fn give(path: &std::path::Path, user: u32, of_directory: u32, of_file: u32) {
    use std::os::unix::fs::{PermissionsExt, chown};
    chown(path, Some(user), Some(user)).unwrap();
    let mut rights = of_file;
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user, of_directory, of_file);
        }
        rights = of_directory;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(rights)).unwrap();
}

const NOBODY: u32 = 65_534;

/// A command of somebody who is not the superuser.
fn as_nobody(args: &[&str]) -> Command {
    let mut command = command(args);
    command.uid(NOBODY).gid(NOBODY);
    command
}

/// The same where there can be no more threads: the process itself is all that the user may have.
fn alone_as_nobody(args: &[&str]) -> Command {
    let mut command = Command::new("prlimit");
    command.args(["--nproc=1", BINARY]).args(args).stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    command
}

/// Whether there can be such commands; says so if not.
fn nobody_is_allowed(test: &str) -> bool {
    let allowed = as_nobody(&["--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let allowed = allowed.is_ok_and(|status| status.success());
    if !allowed {
        crate::figures::skipped(format!("{test}: can't run as another user"));
    }
    allowed
}

#[test]
fn where_there_can_be_no_more_threads_it_is_said() {
    use std::os::unix::fs::PermissionsExt;

    let test = "where_there_can_be_no_more_threads_it_is_said";
    if !nobody_is_allowed(test) {
        return;
    }
    if alone_as_nobody(&["--version"]).stdout(Stdio::null()).status().is_err() {
        crate::figures::skipped(format!("{test}: there is no prlimit"));
        return;
    }
    let place = Place::new();
    let store = place.store();
    std::fs::set_permissions(place.temporary.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let input = format!("{}\n", login("alice"));
    feed(["ingest", "--data", &store, "--format", "jsonl", "--shards", "2"], input.as_bytes()).ends_with(0);
    give(&place.file("store"), NOBODY, 0o755, 0o644);
    let ingest = ["ingest", "--data", &store, "--format", "jsonl"];
    let refused = finish(alone_as_nobody(&ingest)).ends_with(1);
    assert!(refused.complaint().contains("start a thread"), "{refused:?}");
    // Nothing is in the way when there are some again.
    finish(as_nobody(&ingest)).ends_with(0);
    assert_eq!(list_all(&store, "alice").len(), 1);
}

#[test]
fn a_directory_that_is_read_only_is_read_and_not_written() {
    use std::os::unix::fs::PermissionsExt;

    if !nobody_is_allowed("a_directory_that_is_read_only_is_read_and_not_written") {
        return;
    }
    let place = Place::new();
    let store = place.store();
    std::fs::set_permissions(place.temporary.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let input = format!("{}\n", login("alice")).repeat(3);
    feed(["ingest", "--data", &store, "--format", "jsonl", "--shards", "1"], input.as_bytes()).ends_with(0);
    give(&place.file("store"), NOBODY, 0o555, 0o444);
    let before = content(&place.file("store"));
    let list = ["list", "--data", &store, "--user", "alice", "--json"];
    let listed = finish(as_nobody(&list)).ends_with(0);
    assert_eq!((listed.json()["data"].as_array().unwrap().len(), listed.stderr.as_str()), (3, ""));
    finish(as_nobody(&["stats", "--data", &store])).ends_with(0);
    finish(as_nobody(&["inspect", "--data", &store])).ends_with(0);
    let refused = finish(as_nobody(&["ingest", "--data", &store, "--format", "jsonl"])).ends_with(1);
    assert!(refused.complaint().contains("ermission"), "{refused:?}");
    let beside = place.file("beside");
    let refused = finish(as_nobody(&["init", "--data", beside.to_str().unwrap()])).ends_with(1);
    assert!(refused.complaint().contains("beside"), "{refused:?}");
    assert_eq!(content(&place.file("store")), before);

    // The same after a kill: what needs a recovery to be shown is said to be missing.
    let killed = place.file("killed");
    let killed = killed.to_str().unwrap();
    let mut ingest = Ingest::begin(killed, &["--durability", "buffered", "--shards", "1"]);
    ingest.say(&login("alice"));
    ingest.ack().unwrap();
    ingest.child.kill().unwrap();
    ingest.child.wait().unwrap();
    give(&place.file("killed"), NOBODY, 0o555, 0o444);
    let before = content(&place.file("killed"));
    let listed = finish(as_nobody(&["list", "--data", killed, "--user", "alice", "--json"])).ends_with(0);
    let shown = listed.json()["data"].as_array().unwrap().len();
    assert!(shown == 1 || listed.complaint().contains("durable floor"), "{listed:?}");
    assert_eq!(content(&place.file("killed")), before);
    let listed = run(["list", "--data", killed, "--user", "alice", "--json"]).ends_with(0);
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 1);
}
