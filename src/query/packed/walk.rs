//! A user's newest packed records without the index: they stand side by side in their pack, and each says which the one
//! before it was. So a page needs the pack's directory and the blocks, and no postings.
//!
//! What does not look as it must is left to the index, which knows what to say of it. Must not decide on an error.

use super::{PackedRecords, Slot};
use crate::error::Result;
use crate::event::EventView;
use crate::format::keys::IndexKey;
use crate::ids::Fingerprint;
use crate::query::page::Place;
use crate::segment::pack::{Block, Found, Pack};
use crate::shard::view::{ShardView, Source};

/// What is known of the user's events in packs before these are looked at.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) enum Known {
    /// Nothing: none was found in what is newer.
    Nothing,
    /// How many there are.
    Count(u64),
    /// Sequence and user sequence of the newest.
    Newest(u64, u64),
}

/// Whose newest packed records are wanted.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct Walk<'w> {
    pub(in crate::query) view: &'w ShardView,
    pub(in crate::query) key: &'w IndexKey,
    pub(in crate::query) user_id: &'w [u8],
    pub(in crate::query) user: Fingerprint,
    pub(in crate::query) known: Known,
    /// So many places are wanted, and one more if there is one.
    pub(in crate::query) limit: usize,
    /// The disk was asked for the newest blocks.
    pub(in crate::query) asked: bool,
}

/// A record that is to be read next.
#[derive(Clone, Copy)]
struct Next {
    sequence: u64,
    user_sequence: u64,
}

/// Where a user's newest packed record is.
enum Newest {
    At(Next),
    /// The user has none.
    Nowhere,
    /// The index has to say.
    Unsure,
}

impl PackedRecords {
    /// Adds the places of a user's packed records, the newest first, until there are enough. `false` if the packs alone
    /// don't tell: then the places are not all.
    pub(in crate::query) fn walk(&mut self, walk: &Walk<'_>, places: &mut Vec<Place>) -> Result<bool> {
        let first = match walk.known {
            Known::Count(0) => return Ok(true),
            Known::Newest(sequence, user_sequence) => Next { sequence, user_sequence },
            Known::Count(_) | Known::Nothing => match self.newest(walk)? {
                Newest::At(next) => next,
                Newest::Nowhere => return Ok(matches!(walk.known, Known::Nothing)),
                Newest::Unsure => return Ok(false),
            },
        };
        if matches!(walk.known, Known::Count(count) if count != first.user_sequence + 1) {
            return Ok(false);
        }
        let mut next = Some(first);
        while let Some(from) = next {
            let Some((place, pack)) = walk.view.pack_of(from.sequence) else { return Ok(false) };
            let Some(slot) = self.slot_of((place, pack), from.sequence, walk, places.len())? else {
                return Ok(false);
            };
            match self.take(slot, from, walk, places) {
                Some(rest) => next = rest,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes the user's records of one block from one on, and says which is next in another, if more are wanted and there is
    /// one. `None` if something is not as it must be.
    #[expect(clippy::option_option, reason = "the outer one says whether the block is as it must be")]
    fn take(
        &mut self,
        slot: usize,
        mut next: Next,
        walk: &Walk<'_>,
        places: &mut Vec<Place>,
    ) -> Option<Option<Next>> {
        let Slot { pack, block: Ok(block), .. } = self.slots.get(slot)? else { return None };
        let base = walk.view.packs.get(*pack as usize)?.base();
        let mut index = block.find(next.sequence, self.near)?;
        loop {
            // The one with the sequence that was looked for.
            let event = event_of(block, index, walk)?;
            if event.user_sequence() != Some(next.user_sequence) {
                return None;
            }
            places.push(Place {
                segment: super::PACKED | u32::try_from(slot).ok()?,
                ordinal: u32::try_from(next.sequence.checked_sub(base)?).ok()?,
                offset: u32::try_from(index).ok()?,
                asked: false,
                user_sequence: next.user_sequence,
            });
            if places.len() > walk.limit {
                return Some(None);
            }
            next = match (event.previous(), next.user_sequence) {
                (None, 0) => return Some(None),
                (None, _) => return None,
                // Counted down: so there is an end.
                (Some(sequence), user_sequence) => {
                    Next { sequence, user_sequence: user_sequence.checked_sub(1)? }
                }
            };
            match index.checked_sub(1).filter(|before| block.sequence(*before) == Some(next.sequence)) {
                Some(before) => index = before,
                None => break,
            }
        }
        self.near = block.len();
        Some(Some(next))
    }

    /// The user's newest packed record: in the newest pack that has any.
    fn newest(&mut self, walk: &Walk<'_>) -> Result<Newest> {
        let key = walk.user.prefix();
        for (place, pack) in walk.view.packs.iter().enumerate().rev() {
            if !may_be_in(walk.view, walk.user, pack)? {
                continue;
            }
            let found = pack.block_of(key, u32::MAX)?;
            let slot = self.read((place, pack), found, walk, 0)?;
            let Some(Slot { block: Ok(block), .. }) = self.slots.get(slot) else { return Ok(Newest::Unsure) };
            // Records of one key are sorted by sequence, so the last in the block is the newest.
            let newest = (0..block.len()).rev().find_map(|index| event_of(block, index, walk));
            if let Some(event) = newest {
                let next = event
                    .user_sequence()
                    .map(|user_sequence| Next { sequence: event.sequence(), user_sequence });
                return Ok(next.map_or(Newest::Unsure, Newest::At));
            }
            // Two users of one key: the other one's records may fill the block.
            let other = (0..block.len()).filter_map(|index| EventView::parse(block.leaf(index)?).ok());
            let mut others = other.filter_map(|event| event.user_id_bytes());
            if others.any(|other| walk.key.fingerprint(other).prefix() == key) {
                return Ok(Newest::Unsure);
            }
            self.slots.pop();
        }
        Ok(Newest::Nowhere)
    }

    /// The block with a record of the user, read if it was not before.
    fn slot_of(
        &mut self,
        (place, pack): (usize, &Pack),
        sequence: u64,
        walk: &Walk<'_>,
        places: usize,
    ) -> Result<Option<usize>> {
        let Ok(ordinal) = u32::try_from(sequence - pack.base()) else { return Ok(None) };
        let at = (walk.user.prefix(), ordinal);
        let known = |slot: &Slot| slot.pack as usize == place && slot.found.holds(at);
        if self.slots.last().is_some_and(known) {
            return Ok(self.slots.len().checked_sub(1));
        }
        let found = pack.block_of(at.0, at.1)?;
        self.read((place, pack), found, walk, places).map(Some)
    }

    /// Reads a block; what else the page may need beside it is asked for at once.
    fn read(
        &mut self,
        (place, pack): (usize, &Pack),
        found: Found,
        walk: &Walk<'_>,
        places: usize,
    ) -> Result<usize> {
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        if !walk.asked && self.slots.last().is_none_or(|slot| slot.pack != number) {
            pack.ask_back(&found, walk.user.prefix(), walk.limit.saturating_sub(places))?;
        }
        let block = pack.block(found.number);
        self.slots.push(Slot { pack: number, found, block });
        Ok(self.slots.len() - 1)
    }
}

/// A leaf of a block, if it is the user's.
fn event_of<'b>(block: &'b Block, index: usize, walk: &Walk<'_>) -> Option<EventView<'b>> {
    let event = EventView::parse(block.leaf(index)?).ok()?;
    (event.user_id_bytes() == Some(walk.user_id)).then_some(event)
}

/// Whether the user may have records in a pack: what the filters of the runs over it say.
pub(in crate::query) fn may_be_in(view: &ShardView, user: Fingerprint, pack: &Pack) -> Result<bool> {
    for source in &view.sources {
        if let Source::Run(run) = source
            && run.header().base < pack.end()
            && run.end() > pack.base()
            && run.may_have(user)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
