//! Power cuts while a store is made.

use super::power::{images_max, run};
use super::rig::{LATER, Rig, Step};
use crate::io::faulty::{Damage, Dice, Fault};

#[test]
fn a_power_cut_while_a_store_is_made_leaves_a_store_or_room_for_one() {
    let mut counting = Rig::unmade(LATER);
    counting.disk.inject(Fault::Crash, usize::MAX);
    counting.open().unwrap();
    let places = counting.disk.trace().len();
    let mut dice = Dice(4);
    for place in 0..places {
        for image in 0..(images_max() / 50).max(4) {
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
