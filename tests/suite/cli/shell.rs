//! How the commands behave in a shell: help, exit codes, closed pipes, tables, `init`, `stats`, `inspect`, `quickstart`.

use std::process::{Command, Stdio};

use serde_json::json;

use super::support::{BINARY, Place, command, content, feed, finish, login, run};

#[test]
fn help_and_version_are_data() {
    let version = run(["--version"]).ends_with(0);
    assert_eq!(version.stdout, format!("usertrail {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["init", "ingest", "list", "stats", "inspect", "quickstart", "bench"] {
        let help = run([command, "--help"]).ends_with(0);
        assert!(help.stdout.contains("Examples:") && help.stderr.is_empty(), "{help:?}");
    }
    let help = run(["--help"]).ends_with(0);
    assert!(help.stdout.contains("Exit codes:"), "{help:?}");
    let nothing = run::<&str>([]).ends_with(2);
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("Usage:"), "{nothing:?}");
}

#[test]
fn usage_errors_are_one_line_and_two() {
    let place = Place::new();
    let store = place.store();
    for (args, word) in [
        (vec!["lits"], "lits"),
        (vec!["list"], "--data"),
        (vec!["list", "--data", &store], "--user"),
        (vec!["list", "--data", &store, "--user", ""], "userId: is empty"),
        (vec!["list", "--data", &store, "--user", "a", "--limit", "0"], "1..=500"),
        (vec!["list", "--data", &store, "--user", "a", "--limit", "501"], "1..=500"),
        (vec!["list", "--data", &store, "--user", "a", "--level", "loud"], "suspicious"),
        (vec!["list", "--data", &store, "--user", "a", "--level", "info,"], "one of"),
        (vec!["list", "--data", &store, "--user", "a", "--category", ""], "one of"),
        (vec!["list", "--data", &store, "--user", "a", "--action", "login"], "dots"),
        (vec!["list", "--data", &store, "--user", "a", "--since", "yesterday"], "2026-01-31T18:00:00Z"),
        (vec!["list", "--data", &store, "--user", "a", "--order", "random"], "newest"),
        (vec!["init", "--data", &store, "--shards", "3"], "power of two from 1"),
        (vec!["init", "--data", &store, "--segment-size", "1000"], "1MiB to 1GiB"),
        (vec!["init", "--data", &store, "--name", "two words"], "name"),
    ] {
        let said = run(&args).ends_with(2);
        assert!(said.complaint().contains(word) && said.stdout.is_empty(), "{args:?}: {said:?}");
    }
    assert!(!place.file("store").exists());
}

#[test]
fn init_makes_a_store_once() {
    let place = Place::new();
    let store = place.store();
    let args = ["init", "--data", &store, "--name", "login.example", "--shards", "1", "--json"];
    let made = run(args.into_iter().chain(["--durability", "durable", "--segment-size", "2M"])).ends_with(0);
    assert_eq!(made.json(), json!({"name": "login.example", "shards": 1, "durability": "durable"}));
    let before = content(&place.file("store"));
    let again = run(["init", "--data", &store, "--shards", "2"]).ends_with(1);
    assert!(again.complaint().contains("a store in the directory already"), "{again:?}");
    assert_eq!(content(&place.file("store")), before);
    let stats = run(["stats", "--data", &store, "--json"]).ends_with(0).json();
    for member in ["events", "users", "segments", "bytesOnDisk", "bytesPerEvent", "shards"] {
        assert!(stats[member].is_number(), "{member} in {stats}");
    }
    assert_eq!((&stats["shards"], &stats["events"]), (&json!(1), &json!(0)));
    let table = run(["stats", "--data", &store]).ends_with(0);
    assert!(table.stdout.contains("login.example") && table.stdout.contains("durable"), "{table:?}");

    place.write("other", "something");
    let here = place.temporary.path().to_str().unwrap();
    let occupied = run(["init", "--data", here]).ends_with(1);
    assert!(occupied.complaint().contains("something else"), "{occupied:?}");
}

/// The names on the way to the store must survive a power cut as well: each directory that got a new name is synced.
#[test]
fn the_way_to_a_new_store_is_synced() {
    if !Command::new("strace").arg("true").output().is_ok_and(|output| output.status.success()) {
        crate::figures::skipped("the_way_to_a_new_store_is_synced: strace doesn't run here");
        return;
    }
    for (store, named_in) in [("store", &["."][..]), ("a/b/store", &["a/b", "a", "."])] {
        let place = Place::new();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=openat,fsync", "-o", "trace", BINARY, "init", "--data", store]);
        let output = strace.current_dir(place.temporary.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let trace = std::fs::read_to_string(place.file("trace")).unwrap();
        for dir in named_in {
            let opened = format!("openat(AT_FDCWD, \"{dir}\", ");
            let synced = trace.split(&opened).skip(1).any(|rest| {
                let descriptor = rest.lines().next().and_then(|line| line.split(" = ").nth(1)).unwrap();
                rest.contains(&format!("fsync({descriptor})"))
            });
            assert!(synced, "{dir} isn't synced:\n{trace}");
        }
    }
}

#[test]
fn what_is_no_store_is_said_to_be_none_and_left_alone() {
    let place = Place::new();
    place.write("note", "mine");
    let here = place.temporary.path().to_str().unwrap().to_owned();
    let before = content(place.temporary.path());
    for args in [
        vec!["list", "--data", &here, "--user", "a"],
        vec!["stats", "--data", &here],
        vec!["inspect", "--data", &here],
        vec!["inspect", "--data", &here, "--repair"],
        vec!["ingest", "--data", &here, "--format", "jsonl"],
    ] {
        let said = run(&args).ends_with(1);
        assert!(said.complaint().contains("not a usertrail store"), "{args:?}: {said:?}");
    }
    assert_eq!(content(place.temporary.path()), before);
    let missing = run(["stats", "--data", "/no/such/place"]).ends_with(1);
    assert!(missing.complaint().contains("no such directory"), "{missing:?}");
    let file = run(["stats", "--data", place.file("note").to_str().unwrap()]).ends_with(1);
    assert!(file.complaint().contains("not a directory"), "{file:?}");
}

#[test]
fn a_newer_format_is_said_to_be_newer() {
    let place = Place::new();
    let store = place.store();
    feed(["ingest", "--data", &store, "--format", "jsonl"], login("alice").as_bytes()).ends_with(0);
    let path = place.file("store").join("STORE");
    let mut bytes = std::fs::read(&path).unwrap();
    // The version follows the magic number.
    bytes[8] += 1;
    std::fs::write(&path, bytes).unwrap();
    let before = content(&place.file("store"));
    for args in [
        vec!["list", "--data", &store, "--user", "alice"],
        vec!["inspect", "--data", &store, "--repair"],
        vec!["ingest", "--data", &store, "--format", "jsonl"],
    ] {
        let said = run(&args).ends_with(1);
        assert!(said.complaint().contains("newer"), "{args:?}: {said:?}");
    }
    assert_eq!(content(&place.file("store")), before);
}

#[test]
fn cursors_that_are_not_this_questions_are_refused() {
    let place = Place::new();
    let store = place.store();
    let input = format!("{}\n{}\n", login("alice"), login("bob")).repeat(10);
    feed(["ingest", "--data", &store, "--format", "jsonl"], input.as_bytes()).ends_with(0);
    let page =
        run(["list", "--data", &store, "--user", "alice", "--limit", "3", "--json"]).ends_with(0).json();
    let cursor = page["pagination"]["nextCursor"].as_str().unwrap().to_owned();
    let mut forged = cursor.clone();
    forged.replace_range(20..21, if &cursor[20..21] == "A" { "B" } else { "A" });
    for (more, word) in [
        (["--user", "alice", "--cursor", ""], "empty"),
        (["--user", "alice", "--cursor", "nonsense"], "damaged"),
        (["--user", "alice", "--cursor", &forged], "damaged"),
        (["--user", "bob", "--cursor", &cursor], "another user"),
    ] {
        let said = run(["list", "--data", &store].into_iter().chain(more)).ends_with(1);
        assert!(said.complaint().contains(word) && said.stdout.is_empty(), "{said:?}");
    }
    for more in [["--level", "info"], ["--order", "oldest"]] {
        let args = ["list", "--data", &store, "--user", "alice", "--cursor", &cursor];
        let said = run(args.into_iter().chain(more)).ends_with(1);
        assert!(
            said.complaint().contains("another filter") || said.complaint().contains("other order"),
            "{said:?}"
        );
    }
}

#[test]
fn a_table_obeys_nobody_but_the_person_who_looks_at_it() {
    let place = Place::new();
    let store = place.store();
    let event = json!({
        "action": "security.\u{202e}x", "category": "security", "level": "suspicious", "userId": "alice",
        "service": "we\u{9b}b", "ipAddress": "::ffff:203.0.113.7",
        "message": "one\u{1b}]0;title\u{7}two\r\nthree\u{2066}",
    });
    feed(["ingest", "--data", &store, "--format", "jsonl"], event.to_string().as_bytes()).ends_with(0);
    let table = run(["list", "--data", &store, "--user", "alice"]).ends_with(0);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{table:?}");
    let unfit = |c: char| {
        c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    assert!(!table.stdout.replace('\n', "").contains(unfit), "{table:?}");
    assert!(lines[1].starts_with("!!") && lines[1].contains("203.0.113.7"), "{table:?}");
    assert!(lines[1].contains(r"one\u{1b}]0;title\u{7}two\r\nthree\u{2066}"), "{table:?}");
    let nobody = run(["list", "--data", &store, "--user", "bob"]).ends_with(0);
    assert_eq!((nobody.stdout.as_str(), nobody.complaint()), ("", "no events"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    let store = place.store();
    feed(["ingest", "--data", &store, "--format", "jsonl"], login("alice").as_bytes()).ends_with(0);
    let temporary = tempfile::tempdir().unwrap();
    for args in [
        vec!["list", "--data", &store, "--user", "alice"],
        vec!["list", "--data", &store, "--user", "alice", "--json"],
        vec!["stats", "--data", &store],
        vec!["inspect", "--data", &store],
        vec!["ingest", "--data", &store, "--format", "jsonl", "--json"],
        vec!["quickstart", "--events", "2000"],
        vec!["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(&args);
        command.env("TMPDIR", temporary.path()).stdout(Stdio::from(writer)).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    assert!(content(temporary.path()).is_empty(), "quickstart has left something behind");
}

#[test]
fn an_output_that_fails_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        crate::figures::skipped("an_output_that_fails_is_an_error: no /dev/full");
        return;
    };
    let place = Place::new();
    let store = place.store();
    run(["init", "--data", &store]).ends_with(0);
    let mut stats = command(["stats", "--data", &store, "--json"]);
    stats.stdout(Stdio::from(full)).stderr(Stdio::piped());
    let output = stats.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("standard output"));
}

#[test]
fn quickstart_shows_what_there_is_and_leaves_nothing_behind() {
    let (temporary, working) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut quickstart = command(["quickstart", "--events", "20000"]);
    quickstart.env("TMPDIR", temporary.path()).current_dir(working.path());
    let said = finish(quickstart).ends_with(0);
    assert_eq!(said.stderr, "");
    for word in [
        "20,000 events",
        "a second",
        "reopened",
        "alice's log",
        "The next page",
        "auth.lockout",
        "What to try next",
    ] {
        assert!(said.stdout.contains(word), "{word} in {}", said.stdout);
    }
    for dir in [&temporary, &working] {
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    let place = Place::new();
    let store = place.store();
    run(["quickstart", "--events", "5000", "--seed", "7", "--data", &store]).ends_with(0);
    let stats = run(["stats", "--data", &store, "--json"]).ends_with(0).json();
    assert_eq!(stats["events"], 5000);
    run(["inspect", "--data", &store]).ends_with(0);
    let again = run(["quickstart", "--data", &store]).ends_with(1);
    assert!(again.complaint().contains("already"), "{again:?}");

    let mut kept = command(["quickstart", "--events", "1000", "--keep"]);
    kept.env("TMPDIR", temporary.path());
    finish(kept).ends_with(0);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
}
