//! Power cuts while a store is made.

use super::power::run;
use super::rig::{LATER, Rig, Step};
use crate::io::Disk;
use crate::io::faulty::{Damage, Dice, Fault};
use crate::store::Durability;

#[test]
fn a_power_cut_while_a_store_is_made_leaves_a_store_or_room_for_one() {
    let mut counting = Rig::unmade(LATER);
    counting.disk.inject(Fault::Crash, usize::MAX);
    counting.open().unwrap();
    let places = counting.disk.trace().len();
    let mut dice = Dice(4);
    for place in 0..places {
        for image in 0..4 {
            let mut rig = Rig::unmade(LATER);
            rig.disk.inject(Fault::Crash, place);
            let made = rig.open();
            assert!(rig.disk.stopped() || made.is_ok());
            let damage = [Damage::Nothing, Damage::Everything, Damage::Random][image.min(2)];
            let cut = rig.disk.after_power_cut(damage, dice.next());
            rig.store = None;
            let mut image = rig.on(cut);
            image.open().unwrap_or_else(|error| panic!("at {place}, {damage:?}: {error}"));
            run(&mut image, &[Step::Batch { count: 3, bytes: 100 }, Step::Reopen]);
            image.verify_open();
        }
    }
}

#[test]
fn a_store_that_was_made_is_there_after_a_power_cut() {
    let rig = Rig::new(LATER);
    for damage in [Damage::Nothing, Damage::Everything, Damage::Random] {
        let mut image = rig.on(rig.disk.after_power_cut(damage, 5));
        image.options = image.options.create_if_missing(false);
        image.open().unwrap_or_else(|error| panic!("{damage:?}: {error}"));
    }
}

/// The process that makes a store is killed at each of its operations; the next one finds what is in the cache alone, makes
/// the rest, and is told that its events are durable.
#[test]
fn a_store_whose_making_was_killed_is_durable_when_it_says_so() {
    let mut counting = Rig::unmade(Durability::Durable);
    counting.open().unwrap();
    for place in 0..counting.disk.trace().len() {
        let mut rig = Rig::unmade(Durability::Durable);
        rig.disk.inject(Fault::Crash, place);
        let _ = rig.open();
        let killed = rig.disk.after_kill();
        rig.store = None;
        let mut second = rig.on(killed);
        second.open().unwrap();
        run(&mut second, &[Step::Batch { count: 3, bytes: 100 }]);
        let mut cut = second.on(second.disk.after_power_cut(Damage::Nothing, 1));
        cut.options = cut.options.create_if_missing(false);
        cut.open().unwrap_or_else(|error| panic!("killed at {place}: {error}"));
        cut.verify(false);
        assert_eq!(cut.log.len(), 3);
    }
}

#[test]
fn what_a_creation_left_unfinished_is_removed() {
    let mut rig = Rig::new(LATER);
    run(&mut rig, &[Step::Reopen]);
    rig.store().close().unwrap();
    rig.store = None;
    let left = Rig::dir().join("STORE.tmp");
    rig.disk.write_unsynced(&left, b"half of it").unwrap();
    rig.open().unwrap();
    assert!(!rig.disk.exists(&left).unwrap());
}

/// The machine's clock begins anew with each start, and stands still.
#[test]
fn an_event_that_was_lost_and_the_one_in_its_place_have_different_ids() {
    let mut rig = Rig::new(LATER);
    run(&mut rig, &[Step::Batch { count: 2, bytes: 10 }, Step::Flush, Step::ClockBack]);
    for round in 0..4 {
        run(&mut rig, &[Step::Batch { count: 2, bytes: 10 }]);
        let mut cut = rig.on(rig.disk.after_power_cut(Damage::Nothing, 1));
        rig.store = None;
        cut.open().unwrap();
        cut.verify(false);
        assert_eq!((cut.log.len(), cut.lost_ids.len() % 2), (2, 0));
        if round % 2 == 0 {
            // A store that was closed cleanly, with nothing written since, knows it as well.
            run(&mut cut, &[Step::Reopen]);
        }
        rig = cut;
    }
    assert_eq!(rig.lost_ids.len(), 8);
}
