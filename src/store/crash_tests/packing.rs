//! Packing and unpacking, stopped or failing at each of their operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::power::{IMAGES, crash_at, kill_at, places, run};
use super::rig::{LATER, Rig, Step};
use crate::error::{Error, ErrorKind};
use crate::format::seeded::{Bug, seed};
use crate::io::Disk;
use crate::io::faulty::{Damage, Dice, Fault, Kind};
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

/// What goes on behind everybody's back and leaves a directory with other files in it.
#[derive(Clone, Copy, Debug)]
enum Work {
    Pack,
    Unpack,
    Merge,
}

impl Work {
    /// A store that has this to do, and nothing else.
    fn due(self) -> Rig {
        let mut rig = Rig::with_workers(LATER, WorkersKind::Nobody);
        run(&mut rig, &[ROLLOVER, ROLLOVER, ROLLOVER, Step::Flush]);
        rig.store().0.core.shards[0].run(Job::Seal).unwrap();
        if matches!(self, Self::Unpack) {
            rig.step(Step::Pack).unwrap();
        }
        rig
    }

    fn act(self, rig: &Rig) -> Result<(), Error> {
        match self {
            Self::Pack => rig.store().pack().map(drop),
            Self::Unpack => rig.store().unpack().map(drop),
            Self::Merge => rig.store().0.core.shards[0].run(Job::Merge),
        }
    }

    /// Its operations, but for the many that only write or read bytes.
    fn places(self) -> Vec<(usize, Kind)> {
        let rig = self.due();
        rig.disk.inject(Fault::Crash, usize::MAX);
        self.act(&rig).unwrap();
        let trace = rig.disk.trace();
        let looks = trace.iter().filter(|kind| **kind == Kind::Look).count();
        let mut look = 0;
        let places = trace.into_iter().enumerate().filter(|(_, kind)| match kind {
            Kind::Look => {
                look += 1;
                looks < 40 || look % (looks / 40 + 1) == 0 || look + 20 > looks
            }
            kind => !matches!(kind, Kind::Write | Kind::Store),
        });
        places.collect()
    }
}

/// How many files of each kind the shard has.
fn kinds(rig: &Rig) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for name in rig.disk.list(&Rig::dir().join("shard-00")).unwrap() {
        let kind = name.rsplit_once('.').map_or(&*name, |(_, kind)| kind);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// A store that stays open for months must not fill the disk with what its failed attempts have made.
#[test]
fn an_attempt_that_failed_leaves_no_file_when_another_has_succeeded() {
    let mut dice = Dice(25);
    for work in [Work::Pack, Work::Unpack, Work::Merge] {
        let rig = work.due();
        work.act(&rig).unwrap();
        let expected = kinds(&rig);
        for (place, kind) in work.places() {
            let fault = [Fault::ErrorOnce, Fault::Phantom][dice.below(2)];
            eprintln!("{work:?}: {fault:?} at {place}, {kind:?}");
            let mut rig = work.due();
            rig.disk.inject(fault, place);
            let _ = work.act(&rig);
            let cut = rig.disk.after_power_cut(Damage::Random, dice.next());
            rig.disk.heal();
            work.act(&rig).unwrap();
            // What was done, and could not be removed, goes with the next look.
            work.act(&rig).unwrap();
            assert_eq!(kinds(&rig), expected);
            rig.verify_open();
            let again = rig.disk.after_power_cut(Damage::Random, dice.next());
            for disk in [cut, again] {
                let mut image = rig.on(disk);
                image.open().unwrap();
                image.verify(true);
            }
            rig.store = None;
        }
    }
}

/// Whether the manifest on disk is the one from before a failed attempt or the one that it wrote is not known then; so what
/// another attempt takes away when it fails must not be what that manifest names.
#[test]
fn an_attempt_that_fails_again_takes_nothing_that_the_disk_may_name() {
    let mut dice = Dice(26);
    for work in [Work::Pack, Work::Unpack, Work::Merge] {
        let places = work.places();
        let named = places.iter().filter(|(_, kind)| matches!(kind, Kind::Rename | Kind::SyncDir));
        let last: Vec<_> = named.rev().take(2).collect();
        for (first, kind) in last {
            for (second, _) in places.iter().skip(dice.below(2)).step_by(2) {
                let fault = [Fault::ErrorOnce, Fault::Phantom][dice.below(2)];
                let first_fault = if *kind == Kind::Rename { Fault::Phantom } else { fault };
                eprintln!("{work:?}: {first_fault:?} at {first}, {kind:?}; then {fault:?} at {second}");
                let mut rig = work.due();
                rig.disk.inject(first_fault, *first);
                assert!(work.act(&rig).is_err());
                rig.disk.inject(fault, *second);
                let _ = work.act(&rig);
                rig.disk.heal();
                rig.verify_open();
                for damage in [Damage::Nothing, Damage::Everything, Damage::Random] {
                    let mut image = rig.on(rig.disk.after_power_cut(damage, dice.next()));
                    image.open().unwrap();
                    image.verify(true);
                }
                rig.store = None;
            }
        }
    }
}
