//! The stream: lines, batches, counts, rejects and acknowledgements; the real log; and any bytes at all.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::rc::Rc;

use proptest::prelude::*;

use super::authlog::Parser;
use super::*;
use crate::event::{Timestamp, UnknownMembers, UserId};

/// Keeps everything that an import hands out.
#[derive(Debug, Default, Clone, PartialEq)]
struct Record {
    events: Vec<NewEvent<'static>>,
    batches: Vec<usize>,
    acknowledged: Vec<(u64, usize)>,
    /// How many were acknowledged at each flush.
    flushed: Vec<usize>,
    rejected: Vec<(u64, String)>,
    rejected_bytes: Vec<u8>,
}

type Shared = Rc<RefCell<Record>>;

struct Keep(Shared);

impl Sink for Keep {
    type Ack = usize;
    type Error = io::Error;

    fn append_batch(&mut self, events: &[NewEvent<'static>]) -> Taken<usize, io::Error> {
        let mut record = self.0.borrow_mut();
        let first = record.events.len();
        record.batches.push(events.len());
        record.events.extend_from_slice(events);
        Ok((first..first + events.len()).collect())
    }
}

impl Observer<usize> for Keep {
    fn rejected(&mut self, line: u64, error: &LineError) -> io::Result<()> {
        assert_eq!(error.to_string(), format!("{}: {}", error.field(), error.reason()));
        self.0.borrow_mut().rejected.push((line, error.field().to_owned()));
        Ok(())
    }

    fn rejected_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().rejected_bytes.extend(bytes);
        Ok(())
    }

    fn acknowledged(&mut self, line: u64, ack: usize) -> io::Result<()> {
        self.0.borrow_mut().acknowledged.push((line, ack));
        Ok(())
    }

    fn flush(&mut self, summary: &Summary) -> io::Result<()> {
        let mut record = self.0.borrow_mut();
        let acknowledged = record.acknowledged.len();
        assert_eq!(summary.accepted, acknowledged as u64);
        record.flushed.push(acknowledged);
        Ok(())
    }
}

/// Gives its bytes in pieces of the given sizes, over and over.
struct Pieces<'a> {
    rest: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].max(1);
        self.turn += 1;
        if self.turn.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (now, rest) = self.rest.split_at(size.min(self.rest.len()).min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        self.rest = rest;
        Ok(now.len())
    }
}

fn authlog() -> Parser {
    Parser::new(Some(2024), Timestamp::parse_rfc3339("2024-06-01T00:00:00Z").unwrap())
}

fn jsonl() -> JsonLines {
    JsonLines::new(UnknownMembers::Reject)
}

fn import(mut importer: Importer, source: impl Read, decoder: &mut impl Decoder) -> (Record, Summary) {
    let shared = Shared::default();
    importer.run(source, decoder, &mut Keep(shared.clone()), &mut Keep(shared.clone())).unwrap();
    let record = shared.borrow().clone();
    (record, *importer.summary())
}

fn batches_of(events: usize) -> Importer {
    Importer::new().batch_events_max(NonZeroUsize::new(events).unwrap())
}

#[test]
fn lines_are_counted_rejected_and_acknowledged_in_order() {
    let input = b"\xef\xbb\xbf{\"action\":\"auth.login\"}\r\n\n  \t\r\n{\"action\":7}\r\nnonsense\n\xff\n{\"action\":\"auth.logout\"}\n{\"action\":\"auth.lo";
    let (record, summary) = import(Importer::new(), &input[..], &mut jsonl());
    assert_eq!(record.acknowledged, [(1, 0), (7, 1)]);
    let lines: Vec<u64> = record.rejected.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 5, 6, 8]);
    assert_eq!(record.rejected[0].1, "action");
    assert_eq!(record.rejected_bytes, b"{\"action\":7}\r\nnonsense\n\xff\n{\"action\":\"auth.lo\n");
    assert_eq!((summary.accepted, summary.rejected, summary.ignored, summary.blank), (2, 4, 0, 2));
    assert_eq!((summary.lines, summary.event_lines), (8, 2));
    assert_eq!(summary.bytes, input.len() as u64);
}

#[test]
fn empty_inputs_are_fine() {
    for input in ["", "\n", "\r\n\r\n", " "] {
        let (record, summary) = import(Importer::new(), input.as_bytes(), &mut jsonl());
        assert_eq!(record, Record { flushed: record.flushed.clone(), ..Record::default() });
        assert_eq!(summary.blank, summary.lines);
    }
}

#[test]
fn a_line_over_the_bound_is_rejected_whole_and_stops_nothing() {
    let good = "{\"action\":\"auth.login\"}";
    let importer = || Importer::new().line_bytes_max(good.len());
    let long = "x".repeat(3_000_000);
    let just_over = format!("{good} ");
    let input = format!("{good}\r\n{long}\n{good}\n{just_over}\r\n{good}\n{long}");
    for sizes in [vec![1 << 20], vec![65_536], vec![1000, 23, 1]] {
        let pieces = Pieces { rest: input.as_bytes(), sizes, turn: 0 };
        let (record, summary) = import(importer(), pieces, &mut jsonl());
        assert_eq!(record.acknowledged, [(1, 0), (3, 1), (5, 2)]);
        let line = || "line".to_owned();
        assert_eq!(record.rejected, [(2, line()), (4, line()), (6, line())]);
        assert_eq!(record.rejected_bytes, format!("{long}\n{just_over}\r\n{long}\n").as_bytes());
        assert_eq!(summary.lines, 6);
    }
}

#[test]
fn a_line_just_within_the_bound_may_come_byte_by_byte() {
    let good = "{\"action\":\"auth.login\"}";
    let input = format!("{good}\r\n{good}\n{good} \n{good}");
    let pieces = Pieces { rest: input.as_bytes(), sizes: vec![1], turn: 0 };
    let (record, _) = import(Importer::new().line_bytes_max(good.len()), pieces, &mut jsonl());
    assert_eq!(record.acknowledged, [(1, 0), (2, 1), (4, 2)]);
    assert_eq!(record.rejected_bytes, format!("{good} \n").as_bytes());
}

/// A pipe that stays open: each read gives one piece, and by the next read everything before it must be in the sink.
#[test]
fn what_is_there_is_handed_on_before_waiting_for_more() {
    struct Pipe {
        record: Shared,
        step: usize,
    }
    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let line = "{\"action\":\"auth.login\"}\n";
            let (stored, now) = match self.step {
                0 => (0, line.repeat(3) + &line[..5]),
                1 => (3, line[5..].to_owned()),
                2 => (4, line[..7].to_owned()),
                3 => (4, line[7..].to_owned() + line),
                _ => (6, String::new()),
            };
            assert_eq!(self.record.borrow().flushed.last().copied(), Some(stored), "at read {}", self.step);
            self.step += 1;
            buffer[..now.len()].copy_from_slice(now.as_bytes());
            Ok(now.len())
        }
    }
    let record = Shared::default();
    let pipe = Pipe { record: record.clone(), step: 0 };
    batches_of(2).run(pipe, &mut jsonl(), &mut Keep(record.clone()), &mut Keep(record.clone())).unwrap();
    assert_eq!(record.borrow().batches, [2, 1, 1, 2]);
}

#[test]
fn a_failing_input_ends_the_import_with_its_counts() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("gone"));
            }
            let line = b"{\"action\":\"auth.login\"}\n{\"act";
            buffer[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }
    let record = Shared::default();
    let mut importer = Importer::new();
    let result =
        importer.run(Broken(false), &mut jsonl(), &mut Keep(record.clone()), &mut Keep(record.clone()));
    assert!(matches!(result, Err(ImportError::Read(_))));
    assert_eq!((importer.summary().accepted, importer.summary().lines), (1, 1));
}

#[test]
fn a_sink_must_acknowledge_every_event() {
    struct Short;
    impl Sink for Short {
        type Ack = ();
        type Error = io::Error;
        fn append_batch(&mut self, _: &[NewEvent<'static>]) -> Taken<(), io::Error> {
            Ok(Vec::new())
        }
    }
    struct Quiet;
    impl Observer<()> for Quiet {}
    let result =
        Importer::new().run(&b"{\"action\":\"auth.login\"}"[..], &mut jsonl(), &mut Short, &mut Quiet);
    assert!(matches!(result, Err(ImportError::Unacknowledged { events: 1, acknowledged: 0 })));
}

#[test]
fn what_a_refused_batch_has_stored_is_acknowledged() {
    struct Partial(Shared);
    impl Sink for Partial {
        type Ack = usize;
        type Error = io::Error;
        fn append_batch(&mut self, _: &[NewEvent<'static>]) -> Taken<usize, io::Error> {
            self.0.borrow_mut().batches.push(3);
            Err(Refused { acks: vec![Some(10), None, Some(12)], error: io::ErrorKind::StorageFull.into() })
        }
    }
    let record = Shared::default();
    let mut importer = Importer::new();
    let input = "{\"action\":\"a.b\",\"category\":\"auth\",\"level\":\"info\"}\n\n".repeat(3);
    let (mut sink, mut observer) = (Partial(record.clone()), Keep(record.clone()));
    let result = importer.run(input.as_bytes(), &mut jsonl(), &mut sink, &mut observer);
    assert!(matches!(result, Err(ImportError::Sink(error)) if error.kind() == io::ErrorKind::StorageFull));
    let record = record.borrow();
    assert_eq!(record.acknowledged, [(1, 10), (5, 12)]);
    assert_eq!((importer.summary().accepted, record.batches.len(), record.flushed.last()), (2, 1, Some(&2)));
}

#[test]
fn repeats_never_make_a_batch_too_large() {
    let line = "Mar 27 13:06:56 web sshd[7]: message repeated 2500 times: [ Failed none for a from 1.2.3.4 port 5 ssh2]";
    let (record, summary) = import(batches_of(1000), line.as_bytes(), &mut authlog());
    assert_eq!(record.batches, [1000, 1000, 500]);
    // Before each of the two reads, after each batch, and at the end.
    assert_eq!(record.flushed, [0, 0, 1000, 2000, 2500, 2500]);
    assert!(record.acknowledged.iter().all(|(line, _)| *line == 1));
    assert_eq!((summary.accepted, summary.event_lines), (2500, 1));
}

/// What a log says without the parser, by substrings alone: for each user, how often sshd's lines have these words, with a
/// repeat counted by the number between two words.
fn by_substring(log: &str, words: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(words) && line.contains(" sshd[")) {
        let times = line
            .split("message repeated ")
            .nth(1)
            .map_or(1, |rest| rest.split(' ').next().unwrap().parse().unwrap());
        let user = line.split(" for ").nth(1).unwrap().split(" from ").next().unwrap();
        *counts.entry(user.trim_start_matches("invalid user ").to_owned()).or_default() += times;
    }
    counts
}

fn by_event(record: &Record, action: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in record.events.iter().filter(|event| event.action().as_str() == action) {
        let user = event.user_id().map_or("", UserId::as_str);
        *counts.entry(user.to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn the_real_log_is_counted_exactly() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/authlog/auth.log");
    let Ok(log) = std::fs::read_to_string(&path) else {
        crate::figures::skipped(format!("the_real_log_is_counted_exactly: no {}", path.display()));
        return;
    };
    let (record, summary) = import(Importer::new(), log.as_bytes(), &mut authlog());
    let failed = by_substring(&log, "Failed ");
    assert_eq!(by_event(&record, "auth.login_failed"), failed);
    assert_eq!(failed.values().sum::<u64>(), 1042);
    assert_eq!(failed[""], 43, "names that were empty");
    assert_eq!(by_event(&record, "auth.login"), by_substring(&log, "]: Accepted "));
    let exceeded = by_substring(&log, "maximum authentication attempts exceeded");
    assert_eq!(by_event(&record, "auth.rate_limited"), exceeded);

    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count() as u64;
    let sessions = |words: &str| {
        let of = |name: &str| lines(&format!("pam_unix({name}:session): {words}"));
        of("sshd") + of("sudo") + of("su")
    };
    // A process id comes again within days (14514 does), so the day is part of a connection's name.
    let processes = |words: &str| -> BTreeSet<(&str, &str)> {
        let of_sshd = log.lines().filter(|line| line.contains(words));
        of_sshd
            .filter_map(|line| Some((&line[..6], line.split(" sshd[").nth(1)?.split(']').next()?)))
            .collect()
    };
    let announced = processes(": Invalid user ");
    let attempted = &processes("Failed ") | &processes("maximum authentication attempts exceeded");
    let abandoned = (&announced - &attempted).len() as u64;
    for (action, expected) in [
        ("admin.sudo_command", lines(" COMMAND=")),
        ("admin.su", lines("Successful su for")),
        ("user.created", lines("new user: name=")),
        ("user.create_failed", lines("failed adding user")),
        ("group.created", lines("new group: name=")),
        ("auth.password_changed", lines("password changed for")),
        ("session.created", sessions("session opened")),
        ("session.logout", sessions("session closed")),
        ("auth.login_abandoned", abandoned),
    ] {
        let count = by_event(&record, action).values().sum::<u64>();
        println!("{action}: {count}");
        assert_eq!(count, expected, "{action}");
    }
    // A line that the import passes over.
    let mut controls = crate::figures::Controls::default();
    let place = log.find("Failed password").unwrap();
    let passed_over = format!("{}Fai1ed{}", &log[..place], &log[place + "Failed".len()..]);
    let (record_of_less, _) = import(Importer::new(), passed_over.as_bytes(), &mut authlog());
    controls.add(by_event(&record_of_less, "auth.login_failed") != failed);
    assert_eq!(controls.caught, controls.seeded);
    crate::figures::figure(
        "an import counts what a real log holds",
        "exchange::tests::the_real_log_is_counted_exactly",
        format!("{} lines, {} events", summary.lines, summary.accepted),
        controls,
    );
    assert_eq!((summary.lines, summary.rejected, summary.blank), (7121, 0, 0));
    assert_eq!(summary.lines, summary.ignored + summary.event_lines);
    assert_eq!(summary.accepted, record.events.len() as u64);
    let day = |event: &NewEvent<'_>| event.occurred_at().unwrap().to_string();
    assert_eq!(day(record.events.first().unwrap()), "2024-03-27T13:08:09Z");
    assert_eq!(day(record.events.last().unwrap()), "2024-04-20T14:14:29Z");
}

const WORDS: [&str; 24] = [
    "Mar 27 13:06:56 web sshd[7]: ",
    "Dec 31 23:59:59 web sudo: ",
    "Feb 29 00:00:00 web su[9]: ",
    "2024-03-27T13:06:56+01:00 web sshd[7]: ",
    "<38>1 2024-03-27T13:06:56Z web sshd 7 - - ",
    "<38>",
    "Failed password for ",
    "Accepted publickey for ",
    "invalid user ",
    "Invalid user ",
    "root",
    " from ",
    "1.2.3.4",
    " port 5",
    " ssh2",
    ": RSA SHA256:A",
    " [preauth]",
    "message repeated 3 times: [ ",
    "]",
    "Connection closed by ",
    "pam_unix(sudo:auth): authentication failure; ",
    "eve : 3 incorrect password attempts ; COMMAND=x",
    "\r\n",
    "\n",
];

/// Lines that look like a log, cut and put together anyhow, with any bytes between.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        6 => proptest::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_counted_and_never_panic(input in bytes(), json in any::<bool>(), line_bytes_max in 10..400_usize) {
        let importer = batches_of(7).line_bytes_max(line_bytes_max);
        let (record, summary) = if json {
            import(importer, &input[..], &mut jsonl())
        } else {
            import(importer, &input[..], &mut authlog())
        };
        let newlines = input.split(|byte| *byte == b'\n').count() as u64 - 1;
        let open = u64::from(input.last().is_some_and(|byte| *byte != b'\n'));
        prop_assert_eq!(summary.lines, newlines + open);
        prop_assert_eq!(summary.lines, summary.blank + summary.ignored + summary.rejected + summary.event_lines);
        prop_assert_eq!(summary.rejected, record.rejected.len() as u64);
        prop_assert_eq!(summary.accepted, record.events.len() as u64);
        prop_assert_eq!(summary.accepted, record.acknowledged.len() as u64);
        prop_assert!(record.acknowledged.is_sorted());
        prop_assert!(record.batches.iter().all(|events| (1..=7).contains(events)));
        // The rejected bytes are exactly the rejected lines of the input.
        let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        let expected: Vec<u8> = record
            .rejected
            .iter()
            .flat_map(|(line, _)| [lines[usize::try_from(*line).unwrap() - 1], b"\n"].concat())
            .collect();
        prop_assert_eq!(record.rejected_bytes, expected);
    }

    #[test]
    fn reading_in_pieces_is_reading_whole(
        input in bytes(),
        sizes in proptest::collection::vec(1..50_usize, 1..6),
        line_bytes_max in 10..400_usize,
    ) {
        let importer = || Importer::new().line_bytes_max(line_bytes_max);
        let (mut whole, whole_summary) = import(importer(), &input[..], &mut authlog());
        let pieces = Pieces { rest: &input, sizes, turn: 0 };
        let (mut pieced, pieced_summary) = import(importer(), pieces, &mut authlog());
        for record in [&mut whole, &mut pieced] {
            record.batches.clear();
            record.flushed.clear();
        }
        prop_assert_eq!(whole, pieced);
        prop_assert_eq!(whole_summary, pieced_summary);
    }
}
