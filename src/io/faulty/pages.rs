//! A file on the disk that fails on purpose: what is durable of each page, and every change since, in order. So a power
//! cut may leave a page as it was at any moment since it was last durable, half of a change included.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use memmap2::MmapMut;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::damage::{Dice, Fate};
use crate::io::mmap::Memory;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// A page's bytes; `None`: zeros. Shared by all disks that have it.
pub(super) type Page = Option<Arc<[u8; PAGE]>>;

/// Bytes stored into a page.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) time: u64,
    bytes: Arc<[u8]>,
    /// Which of the bytes are this page's, and where they begin in it.
    part: Range<usize>,
    at: usize,
    /// Stored a word at a time, each of them whole.
    words: bool,
}

/// What happened to a page since it was last durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    /// Oldest first.
    pub(super) changes: Vec<Change>,
    /// So many of them a sync has taken for written that were not: no sync writes them again before the next change.
    lost: usize,
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) current: Vec<Page>,
    pub(super) durable: Vec<Page>,
    pub(super) dirty: BTreeMap<usize, Dirty>,
    /// The length in bytes, and the length that is durable.
    pub(super) bytes: usize,
    pub(super) durable_bytes: usize,
    /// What is mapped of it, once something is. Never shared by two disks.
    pub(super) memory: MemoryCell,
}

/// The mapped memory of a file.
#[derive(Debug, Default)]
pub(super) struct MemoryCell(pub(super) OnceLock<Arc<Memory>>);

impl Clone for MemoryCell {
    /// A copy of the file is another file.
    fn clone(&self) -> Self {
        Self::default()
    }
}

fn store(page: &mut Page, at: usize, bytes: &[u8]) {
    let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
    Arc::make_mut(page)[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Change {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.part.clone()]
    }

    /// Stores what of the change lies in this part of the page, and in its first `length` bytes.
    fn store(&self, page: &mut Page, within: &Range<usize>, length: usize) {
        let bytes = self.bytes();
        let length = if self.words { length / 8 * 8 } else { length };
        let begin = self.at.max(within.start);
        let end = (self.at + bytes.len().min(length)).min(within.end);
        if begin < end {
            store(page, begin, &bytes[begin - self.at..end - self.at]);
        }
    }
}

impl Dirty {
    /// What a power cut leaves of the page.
    fn left(&self, durable: &Page, current: &Page, fate: Fate, dice: &mut Dice) -> Page {
        match fate {
            Fate::Old => durable.clone(),
            Fate::New => current.clone(),
            Fate::Moment(count) => {
                let mut page = durable.clone();
                self.store(&mut page, &(0..PAGE), count, dice);
                page
            }
            Fate::Torn => {
                let mut page = durable.clone();
                // Mostly two writings meet; sometimes each sector is of its own.
                let moments = [dice.below(self.changes.len() + 1), self.changes.len(), 0];
                let wild = dice.chance(25);
                for sector in (0..PAGE).step_by(SECTOR) {
                    let any = dice.below(self.changes.len() + 1);
                    let count = if wild { any } else { moments[dice.below(3)] };
                    self.store(&mut page, &(sector..sector + SECTOR), count, dice);
                }
                page
            }
        }
    }

    /// Stores the first `count` changes, and half of the time some of the next one.
    fn store(&self, page: &mut Page, within: &Range<usize>, count: usize, dice: &mut Dice) {
        for change in &self.changes[..count] {
            change.store(page, within, PAGE);
        }
        if let Some(next) = self.changes.get(count)
            && dice.chance(50)
        {
            next.store(page, within, dice.below(next.part.len() + 1));
        }
    }

    /// A sync writes nothing of it.
    pub(super) fn is_clean(&self) -> bool {
        self.lost == self.changes.len()
    }
}

impl Inode {
    /// A new file of zeros, nothing of it durable.
    pub(super) fn new(bytes: usize) -> Self {
        let zeros = vec![None; bytes.div_ceil(PAGE)];
        Self {
            current: zeros.clone(),
            durable: zeros,
            dirty: BTreeMap::new(),
            bytes,
            durable_bytes: 0,
            memory: MemoryCell::default(),
        }
    }

    /// A file that is all durable.
    pub(super) fn settled(pages: Vec<Page>, bytes: usize) -> Self {
        Self {
            current: pages.clone(),
            durable: pages,
            dirty: BTreeMap::new(),
            bytes,
            durable_bytes: bytes,
            memory: MemoryCell::default(),
        }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &Arc<[u8]>, words: bool, time: u64) {
        let mut from = 0;
        while from < bytes.len() {
            let (number, at) = ((offset + from) / PAGE, (offset + from) % PAGE);
            let part = from..bytes.len().min(from + PAGE - at);
            from = part.end;
            store(&mut self.current[number], at, &bytes[part.clone()]);
            let changes = &mut self.dirty.entry(number).or_default().changes;
            changes.push(Change { time, bytes: Arc::clone(bytes), part, at, words });
        }
    }

    /// Cuts the file; the disk may have the longer one until the next sync.
    pub(super) fn shorten(&mut self, bytes: usize) {
        self.bytes = bytes.min(self.bytes);
        let pages = self.bytes.div_ceil(PAGE);
        self.current.truncate(pages);
        self.dirty.retain(|number, _| *number < pages);
        self.memory = MemoryCell::default();
    }

    /// Writes changed pages; with `lost`, they are taken for written and are not.
    pub(super) fn sync(&mut self, lost: bool) {
        if lost {
            self.dirty.values_mut().for_each(|dirty| dirty.lost = dirty.changes.len());
            return;
        }
        self.durable.truncate(self.current.len());
        let (current, durable) = (&self.current, &mut self.durable);
        self.dirty.retain(|number, dirty| {
            if !dirty.is_clean() {
                durable[*number].clone_from(&current[*number]);
            }
            dirty.is_clean()
        });
        self.durable_bytes = self.bytes;
    }

    /// The kernel drops the pages whose writing failed.
    pub(super) fn evict(&mut self) {
        let (current, durable, memory) = (&mut self.current, &self.durable, self.memory.0.get());
        self.dirty.retain(|number, dirty| {
            if dirty.is_clean() {
                current[*number].clone_from(&durable[*number]);
                if let Some(memory) = memory {
                    let page = current[*number].as_deref().unwrap_or(&[0; PAGE]);
                    let end = memory.len().min((*number + 1) * PAGE);
                    memory.forget(*number * PAGE, &page[..end - *number * PAGE]);
                }
            }
            !dirty.is_clean()
        });
    }

    /// The bytes as the cache has them.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes];
        self.copy_to(&mut bytes);
        bytes
    }

    fn copy_to(&self, bytes: &mut [u8]) {
        for (place, page) in bytes.chunks_mut(PAGE).zip(&self.current) {
            if let Some(page) = page {
                place.copy_from_slice(&page[..place.len()]);
            }
        }
    }

    pub(super) fn read_at(&self, offset: usize, buffer: &mut [u8]) {
        let mut done = 0;
        while done < buffer.len() {
            let (number, at) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let length = (PAGE - at).min(buffer.len() - done);
            match &self.current[number] {
                Some(page) => buffer[done..done + length].copy_from_slice(&page[at..at + length]),
                None => buffer[done..done + length].fill(0),
            }
            done += length;
        }
    }

    /// New anonymous memory with the file's bytes.
    pub(super) fn mapped(&self) -> MmapMut {
        let mut memory = MmapMut::map_anon(self.bytes.max(1)).unwrap();
        // Pages of zeros are left alone: they cost nothing until they are touched.
        let length = self.bytes;
        for (number, page) in self.current.iter().enumerate() {
            if let Some(page) = page {
                let end = length.min((number + 1) * PAGE);
                memory[number * PAGE..end].copy_from_slice(&page[..end - number * PAGE]);
            }
        }
        memory
    }

    /// What a power cut leaves of the file. `fate` is asked page by page; `sum` tells images apart.
    pub(super) fn left(
        &self,
        mut fate: impl FnMut(&Dirty, &mut Dice) -> Fate,
        dice: &mut Dice,
        sum: &mut u64,
    ) -> Self {
        let mut left = self.durable.clone();
        for (number, dirty) in &self.dirty {
            let chosen = fate(dirty, dice);
            let page = dirty.left(&self.durable[*number], &self.current[*number], chosen, dice);
            *sum = xxh3_64_with_seed(page.as_deref().unwrap_or(&[0; PAGE]), *sum);
            left[*number] = page;
        }
        let mut length = self.durable_bytes;
        if self.durable_bytes != self.bytes {
            length = match fate(&Dirty::default(), dice) {
                Fate::Old => self.durable_bytes,
                Fate::New => self.bytes,
                // Being cut, it is one or the other; what was never synced may have any length.
                Fate::Moment(_) | Fate::Torn if self.durable_bytes > 0 => self.durable_bytes,
                Fate::Moment(_) | Fate::Torn => dice.below(self.bytes + 1),
            };
            *sum = xxh3_64_with_seed(&length.to_le_bytes(), *sum);
        }
        left.truncate(length.div_ceil(PAGE));
        if let Some(Some(last)) = left.last_mut()
            && !length.is_multiple_of(PAGE)
        {
            // Behind the end there is nothing.
            Arc::make_mut(last)[length % PAGE..].fill(0);
        }
        Self::settled(left, length)
    }

    /// Flips a bit, in the cache and on the disk.
    pub(super) fn flip_bit(&mut self, offset: usize) {
        for page in [&mut self.current[offset / PAGE], &mut self.durable[offset / PAGE]] {
            let byte = page.as_deref().map_or(0, |page| page[offset % PAGE]) ^ 1;
            store(page, offset % PAGE, &[byte]);
        }
        self.memory = MemoryCell::default();
    }
}
