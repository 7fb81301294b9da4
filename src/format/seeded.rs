//! Bugs on purpose, for tests that show that other tests would notice them; and random numbers that are the same each time,
//! for tests that are to be repeated. Exists in tests only.

use std::cell::Cell;
use std::sync::OnceLock;

/// A bug that a test can switch on in its own thread, or in a process that exists for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// A segment that was sealed over a damaged record is taken for one whose checksums were compared.
    DamageTakenForChecked,
    /// A damaged record of a segment that is sealed is indexed as if it had occurred at one known time.
    DamageAtOneTime,
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
    /// A store is made where it was vacant before the lock was waited for.
    VacantWithoutLock,
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
    /// A shard's manifest is not synced before it gets its name.
    ManifestNotSynced,
    /// The directory is not synced when a shard's manifest was replaced.
    ManifestNameNotSynced,
    /// A segment's index run is not synced before the manifest says that the segment is sealed.
    RunNotSynced,
    /// A segment is not synced before the manifest says that it is sealed.
    SealNotSynced,
    /// A pack is not synced before the manifest names it.
    PackNotSynced,
    /// A pack is removed before the manifest that names its segments again is durable.
    UnpackedBeforeManifest,
    /// Records say that what was published before them is durable.
    FloorAhead,
    /// A slot says that what was published is durable.
    SlotAhead,
    /// A segment that is used again says still that it was closed cleanly.
    CleanSlotKept,
    /// What is rescued from the cache is not synced before it serves.
    RescueNotSynced,
    /// The name of what is rescued from the cache is not synced before the manifest lists it.
    RescueNameNotSynced,
    /// A segment is closed in the manifest under a generation that its file has left behind.
    ClosedUnderOldGeneration,
    /// Opening removes what the manifest doesn't name, though that manifest may be in the cache alone.
    RemovedBeforeManifest,
    /// Opening removes segments that the manifest is too old to know of, whatever they hold.
    NewerForgotten,
    /// The name of a damaged file that a repair keeps is not synced before the original is replaced.
    DamagedNameNotSynced,
    /// A new epoch is not written down before it serves.
    EpochNotWritten,
    /// Readers in other processes are told that records are durable before they are synced.
    ToldBeforeSync,
    /// What a failed sync may lose is not kept in memory.
    CopyForgotten,
    /// A shard takes writes after a failed sync.
    PoisonForgotten,
    /// Nobody looks whether a file that is synced still has a name.
    RemovalUnchecked,
    /// A manifest that was begun on a full disk stays there.
    RemainsLeft,
    /// The directories that lead to a new store are not synced.
    StoreNameNotSynced,
    /// A store is opened whose own name may be in the cache alone.
    OpenedNameNotSynced,
    /// Opening lists segments in the manifest that may be in the cache alone.
    UnlistedNotSynced,
    /// An event may get the id of one that was lost.
    IdsRepeated,
    /// A manifest's checksum is not compared.
    ManifestUnchecked,
    /// The checksums of a segment's trailer and footer are not compared.
    FooterUnchecked,
    /// A run's pages are not compared with their checksums.
    RunUnchecked,
    /// A head table's entries are not checked.
    HeadUnchecked,
    /// An index checkpoint's checksum is not compared.
    CheckpointUnchecked,
    /// A pack's blocks are not compared with their checksums.
    PackBlockUnchecked,
    /// The pages of a pack's index are not compared with their checksums.
    PackIndexUnchecked,
    /// The key file's checksum is not compared, and the key is taken for the store's own.
    KeyUnchecked,
    /// A cursor's tag is not compared.
    CursorUnchecked,
    /// A cursor passes over one event more where runs were merged.
    CursorPastMerged,
    /// What a filter says of levels, categories and statuses is not asked of runs.
    TagsForgottenInRuns,
    /// A durable store shows what is not durable yet.
    UnpublishedShown,
    /// A reader beside the writer doesn't go on in the next segment.
    FollowingForgotten,
    /// A cold page touches records that the disk was not asked for.
    RecordsNotAsked,
    /// Nobody brings in what look-ups pass.
    WarmingForgotten,
}

thread_local! {
    static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Lets all that is random in this thread follow from a seed, or be random again.
pub(crate) fn random_from(seed: Option<u64>) {
    RANDOM.set(seed);
}

/// The next number, if it is to follow from a seed.
pub(crate) fn random() -> Option<u64> {
    let next = RANDOM.get()?.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    RANDOM.set(Some(next));
    Some(next ^ next >> 29)
}

static SEEDED_IN_PROCESS: OnceLock<Bug> = OnceLock::new();

/// Whether this thread has the bug, or all of the process.
pub(crate) fn has(bug: Bug) -> bool {
    SEEDED.get() == Some(bug) || SEEDED_IN_PROCESS.get() == Some(&bug)
}

/// Switches a bug on in this thread, or all of them off.
pub(crate) fn seed(bug: Option<Bug>) {
    SEEDED.set(bug);
}

/// Switches a bug on in all threads of this process, for good: for a process that exists for that.
#[cfg(target_os = "linux")]
pub(crate) fn seed_process(bug: Bug) {
    SEEDED_IN_PROCESS.get_or_init(|| bug);
}
