//! `ingest`: what is stored, acknowledged, rejected and said, and when.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::{Ack, BINARY, Ingest, Place, command, feed, finish, list_all, login, run};

/// A line, and the field and a word of the reason that it must be rejected for.
fn bad_lines() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let long = "u".repeat(257);
    vec![
        (text(r#"{"action":"auth.login","userId":7}"#), "userId", "string"),
        (text(r#"{"action":"auth.login","userId":""}"#), "userId", "empty"),
        (text(&format!(r#"{{"action":"auth.login","userId":"{long}"}}"#)), "userId", "256"),
        (text(r#"{"userId":"alice"}"#), "action", "missing"),
        (text(r#"{"action":"login","category":"auth","level":"info"}"#), "action", "dots"),
        (text(r#"{"action":"own.thing","level":"info"}"#), "category", "missing"),
        (text(r#"{"action":"auth.login","level":"loud"}"#), "level", "one of"),
        (text(r#"{"action":"auth.login","colour":"red"}"#), "colour", "not a member"),
        (text(r#"{"action":"auth.login","id":"x"}"#), "id", "assigned by the store"),
        (text(r#"{"action":"auth.login","recordedAt":"2026-01-01T00:00:00Z"}"#), "recordedAt", "assigned"),
        (text(r#"{"action":"auth.login","userSequence":1}"#), "userSequence", "assigned"),
        (text(r#"{"action":"auth.login","ipAddress":"300.1.1.1"}"#), "ipAddress", ""),
        (text(r#"{"action":"auth.login","occurredAt":"yesterday"}"#), "occurredAt", ""),
        (text(r#"{"action":"auth.login","details":[1]}"#), "details", "object"),
        (text(r#"{"action":"auth.login","userId":"a","user_id":"a"}"#), "userId", "more than once"),
        (text("not json at all"), "event", "JSON"),
        (text(r#"{"action":"auth.login"} trailing"#), "event", "JSON"),
        (b"{\"action\":\"auth.login\",\"userId\":\"\xff\xfe\"}".to_vec(), "userId", "UTF-8"),
        (b"{\"action\":\"auth.login\"}\xff".to_vec(), "event", ""),
        (text("[1,2,3]"), "event", ""),
    ]
}

#[test]
fn bad_lines_are_named_and_kept_and_stop_nothing() {
    let place = Place::new();
    let store = place.store();
    let rejects = place.file("rejects");
    let (mut input, mut expected_rejects, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0;
    for (line, field, reason) in bad_lines() {
        for good in [login("alice").into_bytes(), b"  \t".to_vec(), line.clone()] {
            number += 1;
            input.extend_from_slice(&good);
            input.extend_from_slice(if number % 2 == 0 { b"\r\n" } else { b"\n" });
        }
        let end = if number % 2 == 0 { "\r" } else { "" };
        expected_rejects.extend_from_slice(&line);
        expected_rejects.extend_from_slice(format!("{end}\n").as_bytes());
        expected.push((number, field, reason));
    }
    input.extend_from_slice(login("bob").as_bytes());
    let args = ["ingest", "--data", &store, "--format", "jsonl", "--json", "--rejects"];
    let args = args.into_iter().chain([rejects.to_str().unwrap()]);
    let said = feed(args, &input).ends_with(3);
    let counts = said.json();
    let bad = expected.len();
    assert_eq!(
        (&counts["accepted"], &counts["rejected"], &counts["ignored"], &counts["blank"]),
        (&json!(bad + 1), &json!(bad), &json!(0), &json!(bad))
    );
    let told: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(told.len(), bad, "{}", said.stderr);
    for (told, (number, field, reason)) in told.iter().zip(&expected) {
        let start = format!("usertrail: line {number}: {field}: ");
        assert!(
            told.starts_with(&start) && told[start.len()..].contains(reason),
            "{told} ({field}, {reason})"
        );
    }
    assert_eq!(std::fs::read(&rejects).unwrap(), expected_rejects);
    assert_eq!(list_all(&store, "alice").len(), bad);
    assert_eq!(list_all(&store, "bob").len(), 1, "the last line has no line end");
}

#[test]
fn unknown_members_are_kept_under_details_on_request() {
    let place = Place::new();
    let store = place.store();
    let line =
        r#"{"action":"auth.login","user_id":"alice","colour":"red","id":"old-7","details":{"a":1.50}}"#;
    let args = ["ingest", "--data", &store, "--format", "jsonl", "--unknown-to-details"];
    feed(args, line.as_bytes()).ends_with(0);
    let said = run(["list", "--data", &store, "--user", "alice", "--json"]).ends_with(0);
    assert!(said.stdout.contains("1.50"), "numbers stay as they were written: {}", said.stdout);
    let event = &said.json()["data"][0];
    assert_eq!(event["details"], json!({"a": 1.50, "colour": "red", "id": "old-7"}));
    assert_eq!(event["status"], "success");
}

#[test]
fn acknowledgements_come_in_the_order_of_the_input() {
    let place = Place::new();
    let store = place.store();
    let mut input = String::new();
    let mut expected = Vec::new();
    for number in 1..=2_500_u64 {
        match number % 10 {
            3 => input += "nonsense\n",
            4 => input += "\n",
            5 => {
                input += "{\"action\":\"auth.login\"}\n";
                expected.push((number, None));
            }
            _ => {
                let user = format!("user-{}", number % 7);
                input += &login(&user);
                input.push('\n');
                expected.push((number, Some(user)));
            }
        }
    }
    for batch in ["1", "64", "1000", "100000"] {
        let place = Place::new();
        let file = place.write("input", &input);
        let said = run(["ingest", "--data", &store, "--format", "jsonl", "--ack", "--batch", batch, &file]);
        let acks: Vec<Ack> = said.ends_with(3).stdout.lines().map(Ack::parse).collect();
        let lines: Vec<u64> = acks.iter().map(|ack| ack.line).collect();
        assert_eq!(lines, expected.iter().map(|(line, _)| *line).collect::<Vec<_>>());
        for user in (0..7).map(|user| format!("user-{user}")) {
            let listed = list_all(&store, &user);
            let of_user = acks.iter().zip(&expected).filter(|(_, (_, other))| other.as_ref() == Some(&user));
            let mut next = None;
            for (ack, _) in of_user {
                let sequence = ack.user_sequence.unwrap();
                assert!(next.is_none_or(|next| next == sequence), "{ack:?} is not the user's next");
                next = Some(sequence + 1);
                let event = &listed[usize::try_from(sequence).unwrap()];
                assert_eq!((&event["id"], &event["userSequence"]), (&json!(ack.id), &json!(sequence)));
            }
            assert_eq!(next, Some(listed.len() as u64), "each batch's events are the newest");
        }
        let nobody = acks.iter().zip(&expected).filter(|(_, (_, user))| user.is_none());
        assert!(nobody.into_iter().all(|(ack, _)| ack.user_sequence.is_none()));
    }
}

#[test]
fn a_pipe_that_stays_open_gets_its_lines_stored_at_once() {
    let place = Place::new();
    let store = place.store();
    for durability in ["buffered", "interval", "durable"] {
        let mut ingest = Ingest::begin(&store, &["--durability", durability]);
        for number in 1..=5 {
            ingest.say(&login(durability));
            let ack = ingest.ack().unwrap();
            assert_eq!((ack.line, ack.user_sequence), (number, Some(number - 1)));
            // Beside the writer, which waits for more; a durable store shows nothing that isn't on stable storage.
            let listed = list_all(&store, durability);
            assert_eq!(listed.len() as u64, number);
            assert_eq!(listed.last().unwrap()["id"], ack.id.as_str());
        }
        let stats = run(["stats", "--data", &store, "--json"]).ends_with(0).json();
        let of_all = |field: &str| -> u64 {
            let shards = stats["perShard"].as_array().unwrap();
            shards.iter().map(|shard| shard[field].as_u64().unwrap()).sum()
        };
        assert_eq!(Some(of_all("events")), stats["events"].as_u64());
        if durability == "durable" {
            assert_eq!(of_all("durable"), of_all("events"), "acknowledged before it was durable");
        }
        let second = feed(["ingest", "--data", &store, "--format", "jsonl"], b"").ends_with(1);
        let holder = format!("process {}", ingest.child.id());
        assert!(second.complaint().contains(&holder), "{second:?}");
        assert_eq!(ingest.end(), Some(0));
    }
    // A piece of a line is no line yet.
    let mut ingest = Ingest::begin(&store, &[]);
    let line = login("alice");
    let (head, tail) = line.split_at(9);
    ingest.stdin.as_mut().unwrap().write_all(head.as_bytes()).unwrap();
    ingest.stdin.as_mut().unwrap().write_all(tail.as_bytes()).unwrap();
    ingest.stdin.as_mut().unwrap().flush().unwrap();
    drop(ingest.stdin.take());
    assert_eq!(ingest.ack().unwrap().line, 1);
    assert_eq!(ingest.end(), Some(0));
}

/// The system calls themselves: before anything is acknowledged, a sync has returned that began after the event was read.
#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    if Command::new("strace").args(["-f", "true"]).output().is_ok_and(|output| output.status.success()) {
        let with_syncs = |durability: &str| -> Vec<bool> {
            let place = Place::new();
            run(["init", "--data", &place.store(), "--shards", "1"]).ends_with(0);
            let trace = place.file("trace");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-e", "trace=fdatasync,write,read", "-o"]).arg(&trace).arg(BINARY);
            strace.args(["ingest", "--data", &place.store(), "--format", "jsonl", "--ack", "--batch", "1"]);
            strace.args(["--durability", durability]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = strace.spawn().unwrap();
            let mut ingest = Ingest {
                stdin: child.stdin.take(),
                acks: std::io::BufReader::new(child.stdout.take().unwrap()),
                child,
            };
            for _ in 0..20 {
                ingest.say(&login("alice"));
                ingest.ack().unwrap();
            }
            assert_eq!(ingest.end(), Some(0));
            synced_before_each_ack(&std::fs::read_to_string(trace).unwrap())
        };
        let durable = with_syncs("durable");
        assert_eq!(durable.len(), 20);
        assert!(durable.iter().all(|synced| *synced), "{durable:?}");
        // What is looked for is not there by itself.
        let buffered = with_syncs("buffered");
        assert!(buffered.len() == 20 && buffered.iter().any(|synced| !*synced), "{buffered:?}");
    } else {
        crate::figures::skipped("nothing_is_acknowledged_before_it_is_synced: strace doesn't run here");
    }
}

/// For each acknowledgement of a trace, whether a sync has returned since the line was read.
fn synced_before_each_ack(trace: &str) -> Vec<bool> {
    let (mut synced, mut acks) = (false, Vec::new());
    for line in trace.lines() {
        let ended = line.contains("fdatasync(") && !line.contains("unfinished");
        if (ended || line.contains("fdatasync resumed")) && line.ends_with("= 0") {
            synced = true;
        } else if (line.contains("read(") || line.contains("read resumed")) && line.contains("auth.login") {
            synced = false;
        } else if line.contains("write(1, ") {
            acks.push(synced);
        }
    }
    acks
}

#[test]
fn a_closed_output_ends_the_import_quietly() {
    let place = Place::new();
    let store = place.store();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let file = place.write("input", format!("{}\n", login("alice")).repeat(5_000));
    let mut ingest = command(["ingest", "--data", &store, "--format", "jsonl", "--ack", &file]);
    ingest.stdout(Stdio::from(writer));
    let output = ingest.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    assert!(!list_all(&store, "alice").is_empty());
}

#[test]
fn rejected_lines_that_cannot_be_kept_are_an_error() {
    if !std::path::Path::new("/dev/full").exists() {
        crate::figures::skipped("rejected_lines_that_cannot_be_kept_are_an_error: no /dev/full");
        return;
    }
    let place = Place::new();
    let input = format!("{}\nnonsense\n", login("alice"));
    let store = place.store();
    let args = ["ingest", "--data", &store, "--format", "jsonl", "--rejects", "/dev/full", "--json"];
    let said = feed(args, input.as_bytes()).ends_with(1);
    assert!(said.stderr.contains("cannot write /dev/full: No space left"), "{said:?}");
    assert_eq!(said.json()["accepted"], 1, "what was stored is counted all the same");
    assert_eq!(list_all(&store, "alice").len(), 1);
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors_and_make_nothing() {
    let place = Place::new();
    let store = place.store();
    let input = place.write("input", login("alice"));
    let ingest = |more: &[&str]| {
        let mut args = vec!["ingest", "--data", &store, "--format", "jsonl"];
        args.extend(more);
        finish(command(args))
    };
    for (more, word) in [
        (&["--ack", "--json"][..], "cannot be used"),
        (&["--year", "2024"], "authlog"),
        (&["--batch", "0"], "zero"),
        (&["--shards", "3"], "power of two"),
        (&["--segment-size", "64MB"], "1MiB to 1GiB"),
        (&["--rejects", &input, &input], "input itself"),
        (&["--durability", "very"], "possible values"),
    ] {
        let said = ingest(more).ends_with(2);
        assert!(said.complaint().contains(word), "{said:?}");
    }
    let missing = ingest(&["/no/such/file"]).ends_with(1);
    assert!(missing.complaint().contains("/no/such/file"), "{missing:?}");
    let directory = ingest(&[place.temporary.path().to_str().unwrap()]).ends_with(1);
    assert!(directory.complaint().contains("directory"), "{directory:?}");
    assert!(!place.file("store").exists());
    assert_eq!(std::fs::read_to_string(&input).unwrap(), login("alice"));

    assert_eq!(ingest(&["--shards", "2", "--name", "n", &input]).ends_with(0).stderr, "");
    let other = ingest(&["--shards", "4", &input]).ends_with(1);
    assert!(other.complaint().contains("the store has 2 shards"), "{other:?}");
    let other = ingest(&["--name", "m", &input]).ends_with(1);
    assert!(other.complaint().contains("the store's name is n"), "{other:?}");
    assert_eq!(list_all(&store, "alice").len(), 1);
}

/// What the log says by substrings alone: how often sshd's lines have these words for each user, repeats counted.
fn by_substring(log: &str, words: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(words) && line.contains(" sshd[")) {
        let repeats = line.split("message repeated ").nth(1);
        let times = repeats.map_or(1, |rest| rest.split(' ').next().unwrap().parse().unwrap());
        let user = line.split(" for ").nth(1).unwrap().split(" from ").next().unwrap();
        *counts.entry(user.trim_start_matches("invalid user ").to_owned()).or_default() += times;
    }
    counts
}

#[test]
fn a_real_log_is_counted_as_substrings_count_it() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/authlog/auth.log");
    let Ok(log) = std::fs::read_to_string(&path) else {
        crate::figures::skipped(format!(
            "a_real_log_is_counted_as_substrings_count_it: no {}",
            path.display()
        ));
        return;
    };
    let place = Place::new();
    let store = place.store();
    let log_path = path.to_str().unwrap();
    let args = ["ingest", "--data", &store, "--format", "authlog", "--year", "2024", "--json", log_path];
    let counts = run(args).ends_with(0).json();
    assert_eq!(counts["lines"], log.lines().count());
    assert_eq!(counts["rejected"], 0);
    let stats = run(["stats", "--data", &store, "--json"]).ends_with(0).json();
    assert_eq!(stats["events"], counts["accepted"]);
    for (action, words) in [("auth.login_failed", "Failed "), ("auth.login", "]: Accepted ")] {
        let expected = by_substring(&log, words);
        assert!(!expected.is_empty());
        // Events without a user are in nobody's log.
        for (user, count) in expected.iter().filter(|(user, _)| !user.is_empty()) {
            let listed = list_all(&store, user);
            let own = |event: &&Value| event["action"] == action && event["service"] == "sshd";
            assert_eq!(listed.iter().filter(own).count(), *count, "{action} of {user}");
        }
    }
    let first = &list_all(&store, "root")[0];
    assert!(first["occurredAt"].as_str().unwrap().starts_with("2024-"), "{first}");
}

/// Each finds no store when it begins; one of them makes it.
#[test]
fn several_that_make_the_same_store_keep_what_all_of_them_store() {
    for _ in 0..10 {
        let place = Place::new();
        let store = place.store();
        std::fs::write(place.file("input"), format!("{}\n", login("alice"))).unwrap();
        let ingest = || {
            let mut ingest = command(["ingest", "--data", &store, "--format", "jsonl", "--shards", "1"]);
            ingest.arg(place.file("input")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<_> = (0..3).map(|_| ingest()).collect();
        let mut stored = 0;
        for ingest in all {
            let output = ingest.wait_with_output().unwrap();
            stored += usize::from(output.status.success());
            // On a busy machine one may wait too long for another's lock: it says so, and has stored nothing.
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success() || stderr.contains("open for writing by"), "{stderr}");
        }
        assert!(stored > 0);
        assert_eq!(list_all(&store, "alice").len(), stored);
    }
}
