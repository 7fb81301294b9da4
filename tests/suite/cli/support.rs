//! Runs the binary, as a shell would. Must not know what it does.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_usertrail");

/// What a command has said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Said {
    #[track_caller]
    pub(super) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// One object of JSON, on one line.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.stdout.matches('\n').count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The one line on standard error, without the program's name.
    #[track_caller]
    pub(super) fn complaint(&self) -> &str {
        let line = self.stderr.strip_suffix('\n').unwrap_or_else(|| panic!("{self:#?}"));
        assert!(!line.contains('\n'), "{self:#?}");
        line.strip_prefix("usertrail: ").unwrap_or_else(|| panic!("{self:#?}"))
    }
}

pub(super) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

pub(super) fn finish(mut command: Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(super) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Said {
    finish(command(args))
}

/// Runs it with this input.
pub(super) fn feed<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> Said {
    let mut command = command(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // It may end before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A store's directory within a temporary one.
pub(super) struct Place {
    pub(super) temporary: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap() }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    pub(super) fn store(&self) -> String {
        self.file("store").to_str().unwrap().to_owned()
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A line that is a good event.
pub(super) fn login(user: &str) -> String {
    serde_json::json!({"action": "auth.login", "userId": user}).to_string()
}

/// Every event of a user that the command line lists, oldest first.
#[track_caller]
pub(super) fn list_all(store: &str, user: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args =
            vec!["list", "--data", store, "--user", user, "--order", "oldest", "--limit", "500", "--json"];
        if let Some(cursor) = &cursor {
            args.extend(["--cursor", cursor]);
        }
        let page = run(args).ends_with(0).json();
        events.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["pagination"].get("nextCursor") {
            Some(next) => cursor = Some(next.as_str().unwrap().to_owned()),
            None => return events,
        }
    }
}

/// An `ingest --ack` that waits for its lines.
pub(super) struct Ingest {
    pub(super) child: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) acks: BufReader<ChildStdout>,
}

impl Ingest {
    pub(super) fn begin(store: &str, more: &[&str]) -> Self {
        let mut args = vec!["ingest", "--data", store, "--format", "jsonl", "--ack"];
        args.extend(more);
        let mut child = command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let acks = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, acks }
    }

    pub(super) fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    /// Waits for the next acknowledgement; none when the output has ended.
    pub(super) fn ack(&mut self) -> Option<Ack> {
        let mut line = String::new();
        // The process may have been killed within a line, which then acknowledges nothing.
        self.acks.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(Ack::parse)
    }

    pub(super) fn end(mut self) -> Option<i32> {
        drop(self.stdin.take());
        while self.ack().is_some() {}
        self.child.wait().unwrap().code()
    }
}

/// `LINE ID SHARD SEQUENCE USER_SEQUENCE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) line: u64,
    pub(super) id: String,
    pub(super) shard: u16,
    pub(super) sequence: u64,
    pub(super) user_sequence: Option<u64>,
}

impl Ack {
    #[track_caller]
    pub(super) fn parse(line: &str) -> Self {
        let parts: Vec<&str> = line.split(' ').collect();
        let [number, id, shard, sequence, user_sequence] = parts[..] else { panic!("{line}") };
        Self {
            line: number.parse().unwrap(),
            id: id.to_owned(),
            shard: shard.parse().unwrap(),
            sequence: sequence.parse().unwrap(),
            user_sequence: (user_sequence != "-").then(|| user_sequence.parse().unwrap()),
        }
    }
}

/// The names, lengths and digests of all files below a directory, but for what every opening writes.
pub(super) fn content(dir: &Path) -> Vec<(PathBuf, usize, u64)> {
    let mut files = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if !path.ends_with("LOCK") && !path.ends_with("LIVE") {
                let bytes = std::fs::read(&path).unwrap();
                let mut digest = DefaultHasher::new();
                digest.write(&bytes);
                files.push((path, bytes.len(), digest.finish()));
            }
        }
    }
    files.sort();
    files
}
