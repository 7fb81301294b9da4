//! Bugs on purpose: each must be noticed by what the other tests run, or those tests prove nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::faults::{an_older_manifest, damage_below_the_floor, fail_at};
use super::power::{crash_at, kill_at, places, workload};
use super::rig::{LATER, Rig};
use crate::format::seeded::{Bug, seed};
use crate::io::faulty::{Damage, Dice, Fault, Kind, Lies};
use crate::store::Durability;
use crate::store::open::WorkersKind;

const TRIES: u64 = 200;

/// Whether one of many tries fails with the bug, and does not without it.
pub(super) fn is_noticed(bug: Option<Bug>, lies: Lies, attempt: impl Fn(Lies, &mut Dice)) -> bool {
    for number in 0..TRIES {
        let fails = |bug, lies| {
            seed(bug);
            let attempt = AssertUnwindSafe(|| attempt(lies, &mut Dice(number)));
            let outcome = catch_unwind(attempt);
            seed(None);
            outcome.is_err()
        };
        if fails(bug, lies) {
            assert!(!fails(None, Lies::default()), "try {number} fails without the bug, too");
            return true;
        }
    }
    false
}

/// Whether the power cuts of a workload notice it.
fn power_cuts_notice(bug: Option<Bug>, lies: Lies, durability: Durability) -> bool {
    let places = places(&mut Rig::new(durability), &workload());
    power_cuts_at_notice(&places, bug, lies, durability)
}

/// The same for a bug that shows for a moment only, around each operation of this kind.
fn power_cuts_near_notice(kind: Kind, bug: Bug, durability: Durability) -> bool {
    let mut rig = Rig::new(durability);
    let places = places(&mut rig, &workload());
    let trace = rig.disk.trace();
    let is_near = |place: &usize| trace[place.saturating_sub(5)..].iter().take(10).any(|it| *it == kind);
    let near: Vec<usize> = places.into_iter().filter(is_near).collect();
    power_cuts_at_notice(&near, Some(bug), Lies::default(), durability)
}

fn power_cuts_at_notice(places: &[usize], bug: Option<Bug>, lies: Lies, durability: Durability) -> bool {
    let steps = workload();
    is_noticed(bug, lies, |lies, dice| {
        let rig = Rig::new(durability);
        rig.disk.lie(lies);
        let damage = [Damage::Nothing, Damage::Random, Damage::Random][dice.below(3)];
        crash_at(rig, &steps, places[dice.below(places.len())], damage, dice.next());
    })
}

/// Whether syncs that fail once notice it.
fn sync_errors_notice(bug: Bug) -> bool {
    // A merge's own syncs are no concern of what was acknowledged.
    let make = Rig::without_merging;
    let mut counting = make(Durability::Durable);
    places(&mut counting, &workload());
    let trace = counting.disk.trace();
    let syncs: Vec<usize> = (0..trace.len()).filter(|place| trace[*place] == Kind::SyncData).collect();
    is_noticed(Some(bug), Lies::default(), |_, dice| {
        fail_at(make, Fault::ErrorOnce, syncs[dice.below(syncs.len())], dice);
    })
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    assert!(power_cuts_notice(None, Lies { sync_data: true, sync_dir: false }, Durability::Durable));
}

#[test]
fn a_directory_that_is_not_synced_is_noticed() {
    assert!(power_cuts_notice(None, Lies { sync_data: false, sync_dir: true }, Durability::Durable));
}

#[test]
fn a_checksum_that_is_not_compared_is_noticed() {
    assert!(power_cuts_notice(Some(Bug::ChecksumIgnored), Lies::default(), LATER));
}

#[test]
fn an_acknowledgement_before_the_sync_is_noticed() {
    assert!(power_cuts_notice(Some(Bug::AcknowledgedBeforeSync), Lies::default(), Durability::Durable));
}

#[test]
fn an_atomic_group_that_is_torn_is_noticed() {
    assert!(power_cuts_notice(Some(Bug::GroupIgnored), Lies::default(), LATER));
}

#[test]
fn runs_that_are_removed_before_the_manifest_says_so_are_noticed() {
    assert!(power_cuts_near_notice(Kind::Remove, Bug::MergedTooSoonRemoved, LATER));
}

#[test]
fn a_merged_run_that_is_not_synced_is_noticed() {
    assert!(power_cuts_notice(Some(Bug::MergedUnsynced), Lies::default(), LATER));
}

#[test]
fn an_epoch_that_does_not_move_is_noticed() {
    assert!(power_cuts_notice(Some(Bug::EpochKept), Lies::default(), LATER));
}

#[test]
fn a_segment_whose_name_is_not_durable_is_noticed() {
    let steps = workload();
    let rig = || Rig::with_workers(Durability::Durable, WorkersKind::Nobody);
    let places = places(&mut rig(), &steps);
    assert!(is_noticed(Some(Bug::NameNotSynced), Lies::default(), |_, dice| {
        crash_at(rig(), &steps, places[dice.below(places.len())], Damage::Nothing, dice.next());
    }));
}

#[test]
fn a_segment_that_is_not_listed_and_forgotten_is_noticed() {
    let steps = workload();
    let places = places(&mut Rig::with_workers(LATER, WorkersKind::Nobody), &steps);
    assert!(is_noticed(Some(Bug::UnlistedForgotten), Lies::default(), |_, dice| {
        kill_at(&steps, WorkersKind::Nobody, places[dice.below(places.len())], dice);
    }));
}

#[test]
fn trust_in_the_cache_is_noticed() {
    assert!(sync_errors_notice(Bug::CacheTrusted));
}

#[test]
fn a_sync_error_that_is_forgotten_is_noticed() {
    assert!(sync_errors_notice(Bug::SyncErrorForgotten));
}

#[test]
fn a_checkpoint_of_what_is_not_durable_is_noticed() {
    assert!(power_cuts_notice(Some(Bug::CheckpointAhead), Lies::default(), LATER));
}

#[test]
fn a_newer_segment_that_is_removed_is_noticed() {
    assert!(is_noticed(Some(Bug::NewerForgotten), Lies::default(), |_, _| an_older_manifest()));
}

#[test]
fn damage_below_the_floor_that_is_cut_off_is_noticed() {
    assert!(is_noticed(Some(Bug::FloorIgnored), Lies::default(), |_, _| damage_below_the_floor()));
}
