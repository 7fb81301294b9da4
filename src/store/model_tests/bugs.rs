//! Bugs on purpose: the model test's histories must notice each of them, or they prove nothing. A history that fails with
//! the bug is gone through again without it, and must not fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::{Strategy, ValueTree};

use super::history::{History, simulated};
use super::{runner, world};
use crate::figures::Controls;
use crate::format::seeded::{Bug, random_from, seed};

/// How many histories may pass before a bug must have been noticed.
const HISTORIES_MAX: u64 = 300;

/// Each bug, and the history from which on it is looked for: so that few are gone through in vain.
const BUGS: &[(Bug, u64)] = &[
    (Bug::CursorPastMerged, 13),
    (Bug::TagsForgottenInRuns, 1),
    (Bug::UnpublishedShown, 1),
    (Bug::FollowingForgotten, 13),
    (Bug::CursorUnchecked, 1),
    (Bug::EpochKept, 2),
    (Bug::IdsRepeated, 6),
    (Bug::AcknowledgedBeforeSync, 0),
    (Bug::UnlistedForgotten, 6),
    (Bug::PackNotSynced, 1),
    (Bug::MergedUnsynced, 8),
];

/// What is wrong with the store in this history.
fn failure(history: &History, bug: Option<Bug>) -> Option<String> {
    seed(bug);
    let outcome = catch_unwind(AssertUnwindSafe(|| history.run()));
    seed(None);
    random_from(None);
    let panic = outcome.err()?;
    let message = panic.downcast_ref::<String>().cloned();
    Some(message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// The history that notices the bug, and what it says.
fn noticed(bug: Bug, first: u64) -> Option<(u64, String)> {
    (first..first + HISTORIES_MAX).find_map(|number| {
        let history = simulated().new_tree(&mut runner(1, number)).unwrap().current();
        let failed = failure(&history, Some(bug))?;
        let without = failure(&history, None);
        assert_eq!(without, None, "{bug:?}: history {number} fails without it");
        Some((number, failed.chars().take(110).collect()))
    })
}

/// Looks for all of them, or for the one that `USERTRAIL_BUG` names.
pub(super) fn controls() -> Controls {
    world::foreign();
    let only = std::env::var("USERTRAIL_BUG").ok();
    let mut controls = Controls::default();
    for (bug, first) in BUGS {
        if only.as_ref().is_none_or(|only| *only == format!("{bug:?}")) {
            let noticed = noticed(*bug, *first);
            eprintln!("{bug:?}: {noticed:?}");
            controls.add(noticed.is_some());
        }
    }
    assert_eq!(controls.caught, controls.seeded, "a bug was not noticed");
    controls
}
