//! Packing and unpacking, stopped or failing at each of their operations.

use std::sync::Arc;

use super::power::{IMAGES, crash_at, kill_at, places, run};
use super::rig::{LATER, Rig, Step};
use crate::error::ErrorKind;
use crate::format::seeded::{Bug, seed};
use crate::io::Disk;
use crate::io::faulty::{Damage, Dice, Fault};
use crate::shard::Job;
use crate::store::Durability;
use crate::store::open::WorkersKind;

const ROLLOVER: Step = Step::Batch { count: 20, bytes: 50_000 };

/// Segments become packs, packs become one, one becomes segments again; events come in between.
fn workload() -> Vec<Step> {
    let last = Step::Append { user: Some(0), bytes: 100, durability: LATER };
    vec![
        Step::Append { user: None, bytes: 60, durability: LATER },
        ROLLOVER,
        Step::Atomic { user: 1, count: 3, bytes: 2500 },
        ROLLOVER,
        Step::Page,
        Step::Pack,
        Step::Page,
        ROLLOVER,
        Step::Pack,
        Step::KillAndReopen,
        last,
        Step::Unpack,
        Step::Page,
        ROLLOVER,
        Step::Pack,
        last,
        Step::Reopen,
        Step::Unpack,
        Step::Pack,
        last,
    ]
}

#[test]
fn packs_hold_what_the_segments_held() {
    let mut rig = Rig::new(LATER);
    let mut packed = Vec::new();
    for step in workload() {
        rig.step(step).unwrap();
        rig.verify_open();
        rig.store().check().unwrap();
        if matches!(step, Step::Pack | Step::Unpack) {
            let stats = rig.store().stats().unwrap();
            packed.push((stats.packs, stats.packed_events > 0));
        }
    }
    assert_eq!(packed, [(1, true), (1, true), (0, false), (1, true), (0, false), (1, true)]);
}

#[test]
fn a_power_cut_at_any_operation_of_packing_loses_nothing() {
    let steps = workload();
    let places = places(&mut Rig::new(LATER), &steps);
    let mut dice = Dice(21);
    for image in 0..IMAGES / 2 {
        let place = places[dice.below(places.len())];
        let damage = [Damage::Nothing, Damage::Everything, Damage::Random, Damage::Random][image % 4];
        let seed = dice.next();
        eprintln!("place {place}, {damage:?}, seed {seed}");
        crash_at(Rig::new(LATER), &steps, place, damage, seed);
    }
}

#[test]
fn a_kill_at_any_operation_of_packing_loses_nothing() {
    let steps = workload();
    let places = places(&mut Rig::new(LATER), &steps);
    let mut dice = Dice(22);
    let stride = 41;
    places.iter().step_by(stride).for_each(|place| kill_at(&steps, WorkersKind::Caller, *place, &mut dice));
}

/// A store that packs and merges as soon as it can, and writes index checkpoints all the time.
fn restless(durability: Durability) -> Rig {
    let mut rig = Rig::unmade(durability);
    rig.options = rig.options.pack_after(crate::PackAfter::Bytes(1 << 20));
    rig.open().unwrap();
    rig
}

/// Each kind of background work on what the others have made.
fn all_work() -> Vec<Step> {
    let own =
        [ROLLOVER, ROLLOVER, Step::Unpack, ROLLOVER, Step::KillAndReopen, ROLLOVER, ROLLOVER, Step::Page];
    own.into_iter().chain(super::power::workload()).chain([ROLLOVER, Step::Reopen, ROLLOVER]).collect()
}

#[test]
fn a_power_cut_while_all_background_work_goes_on_loses_nothing() {
    let steps = all_work();
    let mut rig = restless(LATER);
    run(&mut rig, &steps);
    let stats = rig.store().stats().unwrap();
    assert!(stats.packs > 0 && stats.merges > 0, "{stats:?}");
    let mut dice = Dice(24);
    for durability in [LATER, Durability::Durable] {
        let places = places(&mut restless(durability), &steps);
        for image in 0..IMAGES / 4 {
            let place = places[dice.below(places.len())];
            let damage = [Damage::Nothing, Damage::Everything, Damage::Random, Damage::Random][image % 4];
            let seed = dice.next();
            eprintln!("{durability:?}: place {place}, {damage:?}, seed {seed}");
            crash_at(restless(durability), &steps, place, damage, seed);
        }
    }
}

#[test]
fn a_head_table_says_how_far_it_goes_where_all_is_packed() {
    let mut rig = Rig::with_workers(LATER, WorkersKind::Nobody);
    run(&mut rig, &[ROLLOVER, ROLLOVER, Step::Pack]);
    let shard = Arc::clone(&rig.store().0.core.shards[0]);
    shard.run(Job::Heads).unwrap();
    run(&mut rig, &[ROLLOVER, ROLLOVER, Step::Pack]);
    let heads = shard.view().heads.clone().unwrap();
    let told = heads.state().covers.end;
    assert!(told < heads.covers() && shard.wants_heads());
    shard.run(Job::Heads).unwrap();
    assert_eq!(heads.state().covers.end, heads.covers(), "not {told}");
}

/// The names of the files that hold events.
fn files(rig: &Rig) -> Vec<String> {
    let mut names = rig.disk.list(&Rig::dir().join("shard-00")).unwrap();
    names.retain(|name| [".run", ".ckpt", "HEADS"].iter().all(|other| !name.contains(other)));
    names.sort();
    names
}

/// What was prepared and not used is given back or found again, and so is what was cut off.
#[test]
fn a_store_that_is_opened_and_closed_again_and_again_does_not_grow() {
    for step in [Step::Reopen, Step::KillAndReopen] {
        let mut rig = restless(LATER);
        run(&mut rig, &[ROLLOVER, ROLLOVER, ROLLOVER, Step::Flush, step, step]);
        let used = |rig: &Rig| (files(rig).len(), rig.disk.used_bytes(&Rig::dir()).unwrap());
        let before = used(&rig);
        for _ in 0..30 {
            rig.step(step).unwrap();
        }
        assert_eq!(used(&rig), before, "{step:?}");
        rig.verify_open();
    }
}

/// The places at which packing and unpacking themselves do something, and a store that is about to.
fn about_to(last: Step) -> (Rig, Vec<usize>) {
    let prepared = || {
        let mut rig = Rig::new(LATER);
        for step in [ROLLOVER, ROLLOVER, Step::Flush] {
            rig.step(step).unwrap();
        }
        if matches!(last, Step::Unpack) {
            rig.step(Step::Pack).unwrap();
        }
        rig
    };
    let mut counting = prepared();
    let places = places(&mut counting, &[last]);
    (prepared(), places)
}

#[test]
fn an_error_at_any_operation_of_packing_is_told_and_changes_nothing() {
    let mut dice = Dice(23);
    for step in [Step::Pack, Step::Unpack] {
        let (_, places) = about_to(step);
        for fault in [Fault::ErrorOnce, Fault::ShortWrite, Fault::Phantom, Fault::NoSpace] {
            for place in places.iter().skip(dice.below(5)).step_by(5) {
                eprintln!("{step:?}: {fault:?} at {place}");
                let (mut rig, _) = about_to(step);
                let before = files(&rig);
                rig.disk.inject(fault, *place);
                let outcome = rig.step(step).map_err(|error| error.kind());
                let expected = if fault == Fault::NoSpace { ErrorKind::StorageFull } else { ErrorKind::Io };
                assert!([Ok(()), Err(expected)].contains(&outcome), "{outcome:?}");
                if outcome == Err(ErrorKind::StorageFull) {
                    assert_eq!(files(&rig), before, "what was begun takes no room on a full disk");
                }
                rig.disk.heal();
                rig.verify_open();
                let mut killed = rig.on(rig.disk.after_kill());
                killed.open().unwrap();
                killed.verify(true);
                let mut cut = rig.on(rig.disk.after_power_cut(Damage::Random, dice.next()));
                cut.open().unwrap();
                cut.verify(true);
                // What failed is done by the next attempt.
                rig.step(step).unwrap();
                rig.verify_open();
            }
        }
    }
}

#[test]
fn a_pack_that_is_not_what_the_segments_were_is_refused() {
    let (mut rig, _) = about_to(Step::Pack);
    seed(Some(Bug::PackSpoiled));
    let refused = rig.step(Step::Pack);
    seed(None);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corruption);
    rig.verify_open();
    assert_eq!(rig.store().stats().unwrap().packs, 0);
    rig.step(Step::Reopen).unwrap();
    rig.verify_open();
}

#[test]
fn a_store_packs_by_itself_when_it_is_told_to() {
    let mut rig = Rig::new(Durability::Durable);
    rig.options = rig.options.clone().pack_after(crate::PackAfter::Bytes(2 << 20));
    rig.step(Step::Reopen).unwrap();
    run(&mut rig, &[ROLLOVER; 12]);
    rig.verify_open();
    let stats = rig.store().stats().unwrap();
    assert!((1..=6).contains(&stats.packs), "{stats:?}");
    assert!(stats.packed_events >= 150, "{stats:?}");
    assert!((2..=5).contains(&stats.segments) && stats.unsealed_segments == 1, "{stats:?}");
}
