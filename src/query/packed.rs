//! Records of a page that lie in packs.
//!
//! A user's records stand side by side in a pack, so a page needs few blocks of it. They are asked for together, each is
//! decompressed once, and the page keeps them for as long as its events are lent.

mod walk;

use super::page::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Fingerprint;
use crate::segment::pack::{Block, Found, Pack};
use crate::shard::view::ShardView;

pub(super) use walk::{Known, Walk, may_be_in};

/// In [`Place::segment`]: the record lies in a pack, in the block with the number in the other bits.
const PACKED: u32 = 1 << 31;
/// In [`Place::segment`]: in which block of its pack the record lies is not looked up yet; `offset` is the pack's place in
/// the view.
const UNRESOLVED: u32 = u32::MAX;

/// The blocks that a page reads.
#[derive(Debug, Default)]
pub(crate) struct PackedRecords {
    key: u64,
    /// Whether any record of the page lies in a pack.
    any: bool,
    slots: Vec<Slot>,
    /// Where the record before was found in its block: the next is beside it.
    near: usize,
}

/// A block, or what is wrong with it: that is told in place of each of its events, and hides no others.
#[derive(Debug)]
struct Slot {
    pack: u32,
    found: Found,
    block: Result<Block>,
}

impl Place {
    /// Whether the record lies in a pack.
    #[inline]
    pub(crate) fn is_packed(&self) -> bool {
        self.segment & PACKED != 0
    }

    fn is_resolved(&self) -> bool {
        self.segment != UNRESOLVED
    }

    fn slot(&self) -> usize {
        (self.segment & !PACKED) as usize
    }
}

impl PackedRecords {
    pub(crate) fn of(user: Fingerprint) -> Self {
        Self { key: user.prefix(), ..Self::default() }
    }

    /// The place of a record that the index names, `None` if no pack holds it. Its block is not looked for yet.
    pub(crate) fn place(
        &mut self,
        view: &ShardView,
        sequence: u64,
        user_sequence: u64,
        asked: bool,
    ) -> Option<Place> {
        let (place, pack) = view.pack_of(sequence)?;
        self.any = true;
        Some(Place {
            segment: UNRESOLVED,
            ordinal: u32::try_from(sequence - pack.base()).unwrap_or(u32::MAX),
            offset: u32::try_from(place).unwrap_or(u32::MAX),
            asked,
            user_sequence,
        })
    }

    /// Finds the records: first all blocks are asked for, then they are read one by one.
    pub(crate) fn resolve(&mut self, view: &ShardView, places: &mut [Place]) -> Result<()> {
        if !self.any {
            return Ok(());
        }
        let first = self.slots.len();
        let mut wanted: Vec<(u32, Found)> = Vec::new();
        for place in places.iter().filter(|place| !place.is_resolved()) {
            let at = (self.key, place.ordinal);
            let holds = |(pack, found): &(u32, Found)| *pack == place.offset && found.holds(at);
            let known = |slot: &Slot| slot.pack == place.offset && slot.found.holds(at);
            if wanted.last().is_some_and(holds) || self.slots.last().is_some_and(known) {
                continue;
            }
            let pack = pack_at(view, place.offset)?;
            wanted.push((place.offset, pack.block_of(self.key, place.ordinal)?));
        }
        for (pack, found) in &wanted {
            pack_at(view, *pack)?.ask_for(found);
        }
        for (pack, found) in wanted {
            let block = pack_at(view, pack)?.asked_block(found.number);
            self.slots.push(Slot { pack, found, block });
        }
        let mut slot = first.saturating_sub(1);
        for place in places.iter_mut().filter(|place| !place.is_resolved()) {
            let at = (self.key, place.ordinal);
            let holds = |slot: &Slot| slot.pack == place.offset && slot.found.holds(at);
            if !self.slots.get(slot).is_some_and(holds) {
                slot = self.slots.iter().rposition(holds).unwrap_or(self.slots.len());
            }
            let pack = pack_at(view, place.offset)?;
            let sequence = pack.base() + u64::from(place.ordinal);
            if let Some(Slot { block: Ok(block), .. }) = self.slots.get(slot) {
                let index = block.find(sequence, self.near).ok_or_else(|| pack.missing(block, sequence))?;
                self.near = index;
                place.offset = u32::try_from(index).unwrap_or(u32::MAX);
            }
            place.segment = PACKED | u32::try_from(slot).unwrap_or(!PACKED);
        }
        Ok(())
    }

    /// How many blocks were read.
    pub(crate) fn blocks(&self) -> usize {
        self.slots.len()
    }

    /// A record's leaf.
    pub(crate) fn leaf(&self, place: Place) -> Result<&[u8]> {
        let lost = || Error::new(ErrorKind::Corruption, "a packed record was not looked for");
        let slot = self.slots.get(place.slot()).ok_or_else(lost)?;
        let block = slot.block.as_ref().map_err(Error::clone)?;
        block.leaf(place.offset as usize).ok_or_else(lost)
    }

    /// A record's sequence, and for messages the file and the offset of its block.
    pub(crate) fn tell<'v>(&self, view: &'v ShardView, place: Place) -> Option<(u64, &'v Pack, u64)> {
        let slot = self.slots.get(place.slot())?;
        let pack = pack_at(view, slot.pack).ok()?;
        Some((pack.base() + u64::from(place.ordinal), pack, slot.found.offset))
    }
}

fn pack_at(view: &ShardView, place: u32) -> Result<&Pack> {
    let pack = view.packs.get(place as usize);
    pack.map(|pack| &**pack).ok_or_else(|| Error::new(ErrorKind::Corruption, "no such pack"))
}
