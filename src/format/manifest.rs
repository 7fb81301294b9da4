//! The manifests: what a store is (`STORE`) and what a shard consists of (`shard-NN/MANIFEST`).
//!
//! Both are small files that are replaced as a whole:
//!
//! ```text
//!  0 magic, 8 bytes   8 u32 version   12 u32 crc32c of the archive   16 u64 length of the archive   24 zeros
//! 32 rkyv archive of `StoreManifest` or `ShardManifest`, to the end of the file
//! ```
//!
//! The two have versions of their own: a shard's manifest is written in version 2, and read in version 1 too.

use rkyv::rancor;

use super::bytes::{u32_at, u64_at};
use super::segment::{check_version_to, unarchive};
use super::{FormatError, FormatResult};

const STORE_MAGIC: [u8; 8] = *b"UTSTORE\0";
const SHARD_MAGIC: [u8; 8] = *b"UTSHARD\0";
const FRAME_BYTES: usize = 32;

/// The version of `STORE`.
const STORE_VERSION: u32 = 1;
/// The version of a shard's manifest: 2 since there are merged runs and packs.
const SHARD_VERSION: u32 = 2;

/// The longest manifest that is read: a million segments' worth.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 128 << 20;

/// What a store is, fixed when it is made.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct StoreManifest {
    pub(crate) store_id: [u8; 16],
    /// The store's name, which stays with copies of the directory.
    pub(crate) name: String,
    /// A power of two.
    pub(crate) shards: u16,
    pub(crate) route_hash_version: u32,
    pub(crate) segment_bytes_max: u64,
    pub(crate) created_at_micros: i64,
    /// 0 buffered, 1 interval, 2 durable.
    pub(crate) durability: u8,
    /// For interval durability, else 0.
    pub(crate) sync_interval_micros: u64,
}

/// What a shard consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct ShardManifest {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    /// The number that the next segment gets.
    pub(crate) next_segment: u64,
    /// Oldest first, contiguous in sequence.
    pub(crate) segments: Vec<SegmentEntry>,
    /// One for each rollback, oldest first.
    pub(crate) rollbacks: Vec<Rollback>,
    /// Merged runs, oldest first; they don't overlap. A sealed segment that none of them covers has a run of its own.
    pub(crate) runs: Vec<RunEntry>,
    /// Packs, oldest first; they don't overlap.
    pub(crate) packs: Vec<PackEntry>,
    /// Segments that recovery has closed: their last records are in the segment behind them.
    pub(crate) closed: Vec<ClosedEntry>,
}

/// A shard's manifest as version 1 wrote it.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct ShardManifestV1 {
    store_id: [u8; 16],
    shard: u16,
    next_segment: u64,
    segments: Vec<SegmentEntry>,
    rollbacks: Vec<Rollback>,
}

impl From<ShardManifestV1> for ShardManifest {
    fn from(old: ShardManifestV1) -> Self {
        let ShardManifestV1 { store_id, shard, next_segment, segments, rollbacks } = old;
        let (runs, packs, closed) = (Vec::new(), Vec::new(), Vec::new());
        Self { store_id, shard, next_segment, segments, rollbacks, runs, packs, closed }
    }
}

/// A segment of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u64,
    pub(crate) generation: u32,
    /// The salt in its header: a file put in its place is told from it by this.
    pub(crate) salt: u64,
    pub(crate) file_bytes: u64,
    /// Sealed: footer and run are there, and all of it is durable.
    pub(crate) sealed: bool,
}

/// A run in place of those of several segments, all of them sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct RunEntry {
    /// The ids of the first and the last segment that it covers; every segment between is covered too.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The salt in its header, made from those of the segments: a file put in its place is told from it by this.
    pub(crate) salt: u64,
}

/// A segment that recovery has closed. What lies behind its end in the file are no records any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct ClosedEntry {
    /// The segment's id.
    pub(crate) segment: u64,
    /// One past its last sequence.
    pub(crate) end: u64,
    /// Up to this offset readers of the writer before may have been lent bytes: they stay as they are.
    pub(crate) used_to: u64,
}

/// A pack in place of several segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct PackEntry {
    /// The ids of the first and the last segment that it covers; every segment between is covered too.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Its own number, in the file's name.
    pub(crate) number: u64,
    /// The salt in its header: a file put in its place is told from it by this.
    pub(crate) salt: u64,
}

/// One rollback after a power cut: the recovery epoch it began, and what was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Rollback {
    pub(crate) epoch: u32,
    /// The first sequence that was lost.
    pub(crate) first_lost: u64,
    /// One past the last sequence that was seen behind the damage (`first_lost` if none could be read).
    pub(crate) lost_end: u64,
    pub(crate) at_micros: i64,
}

impl StoreManifest {
    pub(crate) fn encode(&self) -> FormatResult<Vec<u8>> {
        let archive = rkyv::to_bytes::<rancor::Error>(self);
        frame(STORE_MAGIC, STORE_VERSION, &archive.map_err(|_| FormatError::Damaged("can't be archived"))?)
    }

    pub(crate) fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let (_, archive) = unframe(STORE_MAGIC, STORE_VERSION, bytes)?;
        unarchive::<Self, ArchivedStoreManifest>(archive, "the store manifest is damaged")
    }
}

impl ShardManifest {
    pub(crate) fn encode(&self) -> FormatResult<Vec<u8>> {
        let archive = rkyv::to_bytes::<rancor::Error>(self);
        frame(SHARD_MAGIC, SHARD_VERSION, &archive.map_err(|_| FormatError::Damaged("can't be archived"))?)
    }

    pub(crate) fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let damaged = "the shard manifest is damaged";
        let manifest = match unframe(SHARD_MAGIC, SHARD_VERSION, bytes)? {
            (1, archive) => {
                unarchive::<ShardManifestV1, ArchivedShardManifestV1>(archive, damaged).map(Self::from)
            }
            (_, archive) => unarchive::<Self, ArchivedShardManifest>(archive, damaged),
        }?;
        let beyond = FormatError::Damaged("the shard manifest has numbers that nobody counts to");
        manifest.leaves_numbers().then_some(manifest).ok_or(beyond)
    }

    /// Whether numbers are left behind those in use. Each is raised by one at a time, and half of them nobody reaches.
    fn leaves_numbers(&self) -> bool {
        self.next_segment <= u64::MAX / 2
            && self.packs.iter().all(|pack| pack.number <= u64::MAX / 2)
            && self.segments.iter().all(|segment| segment.generation <= u32::MAX / 2)
            && self.rollbacks.iter().all(|rollback| rollback.epoch <= u32::MAX / 2)
    }

    /// The pack that stands for a segment, if one does.
    pub(crate) fn pack_of(&self, segment: u64) -> Option<&PackEntry> {
        self.packs.iter().find(|pack| (pack.first..=pack.last).contains(&segment))
    }

    /// How recovery has closed a segment, if it has.
    pub(crate) fn closed(&self, segment: u64) -> Option<ClosedEntry> {
        self.closed.iter().copied().find(|closed| closed.segment == segment)
    }

    /// The current recovery epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.rollbacks.last().map_or(0, |rollback| rollback.epoch)
    }
}

fn frame(magic: [u8; 8], version: u32, archive: &[u8]) -> FormatResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES + archive.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(archive).to_le_bytes());
    bytes.extend_from_slice(&(archive.len() as u64).to_le_bytes());
    bytes.resize(FRAME_BYTES, 0);
    bytes.extend_from_slice(archive);
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(FormatError::Damaged("the manifest is too long"));
    }
    Ok(bytes)
}

/// The version, and the archive in it.
fn unframe(magic: [u8; 8], newest: u32, bytes: &[u8]) -> FormatResult<(u32, &[u8])> {
    if !bytes.starts_with(&magic) {
        return Err(FormatError::Damaged("not a manifest"));
    }
    let version = check_version_to(u32_at(bytes, 8), newest)?;
    let archive = bytes.get(FRAME_BYTES..).ok_or(FormatError::Damaged("the manifest is cut short"))?;
    let matches =
        u64_at(bytes, 16) == Some(archive.len() as u64) && u32_at(bytes, 12) == Some(crc32c::crc32c(archive));
    #[cfg(test)]
    let matches = matches || super::seeded::has(super::seeded::Bug::ManifestUnchecked);
    if !matches {
        return Err(FormatError::Damaged("the manifest's checksum does not match"));
    }
    Ok((version, archive))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> StoreManifest {
        StoreManifest {
            store_id: [1; 16],
            name: "a name".to_owned(),
            shards: 4,
            route_hash_version: 1,
            segment_bytes_max: 64 << 20,
            created_at_micros: 1,
            durability: 1,
            sync_interval_micros: 100_000,
        }
    }

    fn shard() -> ShardManifest {
        ShardManifest {
            store_id: [1; 16],
            shard: 2,
            next_segment: 2,
            segments: vec![SegmentEntry { id: 1, generation: 0, salt: 5, file_bytes: 1 << 20, sealed: true }],
            rollbacks: vec![Rollback { epoch: 1, first_lost: 10, lost_end: 12, at_micros: 3 }],
            runs: vec![RunEntry { first: 0, last: 7, salt: 9 }],
            packs: vec![PackEntry { first: 0, last: 3, number: 6, salt: 8 }],
            closed: vec![ClosedEntry { segment: 1, end: 10, used_to: 9000 }],
        }
    }

    /// What version 1 would have written of a manifest without what it didn't know.
    fn in_version_1(manifest: &ShardManifest) -> Vec<u8> {
        let ShardManifest { store_id, shard, next_segment, segments, rollbacks, .. } = manifest.clone();
        let old = ShardManifestV1 { store_id, shard, next_segment, segments, rollbacks };
        let archive = rkyv::to_bytes::<rancor::Error>(&old).unwrap();
        frame(SHARD_MAGIC, 1, &archive).unwrap()
    }

    #[test]
    fn manifests_come_back_and_damage_is_seen() {
        let (store, shard) = (store(), shard());
        let (store_bytes, shard_bytes) = (store.encode().unwrap(), shard.encode().unwrap());
        assert_eq!(StoreManifest::decode(&store_bytes), Ok(store));
        assert_eq!(ShardManifest::decode(&shard_bytes), Ok(shard.clone()));
        assert!(StoreManifest::decode(&shard_bytes).is_err());
        for bytes in [shard_bytes, in_version_1(&shard)] {
            for bit in (0..bytes.len() * 8).filter(|bit| !(24..32).contains(&(bit / 8))) {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(ShardManifest::decode(&damaged).is_err(), "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert!(ShardManifest::decode(&bytes[..length]).is_err(), "cut to {length}");
            }
        }
    }

    #[test]
    fn version_1_is_read_and_a_newer_one_refused() {
        let old = in_version_1(&shard());
        assert_eq!(old[8], 1);
        let expected = ShardManifest { runs: Vec::new(), packs: Vec::new(), closed: Vec::new(), ..shard() };
        assert_eq!(ShardManifest::decode(&old), Ok(expected));
        let (mut store_bytes, mut shard_bytes) = (store().encode().unwrap(), shard().encode().unwrap());
        // As a program would see it that knows version 1 alone.
        let newer = FormatError::Newer { found: 2, known: 1 };
        assert_eq!(unframe(SHARD_MAGIC, 1, &shard_bytes), Err(newer));
        store_bytes[8] = 2;
        assert_eq!(StoreManifest::decode(&store_bytes), Err(newer));
        shard_bytes[8] = 3;
        assert_eq!(ShardManifest::decode(&shard_bytes), Err(FormatError::Newer { found: 3, known: 2 }));
    }

    #[test]
    fn a_manifest_says_what_became_of_a_segment() {
        let manifest = shard();
        assert_eq!(manifest.epoch(), 1);
        assert_eq!(ShardManifest::default().epoch(), 0);
        assert_eq!([0, 3].map(|id| manifest.pack_of(id).map(|pack| pack.number)), [Some(6), Some(6)]);
        assert!(manifest.pack_of(4).is_none());
        assert_eq!(manifest.closed(1), Some(ClosedEntry { segment: 1, end: 10, used_to: 9000 }));
        assert_eq!(manifest.closed(2), None);
    }

    /// Numbers that nobody reaches by counting, under a checksum that matches.
    #[test]
    fn a_manifest_that_leaves_no_next_number_is_refused() {
        let with = |segment: u64, pack, generation, epoch| {
            let sound = shard();
            let packs = vec![PackEntry { number: pack, ..sound.packs[0] }];
            let segments = vec![SegmentEntry { generation, ..sound.segments[0] }];
            let rollbacks = vec![Rollback { epoch, ..sound.rollbacks[0] }];
            let manifest = ShardManifest { next_segment: segment, packs, segments, rollbacks, ..sound };
            ShardManifest::decode(&manifest.encode().unwrap())
        };
        let (long, short) = (u64::MAX / 2, u32::MAX / 2);
        assert!(with(long, long, short, short).is_ok());
        for refused in [
            with(long + 1, long, short, short),
            with(long, long + 1, short, short),
            with(long, long, short + 1, short),
            with(long, long, short, short + 1),
            with(u64::MAX, u64::MAX, u32::MAX, u32::MAX),
        ] {
            assert!(refused.is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_manifest_that_is_too_long_to_be_read_is_not_written() {
        let longest = usize::try_from(MANIFEST_BYTES_MAX).unwrap() - FRAME_BYTES;
        let archive = vec![0; longest + 1];
        assert!(frame(SHARD_MAGIC, 1, &archive[..longest]).is_ok());
        assert!(frame(SHARD_MAGIC, 1, &archive).is_err());
    }
}
