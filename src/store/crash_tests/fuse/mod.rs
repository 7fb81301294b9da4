//! Crash tests of the real mapping code: a store on a file system that records what reaches it, and what the store says to be
//! durable, in one order. At every place of the record the power is cut, in many ways, and what is left is opened again.
//!
//! The disk in memory that fails on purpose takes the word of the code that syncs; here the kernel's own writes and syncs of the
//! mapped pages are looked at. An ordinary run tries some thousand images; `.ci/long fuse` goes on as long as it is told to.

mod filesystem;
mod mount;
mod oracle;
mod record;
mod replay;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::figures::{self, Bound, Controls, figure, skipped};
use crate::format::seeded::{Bug, seed, seed_process};
use crate::io::faulty::Dice;
use crate::io::lies::{Lie, tell};
use mount::{Mounted, obstacle};
use oracle::{Expected, History};
use record::Entry;
use replay::{Damage, Image, Replay};
use workload::{Life, SHARDS, live};

/// How long one image may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// How many images a record is tried with in an ordinary run.
const IMAGES: usize = 700;
/// How many images a flaw gets to be noticed in, at most.
const TRIES: usize = 6000;

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    /// In the process that makes the record.
    Bug(Bug),
    Lie(Lie),
    /// In the thread that opens the images.
    InOpening(Bug),
}

/// A flaw, and the store that shows it.
#[derive(Debug)]
struct Flawed {
    flaw: Flaw,
    durable: bool,
    no_threads: bool,
}

const fn flawed(flaw: Flaw, durable: bool) -> Flawed {
    Flawed { flaw, durable, no_threads: false }
}

const FLAWS: [Flawed; 13] = [
    flawed(Flaw::Bug(Bug::AcknowledgedBeforeSync), true),
    flawed(Flaw::Lie(Lie::AsynchronousSync), true),
    flawed(Flaw::Lie(Lie::SyncTooShort), true),
    flawed(Flaw::Lie(Lie::DirectoryNotSynced), true),
    flawed(Flaw::Lie(Lie::ReplacementNotSynced), true),
    flawed(Flaw::InOpening(Bug::ChecksumIgnored), false),
    flawed(Flaw::Bug(Bug::CheckpointAhead), false),
    flawed(Flaw::Bug(Bug::SealNotSynced), false),
    Flawed { flaw: Flaw::Bug(Bug::NameNotSynced), durable: true, no_threads: true },
    flawed(Flaw::Bug(Bug::MergedUnsynced), false),
    flawed(Flaw::Bug(Bug::MergedTooSoonRemoved), false),
    flawed(Flaw::Bug(Bug::PackedBeforeManifest), false),
    flawed(Flaw::InOpening(Bug::GroupIgnored), false),
];

/// A life in a process that exists for it, with what is wrong with it.
fn live_with(root: &Path, life: Life, flaw: Option<Flaw>) {
    match flaw {
        Some(Flaw::Bug(bug)) => seed_process(bug),
        Some(Flaw::Lie(untruth)) => tell(untruth),
        None | Some(Flaw::InOpening(_)) => {}
    }
    live(root, life);
}

/// What is recorded, and of which store.
#[derive(Clone, Copy, Debug)]
struct Setup {
    seed: u64,
    durable: bool,
    no_threads: bool,
    lives: u64,
    flaw: Option<usize>,
}

/// What a store did on a disk, and what the disk was before.
#[derive(Debug)]
struct Recorded {
    setup: Setup,
    entries: Vec<Entry>,
    history: History,
    begin: Replay,
}

/// A disk that a power cut has left, and what is known of it.
#[derive(Debug, Default)]
struct Before {
    image: Image,
    history: History,
    promised: Vec<u64>,
}

impl Recorded {
    /// Lets a store live on this disk.
    fn new(setup: Setup, before: &Before) -> Result<Self, String> {
        let (mounted, numbers): (Mounted, BTreeMap<PathBuf, u64>) =
            Mounted::new(&before.image).map_err(|error| format!("mounting: {error}"))?;
        let mut dice = Dice(setup.seed);
        for number in 0..setup.lives {
            let killed = dice.below(2) == 0;
            let Setup { seed, durable, no_threads, .. } = setup;
            mounted.live(Life { seed, number, durable, no_threads, killed }, setup.flaw)?;
        }
        let entries = mounted.finish();
        let history = History::of(&entries, &before.history, usize::from(SHARDS))?;
        let begin = Replay::on(&before.image, &numbers, &before.promised);
        Ok(Self { setup, entries, history, begin })
    }

    fn expected<'r>(&'r self, replay: &'r Replay) -> Expected<'r> {
        let life = Life { seed: 0, number: 0, durable: self.setup.durable, no_threads: false, killed: false };
        Expected {
            history: &self.history,
            promised: &replay.promised,
            place: replay.place,
            durability: life.durability(),
        }
    }

    /// Cuts the power at a place of the record, so that a store can live on with what is left.
    fn cut_somewhere(&self, dice: &mut Dice) -> Before {
        let mut replay = self.begin.clone();
        let stop = dice.below(self.entries.len() + 1);
        self.entries[..stop].iter().for_each(|entry| replay.advance(entry));
        let image = replay.cut(Damage::any(dice), dice);
        Before { image, history: self.history.clone(), promised: replay.promised }
    }

    /// Cuts the power at places of the record, `share` of all of them, and says what was wrong first.
    fn try_images(&self, images: &Images, progress: &dyn Fn(usize)) -> Result<(), String> {
        let mut replay = self.begin.clone();
        let Images { seed: image_seed, share: (mine, shares), .. } = *images;
        for place in 0..=self.entries.len() {
            let mut dice = Dice(image_seed ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            // As many for each place as there must be, one more or less by chance.
            let each = (images.count * 1000 / (self.entries.len() + 1)).max(1);
            let count = each / 1000 + usize::from(dice.below(1000) < each % 1000);
            if place % shares == mine {
                for image in 0..count {
                    self.try_image(&replay, image, &mut dice)?;
                    progress(1);
                    if !images.bound.goes_on(0) {
                        return Ok(());
                    }
                }
            }
            if let Some(entry) = self.entries.get(place) {
                replay.advance(entry);
            }
        }
        Ok(())
    }

    fn try_image(&self, replay: &Replay, image: usize, dice: &mut Dice) -> Result<(), String> {
        let damage = Damage::any(dice);
        let left = replay.cut(damage, dice);
        let on_real_disk = dice.below(200) == 0;
        self.expected(replay).check(&left, on_real_disk, dice).map_err(|what| {
            let around = self.entries[..replay.place].iter().rev().take(6).map(outline);
            let around: Vec<String> = around.collect();
            format!(
                "{:?}: cut at {} of {}, image {image}, {damage:?}: {what}\nbefore it, the newest first: {around:#?}",
                self.setup,
                replay.place,
                self.entries.len()
            )
        })
    }
}

/// An entry without its bytes.
fn outline(entry: &Entry) -> String {
    match entry {
        Entry::Write { file, offset, bytes } => format!("write {} to {file} at {offset}", bytes.len()),
        Entry::Note(note, leaf) => format!("{note:?}, {} bytes", leaf.len()),
        other => format!("{other:?}"),
    }
}

/// Which images of a record are tried.
#[derive(Clone, Copy, Debug)]
struct Images {
    seed: u64,
    /// About so many.
    count: usize,
    bound: Bound,
    /// One thread's share of the places.
    share: (usize, usize),
}

/// What a thread says.
enum Told {
    Tried(usize),
    Done(Result<(), String>),
}

/// Tries images in several threads; says how many were tried, and what was wrong first. A hang is wrong, too.
fn try_all(recorded: &Arc<Recorded>, images: Images, bug: Option<Bug>) -> (usize, Result<(), String>) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let (tell, told) = channel();
    for mine in 0..threads {
        let (recorded, tell) = (Arc::clone(recorded), tell.clone());
        std::thread::spawn(move || {
            seed(bug);
            let images = Images { share: (mine, threads), ..images };
            let progress = |count| drop(tell.send(Told::Tried(count)));
            let outcome = recorded.try_images(&images, &progress);
            let _ = tell.send(Told::Done(outcome));
        });
    }
    drop(tell);
    let (mut tried, mut done) = (0, 0);
    while done < threads {
        match told.recv_timeout(PATIENCE) {
            Ok(Told::Tried(count)) => tried += count,
            Ok(Told::Done(Ok(()))) => done += 1,
            Ok(Told::Done(Err(what))) => return (tried, Err(what)),
            Err(error) => return (tried, Err(format!("{:?} hangs: {error}", recorded.setup))),
        }
    }
    (tried, Ok(()))
}

/// Records, cuts, lets a store live on with what a cut has left, and cuts again. How many images were tried.
fn round(seed: u64, images: usize, bound: Bound) -> usize {
    let mut dice = Dice(seed);
    let durable = seed.is_multiple_of(2);
    let no_threads = dice.below(8) == 0;
    let setup = Setup { seed, durable, no_threads, lives: 2 + seed / 2 % 2, flaw: None };
    let first = Arc::new(Recorded::new(setup, &Before::default()).unwrap());
    let images = Images { seed, count: images, bound, share: (0, 1) };
    let (tried, outcome) = try_all(&first, images, None);
    outcome.unwrap_or_else(|what| panic!("{what}"));
    let setup = Setup { seed: dice.next(), lives: 2, durable: dice.below(2) == 0, ..setup };
    let second = Arc::new(Recorded::new(setup, &first.cut_somewhere(&mut dice)).unwrap());
    let (more, outcome) = try_all(&second, images, None);
    outcome.unwrap_or_else(|what| panic!("on what a power cut had left: {what}"));
    tried + more
}

#[test]
fn a_power_cut_under_real_mappings_takes_nothing_that_was_said_to_be_durable() {
    const NAME: &str = "a_power_cut_under_real_mappings_takes_nothing_that_was_said_to_be_durable";
    if let Some(why) = obstacle() {
        return skipped(format!("{NAME}: {why}"));
    }
    let bound = Bound::new(2);
    let images = if bound.is_long() { 4000 } else { IMAGES };
    let seed = figures::seed(1);
    let (mut rounds, mut tried) = (0, 0);
    while bound.goes_on(rounds) {
        tried += round(seed.wrapping_mul(1000).wrapping_add(rounds), images, bound);
        rounds += 1;
        if bound.is_long() {
            eprintln!("{rounds} rounds, {tried} images, {:.1} min", bound.minutes());
        }
    }
    figure(
        "power cuts under the real mapping code take nothing that was said to be durable",
        &format!("store::crash_tests::fuse::{NAME}"),
        format!(
            "{tried} images, none wrong, seed {seed}, {:.1} min (its seeded bugs: every_flaw_under_real_mappings_is_noticed)",
            bound.minutes()
        ),
        Controls::default(),
    );
}

#[test]
fn every_flaw_under_real_mappings_is_noticed() {
    const NAME: &str = "every_flaw_under_real_mappings_is_noticed";
    if let Some(why) = obstacle() {
        return skipped(format!("{NAME}: {why}"));
    }
    let mut controls = Controls::default();
    let mut missed = Vec::new();
    for (place, flawed) in FLAWS.iter().enumerate() {
        let begun = Instant::now();
        let (tried, noticed) = is_noticed(place, flawed);
        eprintln!("{:?}: {noticed:?} after {tried} images, {:?}", flawed.flaw, begun.elapsed());
        controls.add(noticed.is_some());
        if noticed.is_none() {
            missed.push(flawed.flaw);
        }
    }
    figure(
        "what is wrong with syncs of real mappings is noticed",
        &format!("store::crash_tests::fuse::{NAME}"),
        format!("{} flaws, {} missed", FLAWS.len(), missed.len()),
        controls,
    );
    assert!(missed.is_empty(), "{missed:?}");
}

/// How many images it took, and what was wrong in the last.
fn is_noticed(place: usize, flawed: &Flawed) -> (usize, Option<String>) {
    let bug = match flawed.flaw {
        Flaw::InOpening(bug) => Some(bug),
        Flaw::Bug(_) | Flaw::Lie(_) => None,
    };
    let mut tried = 0;
    for number in 0..4 {
        let Flawed { durable, no_threads, .. } = *flawed;
        let setup = Setup { seed: number, durable, no_threads, lives: 2, flaw: Some(place) };
        let recorded = Arc::new(Recorded::new(setup, &Before::default()).unwrap());
        let bound = Bound::new(1);
        let images = Images { seed: number, count: TRIES / 4, bound, share: (0, 1) };
        let (more, outcome) = try_all(&recorded, images, bug);
        tried += more;
        if let Err(what) = outcome {
            return (tried, Some(what.lines().next().unwrap_or_default().to_owned()));
        }
    }
    (tried, None)
}
