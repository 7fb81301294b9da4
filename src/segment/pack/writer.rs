//! Writes a pack, and verifies it record by record against what it is to stand for.
//!
//! The file is written under a temporary name in pieces, each synced, so that other syncs of the disk get their turn.

use std::path::Path;
use std::sync::Arc;

use super::Pack;
use super::input::Merge;
use crate::error::{Error, ErrorKind, Result};
use crate::format::compression::{Compressor, train};
use crate::format::located;
use crate::format::pack::{
    BlockEntry, PAGE_BYTES, PAGE_ENTRIES, PackHeader, PageStart, Part, Summary, bits_for, block_crc,
    pack_bits,
};
use crate::format::pack_block::BlockBuilder;
use crate::format::run::Section;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::io::{Access, Disk, DiskFile};

/// What a pack is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) store_id: [u8; 16],
    pub(crate) shard: u16,
    pub(crate) number: u64,
    pub(crate) salt: u64,
    pub(crate) parts: Vec<Part>,
}

/// Called between two blocks with the bytes of leaves that were handled since the last call; an error ends the work.
pub(crate) type Pace<'p> = &'p mut dyn FnMut(usize) -> Result<()>;

/// How many bytes are written at a time, and how many before they are synced.
const PIECE_BYTES: usize = 1 << 20;
const SYNCED_BYTES: u64 = 8 << 20;

/// Writes a pack under a temporary name, durable and verified. The caller renames it, and removes it after an error.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    temporary: &Path,
    plan: &Plan,
    merge: &mut Merge<'_>,
    wait: Pace<'_>,
) -> Result<()> {
    let dictionary = train(&merge.samples()?);
    // What can't be made shorter grows by little; what is left over is given back below.
    let bytes_max = merge.bytes() + merge.bytes() / 64 + (1 << 20);
    let file = disk.allocate(temporary, bytes_max)?;
    let mut writer = Writer::new(&*file, plan, merge, dictionary.as_deref())?;
    while merge.next(|key, sequence, leaf| {
        wait(leaf.len())?;
        writer.push(key, sequence, leaf)
    })? {}
    let file_bytes = writer.finish(plan, dictionary.as_deref())?;
    drop(file);
    disk.shorten(temporary, file_bytes)?;
    #[cfg(test)]
    if has(Bug::PackNotSynced) {
        return verify(&Pack::open(&**disk, temporary)?, merge, wait);
    }
    disk.open(temporary, Access::Write)?.sync_data()?;
    #[cfg(test)]
    if has(Bug::PackUnverified) {
        return Ok(());
    }
    verify(&Pack::open(&**disk, temporary)?, merge, wait)
}

/// Compares each record of a pack with what it was made of, and reads all of its index: that each record is there once, the
/// pack itself looks at.
fn verify(pack: &Pack, merge: &mut Merge<'_>, wait: Pace<'_>) -> Result<()> {
    merge.rewind()?;
    pack.verify(|packed| {
        wait(packed.len())?;
        let mut compared = false;
        merge.next(|_, _, leaf| {
            compared = leaf == packed;
            Ok(())
        })?;
        let differs = || pack.damaged(0, "a record of the new pack is not the one that was packed");
        if compared { Ok(()) } else { Err(differs()) }
    })?;
    if merge.next(|_, _, _| Ok(()))? {
        return Err(pack.damaged(0, "the new pack does not hold every record"));
    }
    Ok(())
}

struct Writer<'w> {
    file: &'w dyn DiskFile,
    path: &'w Path,
    base: u64,
    records: u64,
    salt: u64,
    block: BlockBuilder,
    /// Key and ordinal of the block's first record.
    first: (u64, u32),
    compressor: Compressor,
    raw: Vec<u8>,
    /// What is not written yet, and where it goes.
    piece: Vec<u8>,
    piece_at: u64,
    unsynced: u64,
    directory: Vec<u8>,
    pages: Vec<PageStart>,
    blocks: u32,
    /// The block of each ordinal.
    map: Vec<u32>,
    leaf_bytes: u64,
}

impl<'w> Writer<'w> {
    fn new(
        file: &'w dyn DiskFile,
        plan: &Plan,
        merge: &Merge<'_>,
        dictionary: Option<&[u8]>,
    ) -> Result<Self> {
        let sequences = merge.sequences();
        let records = sequences.end - sequences.start;
        let known = u32::try_from(records).ok().filter(|records| *records > 0);
        known.ok_or_else(|| {
            Error::at(ErrorKind::InvalidOption, file.path(), format!("{records} records don't fit a pack"))
        })?;
        Ok(Self {
            file,
            path: file.path(),
            base: sequences.start,
            records,
            salt: plan.salt,
            block: BlockBuilder::new(),
            first: (0, 0),
            compressor: Compressor::new(dictionary).map_err(located(file.path(), 0))?,
            raw: Vec::new(),
            piece: Vec::with_capacity(PIECE_BYTES * 2),
            piece_at: PAGE_BYTES as u64,
            unsynced: 0,
            directory: Vec::new(),
            pages: Vec::new(),
            blocks: 0,
            map: vec![u32::MAX; usize::try_from(records).unwrap_or_default()],
            leaf_bytes: 0,
        })
    }

    fn wrong(&self, message: &str) -> Error {
        Error::at(ErrorKind::Io, self.path, format!("the pack can't be written: {message}"))
    }

    fn push(&mut self, key: u64, sequence: u64, leaf: &[u8]) -> Result<()> {
        let ordinal = sequence.wrapping_sub(self.base);
        let place = usize::try_from(ordinal).ok().and_then(|ordinal| self.map.get_mut(ordinal));
        match place {
            Some(place) if *place == u32::MAX => *place = self.blocks,
            _ => return Err(self.wrong("a record comes twice or belongs elsewhere")),
        }
        if self.block.is_empty() {
            self.first = (key, u32::try_from(ordinal).unwrap_or(u32::MAX));
        }
        self.block.push(leaf);
        #[cfg(test)]
        self.spoil(sequence);
        self.leaf_bytes += leaf.len() as u64;
        if self.block.is_full() { self.end_block() } else { Ok(()) }
    }

    /// A bug on purpose.
    #[cfg(test)]
    fn spoil(&mut self, sequence: u64) {
        if (has(Bug::PackUnverified) || has(Bug::PackSpoiled)) && sequence % 7 == 3 {
            self.block.spoil();
        }
    }

    fn end_block(&mut self) -> Result<()> {
        self.block.finish(&mut self.raw);
        let compressed = self.compressor.compress(&self.raw).map_err(located(self.path, self.piece_at))?;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let entry = BlockEntry {
            key: self.first.0,
            ordinal: self.first.1,
            crc: block_crc(self.salt, self.blocks, compressed),
            offset: self.piece_at + self.piece.len() as u64,
            compressed_bytes: length(compressed.len()),
            bytes: length(self.raw.len()),
        };
        self.piece.extend_from_slice(compressed);
        if (self.blocks as usize).is_multiple_of(PAGE_ENTRIES) {
            self.pages.push(PageStart { key: entry.key, ordinal: entry.ordinal });
        }
        self.directory.extend_from_slice(&entry.encode());
        self.blocks += 1;
        if self.piece.len() >= PIECE_BYTES { self.write_piece() } else { Ok(()) }
    }

    fn write_piece(&mut self) -> Result<()> {
        self.file.write_all_at(self.piece_at, &self.piece)?;
        self.piece_at += self.piece.len() as u64;
        self.unsynced += self.piece.len() as u64;
        self.piece.clear();
        if self.unsynced >= SYNCED_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Writes index and header. Says how long the file is to be.
    fn finish(mut self, plan: &Plan, dictionary: Option<&[u8]>) -> Result<u64> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        if self.map.contains(&u32::MAX) {
            return Err(self.wrong("a record is missing"));
        }
        let blocks_end = self.piece_at + self.piece.len() as u64;
        self.write_piece()?;
        let directory_offset = blocks_end.next_multiple_of(PAGE_BYTES as u64);
        let map_bits = bits_for(u64::from(self.blocks));
        let summary = Summary { parts: plan.parts.clone(), pages: std::mem::take(&mut self.pages) };
        let summary = summary.encode().map_err(located(self.path, 0))?;
        let mut index = std::mem::take(&mut self.directory);
        let map_offset = directory_offset + index.len() as u64;
        index.extend_from_slice(&pack_bits(&self.map, map_bits));
        let dictionary = dictionary.unwrap_or_default();
        let section = |index: &mut Vec<u8>, bytes: &[u8]| {
            index.resize(index.len().next_multiple_of(16), 0);
            let offset = directory_offset + index.len() as u64;
            index.extend_from_slice(bytes);
            Section { offset, bytes: bytes.len() as u64 }
        };
        let dictionary = section(&mut index, dictionary);
        let summary = section(&mut index, &summary);
        index.resize(index.len().next_multiple_of(PAGE_BYTES), 0);
        let checksums: Vec<u8> =
            index.chunks(PAGE_BYTES).flat_map(|page| crc32c::crc32c(page).to_le_bytes()).collect();
        let checksums_offset = directory_offset + index.len() as u64;
        let checksums_crc = crc32c::crc32c(&checksums);
        index.extend_from_slice(&checksums);
        let file_bytes = directory_offset + index.len() as u64;
        let header = PackHeader {
            store_id: plan.store_id,
            shard: plan.shard,
            map_bits,
            number: plan.number,
            file_bytes,
            salt: plan.salt,
            base: self.base,
            records: self.records,
            leaf_bytes: self.leaf_bytes,
            blocks: u64::from(self.blocks),
            blocks_end,
            directory_offset,
            map_offset,
            dictionary,
            summary,
            checksums_offset,
            checksums_crc,
        };
        self.piece_at = directory_offset;
        for piece in index.chunks(PIECE_BYTES) {
            self.piece.extend_from_slice(piece);
            self.write_piece()?;
        }
        self.file.write_all_at(0, &header.encode())?;
        Ok(file_bytes)
    }
}
