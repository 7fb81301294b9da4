//! A writer that is killed, over and over, at any moment: while it appends, seals, merges, packs, opens or closes. Whatever it
//! had acknowledged is there afterwards, byte for byte, each user's log without a gap, the same in both orders.
//!
//! The writer is this binary again (`kill/writer.rs`); it acknowledges through a pipe, so what was acknowledged before a kill
//! is known to the last event. What a kill can't show is a missing sync: the page cache survives it. The simulator and the
//! recording file system are for that.

#[path = "kill/events.rs"]
mod events;
#[path = "kill/oracle.rs"]
mod oracle;
#[path = "kill/writer.rs"]
mod writer;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use events::{ACK_BYTES, Ack, Draw};
use oracle::Yard;
use writer::{Flaw, MARK, Task};

use crate::figures::{Bound, Controls, figure, seed};

/// How many kills a directory sees before the next begins empty, and how many acknowledgements at most: in most of them few, so
/// that there are many kills, in some as many as make runs and packs of several levels.
const KILLS_OF_A_YARD: u32 = 40;
const ACKS_OF_A_YARD: [usize; 3] = [2_000, 8_000, 40_000];
/// How many yards there are at once.
const YARDS_AT_ONCE: usize = 4;
/// How many kills a flaw gets to be noticed in; some dozens are enough.
const KILLS_OF_A_FLAW: u64 = 600;
/// How long to wait for a writer that should need milliseconds, before it is killed as it is.
const PATIENCE: Duration = Duration::from_mins(1);

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it began to open the store.
    Opening(Duration),
    /// After so many acknowledgements, and so long behind that.
    Working { acks: usize, wait: Duration },
}

impl Moment {
    fn draw(draw: &mut Draw) -> Self {
        let mut micros = |below| Duration::from_micros(draw.below(below));
        // Opening takes some milliseconds, more where there is much to recover or other processes are busy.
        let (soon, late, working) = (micros(8_000), micros(60_000), micros(40_000));
        match draw.below(4) {
            0 => Self::Opening(soon),
            1 => Self::Opening(late),
            2 => Self::Working { acks: usize::try_from(1 + draw.below(200)).unwrap(), wait: Duration::ZERO },
            _ => Self::Working { acks: 1, wait: working },
        }
    }
}

/// Reads acknowledgements until the pipe is closed; tells when the writer begins to open, and when enough are there.
fn read_acks(stdout: ChildStdout, enough: usize, told: &Sender<()>) -> Vec<Ack> {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    // What the test harness says comes first.
    while stdout.read_until(b'\n', &mut line).unwrap() > 0 && line != MARK.as_bytes() {
        line.clear();
    }
    let _ = told.send(());
    let mut acks = Vec::new();
    let mut bytes = [0; ACK_BYTES];
    while stdout.read_exact(&mut bytes).is_ok() {
        acks.push(Ack::decode(&bytes));
        if acks.len() == enough {
            let _ = told.send(());
        }
    }
    acks
}

/// Lets a writer run until the moment, kills it, and gives what it had acknowledged.
fn run_and_kill(task: &Task, moment: Moment) -> Vec<Ack> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &writer::test_name(), "--ignored", "--nocapture", "--test-threads=1"])
        .env(writer::TASK, task.encode())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let (tell, told) = channel();
    let enough = if let Moment::Working { acks, .. } = moment { acks } else { usize::MAX };
    let reader = std::thread::spawn(move || read_acks(stdout, enough, &tell));
    // An end of the channel is a writer that has ended by itself.
    let _ = told.recv_timeout(PATIENCE);
    let wait = match moment {
        Moment::Opening(wait) => wait,
        Moment::Working { wait, .. } => {
            let _ = told.recv_timeout(PATIENCE);
            wait
        }
    };
    let _ = told.recv_timeout(wait);
    // It may have failed, and be gone.
    let _ = child.kill();
    let acks = reader.join().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "the writer ended by itself: {status}, {task:?}\n{stderr}");
    acks
}

/// What a run of kills came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    kills: u64,
    opening: u64,
    acknowledged: u64,
    looks: u64,
    listed: u64,
}

/// Kills, in yards of their own, side by side: most of the time a writer waits for the disk.
struct Killing<'a> {
    goes_on: &'a (dyn Fn(u64) -> bool + Sync),
    seed: u64,
    flaw: Flaw,
    next_yard: AtomicU64,
    tally: Mutex<Tally>,
    /// The first thing that is wrong ends it.
    wrong: Mutex<Option<String>>,
}

impl Killing<'_> {
    fn is_over(&self) -> bool {
        let kills = self.tally.lock().unwrap().kills;
        !(self.goes_on)(kills) || self.wrong.lock().unwrap().is_some()
    }

    fn go_through_yards(&self) {
        while !self.is_over() {
            let yard = self.next_yard.fetch_add(1, Ordering::Relaxed);
            if let Err(wrong) = self.kill_in_yard(yard) {
                self.wrong.lock().unwrap().get_or_insert(wrong);
            }
        }
    }

    fn kill_in_yard(&self, number: u64) -> Result<(), String> {
        let mut draw = Draw::new(Draw::new(self.seed).next() ^ number);
        let mut yard = Yard::new();
        let acks_max = ACKS_OF_A_YARD[usize::try_from(draw.below(3)).unwrap()];
        for life in 0..KILLS_OF_A_YARD {
            let task = Task { dir: yard.dir(), life, seed: draw.next(), flaw: self.flaw };
            let moment = Moment::draw(&mut draw);
            let acks = run_and_kill(&task, moment);
            {
                let mut tally = self.tally.lock().unwrap();
                tally.kills += 1;
                tally.opening += u64::from(acks.is_empty());
                tally.acknowledged += acks.len() as u64;
            }
            yard.acknowledged(acks);
            let last = yard.count() > acks_max || self.is_over();
            // Not after each: the next opening is to meet what a kill has left, and what a kill of that has left.
            if last || draw.below(3) == 0 {
                let told = |error| {
                    format!("seed {}, yard {number}, life {life}, {task:?}, {moment:?}: {error}", self.seed)
                };
                let listed = yard.look(last).map_err(told)?;
                let mut tally = self.tally.lock().unwrap();
                tally.listed += listed;
                tally.looks += 1;
            }
            if last {
                break;
            }
        }
        Ok(())
    }
}

/// Kills writers for as long as it goes on, so many at once.
fn kill_on(
    goes_on: &(dyn Fn(u64) -> bool + Sync),
    seed: u64,
    flaw: Flaw,
    at_once: usize,
) -> Result<Tally, String> {
    let (next_yard, tally, wrong) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
    let killing = Killing { goes_on, seed, flaw, next_yard, tally, wrong };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| killing.go_through_yards());
        }
    });
    let tally = *killing.tally.lock().unwrap();
    killing.wrong.into_inner().unwrap().map_or(Ok(tally), Err)
}

#[test]
fn a_kill_at_any_moment_takes_nothing_that_was_acknowledged() {
    let seed = seed(1);
    let mut controls = Controls::default();
    for flaw in [Flaw::AcknowledgedFirst, Flaw::Dropped, Flaw::Twice, Flaw::OtherBytes] {
        let outcome = kill_on(&|kills| kills < KILLS_OF_A_FLAW, seed, flaw, 1);
        controls.add(outcome.is_err());
        assert!(outcome.is_err(), "{flaw:?} went unnoticed");
    }
    let bound = Bound::new(60);
    let goes_on = |kills| bound.goes_on(kills);
    let Tally { kills, opening, acknowledged, looks, listed } =
        kill_on(&goes_on, seed, Flaw::None, YARDS_AT_ONCE).unwrap_or_else(|error| panic!("{error}"));
    assert!(opening > 0 && looks > 0 && acknowledged > 0, "{acknowledged} acknowledgements in {kills} kills");
    figure(
        "a kill at any moment takes nothing that was acknowledged",
        "kill::a_kill_at_any_moment_takes_nothing_that_was_acknowledged",
        format!(
            "{kills} kills ({opening} before the first acknowledgement), {acknowledged} acknowledgements, {looks} looks at \
             {listed} events, 0 lost, seed {seed}, {:.1} min",
            bound.minutes()
        ),
        controls,
    );
}
