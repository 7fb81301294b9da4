//! Bugs on purpose: the simulator's rounds must notice each of them, or they prove nothing. A round that fails with the bug
//! is run again without it, and must not fail.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Round;
use crate::figures::Controls;
use crate::format::seeded::{Bug, seed};
use crate::io::faulty::Fault;

/// How many rounds may pass before a bug must have been noticed.
const ROUNDS_MAX: u64 = 80;

/// Each bug, the fault that shows it if one is needed, and the round from which on it is looked for: so that few rounds are
/// run in vain.
const BUGS: &[(Bug, Option<Fault>, u64)] = &[
    (Bug::ChecksumIgnored, None, 0),
    (Bug::AcknowledgedBeforeSync, None, 0),
    (Bug::GroupIgnored, None, 3),
    (Bug::EpochKept, None, 0),
    (Bug::CacheTrusted, None, 9),
    (Bug::SyncErrorForgotten, Some(Fault::ErrorOnce), 19),
    (Bug::FloorIgnored, Some(Fault::Silent), 19),
    (Bug::HeadsNotSynced, None, 16),
    (Bug::CheckpointAhead, None, 4),
    (Bug::MergedTooSoonRemoved, None, 4),
    (Bug::MergedUnsynced, None, 0),
    (Bug::PackUnverified, None, 0),
    (Bug::PackedBeforeManifest, None, 8),
    (Bug::UnlistedForgotten, None, 7),
    (Bug::NameNotSynced, None, 0),
    (Bug::ManifestNotSynced, None, 0),
    (Bug::ManifestNameNotSynced, None, 0),
    (Bug::RunNotSynced, None, 0),
    (Bug::SealNotSynced, None, 0),
    (Bug::PackNotSynced, None, 0),
    (Bug::UnpackedBeforeManifest, None, 8),
    (Bug::FloorAhead, None, 1),
    (Bug::SlotAhead, None, 81),
    (Bug::CleanSlotKept, None, 3),
    (Bug::RescueNotSynced, None, 0),
    (Bug::RescueNameNotSynced, None, 19),
    (Bug::ClosedUnderOldGeneration, None, 7),
    (Bug::RemovedBeforeManifest, None, 10),
    (Bug::NewerForgotten, Some(Fault::Silent), 1186),
    (Bug::EpochNotWritten, None, 9),
    (Bug::ToldBeforeSync, None, 7),
    (Bug::CopyForgotten, Some(Fault::ErrorOnce), 47),
    (Bug::PoisonForgotten, Some(Fault::ErrorOnce), 16),
    (Bug::RemainsLeft, Some(Fault::NoSpace), 32),
    (Bug::StoreNameNotSynced, None, 5),
    (Bug::OpenedNameNotSynced, None, 19),
    (Bug::UnlistedNotSynced, None, 20),
    (Bug::IdsRepeated, None, 23),
];

/// The round that notices the bug, and what it says.
fn noticed(bug: Bug, fault: Option<Fault>, first: u64) -> Option<(u64, String)> {
    let run = |bug, number, images_max| {
        seed(bug);
        let mut round = Round::new(1, number).with_fault(fault);
        (round.hasty, round.images_max) = (true, images_max);
        let tally = round.run();
        seed(None);
        tally
    };
    (first..first + ROUNDS_MAX).find_map(|number| {
        let tally = run(Some(bug), number, u64::MAX);
        let failure = tally.failures.first()?;
        let without = run(None, number, tally.images);
        assert!(
            without.failures.is_empty(),
            "{bug:?}: round {number} fails without it: {:?}",
            without.failures
        );
        Some((number, failure.lines().next().unwrap_or_default().chars().take(110).collect()))
    })
}

/// Looks for all of them, or for the one that `USERTRAIL_BUG` names.
pub(super) fn controls() -> Controls {
    let only = std::env::var("USERTRAIL_BUG").ok();
    let next = AtomicUsize::new(0);
    let controls = Mutex::new(Controls::default());
    std::thread::scope(|scope| {
        for _ in 0..super::THREADS {
            scope.spawn(|| {
                while let Some((bug, fault, first)) = BUGS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if only.as_ref().is_none_or(|only| *only == format!("{bug:?}")) {
                        let noticed = noticed(*bug, *fault, *first);
                        eprintln!("{bug:?}: {noticed:?}");
                        controls.lock().unwrap().add(noticed.is_some());
                    }
                }
            });
        }
    });
    controls.into_inner().unwrap()
}
