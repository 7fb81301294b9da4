//! Power cuts and kills at every operation of a workload, and at every operation of the recovery after it.

use super::rig::{LATER, Rig, Step};
use crate::io::faulty::{Damage, Dice, Fault, Kind};
use crate::store::Durability;
use crate::store::open::WorkersKind;

const NOW: Durability = Durability::Durable;

fn append(user: u8, bytes: usize, durability: Durability) -> Step {
    Step::Append { user: Some(user), bytes, durability }
}

/// Everything that a store does: each form of append at each durability, rollover, sealing, closing, reopening.
pub(super) fn workload() -> Vec<Step> {
    let buffered = Durability::Buffered;
    let rollover = Step::Batch { count: 20, bytes: 50_000 };
    vec![
        append(0, 100, buffered),
        append(1, 3000, NOW),
        Step::Batch { count: 7, bytes: 700 },
        Step::Atomic { user: 0, count: 3, bytes: 2500 },
        Step::Page,
        append(2, 100, buffered),
        Step::Flush,
        Step::Append { user: None, bytes: 60, durability: buffered },
        Step::Atomic { user: 1, count: 4, bytes: 1500 },
        Step::Page,
        rollover,
        append(0, 10, NOW),
        append(1, 9000, buffered),
        Step::Page,
        Step::Reopen,
        append(0, 200, buffered),
        Step::KillAndReopen,
        append(1, 200, buffered),
        Step::Page,
        Step::Flush,
        Step::NoteFloor,
        append(2, 5000, buffered),
        rollover,
        Step::Atomic { user: 2, count: 5, bytes: 9000 },
        append(0, 10, NOW),
        rollover,
        Step::Page,
        append(1, 20_000, buffered),
        Step::Atomic { user: 0, count: 3, bytes: 6000 },
        Step::Page,
        Step::Reopen,
        Step::Batch { count: 3, bytes: 100 },
    ]
}

/// Runs the workload until the machine stops; a moment after each step is a place to stop, too.
pub(super) fn run(rig: &mut Rig, steps: &[Step]) {
    for step in steps {
        let outcome = rig.step(*step);
        if rig.disk.stopped() {
            return;
        }
        outcome.unwrap();
        rig.disk.moment();
        if rig.disk.stopped() {
            return;
        }
    }
}

/// The places of a workload at which something may stop or fail.
pub(super) fn places(rig: &mut Rig, steps: &[Step]) -> Vec<usize> {
    rig.disk.inject(Fault::Crash, usize::MAX);
    run(rig, steps);
    let trace = rig.disk.trace();
    (0..trace.len()).filter(|place| trace[*place] != Kind::Look).collect()
}

/// How many images each test tries. The simulator tries many more, each of them made in less time.
pub(super) const IMAGES: usize = 24;

/// Opens what a crash left; the machine may stop again meanwhile, several times.
fn recover(crashed: &Rig, mut image: Rig, dice: &mut Dice) -> Rig {
    for _ in 0..3 {
        if dice.below(3) > 0 {
            break;
        }
        image.disk.inject(Fault::Crash, dice.below(60));
        let _ = image.open();
        let stopped = image.disk.stopped();
        image.store = None;
        if !stopped {
            image.disk.inject(Fault::Crash, 0);
        }
        let again = image.disk.after_power_cut(Damage::Random, dice.next());
        image = crashed.on(again);
    }
    image.disk.heal();
    image.open().unwrap_or_else(|error| panic!("a legal state was refused: {error}"));
    image
}

/// Crashes at this place of the workload, with this damage; then goes on, and crashes again.
pub(super) fn crash_at(rig: Rig, steps: &[Step], place: usize, damage: Damage, seed: u64) {
    let mut dice = Dice(seed);
    let mut rig = rig;
    rig.disk.inject(Fault::Crash, place);
    run(&mut rig, steps);
    let cut = rig.disk.after_power_cut(damage, dice.next());
    rig.store = None;
    rig.options = rig.options.clone().create_if_missing(false);
    let mut image = recover(&rig, rig.on(cut), &mut dice);
    image.verify(false);
    // Life goes on in the new epoch, and ends as suddenly: nothing of the old one must be mistaken for the new.
    for life in 0..3 {
        let last = [
            append(0, 150, LATER),
            Step::Page,
            append(1, 5000, if life == 1 { NOW } else { LATER }),
            Step::Atomic { user: 2, count: 2, bytes: 3000 },
            Step::Page,
        ];
        run(&mut image, &last[..dice.below(last.len() + 1)]);
        image.verify_open();
        let damage = [Damage::Nothing, Damage::Everything, Damage::Random][dice.below(3)];
        let cut = image.disk.after_power_cut(damage, dice.next());
        image.store = None;
        image = recover(&image, image.on(cut), &mut dice);
        image.verify(false);
    }
    run(&mut image, &[Step::Flush, Step::Reopen, append(0, 10, LATER)]);
    image.verify_open();
}

fn power_cuts(durability: Durability, workers: WorkersKind, seed: u64) {
    let steps = workload();
    let places = places(&mut Rig::with_workers(durability, workers), &steps);
    let mut dice = Dice(seed);
    for image in 0..IMAGES / 2 {
        let place = places[dice.below(places.len())];
        let damage = [Damage::Nothing, Damage::Everything, Damage::Random, Damage::Random][image % 4];
        let seed = dice.next();
        eprintln!("{durability:?}: place {place}, {damage:?}, seed {seed}");
        crash_at(Rig::with_workers(durability, workers), &steps, place, damage, seed);
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_store_with_all_that_was_durable() {
    power_cuts(LATER, WorkersKind::Caller, 1);
}

#[test]
fn a_power_cut_of_a_durable_store_loses_nothing_that_was_acknowledged() {
    power_cuts(NOW, WorkersKind::Caller, 2);
}

/// Then a segment is used before it is established, and many wait to be sealed.
#[test]
fn a_power_cut_while_background_work_is_late_leaves_a_store_with_all_that_was_durable() {
    power_cuts(LATER, WorkersKind::Nobody, 4);
    power_cuts(NOW, WorkersKind::Nobody, 5);
}

/// Kills the process at this place of the workload; then the power is cut.
pub(super) fn kill_at(steps: &[Step], workers: WorkersKind, place: usize, dice: &mut Dice) {
    let mut rig = Rig::with_workers(LATER, workers);
    rig.disk.inject(Fault::Crash, place);
    run(&mut rig, steps);
    let killed = rig.disk.after_kill();
    rig.store = None;
    let mut image = rig.on(killed);
    image.open().unwrap_or_else(|error| panic!("at {place}: {error}"));
    image.verify(true);
    // What the kill left in the cache alone was made durable by opening.
    let cut = image.disk.after_power_cut(Damage::Nothing, dice.next());
    image.store = None;
    let mut image = recover(&image, image.on(cut), dice);
    image.verify(true);
}

#[test]
fn a_kill_at_any_operation_loses_nothing_that_was_acknowledged() {
    let steps = workload();
    let mut dice = Dice(3);
    for workers in [WorkersKind::Caller, WorkersKind::Nobody] {
        let places = places(&mut Rig::with_workers(LATER, workers), &steps);
        places.iter().step_by(19).for_each(|place| kill_at(&steps, workers, *place, &mut dice));
    }
}

/// The manifest that opening writes names segments that the killed process had begun to use.
#[test]
fn a_power_cut_during_the_opening_after_a_kill_leaves_a_store_that_opens() {
    let mut rig = Rig::with_workers(LATER, WorkersKind::Nobody);
    let rollover = Step::Batch { count: 20, bytes: 50_000 };
    run(&mut rig, &[append(0, 10, NOW), rollover, append(1, 10, LATER)]);
    rig.kill();
    let mut counting = rig.on(rig.disk.after_kill());
    counting.open().unwrap();
    let places = counting.disk.trace().len();
    for place in 0..places {
        for damage in [Damage::Nothing, Damage::Everything, Damage::Variant(2), Damage::Variant(3)] {
            let mut first = rig.on(rig.disk.after_kill());
            first.disk.inject(Fault::Crash, place);
            let _ = first.open();
            let cut = first.disk.after_power_cut(damage, place as u64);
            first.store = None;
            let mut second = rig.on(cut);
            second.open().unwrap_or_else(|error| panic!("at {place}, {damage:?}: {error}"));
            second.verify(false);
        }
    }
}
