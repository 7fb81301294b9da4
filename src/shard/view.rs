//! What readers see of a shard at one moment: its segments, and the postings that cover them.
//!
//! Immutable but for the active segment's published count. Replaced as a whole at rollover and sealing.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::event::EventView;
use crate::format::keys::IndexKey;
use crate::format::manifest::Rollback;
use crate::ids::{Fingerprint, ShardId};
use crate::index::UserHead;
use crate::index::heads::{HeadTable, Look};
use crate::index::run::Run;
use crate::index::tail::TailIndex;
use crate::io::faults::waited_for_disk;
use crate::segment::Segment;
use crate::segment::pack::{Block, Pack};

/// A shard as readers see it.
#[derive(Clone, Debug)]
pub(crate) struct ShardView {
    pub(crate) shard: ShardId,
    /// What lies before the segments, oldest first, contiguous.
    pub(crate) packs: Vec<Arc<Pack>>,
    /// Oldest first, contiguous. Never empty.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Who has which events: oldest first, contiguous, covering all segments.
    pub(crate) sources: Vec<Source>,
    pub(crate) rollbacks: Arc<[Rollback]>,
    /// For the writer: what users had in sealed segments, as far as it goes.
    pub(crate) heads: Option<Arc<HeadTable>>,
    /// Shared by all views of a shard.
    pub(crate) coldness: Arc<Coldness>,
}

/// Whether reads of a shard went to the disk lately.
#[derive(Debug)]
pub(crate) struct Coldness(AtomicU32);

impl Default for Coldness {
    /// What was just opened is likely not in memory.
    fn default() -> Self {
        Self(AtomicU32::new(COLD_PAGES))
    }
}

/// How many pages after a slow one are taken for cold before it is looked at again.
const COLD_PAGES: u32 = 64;

impl Coldness {
    /// Whether what is read now is likely not in memory.
    #[inline]
    pub(crate) fn is_cold(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            // Two at a time may count as one: it is an estimate.
            self.0.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// A read was slow: cold, if it went to the disk. A thread that lost its processor for a moment, or a page of memory that
    /// had to be mapped, is as slow, and taking the next pages for cold would make each a hundred calls of the system slower.
    /// Says which it was.
    #[cold]
    pub(crate) fn note_slow(&self) -> bool {
        let cold = waited_for_disk();
        if cold {
            self.0.store(COLD_PAGES, Ordering::Relaxed);
        }
        cold
    }
}

/// What one read sees: a view, and how far.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) view: Arc<ShardView>,
    /// One past the last sequence that may be shown: the published tail, in a durable store the durable one.
    pub(crate) end: u64,
}

impl Reading {
    /// How many records of an unsealed segment may be shown.
    pub(crate) fn visible(&self, segment: &Segment) -> u64 {
        visible(segment, self.end)
    }

    /// How many events the user has.
    pub(crate) fn user_count(&self, user: Fingerprint) -> Result<u64> {
        self.view.user_count(user, self.end)
    }

    /// The sequences that may be shown.
    pub(crate) fn sequences(&self) -> std::ops::Range<u64> {
        self.view.start()..self.end.min(self.view.end())
    }
}

fn visible(segment: &Segment, end: u64) -> u64 {
    segment.published().min(end.saturating_sub(segment.base()))
}

/// Some of a shard's postings.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Of sealed segments.
    Run(Arc<Run>),
    /// Of a segment that isn't sealed yet.
    Tail(Arc<TailIndex>, Arc<Segment>),
}

impl Source {
    /// One past the last sequence of its range.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Run(run) => run.end(),
            Self::Tail(_, segment) => segment.end(),
        }
    }

    /// How many events the user has had up to the end of this source, and which was the last; `None` if none of them
    /// is here. For the writer: counts what isn't published yet.
    pub(crate) fn head(&self, user: Fingerprint) -> Result<Option<UserHead>> {
        match self {
            Self::Run(run) => Ok(run.user(user)?.map(|user| user.head())),
            Self::Tail(tail, _) => Ok(tail.slot(user).map(|slot| tail.head(slot))),
        }
    }

    /// How many events the user has had up to the end of this source, those below the sequence `end` alone.
    fn visible_count(&self, user: Fingerprint, end: u64) -> Result<Option<u64>> {
        match self {
            Self::Run(run) => Ok(run.user(user)?.map(|user| user.count_before() + u64::from(user.count()))),
            Self::Tail(tail, segment) => {
                let user = tail.user(user, visible(segment, end));
                Ok(user.map(|user| user.count_before() + u64::from(user.count())))
            }
        }
    }
}

/// A record's leaf.
#[derive(Debug)]
pub(crate) enum Leaf<'v> {
    /// In a mapped segment.
    Lent(&'v [u8]),
    /// In a block of a pack, at this place.
    Packed(Block, usize),
}

impl Deref for Leaf<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(leaf) => leaf,
            Self::Packed(block, index) => block.leaf(*index).unwrap_or_default(),
        }
    }
}

impl ShardView {
    /// One past the last published sequence.
    pub(crate) fn end(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end())
    }

    /// The first sequence that is there.
    pub(crate) fn start(&self) -> u64 {
        let packed = self.packs.first().map(|pack| pack.base());
        packed.or_else(|| Some(self.segments.first()?.base())).unwrap_or_default()
    }

    /// The pack that holds a sequence, and its place in `packs`.
    pub(crate) fn pack_of(&self, sequence: u64) -> Option<(usize, &Arc<Pack>)> {
        let place = self.packs.partition_point(|pack| pack.end() <= sequence);
        let pack = self.packs.get(place)?;
        (pack.base() <= sequence).then_some((place, pack))
    }

    /// The index runs, the oldest first.
    pub(crate) fn runs(&self) -> impl DoubleEndedIterator<Item = &Arc<Run>> {
        self.sources.iter().filter_map(|source| match source {
            Source::Run(run) => Some(run),
            Source::Tail(..) => None,
        })
    }

    /// One past the last sequence that lies in a pack.
    pub(crate) fn packs_end(&self) -> u64 {
        self.packs.last().map_or(0, |pack| pack.end())
    }

    /// The current recovery epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.rollbacks.last().map_or(0, |rollback| rollback.epoch)
    }

    /// The first sequence that was rolled back after `epoch`, if any was.
    pub(crate) fn first_lost_after(&self, epoch: u32) -> Option<u64> {
        let later = self.rollbacks.iter().filter(|rollback| rollback.epoch > epoch);
        later.map(|rollback| rollback.first_lost).min()
    }

    /// The id of the sealed segment that holds a sequence, packed or not.
    pub(crate) fn segment_id_of(&self, sequence: u64) -> Option<u64> {
        if let Some((_, pack)) = self.pack_of(sequence) {
            let place = pack.parts().partition_point(|part| part.end() <= sequence);
            return pack.parts().get(place).map(|part| part.segment);
        }
        self.segment_of(sequence).map(|(_, segment)| segment.header().segment)
    }

    /// The segment that holds a sequence, and its place in `segments`.
    pub(crate) fn segment_of(&self, sequence: u64) -> Option<(usize, &Arc<Segment>)> {
        let behind = self.segments.partition_point(|segment| segment.base() <= sequence);
        let place = behind.checked_sub(1)?;
        let segment = self.segments.get(place)?;
        (sequence < segment.end()).then_some((place, segment))
    }

    /// The leaf of a record, wherever it lies.
    pub(crate) fn leaf(&self, sequence: u64) -> Result<Leaf<'_>> {
        if let Some((_, pack)) = self.pack_of(sequence) {
            let (block, index) = pack.find(sequence)?;
            return Ok(Leaf::Packed(block, index));
        }
        let (_, segment) = self.segment_of(sequence).ok_or_else(|| {
            Error::new(
                ErrorKind::Corruption,
                format!("the index names record {sequence} of shard {}, which is not there", self.shard),
            )
        })?;
        segment.leaf(sequence).map(Leaf::Lent)
    }

    /// What the user had before the newest source, which is the writer's own: from the sources, the newest first, until the
    /// head table covers the rest.
    pub(crate) fn head_before_newest(&self, user: Fingerprint) -> Result<Option<UserHead>> {
        let mut table = self.heads.as_deref();
        // Once: a source that is taken in meanwhile is asked as well.
        let covers = table.map_or(0, HeadTable::covers);
        for source in self.sources.iter().rev().skip(1) {
            if let Some(heads) = table.filter(|_| source.end() <= covers) {
                match heads.look_up(user) {
                    Look::Known(head) => return Ok(head),
                    Look::Unknown => table = None,
                }
            }
            if let Some(head) = source.head(user)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    fn user_count(&self, user: Fingerprint, end: u64) -> Result<u64> {
        for source in self.sources.iter().rev() {
            if let Some(count) = source.visible_count(user, end)? {
                return Ok(count);
            }
        }
        Ok(0)
    }

    /// Compares each record of a user with what the index says: walks all records and counts along.
    pub(crate) fn check_index(&self, key: &IndexKey) -> Result<()> {
        let mut counts: HashMap<Fingerprint, u64> = HashMap::new();
        let mut count = |leaf: &[u8], path: &Path, offset: &dyn Fn(u64) -> usize| {
            let event =
                EventView::parse(leaf).map_err(|error| Error::corruption(path, 0, error.to_string()))?;
            let (Some(user), Some(user_sequence)) = (event.user_id_bytes(), event.user_sequence()) else {
                return Ok(());
            };
            let next = counts.entry(key.fingerprint(user)).or_insert(user_sequence);
            if *next != user_sequence {
                let message = format!("user sequence {user_sequence} stands where {next} should");
                return Err(Error::corruption(path, offset(event.sequence()) as u64, message));
            }
            *next += 1;
            Ok(())
        };
        // A pack has its records by user, and each user's in their order: that is all that is needed here.
        for pack in &self.packs {
            pack.verify(|leaf| count(leaf, pack.path(), &|_| 0))?;
        }
        for segment in &self.segments {
            let offset = |sequence| segment.offset_of(sequence - segment.base()).unwrap_or_default();
            segment.verify(|leaf| count(leaf, segment.path(), &offset))?;
        }
        for (user, count) in counts {
            let indexed = self.user_count(user, u64::MAX)?;
            if indexed < count {
                let message =
                    format!("the index of shard {} has {indexed} events of a user, not {count}", self.shard);
                return Err(Error::new(ErrorKind::Corruption, message));
            }
        }
        Ok(())
    }
}
