//! The simulator: a workload is run once and recorded, stores through mappings included; then the disks that a crash at any
//! of its moments may leave are made from the recording, by the dozen for each moment, opened, and compared with a list.
//!
//! - A round has a workload, fixed or random, and options of its own, all from a seed. What it does is the same whenever it
//!   is run again, so a failure names the command that repeats it.
//! - A round without a fault gives power cuts (each in 64 ways, those that are the same left out) and kills, also in the
//!   middle of a store; of some images the opening is recorded, too, and cut off, and some go on to live.
//! - A round with a fault fails at one operation first, in one of the ways of [`Fault`].
//!
//! Ordinary runs try [`IMAGES_MIN`] images; `USERTRAIL_LONG_MINUTES` bounds a longer one, `USERTRAIL_SEED` chooses the rounds,
//! `USERTRAIL_ROUND` runs one of them alone, `USERTRAIL_BUG` looks for one seeded bug alone.

mod bugs;
mod scenario;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::faults::run_on;
use super::rig::{Rig, Step};
use crate::error::ErrorKind;
use crate::figures::{self, Bound};
use crate::format::seeded;
use crate::io::faulty::{Damage, Dice, Fault, FaultyDisk, Kind, Recording, Replay};
use scenario::{Scenario, random};

/// How many images an ordinary run tries at least.
const IMAGES_MIN: u64 = 20_000;
/// How many threads there are, unless `USERTRAIL_THREADS` says something else.
const THREADS: u64 = 2;
/// So many failures end it.
const FAILURES_MAX: usize = 20;
/// How many moments of a round are tried.
const MOMENTS: usize = 12;
/// How many more of them lie between the change of a name and the sync of its directory.
const MOMENTS_BETWEEN_NAMES: usize = 12;
/// One of so many power cuts, or kills, has the opening after it cut off, one of so many of these is closed and opened again, and one of so many
/// images goes on to live.
const CUT_OPENINGS: usize = 12;
const CUT_OPENINGS_OF_KILLS: usize = 2;
const REOPENINGS: usize = 4;
const LIVES: usize = 40;

const FAULTS: [Fault; 6] = [
    Fault::ErrorOnce,
    Fault::ErrorsForEver,
    Fault::NoSpace,
    Fault::ShortWrite,
    Fault::Phantom,
    Fault::Silent,
];

/// What was tried, and what was found.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    images: u64,
    kills: u64,
    cut_openings: u64,
    lives: u64,
    faults: BTreeMap<String, u64>,
    /// How many moments of each kind were tried.
    moments: BTreeMap<(Kind, &'static str), u64>,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.images += other.images;
        self.kills += other.kills;
        self.cut_openings += other.cut_openings;
        self.lives += other.lives;
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (moment, count) in other.moments {
            *self.moments.entry(moment).or_default() += count;
        }
        self.failures.extend(other.failures);
    }
}

/// One round: a workload, and the images that are made of it.
struct Round {
    seed: u64,
    number: u64,
    scenario: Scenario,
    dice: Dice,
    tally: Tally,
    /// The first failure ends it.
    hasty: bool,
    /// So many images end it.
    images_max: u64,
}

/// A number of its own for each use of a seed.
fn mixed(parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(0, |sum, part| Dice(sum ^ part).next())
}

/// The words of a running writer's tails: its session, what is published, what is durable.
const LIVE_WORDS: [usize; 3] = [0, 8, 9];

impl Round {
    fn new(seed: u64, number: u64) -> Self {
        let mut dice = Dice(mixed([seed, number, 0]));
        let scenario = Scenario::of(number, &mut dice);
        Self { seed, number, scenario, dice, tally: Tally::default(), hasty: false, images_max: u64::MAX }
    }

    fn with_fault(mut self, fault: Option<Fault>) -> Self {
        self.scenario.fault = fault;
        self
    }

    fn is_over(&self) -> bool {
        self.tally.images >= self.images_max || self.hasty && !self.tally.failures.is_empty()
    }

    /// Tries one image; what goes wrong is a failure that names it.
    fn attempt(&mut self, what: &str, action: impl FnOnce(&mut Tally, &mut Dice)) {
        if self.is_over() {
            return;
        }
        let seed = self.dice.next();
        seeded::random_from(Some(seed));
        self.tally.images += 1;
        let tally = &mut self.tally;
        let outcome = catch_unwind(AssertUnwindSafe(|| action(tally, &mut Dice(seed))));
        if let Err(panic) = outcome {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let failure = format!(
                "{what}: {}\n  again: USERTRAIL_SEED={} USERTRAIL_ROUND={} cargo test --features full --lib simulator",
                message.unwrap_or_default(),
                self.seed,
                self.number
            );
            eprintln!("{failure}");
            self.tally.failures.push(failure);
        }
    }

    fn run(mut self) -> Tally {
        self.tally.rounds = 1;
        if let Some(fault) = self.scenario.fault {
            self.run_with(fault);
        } else {
            self.run_whole();
        }
        seeded::random_from(None);
        self.tally
    }

    /// Runs the workload from the making of the store on.
    fn record(&mut self, fault: Option<(Fault, usize)>) -> (Rig, Recording, Vec<ErrorKind>) {
        seeded::random_from(Some(mixed([self.seed, self.number, 1])));
        let mut rig = self.scenario.rig();
        rig.disk.record();
        let (fault, at) = fault.unwrap_or((Fault::Crash, usize::MAX));
        rig.disk.inject(fault, at);
        let mut met = Vec::new();
        while let Err(error) = rig.open() {
            met.push(error.kind());
            if fault == Fault::ErrorsForEver || met.len() > 2 {
                break;
            }
            if fault == Fault::NoSpace {
                rig.disk.heal();
            }
        }
        if rig.store.is_some() {
            met.extend(run_on(&mut rig, &self.scenario.steps));
        }
        let recording = rig.disk.take_recording().unwrap();
        (rig, recording, met)
    }

    fn run_whole(&mut self) {
        let mut recorded = None;
        self.attempt_run(|round| recorded = Some(round.record(None)));
        let Some((mut rig, recording, met)) = recorded else { return };
        if !met.is_empty() {
            self.attempt("the run", |_, _| panic!("met {met:?} without a fault"));
        }
        rig.store = None;
        let kinds = recording.kinds();
        // Of some rounds the making of the store alone.
        let end = if self.number % 16 == 5 { rig.made_at() } else { recording.len() };
        let mut places: Vec<usize> = (0..MOMENTS).map(|_| self.dice.below(end + 1)).collect();
        // Half of them at what happens seldom: else nearly all are stores of records.
        for place in places.iter_mut().step_by(2) {
            let distinct: BTreeSet<_> = kinds[..end].iter().copied().collect();
            let rare = distinct.iter().nth(self.dice.below(distinct.len())).copied();
            let all: Vec<usize> = (0..end).filter(|at| Some(kinds[*at]) == rare).collect();
            *place = all[self.dice.below(all.len())];
        }
        places.sort_unstable();
        let mut replay = Replay::new(&recording);
        for place in places {
            if self.is_over() {
                return;
            }
            replay.go_to(place);
            if let Some(kind) = kinds.get(place) {
                *self.tally.moments.entry(*kind).or_default() += 1;
            }
            let within = self.dice.chance(50) && replay.go_into(&mut self.dice);
            let what = format!("moment {place}{}", if within { ", in the middle of a store" } else { "" });
            self.cut_everywhere(&rig, &replay, &what, Damage::VARIANTS);
            self.kill(&rig, &replay, &what);
        }
        self.stop_between_names(&rig, &recording, &kinds[..end]);
    }

    /// Stops where a file has just got its name, or lost it, and that is in the cache alone.
    fn stop_between_names(&mut self, rig: &Rig, recording: &Recording, kinds: &[(Kind, &'static str)]) {
        let named = (1..kinds.len()).filter(|at| [Kind::Rename, Kind::Remove].contains(&kinds[at - 1].0));
        let mut places: Vec<usize> = named.collect();
        while places.len() > MOMENTS_BETWEEN_NAMES {
            places.swap_remove(self.dice.below(places.len()));
        }
        places.sort_unstable();
        let mut replay = Replay::new(recording);
        for place in places {
            replay.go_to(place);
            let what = format!("moment {place}");
            self.cut_everywhere(rig, &replay, &what, Damage::VARIANTS / 8);
            self.kill(rig, &replay, &what);
        }
    }

    /// Runs something that is no image.
    fn attempt_run(&mut self, action: impl FnOnce(&mut Self)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| action(self)));
        if let Err(panic) = outcome {
            self.attempt("the run", |_, _| std::panic::resume_unwind(panic));
        }
    }

    /// The store as it must be after a crash of the recorded run now.
    fn expected(rig: &Rig, replay: &Replay<'_>, disk: FaultyDisk) -> (Rig, u64) {
        let mut image = rig.at(disk, replay.at());
        let live = Rig::dir().join("LIVE");
        let [session, published, durable] =
            LIVE_WORDS.map(|word| replay.word(&live, word).unwrap_or_default());
        let told = |word: u64| usize::try_from(word).unwrap();
        if session != 0 {
            // Readers in other processes were told so.
            image.durable = image.durable.max(told(durable));
            image.returned = image.returned.max(told(published));
        }
        // A store that was never told to be there may be missing.
        image.options = image.options.create_if_missing(!rig.was_open_at(replay.at()));
        (image, session)
    }

    fn cut_everywhere(&mut self, rig: &Rig, replay: &Replay<'_>, what: &str, variants: usize) {
        let mut sums = Vec::with_capacity(variants);
        for variant in (0..variants).map(|variant| variant * Damage::VARIANTS / variants) {
            let seed = self.dice.next();
            if self.is_over() {
                return;
            }
            let (disk, sum) = replay.after_power_cut(Damage::Variant(variant), seed);
            if sums.contains(&sum) {
                continue;
            }
            sums.push(sum);
            let image = Self::expected(rig, replay, disk).0;
            self.attempt(&format!("{what}, power cut {variant}"), |tally, dice| {
                power_cut(image, tally, dice);
            });
        }
    }

    fn kill(&mut self, rig: &Rig, replay: &Replay<'_>, what: &str) {
        let image = Self::expected(rig, replay, replay.after_kill()).0;
        self.attempt(&format!("{what}, kill"), |tally, dice| {
            tally.kills += 1;
            let mut image = image;
            let before = image.on(image.disk.clone());
            // What the kill left in the cache alone is what the next opening goes by.
            if dice.below(CUT_OPENINGS_OF_KILLS) == 0 {
                image.disk.record();
            }
            image.open().unwrap_or_else(|error| panic!("refused after a kill: {error}"));
            image.verify(true);
            if let Some(recording) = image.disk.take_recording() {
                cut_openings(&before, &image, &recording, tally, dice);
            }
            image.options = image.options.clone().create_if_missing(false);
            // What the kill left in the cache alone was made durable by opening.
            let damage = Damage::Variant(dice.below(Damage::VARIANTS));
            let mut cut = image.on(image.disk.after_power_cut(damage, dice.next()));
            image.store = None;
            cut.open().unwrap_or_else(|error| panic!("refused after a kill and a power cut: {error}"));
            cut.verify(true);
        });
    }

    /// A fault at one operation, then crashes.
    fn run_with(&mut self, fault: Fault) {
        let mut trace = Vec::new();
        self.attempt_run(|round| trace = round.record(None).0.disk.trace());
        let mut operations: Vec<usize> = (0..trace.len()).filter(|at| trace[*at] != Kind::Look).collect();
        if operations.is_empty() {
            return;
        }
        if self.dice.chance(50) {
            // Of any kind as often as of any other.
            let kinds: BTreeSet<Kind> = operations.iter().map(|at| trace[*at]).collect();
            let kind = kinds.iter().nth(self.dice.below(kinds.len())).copied();
            operations.retain(|at| Some(trace[*at]) == kind);
        }
        let place = operations[self.dice.below(operations.len())];
        let what = format!("{fault:?} at operation {place}");
        *self.tally.faults.entry(format!("{fault:?}")).or_default() += 1;
        let mut recorded = None;
        self.attempt_run(|round| recorded = Some(round.record(Some((fault, place)))));
        let Some((rig, recording, met)) = recorded else { return };
        self.attempt(&format!("{what}, the store goes on"), |_, dice| after_fault(&rig, fault, &met, dice));
        let moments = (0..5).map(|_| self.dice.below(recording.len() + 1)).chain([recording.len()]);
        let mut moments: Vec<usize> = moments.collect();
        moments.sort_unstable();
        let mut replay = Replay::new(&recording);
        for moment in moments {
            if self.is_over() {
                return;
            }
            replay.go_to(moment);
            let what = format!("{what}, moment {moment}");
            if fault == Fault::Silent {
                self.cut_detected(&rig, &replay, &what);
            } else {
                self.cut_everywhere(&rig, &replay, &what, Damage::VARIANTS / 4);
                self.kill(&rig, &replay, &what);
            }
        }
    }

    fn cut_detected(&mut self, rig: &Rig, replay: &Replay<'_>, what: &str) {
        for variant in [0, 1, 2, 3, 40, 46, 52, 60] {
            let (disk, _) = replay.after_power_cut(Damage::Variant(variant), self.dice.next());
            let image = Self::expected(rig, replay, disk).0;
            self.attempt(&format!("{what}, power cut {variant}"), |_, _| {
                let mut image = image;
                let floor = image.floor_on_disk();
                let opened = image.open();
                // What was told to be there, and isn't, is missing as a whole: nothing of it is shown wrongly.
                if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotAStore) {
                    return;
                }
                image.verify_detected(opened, floor);
            });
        }
    }
}

/// A power cut has left this.
fn power_cut(mut image: Rig, tally: &mut Tally, dice: &mut Dice) {
    let shown = if dice.chance(25) { lonely_reader(&image) } else { 0 };
    let cut_opening = dice.below(CUT_OPENINGS) == 0;
    if cut_opening {
        image.disk.record();
    }
    let before = image.on(image.disk.clone());
    image.open().unwrap_or_else(|error| panic!("a legal state was refused: {error}"));
    image.verify(false);
    assert!(image.log.len() >= shown, "a reader was shown {shown} events, {} survived", image.log.len());
    if let Some(recording) = image.disk.take_recording() {
        cut_openings(&before, &image, &recording, tally, dice);
    }
    if dice.below(LIVES) == 0 {
        tally.lives += 1;
        live_on(image, tally, dice);
    }
}

/// A reader of what a crash has left, before anybody has recovered it: how much it shows.
fn lonely_reader(image: &Rig) -> usize {
    match image.reader() {
        Ok(reader) => image.verify_lonely_reader(&reader),
        Err(error) => {
            // There may be no store yet.
            let missing = error.kind() == ErrorKind::NotAStore && image.returned == 0;
            assert!(missing, "a reader was refused: {error}");
            0
        }
    }
}

/// The opening of an image is cut off, too.
fn cut_openings(before: &Rig, opened: &Rig, recording: &Recording, tally: &mut Tally, dice: &mut Dice) {
    let mut replay = Replay::new(recording);
    let mut moments: Vec<usize> = (0..3).map(|_| dice.below(recording.len() + 1)).collect();
    moments.sort_unstable();
    for moment in moments {
        replay.go_to(moment);
        if dice.chance(50) {
            replay.go_into(dice);
        }
        for _ in 0..3 {
            let damage = Damage::Variant(dice.below(Damage::VARIANTS));
            let (disk, _) = replay.after_power_cut(damage, dice.next());
            // What a store that was opened has shown must stay.
            let mut again = if moment == recording.len() { opened.on(disk) } else { before.on(disk) };
            tally.images += 1;
            tally.cut_openings += 1;
            again
                .open()
                .unwrap_or_else(|error| panic!("moment {moment} of opening, {damage:?}: refused: {error}"));
            again.verify(false);
            reopen(again, dice);
        }
        tally.images += 1;
        tally.kills += 1;
        let mut killed = before.on(replay.after_kill());
        killed.open().unwrap_or_else(|error| panic!("moment {moment} of opening, killed: refused: {error}"));
        killed.verify(false);
        reopen(killed, dice);
    }
}

/// What was opened and begins to seal what it found can be closed and opened: of some images.
fn reopen(mut image: Rig, dice: &mut Dice) {
    if dice.below(REOPENINGS) == 0 {
        image.options = image.options.clone().create_if_missing(false);
        image.step(Step::Reopen).unwrap_or_else(|error| panic!("opening again: refused: {error}"));
        image.verify_open();
    }
}

/// Life goes on in the new epoch, and ends as suddenly: nothing of the old one must be mistaken for the new.
fn live_on(mut image: Rig, tally: &mut Tally, dice: &mut Dice) {
    image.options = image.options.clone().create_if_missing(false);
    for _ in 0..2 {
        let steps = random(dice);
        for step in &steps[..dice.below(steps.len().min(9))] {
            image.step(*step).unwrap();
        }
        image.verify_open();
        let damage = Damage::Variant(dice.below(Damage::VARIANTS));
        let mut cut = image.on(image.disk.after_power_cut(damage, dice.next()));
        image.store = None;
        tally.images += 1;
        cut.open().unwrap_or_else(|error| panic!("a legal state was refused: {error}"));
        cut.verify(false);
        image = cut;
    }
}

/// After a fault: errors were of the right kind, everything that was taken is visible, and what failed works when the disk
/// does again.
fn after_fault(rig: &Rig, fault: Fault, met: &[ErrorKind], dice: &mut Dice) {
    let allowed: &[ErrorKind] = match fault {
        Fault::NoSpace => &[ErrorKind::StorageFull],
        Fault::Silent => &[],
        _ => &[ErrorKind::Io, ErrorKind::Poisoned, ErrorKind::OutcomeUnknown],
    };
    // A store that was cut off while it was made has files, and is none.
    assert!(met.iter().all(|kind| allowed.contains(kind)), "{met:?}");
    rig.disk.heal();
    if rig.store.is_some() {
        rig.verify_open();
    }
    if fault == Fault::NoSpace && rig.store.is_some() {
        rig.verify_no_remains();
    }
    if dice.chance(50) && fault != Fault::Silent && rig.store.is_some() {
        // The kernel drops what it could not write: readers don't notice.
        rig.disk.evict();
        rig.verify_open();
    }
}

/// Runs rounds as long as the form of the test goes on.
fn simulate(seed: u64, bound: &Bound) -> Tally {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Tally::default());
    let goes_on = || {
        let sum = sum.lock().unwrap();
        bound.goes_on(sum.images) && sum.failures.len() < FAILURES_MAX
    };
    let threads = number("USERTRAIL_THREADS").unwrap_or(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while goes_on() {
                    let tally = round(seed, next.fetch_add(1, Ordering::Relaxed)).run();
                    sum.lock().unwrap().add(tally);
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

/// The round of this number: of five, two have a fault.
fn round(seed: u64, number: u64) -> Round {
    let fault = (number % 5 >= 3)
        .then(|| FAULTS[usize::try_from(number / 5 * 2 + number % 5 - 3).unwrap() % FAULTS.len()]);
    Round::new(seed, number).with_fault(fault)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// So many images stop at everything.
const MANY_IMAGES: u64 = 200_000;

/// What must have been stopped at, or the workloads don't do what they are there for.
const MOMENTS_NEEDED: [(Kind, &str); 22] = [
    (Kind::Store, "segment"),
    (Kind::Store, "HEADS"),
    (Kind::Store, "LIVE"),
    (Kind::SyncData, "segment"),
    (Kind::SyncData, "HEADS"),
    (Kind::SyncData, "pack"),
    (Kind::SyncDir, "directory"),
    (Kind::Write, "segment"),
    (Kind::Write, "pack"),
    (Kind::Write, "merged run"),
    (Kind::WriteSynced, "MANIFEST"),
    (Kind::WriteSynced, "run"),
    (Kind::WriteUnsynced, "checkpoint"),
    (Kind::Allocate, "segment"),
    (Kind::Rename, "MANIFEST"),
    (Kind::Rename, "run"),
    (Kind::Rename, "merged run"),
    (Kind::Rename, "pack"),
    (Kind::Rename, "HEADS"),
    (Kind::Rename, "checkpoint"),
    (Kind::Remove, "segment"),
    (Kind::Remove, "run"),
];

#[test]
fn a_crash_or_error_at_any_moment_loses_nothing_that_was_acknowledged() {
    let seed = figures::seed(1);
    let bound = Bound::new(IMAGES_MIN);
    if let Some(number) = number("USERTRAIL_ROUND") {
        let tally = round(seed, number).run();
        assert!(tally.failures.is_empty(), "{} failures in {} images", tally.failures.len(), tally.images);
        return;
    }
    if std::env::var_os("USERTRAIL_BUG").is_some() {
        let controls = bugs::controls();
        assert!(controls.seeded > 0 && controls.caught == controls.seeded, "not noticed");
        return;
    }
    let tally = simulate(seed, &bound);
    let figure = format!(
        "{} images ({} power cuts, {} kills; {} of openings cut off, {} of stores that went on to live), {} runs, \
         {} kinds of moments, {} wrong, seed {seed}, {:.1} min",
        tally.images,
        tally.images - tally.kills,
        tally.kills,
        tally.cut_openings,
        tally.lives,
        tally.rounds,
        tally.moments.len(),
        tally.failures.len(),
        bound.minutes(),
    );
    eprintln!("faults: {:?}\nmoments: {:?}", tally.faults, tally.moments);
    let promise = "a crash or disk error at any moment loses nothing acknowledged, shows nothing wrong";
    let controls = bugs::controls();
    figures::figure(promise, "simulator", &figure, controls);
    assert_eq!(controls.caught, controls.seeded, "bugs that nobody notices");
    assert!(tally.failures.is_empty(), "{figure}\n{}", tally.failures.join("\n"));
    // Fewer images may leave one out by chance.
    for needed in MOMENTS_NEEDED.into_iter().filter(|_| tally.images > MANY_IMAGES) {
        assert!(tally.moments.contains_key(&needed), "never stopped at {needed:?}: {:?}", tally.moments);
    }
}
