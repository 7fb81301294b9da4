//! What a store consists of, for people who look after one: segments, floors, rollbacks, and the check shard by shard.
//!
//! Reads published views and manifests; must not change anything.

use super::{Core, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::ids::{Epoch, Sequence, ShardId};
use crate::shard::Shard;

/// A shard's segments, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShardLayout {
    /// The shard.
    pub shard: ShardId,
    /// Its first sequence.
    pub first: Sequence,
    /// One past its last sequence.
    pub end: Sequence,
    /// The durable floor: one past the last sequence that is known to be on stable storage.
    pub durable: Sequence,
    /// Its recovery epoch.
    pub epoch: Epoch,
    /// What lies before its segments, oldest first.
    pub packs: Vec<PackLayout>,
    /// Its segments that are not packed, oldest first.
    pub segments: Vec<SegmentLayout>,
    /// What began each recovery epoch, oldest first.
    pub rollbacks: Vec<RollbackNote>,
}

/// A segment of a shard.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SegmentLayout {
    /// Its number within the shard, and the name of its file.
    pub segment: u64,
    /// How often recovery has written it anew.
    pub generation: u32,
    /// Its first sequence.
    pub first: Sequence,
    /// One past its last sequence.
    pub end: Sequence,
    /// Full, durable, indexed on disk, and never written again.
    pub sealed: bool,
    /// The length of its file in bytes.
    pub file_bytes: u64,
}

/// A pack of a shard: several segments in one file, sorted by user and compressed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PackLayout {
    /// Its number within the shard, and the name of its file.
    pub pack: u64,
    /// Its first sequence.
    pub first: Sequence,
    /// One past its last sequence.
    pub end: Sequence,
    /// How many segments it stands for.
    pub segments: u64,
    /// The length of its file in bytes.
    pub file_bytes: u64,
    /// The bytes that its events had in the segments, without envelopes.
    pub leaf_bytes: u64,
}

/// The beginning of a recovery epoch: a writer ended without closing the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RollbackNote {
    /// The epoch that began.
    pub epoch: Epoch,
    /// The first sequence that was lost, or would be the first if any was.
    pub from: Sequence,
    /// One past the last lost sequence that could still be recognised; equal to `from` where none was.
    pub to: Sequence,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// What each shard consists of. Costs a look at each segment.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn layout(&self) -> Result<Vec<ShardLayout>> {
        let core = &self.0.core;
        core.check_open()?;
        core.shards.iter().map(|shard| core.layout_of(shard)).collect()
    }

    /// [`Store::check`] of one shard.
    ///
    /// # Errors
    ///
    /// As [`Store::check`], and [`InvalidOption`](ErrorKind::InvalidOption) for a shard that the store doesn't have.
    pub fn check_shard(&self, shard: ShardId) -> Result<()> {
        let shards = &self.0.core.shards;
        let found = shards.get(usize::from(shard.get())).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOption, format!("shard {shard} of {}", shards.len()))
        })?;
        found.check()
    }
}

impl Core {
    fn layout_of(&self, shard: &Shard) -> Result<ShardLayout> {
        self.follow(shard)?;
        let view = shard.view();
        let packs = view.packs.iter().map(|pack| PackLayout {
            pack: pack.header().number,
            first: Sequence::new(pack.base()),
            end: Sequence::new(pack.end()),
            segments: pack.parts().len() as u64,
            file_bytes: pack.header().file_bytes,
            leaf_bytes: pack.header().leaf_bytes,
        });
        let segments = view.segments.iter().map(|segment| SegmentLayout {
            segment: segment.header().segment,
            generation: segment.header().generation,
            first: Sequence::new(segment.base()),
            end: Sequence::new(segment.end()),
            sealed: segment.is_sealed(),
            file_bytes: segment.header().file_bytes,
        });
        let rollbacks = view.rollbacks.iter().map(|rollback| RollbackNote {
            epoch: Epoch::new(rollback.epoch),
            from: Sequence::new(rollback.first_lost),
            to: Sequence::new(rollback.lost_end),
            at: Timestamp::from_micros(rollback.at_micros),
        });
        Ok(ShardLayout {
            shard: shard.id,
            first: Sequence::new(view.start()),
            end: Sequence::new(view.end()),
            durable: Sequence::new(self.durable(shard).min(view.end())),
            epoch: Epoch::new(view.epoch()),
            packs: packs.collect(),
            segments: segments.collect(),
            rollbacks: rollbacks.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, Message, NewEvent, UserId};
    use crate::store::Options;

    #[test]
    fn a_small_store_stays_small_however_often_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().shards(1).create_if_missing(true);
        let event = NewEvent::builder(Action::AUTH_LOGIN).build().unwrap();
        for _ in 0..8 {
            let store = options.clone().open(dir.path().join("store")).unwrap();
            store.append(&event).unwrap();
            store.close().unwrap();
        }
        let store = options.open(dir.path().join("store")).unwrap();
        store.close().unwrap();
        let reader = Options::new().read_only(true).open(dir.path().join("store")).unwrap();
        let stats = reader.stats().unwrap();
        assert_eq!((stats.events, stats.per_shard[0].durable), (8, 8));
        assert!(stats.bytes_on_disk < 4 << 20, "{} bytes", stats.bytes_on_disk);
        assert!(stats.bytes_on_disk - stats.bytes_ahead < 64 << 10, "{} bytes ahead", stats.bytes_ahead);
    }

    #[test]
    fn a_reader_beside_the_writer_is_told_what_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Options::new().shards(1).create_new(dir.path().join("store")).unwrap();
        let reader = Options::new().read_only(true).open(dir.path().join("store")).unwrap();
        let event = NewEvent::builder(Action::AUTH_LOGIN).build().unwrap();
        writer.append(&event).unwrap();
        writer.flush().unwrap();
        assert_eq!(reader.stats().unwrap().per_shard[0].durable, 1);
        assert_eq!(reader.layout().unwrap()[0].durable.get(), 1);
    }

    #[test]
    fn segments_follow_each_other_and_end_where_the_shard_does() {
        let store = Options::new().shards(2).segment_bytes_max(1 << 20).in_memory().unwrap();
        let long = "x".repeat(2_000);
        for number in 0..3_000_u64 {
            let user = UserId::new(format!("user-{}", number % 7)).unwrap();
            let message = Message::new(long.as_str()).unwrap();
            let event = NewEvent::builder(Action::AUTH_LOGIN).user(user).message(message).build().unwrap();
            store.append(&event).unwrap();
        }
        store.flush().unwrap();
        let layout = store.layout().unwrap();
        assert_eq!(layout.len(), 2);
        for shard in &layout {
            assert!(shard.segments.len() > 1, "{} segments", shard.segments.len());
            let mut next = shard.first;
            for segment in &shard.segments {
                assert_eq!(segment.first, next);
                next = segment.end;
            }
            assert_eq!((next, shard.durable), (shard.end, shard.end));
            assert!(shard.rollbacks.is_empty());
            store.check_shard(shard.shard).unwrap();
        }
        assert_eq!(layout.iter().map(|shard| shard.end.get()).sum::<u64>(), 3_000);
        let beyond = store.check_shard(ShardId::new(2)).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::InvalidOption);
    }
}
