//! The corpus, run without a fuzzer: every input that is kept, and seeds that the encoders make.
//!
//! `USERTRAIL_WRITE_SEEDS=1` writes the seeds to `fuzz/corpus`, for the fuzzer to begin with.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::TARGETS;
use crate::event::{Details, EventView, NewEvent};
use crate::figures::{Controls, figure};
use crate::format::cursor::UserLogCursor;
use crate::format::keys::IndexKey;
use crate::format::pack_block::BlockBuilder;
use crate::format::posting::{Posting, Tags, TimeRange, encode_block};
use crate::format::seeded::{Bug, seed};
use crate::format::segment::{FloorSlot, HEADER_BYTES};
use crate::ids::Fingerprint;
use crate::store::images::Sample;
use crate::{Action, Message, Timestamp, UserId};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn event() -> NewEvent<'static> {
    NewEvent::login(UserId::new("u-1042").unwrap(), crate::SessionId::new("s-1").unwrap())
        .ip("2001:db8::7".parse().unwrap())
        .message(Message::new("from a new device").unwrap())
        .details(
            Details::from_json(r#"{"n":1.50,"list":[1,{"a":null}],"text":"\u00e4\n"}"#).unwrap().into_owned(),
        )
        .occurred_at(Timestamp::parse_rfc3339("2026-11-20T09:30:00.000250Z").unwrap())
        .build()
        .unwrap()
}

fn leaf() -> Vec<u8> {
    let mut leaf = Vec::new();
    crate::event::encode_leaf(&event(), &mut leaf);
    leaf
}

fn postings() -> Vec<u8> {
    let list: Vec<Posting> = (0..40).map(|n| Posting { ordinal: n * n, tags: Tags(n * 77) }).collect();
    let mut seed = vec![40];
    seed.extend_from_slice(&5_i64.to_le_bytes());
    seed.extend_from_slice(&u16::MAX.to_le_bytes());
    encode_block(&mut seed, &list, TimeRange { min: -5, max: 5_000 }, 5);
    seed
}

fn block() -> Vec<u8> {
    let mut builder = BlockBuilder::new();
    (0..5).for_each(|_| builder.push(&leaf()));
    let mut block = vec![0, 4];
    builder.finish(&mut block);
    [&[0, 4], &block[..]].concat()
}

const AUTHLOG: &str = "Mar 27 13:08:09 web sshd[1361]: Failed password for root from 192.0.2.7 port 54259 ssh2
2026-03-27T13:08:10.123456+01:00 web sshd[1361]: Accepted publickey for anna from 2001:db8::1 port 2 ssh2: ED25519 SHA256:x
Mar 27 13:08:11 web sshd[1361]: message repeated 3 times: [ Failed password for root from 192.0.2.7 port 54259 ssh2]
Mar 27 13:08:12 web sudo:     anna : TTY=pts/0 ; PWD=/home/anna ; USER=root ; COMMAND=/usr/bin/id
Mar 27 13:08:13 web CRON[7]: pam_unix(cron:session): session opened for user root by (uid=0)
Mar 27 13:08:14 web last message repeated 2 times
";

const JSON: [&str; 4] = [
    r#"{"action":"auth.login","userId":"u-1042","ipAddress":"::ffff:203.0.113.7","occurredAt":"2026-11-20T09:30:00+01:00"}"#,
    r#"{"action":"own.thing","category":"data","level":"warning","user_id":"a","details":{"n":1e400,"é":[true]},"message":"\ud83d\ude00"}"#,
    r#"{"action":"auth.login","colour":"red","id":7,"resource":null}"#,
    r#"{"id":"019a9f4e-5f00-7000-8000-00000000002a","userSequence":0,"occurredAt":"2026-11-20T09:30:00Z","recordedAt":"2026-11-20T09:30:00Z","userId":"u-1042","category":"auth","level":"info","action":"auth.login","status":"success"}"#,
];

/// The small store's files whose names end so.
fn files<'s>(sample: &'s Sample, ending: &'s str) -> impl Iterator<Item = Vec<u8>> + 's {
    let chosen = sample.files.iter().filter(move |(path, _)| path.to_string_lossy().ends_with(ending));
    chosen.map(|(_, bytes)| bytes.clone())
}

/// What a target begins with, made by the encoders.
fn seeds(target: &str, sample: &Sample) -> Vec<Vec<u8>> {
    let begin =
        |ending: &str, length: usize| files(sample, ending).map(|bytes| bytes[..length].to_vec()).collect();
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let changes = |kinds: u8| {
        let one = |which: u8, kind: u8| {
            [&[which & 1, which, kind], &[kind.wrapping_mul(29), which, 1, 2, 3, 4, 5, 6, 7, 8][..]].concat()
        };
        (0..20).flat_map(|which| (0..kinds).map(move |kind| one(which, kind))).collect()
    };
    match target {
        "authlog" => vec![[b"\x01", AUTHLOG.as_bytes()].concat(), [b"\x00", AUTHLOG.as_bytes()].concat()],
        "checkpoint" => files(sample, ".ckpt").collect(),
        "cursor" => {
            let key = IndexKey::new([7; 32]);
            let cursor = UserLogCursor {
                oldest_first: true,
                epoch: 3,
                user: Fingerprint([7; 16]),
                filter_digest: 99,
                user_sequence: 1234,
                sequence: 5678,
            };
            vec![cursor.encode(&key).into_bytes(), vec![40; 60]]
        }
        "details" => texts(&[r#"{"a":{"b":[1,2.0,-3e5,"x\u0000"]}}"#, "{}", r#"{ "a" : 1 , "a" : 2 }"#]),
        "event_id" => texts(&["019a9f4e-5f00-7000-8000-00000000002a", "0123456789abcdef0123456789abcdef"]),
        "event_json" => texts(&JSON),
        "event_view" => vec![leaf()],
        "heads" => begin("HEADS", 128),
        "import" => vec![
            [b"\x07\xff", JSON.join("\r\n").as_bytes()].concat(),
            [b"\x00\x30", JSON.join("\n\n").as_bytes()].concat(),
        ],
        "key" => files(sample, "KEY").collect(),
        "manifest" => files(sample, "STORE")
            .chain(files(sample, "MANIFEST"))
            .flat_map(|f| [f[32..].to_vec(), f])
            .collect(),
        "names" => texts(&["anna", "auth.login", "a/b c", "ä", &"x".repeat(300)]),
        "pack" => files(sample, ".pack")
            .map(|file| [&(file.len() as u64).to_le_bytes(), &file[..192]].concat())
            .collect(),
        "pack_block" => vec![block(), vec![9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7]],
        "postings" => vec![postings()],
        "question" => {
            (0..32).map(|flags| [&[flags, flags], &b"\x40\x00ABCDEFGHIJKLMNOPQRS"[..]].concat()).collect()
        }
        "record" => vec![[&[0; 20], &leaf()[..]].concat()],
        "recovery" => changes(8),
        "pack_file" | "resealed" | "run_file" => changes(10),
        "run" => begin(".run", 200),
        "segment" => {
            let slot =
                FloorSlot { counter: 4, floor: 1000, clean: true }.encode(crate::format::record::Salt(0));
            let headers = files(sample, ".log").map(|file| [&[0; 8], &file[..HEADER_BYTES]].concat());
            headers.chain([[&[0; 8], &slot[..]].concat()]).collect()
        }
        "time" => texts(&[
            "2026-11-20T09:30:00.000250+05:30",
            "2016-12-31T23:59:60Z",
            "0000-01-01T00:00:00Z",
            "\x01\x02\x03\x04\x05\x06\x07\x08",
        ]),
        other => panic!("`{other}` has no seeds"),
    }
}

fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(corpus(target)) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn no_target_panics_over_its_corpus() {
    let sample = Sample::new().unwrap();
    let (mut inputs, mut faults) = (0, Vec::new());
    let write = std::env::var_os("USERTRAIL_WRITE_SEEDS").is_some();
    for (name, target) in TARGETS {
        let seeds = seeds(name, &sample);
        assert!(!seeds.is_empty() && seeds.iter().all(|seed| !seed.is_empty()), "{name} has no seeds");
        let seeds: Vec<_> = (0..).zip(seeds).map(|(n, seed)| (format!("seed-{n:02}"), seed)).collect();
        if write {
            std::fs::create_dir_all(corpus(name)).unwrap();
            for (file, seed) in seeds.iter().step_by(seeds.len().div_ceil(16)) {
                std::fs::write(corpus(name).join(file), seed).unwrap();
            }
        }
        for (place, input) in kept(name).into_iter().chain(seeds) {
            inputs += 1;
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                faults.push(format!("{name}: {place}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    let mut controls = Controls::default();
    for (bug, name) in BUGS {
        controls.add(is_noticed(bug, name, &seeds(name, &sample)));
    }
    assert_eq!(controls.caught, controls.seeded, "a bug on purpose was not noticed");
    let figures = format!("{inputs} inputs of {} targets, 0 panics", TARGETS.len());
    let test = "fuzzing::tests::no_target_panics_over_its_corpus";
    figure("no decoder panics, and what is written comes back", test, figures, controls);
}

/// Bugs on purpose, and the target whose seeds show each.
const BUGS: [(Bug, &str); 3] =
    [(Bug::ChecksumIgnored, "record"), (Bug::CursorUnchecked, "cursor"), (Bug::HeadUnchecked, "heads")];

fn is_noticed(bug: Bug, name: &str, seeds: &[Vec<u8>]) -> bool {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    seed(Some(bug));
    let noticed = seeds.iter().any(|input| catch_unwind(AssertUnwindSafe(|| target(input))).is_err());
    seed(None);
    noticed
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let manifest =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} in fuzz/Cargo.toml");
        let program = format!("fuzz/fuzz_targets/{name}.rs");
        let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&program)).unwrap();
        assert!(source.contains(&format!("usertrail::fuzzing::{name}(data)")), "{program}");
        let kept = kept(name);
        assert!((1..100).contains(&kept.len()), "{name}: {} files in its corpus", kept.len());
        assert!(kept.iter().all(|(_, bytes)| bytes.len() < 8 << 10), "{name}: small files");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    assert!(EventView::parse(&leaf()).is_ok() && Action::new("own.action").is_ok());
}
