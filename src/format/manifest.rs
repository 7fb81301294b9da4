//! The manifests: what a store is (`STORE`) and what a shard consists of (`shard-NN/MANIFEST`).
//!
//! Both are small files that are replaced as a whole:
//!
//! ```text
//!  0 magic, 8 bytes   8 u32 version   12 u32 crc32c of the archive   16 u64 length of the archive   24 zeros
//! 32 rkyv archive of `StoreManifest` or `ShardManifest`, to the end of the file
//! ```

use rkyv::rancor;

use super::bytes::{u32_at, u64_at};
use super::segment::{check_version, unarchive};
use super::{FORMAT_VERSION, FormatError, FormatResult};

const STORE_MAGIC: [u8; 8] = *b"UTSTORE\0";
const SHARD_MAGIC: [u8; 8] = *b"UTSHARD\0";
const FRAME_BYTES: usize = 32;

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
        frame(STORE_MAGIC, &archive.map_err(|_| FormatError::Damaged("can't be archived"))?)
    }

    pub(crate) fn decode(bytes: &[u8]) -> FormatResult<Self> {
        unarchive::<Self, ArchivedStoreManifest>(
            unframe(STORE_MAGIC, bytes)?,
            "the store manifest is damaged",
        )
    }
}

impl ShardManifest {
    pub(crate) fn encode(&self) -> FormatResult<Vec<u8>> {
        let archive = rkyv::to_bytes::<rancor::Error>(self);
        frame(SHARD_MAGIC, &archive.map_err(|_| FormatError::Damaged("can't be archived"))?)
    }

    pub(crate) fn decode(bytes: &[u8]) -> FormatResult<Self> {
        unarchive::<Self, ArchivedShardManifest>(
            unframe(SHARD_MAGIC, bytes)?,
            "the shard manifest is damaged",
        )
    }

    /// The current recovery epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.rollbacks.last().map_or(0, |rollback| rollback.epoch)
    }
}

fn frame(magic: [u8; 8], archive: &[u8]) -> FormatResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES + archive.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(archive).to_le_bytes());
    bytes.extend_from_slice(&(archive.len() as u64).to_le_bytes());
    bytes.resize(FRAME_BYTES, 0);
    bytes.extend_from_slice(archive);
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(FormatError::Damaged("the manifest is too long"));
    }
    Ok(bytes)
}

fn unframe(magic: [u8; 8], bytes: &[u8]) -> FormatResult<&[u8]> {
    if !bytes.starts_with(&magic) {
        return Err(FormatError::Damaged("not a manifest"));
    }
    check_version(u32_at(bytes, 8))?;
    let archive = bytes.get(FRAME_BYTES..).ok_or(FormatError::Damaged("the manifest is cut short"))?;
    if u64_at(bytes, 16) != Some(archive.len() as u64) || u32_at(bytes, 12) != Some(crc32c::crc32c(archive)) {
        return Err(FormatError::Damaged("the manifest's checksum does not match"));
    }
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_come_back_and_damage_is_seen() {
        let store = StoreManifest {
            store_id: [1; 16],
            name: "a name".to_owned(),
            shards: 4,
            route_hash_version: 1,
            segment_bytes_max: 64 << 20,
            created_at_micros: 1,
            durability: 1,
            sync_interval_micros: 100_000,
        };
        let shard = ShardManifest {
            store_id: [1; 16],
            shard: 2,
            next_segment: 2,
            segments: vec![SegmentEntry { id: 1, generation: 0, salt: 5, file_bytes: 1 << 20, sealed: true }],
            rollbacks: vec![Rollback { epoch: 1, first_lost: 10, lost_end: 12, at_micros: 3 }],
        };
        let (store_bytes, shard_bytes) = (store.encode().unwrap(), shard.encode().unwrap());
        assert_eq!(StoreManifest::decode(&store_bytes), Ok(store));
        assert_eq!(ShardManifest::decode(&shard_bytes), Ok(shard));
        assert!(StoreManifest::decode(&shard_bytes).is_err());
        for bit in (0..shard_bytes.len() * 8).filter(|bit| !(24..32).contains(&(bit / 8))) {
            let mut damaged = shard_bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(ShardManifest::decode(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..shard_bytes.len() {
            assert!(ShardManifest::decode(&shard_bytes[..length]).is_err(), "cut to {length}");
        }
        let mut newer = store_bytes;
        newer[8] = 2;
        assert_eq!(StoreManifest::decode(&newer), Err(FormatError::Newer(2)));
    }
}
