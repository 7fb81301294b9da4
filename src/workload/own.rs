//! The one place where the workload relies on its own texts being valid.
//!
//! Owns that promise. Must not be used for anything that comes from outside.

use crate::event::EventError;

/// What was made of texts that this module wrote itself.
///
/// # Panics
///
/// If an event's rules refuse one of those texts. The configuration is numbers only and can't bring that about;
/// tests make every text there is.
#[inline]
#[track_caller]
#[expect(
    clippy::expect_used,
    reason = "a generator that returned errors would burden each caller with an impossible case"
)]
pub(super) fn own<T>(made: Result<T, EventError>) -> T {
    made.expect("the workload's own texts are valid")
}
