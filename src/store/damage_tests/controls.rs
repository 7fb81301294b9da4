//! Bugs on purpose: each check that is left out must be noticed by the very test of damage, by some image of few.

use super::{Change, Ground, Image, Kind, kind_of};
use crate::figures::Controls;
use crate::format::seeded::{Bug, seed};
use crate::io::faulty::Dice;

/// Each bug, the kind of file in which it shows, and in how many bytes at the file's end.
const BUGS: [(Bug, Kind, usize); 9] = [
    (Bug::ChecksumIgnored, Kind::Segment, usize::MAX),
    (Bug::FooterUnchecked, Kind::Segment, 1024),
    (Bug::ManifestUnchecked, Kind::Manifest, usize::MAX),
    (Bug::KeyUnchecked, Kind::Key, usize::MAX),
    (Bug::RunUnchecked, Kind::Run, usize::MAX),
    (Bug::HeadUnchecked, Kind::Heads, usize::MAX),
    (Bug::CheckpointUnchecked, Kind::Checkpoint, usize::MAX),
    (Bug::PackBlockUnchecked, Kind::Pack, usize::MAX),
    (Bug::PackIndexUnchecked, Kind::Pack, usize::MAX),
];

/// How many images a bug may escape.
const TRIES: usize = 3_000;

/// Whether flipped bits of files of this kind notice the bug; each image that does is fine without it.
fn is_noticed(ground: &Ground, (bug, kind, tail): (Bug, Kind, usize)) -> bool {
    let mut dice = Dice(11);
    // Zeros are padding mostly, which means nothing.
    let places: Vec<(Image, usize)> = ground
        .files()
        .filter(|(path, _)| kind_of(path) == Some(kind))
        .flat_map(|(path, bytes)| {
            let from = bytes.len().saturating_sub(tail);
            let set = bytes.iter().enumerate().skip(from).filter(|(_, byte)| **byte != 0);
            set.map(|(at, _)| ((path.clone(), Change::Flip(at * 8)), at))
        })
        .collect();
    for _ in 0..TRIES {
        let ((path, _), at) = &places[dice.below(places.len())];
        let image = (path.clone(), Change::Flip(at * 8 + dice.below(8)));
        let read_only = dice.below(2) == 0;
        seed(Some(bug));
        let outcome = ground.try_image(&image, read_only, false);
        seed(None);
        if outcome.is_err() {
            let without = ground.try_image(&image, read_only, false);
            assert!(without.is_ok(), "without the bug, too: {:?}", without.err());
            return true;
        }
    }
    false
}

/// How many of the bugs the test of damage notices.
pub(super) fn all() -> Controls {
    let ground = Ground::new();
    let mut controls = Controls::default();
    let mut missed = Vec::new();
    for bug in BUGS {
        let caught = is_noticed(&ground, bug);
        controls.add(caught);
        if !caught {
            missed.push(bug);
        }
    }
    controls.add(super::cursors::bug_is_noticed());
    assert!(missed.is_empty(), "not noticed: {missed:?}");
    assert_eq!(controls.caught, controls.seeded);
    controls
}
