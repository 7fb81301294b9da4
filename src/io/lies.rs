//! What the real disk does wrong on purpose, in a process that exists for it: what the tests under real mappings must catch.
//! Exists in tests only.

use std::sync::OnceLock;

/// A wrong way to make something durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    /// `msync(MS_ASYNC)` in the place of a sync: it returns at once.
    AsynchronousSync,
    /// A sync of the first half of the file alone.
    SyncTooShort,
    /// Names are not synced.
    DirectoryNotSynced,
    /// A file that takes another's place is not synced before.
    ReplacementNotSynced,
}

static TOLD: OnceLock<Lie> = OnceLock::new();

/// Whether the disk tells this lie.
pub(crate) fn tells(lie: Lie) -> bool {
    TOLD.get() == Some(&lie)
}

/// The disk tells it from now on, for good.
#[cfg(target_os = "linux")]
pub(crate) fn tell(lie: Lie) {
    TOLD.get_or_init(|| lie);
}
