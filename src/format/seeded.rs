//! Bugs on purpose, for tests that show that other tests would notice them. Exists in tests only.

use std::cell::Cell;

/// A bug that a test can switch on in its own thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// A record's checksum is not compared.
    ChecksumIgnored,
    /// A waiter is told that its record is durable before anything was synced.
    AcknowledgedBeforeSync,
    /// A torn atomic group is taken for whole.
    GroupIgnored,
    /// Opening after a crash goes on in the epoch that was.
    EpochKept,
    /// What survived in the cache serves without being copied and synced.
    CacheTrusted,
    /// A failed sync is forgotten.
    SyncErrorForgotten,
    /// What lies below the durable floor may be cut off.
    FloorIgnored,
    /// A head table says that it covers what was never synced.
    HeadsNotSynced,
    /// An index checkpoint covers records that are not durable yet.
    CheckpointAhead,
    /// Runs are removed before the manifest names the one that they were merged into.
    MergedTooSoonRemoved,
    /// A merged run is not synced.
    MergedUnsynced,
    /// A byte of a pack is wrong.
    PackSpoiled,
    /// A pack with a wrong byte takes its segments' place unverified.
    PackUnverified,
    /// Segments are removed before the manifest that names their pack is durable.
    PackedBeforeManifest,
    /// Opening forgets the segments that the manifest doesn't list yet.
    UnlistedForgotten,
    /// Records are told to be durable whose segment's name is not.
    NameNotSynced,
    /// A cold page touches records that the disk was not asked for.
    RecordsNotAsked,
    /// Nobody brings in what look-ups pass.
    WarmingForgotten,
}

thread_local! {
    static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this thread has the bug.
pub(crate) fn has(bug: Bug) -> bool {
    SEEDED.get() == Some(bug)
}

/// Switches a bug on in this thread, or all of them off.
pub(crate) fn seed(bug: Option<Bug>) {
    SEEDED.set(bug);
}
