//! Head tables: whatever was folded, copied, torn or lost of them, user sequences stay dense and right.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::power::{IMAGES, crash_at, places, run};
use super::rig::{LATER, Rig, Step};
use crate::event::{Details, Message, NewEvent, UserId};
use crate::format::seeded::{Bug, seed};
use crate::index::heads::HeadTable;
use crate::io::faulty::{Damage, Dice};
use crate::store::Durability;

/// Fills a segment of the rig with events of nobody: whoever comes next isn't in the tail.
fn filler() -> Vec<Step> {
    vec![Step::Append { user: None, bytes: 60_000, durability: Durability::Buffered }; 18]
}

fn append(user: u8) -> Step {
    Step::Append { user: Some(user), bytes: 50, durability: Durability::Buffered }
}

/// Users that come and go, so that their heads are asked of the table.
pub(super) fn workload() -> Vec<Step> {
    let mut steps = vec![Step::Batch { count: 12, bytes: 50 }];
    for round in [0, 1, 0, 2, 1] {
        steps.extend(filler());
        steps.extend([append(round), append(round), Step::Flush]);
    }
    steps.push(Step::Reopen);
    steps.extend([append(0), append(1), append(2)]);
    steps.extend(filler());
    steps.extend([append(2), Step::KillAndReopen, append(1)]);
    steps.extend(filler());
    steps.extend([append(0), append(1)]);
    steps
}

fn heads(rig: &Rig) -> Option<Arc<HeadTable>> {
    rig.store().0.core.shards[0].view().heads.clone()
}

#[test]
fn the_workload_has_a_table_that_covers_all_that_is_sealed() {
    let mut rig = Rig::new(LATER);
    let mut asked = 0;
    for step in workload() {
        rig.step(step).unwrap();
        let view = rig.store().0.core.shards[0].view();
        let sealed = view.sources.iter().rev().skip(1).map(crate::shard::view::Source::end).next();
        if let Some(sealed) = sealed {
            let heads = heads(&rig).expect("a table, since something is sealed");
            assert_eq!(heads.covers(), sealed, "after {step:?}");
            assert!(!heads.is_damaged());
            asked += 1;
        }
    }
    rig.verify_open();
    assert!(asked > 50, "{asked}");
    let before = heads(&rig).unwrap();
    rig.step(Step::Reopen).unwrap();
    let after = heads(&rig).unwrap();
    assert_eq!(after.header(), before.header(), "a table that was closed is used as it is");
    rig.step(append(0)).unwrap();
    for step in filler() {
        rig.step(step).unwrap();
    }
    rig.step(Step::KillAndReopen).unwrap();
    let copy = heads(&rig).unwrap();
    assert_ne!(copy.header().salt, after.header().salt, "after a kill it is copied");
    assert_eq!(copy.covers(), after.covers());
    rig.verify_open();
}

fn power_cuts(seed: u64, count: usize) {
    let steps = workload();
    let places = places(&mut Rig::new(LATER), &steps);
    let mut dice = Dice(seed);
    for image in 0..count {
        let place = places[dice.below(places.len())];
        let damage = [Damage::Nothing, Damage::Everything, Damage::Random, Damage::Random][image % 4];
        let seed = dice.next();
        eprintln!("place {place}, {damage:?}, seed {seed}");
        crash_at(Rig::new(LATER), &steps, place, damage, seed);
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_user_sequences_dense() {
    power_cuts(11, IMAGES / 2);
}

#[test]
fn a_kill_at_any_operation_leaves_user_sequences_dense() {
    let steps = workload();
    let places = places(&mut Rig::new(LATER), &steps);
    let stride = 17;
    for place in places.iter().step_by(stride) {
        let mut rig = Rig::new(LATER);
        rig.disk.inject(crate::io::faulty::Fault::Crash, *place);
        run(&mut rig, &steps);
        let killed = rig.disk.after_kill();
        rig.store = None;
        let mut image = rig.on(killed);
        image.open().unwrap_or_else(|error| panic!("at {place}: {error}"));
        image.verify(true);
        run(&mut image, &[append(0), append(1), append(2), Step::Reopen, append(0)]);
        image.verify_open();
    }
}

/// Whether power cuts find a table that says more than is durable; the same ones find nothing without the bug.
#[test]
fn a_table_that_covers_what_was_not_synced_is_noticed() {
    let steps = workload();
    let places = places(&mut Rig::new(LATER), &steps);
    let attempt = |dice: &mut Dice| {
        let rig = Rig::new(LATER);
        crash_at(rig, &steps, places[dice.below(places.len())], Damage::Random, dice.next());
    };
    for number in 0..2000 {
        let fails = |bug| {
            seed(bug);
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(&mut Dice(number))));
            seed(None);
            outcome.is_err()
        };
        if fails(Some(Bug::HeadsNotSynced)) {
            assert!(!fails(None), "try {number} fails without the bug, too");
            return;
        }
    }
    panic!("the bug was not noticed");
}

/// A table is a cache: any bit of its file may be wrong.
#[test]
fn a_flipped_bit_of_the_file_costs_a_table_and_nothing_else() {
    let mut made = Rig::new(LATER);
    run(&mut made, &workload());
    made.step(Step::Reopen).unwrap();
    made.store().close().unwrap();
    made.store = None;
    for offset in (0..72).chain(512..560).chain(1024..1072).chain((4096..8192).step_by(61)) {
        let mut rig = made.on(made.disk.after_kill());
        rig.disk.flip_bit("HEADS", offset);
        rig.open().unwrap();
        for user in 0..3 {
            rig.step(append(user)).unwrap();
        }
        rig.verify_open();
    }
}

fn event(user: usize, padding: usize) -> NewEvent<'static> {
    let details = Details::from_value(&serde_json::json!({ "text": "x".repeat(padding) })).unwrap();
    let user = UserId::new(format!("user {user}")).unwrap();
    let message = Message::new("wrong password").unwrap();
    NewEvent::login_failed(Some(user), message).details(details).build().unwrap()
}

#[derive(Clone, Debug)]
enum Act {
    /// Events of this many users from this one on.
    Users(usize, usize),
    Reopen,
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_usize..600, 1_usize..250).prop_map(|(first, count)| Act::Users(first, count)),
        1 => Just(Act::Reopen),
        1 => Just(Act::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tables that grow, are closed, copied and made anew: each receipt has the user sequence that a map says.
    #[test]
    fn user_sequences_are_what_a_map_says(acts in proptest::collection::vec(act(), 1..40)) {
        let mut rig = Rig::new(LATER);
        let mut counts: HashMap<usize, u64> = HashMap::new();
        for act in acts {
            match act {
                Act::Users(first, count) => {
                    let events: Vec<_> = (first..first + count).map(|user| event(user, 3000)).collect();
                    let receipts = rig.store().append_batch(&events).unwrap();
                    for (user, receipt) in (first..).zip(&receipts) {
                        let count = counts.entry(user).or_default();
                        prop_assert_eq!(receipt.user_sequence.unwrap().get(), *count, "user {}", user);
                        *count += 1;
                    }
                }
                Act::Reopen => {
                    rig.store().close().unwrap();
                    rig.store = None;
                    rig.open().unwrap();
                }
                Act::Kill => {
                    rig.kill();
                    rig.open().unwrap();
                }
            }
        }
        prop_assert_eq!(rig.store().stats().unwrap().users, counts.len() as u64);
        rig.store().check().unwrap();
    }
}

#[test]
fn a_table_grows_with_its_users() {
    let rig = Rig::new(LATER);
    let mut lines = Vec::new();
    for round in 0..12 {
        let events: Vec<_> = (round * 60..round * 60 + 300).map(|user| event(user, 3000)).collect();
        rig.store().append_batch(&events).unwrap();
        lines.extend(heads(&rig).map(|heads| heads.header().lines));
    }
    assert!(lines.is_sorted() && lines.first() < lines.last(), "{lines:?}");
    let heads = heads(&rig).unwrap();
    assert!(heads.users() <= heads.header().users_max());
    rig.store().check().unwrap();
}
