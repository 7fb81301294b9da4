//! What goes into a pack: segments and older packs, each of them read in the order of (key, sequence).

use std::sync::Arc;

use super::{Block, Pack};
use crate::error::{Error, Result};
use crate::format::pack_block::BlockBuilder;
use crate::segment::Segment;

/// The key of a leaf, from the user that it names. An error says why there is none.
pub(crate) type KeyOf<'k> = &'k dyn Fn(&[u8]) -> std::result::Result<u64, String>;

/// A sealed segment or a pack, its records in the order of (key, sequence).
pub(crate) enum Input {
    Segment {
        segment: Arc<Segment>,
        /// Key and ordinal of each record, in order.
        order: Vec<(u64, u32)>,
        at: usize,
    },
    Pack {
        pack: Arc<Pack>,
        /// The block that is read, `None` behind the last; which of its records is next, and that one's key.
        block: Option<Block>,
        at: usize,
        key: u64,
    },
}

/// How many blocks are looked at to train a dictionary, and in pieces of how many bytes.
const SAMPLE_BLOCKS: usize = 128;
const SAMPLE_BYTES: usize = 2 << 10;

/// How many bytes of a segment are asked for at a time, ahead of those that are read.
const AHEAD_BYTES: usize = 4 << 20;

impl Input {
    /// Reads all of a segment, to know the order of its records. `go_on` is asked now and then, and ends it by an error.
    pub(crate) fn of_segment(
        segment: &Arc<Segment>,
        key_of: KeyOf<'_>,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut order = Vec::with_capacity(usize::try_from(segment.published()).unwrap_or_default());
        let mut asked = 0;
        for ordinal in 0..segment.published() {
            let offset = segment.offset_of(ordinal).unwrap_or_default();
            if offset + AHEAD_BYTES / 2 > asked {
                go_on()?;
                segment.map().will_need(asked, AHEAD_BYTES);
                asked += AHEAD_BYTES;
            }
            let key = key_of(segment.leaf_at(ordinal, offset)?);
            let key = key.map_err(|message| Error::corruption(segment.path(), offset as u64, message))?;
            order.push((key, u32::try_from(ordinal).unwrap_or(u32::MAX)));
        }
        order.sort_unstable();
        Ok(Self::Segment { segment: Arc::clone(segment), order, at: 0 })
    }

    pub(crate) fn of_pack(pack: &Arc<Pack>, key_of: KeyOf<'_>) -> Result<Self> {
        let mut input = Self::Pack { pack: Arc::clone(pack), block: None, at: 0, key: 0 };
        input.enter(0, key_of)?;
        Ok(input)
    }

    /// Begins again at the first record.
    pub(crate) fn rewind(&mut self, key_of: KeyOf<'_>) -> Result<()> {
        if let Self::Segment { at, .. } = self {
            *at = 0;
        }
        self.enter(0, key_of)
    }

    /// Goes to a block of a pack.
    fn enter(&mut self, number: u32, key_of: KeyOf<'_>) -> Result<()> {
        if let Self::Pack { pack, block, at, .. } = self {
            *block = if number < pack.blocks() { Some(pack.block(number)?) } else { None };
            *at = 0;
            if block.is_some() {
                pack.ask_ahead(number)?;
            }
        }
        self.find_key(key_of)
    }

    fn find_key(&mut self, key_of: KeyOf<'_>) -> Result<()> {
        if let Self::Pack { pack, block: Some(block), at, key } = self {
            let leaf = block.leaf(*at).ok_or_else(|| pack.damaged(block.offset, "a leaf is cut short"))?;
            *key = key_of(leaf).map_err(|message| pack.damaged(block.offset, &message))?;
        }
        Ok(())
    }

    /// Key and sequence of the next record.
    pub(crate) fn peek(&self) -> Option<(u64, u64)> {
        match self {
            Self::Segment { segment, order, at } => {
                order.get(*at).map(|(key, ordinal)| (*key, segment.base() + u64::from(*ordinal)))
            }
            Self::Pack { block, at, key, .. } => Some((*key, block.as_ref()?.sequence(*at)?)),
        }
    }

    /// The next record's leaf.
    pub(crate) fn leaf(&self) -> Result<&[u8]> {
        match self {
            Self::Segment { segment, order, at } => {
                let ordinal = order.get(*at).map_or(u64::MAX, |(_, ordinal)| u64::from(*ordinal));
                segment.leaf(segment.base().saturating_add(ordinal))
            }
            Self::Pack { pack, block, at, .. } => {
                let leaf = block.as_ref().and_then(|block| block.leaf(*at));
                leaf.ok_or_else(|| pack.damaged(0, "the pack has no more records"))
            }
        }
    }

    /// Goes to the record behind the next.
    pub(crate) fn advance(&mut self, key_of: KeyOf<'_>) -> Result<()> {
        let next_block = match self {
            Self::Segment { at, .. } => {
                *at += 1;
                None
            }
            Self::Pack { block, at, .. } => {
                *at += 1;
                block.as_ref().filter(|block| *at >= block.len()).map(|block| block.number.saturating_add(1))
            }
        };
        match next_block {
            Some(number) => self.enter(number, key_of),
            None => self.find_key(key_of),
        }
    }

    /// Adds pieces of what its blocks will hold, from places all over it.
    fn sample(&self, count: usize, out: &mut Vec<Vec<u8>>) -> Result<()> {
        let mut block = BlockBuilder::new();
        let mut raw = Vec::new();
        let mut finish = |block: &mut BlockBuilder| {
            block.finish(&mut raw);
            out.extend(raw.chunks(SAMPLE_BYTES).map(<[u8]>::to_vec));
        };
        match self {
            Self::Segment { segment, order, .. } => {
                for from in (0..order.len()).step_by(order.len() / count.max(1) + 1) {
                    for (_, ordinal) in order.iter().skip(from) {
                        block.push(segment.leaf(segment.base() + u64::from(*ordinal))?);
                        if block.is_full() {
                            break;
                        }
                    }
                    finish(&mut block);
                }
            }
            Self::Pack { pack, .. } => {
                let step = pack.blocks() / u32::try_from(count.max(1)).unwrap_or(u32::MAX) + 1;
                for number in (0..pack.blocks()).step_by(step as usize) {
                    let found = pack.block(number)?;
                    (0..found.len()).filter_map(|index| found.leaf(index)).for_each(|leaf| block.push(leaf));
                    finish(&mut block);
                }
            }
        }
        Ok(())
    }

    /// The sequences that it holds.
    pub(crate) fn sequences(&self) -> std::ops::Range<u64> {
        match self {
            Self::Segment { segment, .. } => segment.base()..segment.end(),
            Self::Pack { pack, .. } => pack.base()..pack.end(),
        }
    }

    /// At most how many bytes its leaves have.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Segment { segment, .. } => segment.header().file_bytes,
            Self::Pack { pack, .. } => pack.header().leaf_bytes,
        }
    }
}

/// Several inputs as one, in the order of (key, sequence).
pub(crate) struct Merge<'k> {
    inputs: Vec<Input>,
    key_of: KeyOf<'k>,
}

impl<'k> Merge<'k> {
    pub(crate) fn new(inputs: Vec<Input>, key_of: KeyOf<'k>) -> Self {
        Self { inputs, key_of }
    }

    /// Pieces of what the blocks will hold, to train a dictionary on.
    pub(crate) fn samples(&self) -> Result<Vec<Vec<u8>>> {
        let mut samples = Vec::new();
        let each = SAMPLE_BLOCKS.div_ceil(self.inputs.len().max(1));
        self.inputs.iter().try_for_each(|input| input.sample(each, &mut samples))?;
        Ok(samples)
    }

    /// Begins again at the first record.
    pub(crate) fn rewind(&mut self) -> Result<()> {
        self.inputs.iter_mut().try_for_each(|input| input.rewind(self.key_of))
    }

    /// Hands the next record to `visit`: key, sequence, leaf. `false` behind the last.
    pub(crate) fn next(&mut self, visit: impl FnOnce(u64, u64, &[u8]) -> Result<()>) -> Result<bool> {
        let first = self.inputs.iter_mut().filter_map(|input| Some((input.peek()?, input)));
        let Some(((key, sequence), input)) = first.min_by_key(|(place, _)| *place) else { return Ok(false) };
        visit(key, sequence, input.leaf()?)?;
        input.advance(self.key_of)?;
        Ok(true)
    }

    /// The sequences that all of them hold: they are contiguous.
    pub(crate) fn sequences(&self) -> std::ops::Range<u64> {
        let all = || self.inputs.iter().map(Input::sequences);
        all().map(|range| range.start).min().unwrap_or_default()
            ..all().map(|range| range.end).max().unwrap_or_default()
    }

    /// At most how many bytes the leaves have.
    pub(crate) fn bytes(&self) -> u64 {
        self.inputs.iter().map(Input::bytes).sum()
    }
}
