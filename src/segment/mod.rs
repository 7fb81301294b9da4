//! The append-only log of one shard, a file at a time: mapped and growing while active, mapped and read-only when
//! sealed.
//!
//! Owns where a record lies and whether its bytes are intact. Must not know users, indexes or other segments.

pub(crate) mod create;
pub(crate) mod pack;
pub(crate) mod reading;
pub(crate) mod scan;
pub(crate) mod seal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use self::seal::Sealing;
use crate::error::{Error, ErrorKind, Result};
use crate::format::bytes::u32_at;
use crate::format::record::{self, Salt};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::{FloorSlot, Footer, Header, RECORDS_START, SLOT_OFFSETS};
use crate::io::chunked::Chunked;
use crate::io::mmap::{Appender, SegmentMap};
use crate::io::sync::AtomicU32;
use crate::io::sync::CountTail;
use crate::io::{Access, DiskFile};

/// One segment of a shard's log, readable by any thread.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    /// None once it is sealed: then the mapping is all that is needed, and a store may have more segments than its process may
    /// have files open.
    file: Option<Arc<dyn DiskFile>>,
    map: Arc<SegmentMap>,
    header: Header,
    /// The first record's shard sequence.
    base: u64,
    /// How many records readers may see. Alone on its lines: the writer stores here at every append.
    published: CachePadded<CountTail>,
    offsets: Offsets,
    /// Which records' checksums were compared since the segment was opened.
    checked: Checked,
    /// After a failed sync: what the kernel may forget, from this offset on.
    rescued: OnceLock<Rescued>,
    slot_counter: AtomicU64,
    /// Up to where pages were let go before they were written back.
    let_go_to: AtomicUsize,
    /// Up to where an index checkpoint speaks for the records.
    checkpointed_to: AtomicU64,
    /// Where recovery has closed the segment: one past its last sequence, and up to where its file was used.
    closed: Option<(u64, u64)>,
    /// The first sync of the file that failed. Held while syncing.
    sync_failure: Mutex<Option<Error>>,
}

/// From how many bytes on pages are let go before a sync: below, the faults that bring them back cost more.
const LET_GO_BYTES_MIN: usize = 256 << 10;

/// How much of a record the disk is asked for at most: no leaf is longer.
const RECORD_ASKED_MAX: usize = 68 << 10;

/// Where each record begins.
#[derive(Debug)]
enum Offsets {
    Growing(Chunked<AtomicU32>),
    Sealed(Footer),
}

/// Whether a record's checksum needs to be compared before it is shown.
#[derive(Debug)]
enum Checked {
    /// This process wrote or has compared every record.
    All,
    /// One bit for each record below `end`; this process wrote or has compared those from there on.
    Bits { bits: Box<[AtomicU64]>, end: u64 },
}

impl Checked {
    /// For a segment of which nobody has looked at the first `end` records.
    fn none_below(end: u64) -> Self {
        let words = usize::try_from(end.div_ceil(64)).unwrap_or_default();
        Self::Bits { bits: (0..words).map(|_| AtomicU64::new(0)).collect(), end }
    }
}

/// What a segment takes of memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentMemory {
    /// Where records begin, of a segment that isn't sealed.
    pub(crate) offsets: usize,
    /// Which checksums were compared.
    pub(crate) checked: usize,
    /// What a failed sync may lose.
    pub(crate) rescued: usize,
}

#[derive(Debug)]
struct Rescued {
    from: usize,
    bytes: Vec<u8>,
}

impl Segment {
    /// A segment that is being written or replayed: nothing is published yet.
    pub(crate) fn growing(file: Arc<dyn DiskFile>, map: Arc<SegmentMap>, header: Header, base: u64) -> Self {
        Self {
            path: file.path().to_owned(),
            file: Some(file),
            map,
            header,
            base,
            published: CachePadded::new(CountTail::new(0)),
            offsets: Offsets::Growing(Chunked::new(header.records_max())),
            checked: Checked::All,
            rescued: OnceLock::new(),
            slot_counter: AtomicU64::new(1),
            let_go_to: AtomicUsize::new(0),
            checkpointed_to: AtomicU64::new(RECORDS_START),
            closed: None,
            sync_failure: Mutex::default(),
        }
    }

    /// The same for a segment whose first `records` records nobody has looked at: an index checkpoint speaks for them.
    pub(crate) fn growing_behind(
        file: Arc<dyn DiskFile>,
        map: Arc<SegmentMap>,
        header: Header,
        base: u64,
        records: u64,
    ) -> Self {
        Self { checked: Checked::none_below(records), ..Self::growing(file, map, header, base) }
    }

    /// A sealed segment that an earlier process wrote, in the file at `path`.
    pub(crate) fn sealed(path: &Path, map: Arc<SegmentMap>, header: Header, footer: Footer) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            map,
            header,
            base: footer.base,
            published: CachePadded::new(CountTail::new(footer.count)),
            offsets: Offsets::Sealed(footer),
            checked: Checked::none_below(footer.count),
            rescued: OnceLock::new(),
            slot_counter: AtomicU64::new(0),
            let_go_to: AtomicUsize::new(0),
            checkpointed_to: AtomicU64::new(RECORDS_START),
            closed: None,
            sync_failure: Mutex::default(),
        }
    }

    /// The same segment after this process has sealed it so: the mapping stays, with its pages. If a record was damaged, checksums
    /// are compared again.
    pub(crate) fn with_footer(&self, sealing: &Sealing) -> Self {
        let footer = sealing.footer;
        let intact = sealing.times.damaged() == 0;
        #[cfg(test)]
        let intact = intact || has(Bug::DamageTakenForChecked);
        Self {
            path: self.path.clone(),
            file: None,
            map: Arc::clone(&self.map),
            header: self.header,
            base: self.base,
            published: CachePadded::new(CountTail::new(footer.count)),
            offsets: Offsets::Sealed(footer),
            checked: if intact { Checked::All } else { Checked::none_below(footer.count) },
            rescued: OnceLock::new(),
            slot_counter: AtomicU64::new(0),
            let_go_to: AtomicUsize::new(0),
            checkpointed_to: AtomicU64::new(RECORDS_START),
            closed: None,
            sync_failure: Mutex::default(),
        }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Its file, until it is sealed.
    pub(crate) fn file(&self) -> Result<&Arc<dyn DiskFile>> {
        let sealed = || Error::at(ErrorKind::Io, &self.path, "the segment is sealed, and its file closed");
        self.file.as_ref().ok_or_else(sealed)
    }

    pub(crate) fn map(&self) -> &Arc<SegmentMap> {
        &self.map
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn salt(&self) -> Salt {
        self.header.salt
    }

    /// The first record's shard sequence.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// How many records readers may see.
    #[inline]
    pub(crate) fn published(&self) -> u64 {
        self.published.get()
    }

    /// The most records that fit.
    pub(crate) fn records_max(&self) -> usize {
        self.header.records_max()
    }

    /// One past the last record's shard sequence.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.published()
    }

    /// Whether it is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.offsets, Offsets::Sealed(_))
    }

    /// What its footer says, once it is sealed.
    pub(crate) fn footer(&self) -> Option<&Footer> {
        match &self.offsets {
            Offsets::Sealed(footer) => Some(footer),
            Offsets::Growing(_) => None,
        }
    }

    /// The bytes of memory that it takes, besides the mapping.
    pub(crate) fn memory(&self) -> SegmentMemory {
        let offsets = match &self.offsets {
            Offsets::Growing(offsets) => offsets.bytes(),
            Offsets::Sealed(_) => 0,
        };
        let checked = match &self.checked {
            Checked::Bits { bits, .. } => size_of_val(&**bits),
            Checked::All => 0,
        };
        SegmentMemory {
            offsets,
            checked,
            rescued: self.rescued.get().map_or(0, |rescued| rescued.bytes.len()),
        }
    }

    /// Notes where record `ordinal` begins. The writer's; before the record is published.
    #[must_use]
    pub(crate) fn note_offset(&self, ordinal: u64, offset: usize) -> bool {
        match (&self.offsets, usize::try_from(ordinal), u32::try_from(offset)) {
            (Offsets::Growing(offsets), Ok(ordinal), Ok(offset)) => offsets.set(ordinal, offset),
            _ => false,
        }
    }

    /// Lets readers see the first `count` records. The bytes must have been published before.
    #[inline]
    pub(crate) fn publish(&self, count: u64) {
        self.published.publish(count);
    }

    /// Where record `ordinal` begins.
    #[inline]
    pub(crate) fn offset_of(&self, ordinal: u64) -> Option<usize> {
        let ordinal = usize::try_from(ordinal).ok()?;
        let offset = match &self.offsets {
            Offsets::Growing(offsets) => offsets.get(ordinal),
            Offsets::Sealed(footer) => {
                let sidecar = usize::try_from(footer.sidecar_offset).ok()?;
                u32_at(self.map.get(sidecar + ordinal.checked_mul(4)?, 4)?, 0)?
            }
        };
        Some(offset as usize)
    }

    /// Where the first `count` records end, of those that are published.
    pub(crate) fn end_of(&self, count: u64) -> Result<usize> {
        match count.checked_sub(1) {
            None => Ok(usize::try_from(RECORDS_START).unwrap_or_default()),
            Some(last) => {
                let offset = self.offset_of(last).unwrap_or_default();
                Ok(offset + record::record_bytes(self.leaf_at(last, offset)?.len()))
            }
        }
    }

    /// Up to where an index checkpoint speaks for the records.
    pub(crate) fn checkpointed_to(&self) -> u64 {
        self.checkpointed_to.load(Ordering::Relaxed)
    }

    /// An index checkpoint speaks for the records that end here.
    pub(crate) fn note_checkpoint(&self, records_end: u64) {
        self.checkpointed_to.store(records_end, Ordering::Relaxed);
    }

    /// Recovery has closed the segment at this sequence; its file was used up to this offset.
    pub(crate) fn close(&mut self, end: u64, used_to: u64) {
        self.closed = Some((end, used_to));
    }

    /// One past the last sequence that it may have, where recovery has closed it.
    pub(crate) fn closed_end(&self) -> Option<u64> {
        self.closed.map(|(end, _)| end)
    }

    /// From where on its file was never used.
    pub(crate) fn used_to(&self) -> u64 {
        self.closed.map_or(0, |(_, used_to)| used_to)
    }

    /// Reads one byte of the record at `offset`, from the disk if it must.
    pub(crate) fn touch(&self, offset: usize) {
        std::hint::black_box(self.map.get(offset, 1).map(|byte| byte.first().copied()));
    }

    /// Where the offsets of a sealed segment's records lie, for [`Self::map`].
    pub(crate) fn sidecar(&self) -> Option<std::ops::Range<usize>> {
        let Offsets::Sealed(footer) = &self.offsets else { return None };
        let begin = usize::try_from(footer.sidecar_offset).ok()?;
        Some(begin..begin.checked_add(usize::try_from(footer.count.checked_mul(4)?).ok()?)?)
    }

    /// Asks the disk for the offset of a record; doesn't wait.
    pub(crate) fn ask_for_offset(&self, ordinal: u64) {
        if let Offsets::Sealed(footer) = &self.offsets
            && let Ok(at) = usize::try_from(footer.sidecar_offset.saturating_add(ordinal.saturating_mul(4)))
        {
            // Where the next one begins says where this one ends.
            self.map.will_need(at, 8);
        }
    }

    /// The bytes of record `ordinal`, which begins at `offset`: up to the next one, or of the last as many as most have.
    pub(crate) fn extent(&self, ordinal: u64, offset: usize) -> std::ops::Range<usize> {
        let next = (ordinal + 1 < self.published()).then(|| self.offset_of(ordinal + 1)).flatten();
        let sound = |end: &usize| (1..=RECORD_ASKED_MAX).contains(&end.wrapping_sub(offset));
        offset..next.filter(sound).unwrap_or(offset.saturating_add(reading::ASKED_BYTES))
    }

    /// Asks the disk for some bytes; doesn't wait.
    pub(crate) fn ask_for(&self, range: std::ops::Range<usize>) {
        self.map.will_need(range.start, range.len());
    }

    /// The leaf of the record `sequence`, intact.
    ///
    /// Its checksum is compared once; that it is the record asked for, every time.
    pub(crate) fn leaf(&self, sequence: u64) -> Result<&[u8]> {
        let ordinal = sequence.wrapping_sub(self.base);
        if ordinal >= self.published() {
            return Err(Error::at(
                ErrorKind::InvalidOption,
                self.path(),
                format!("no record {sequence} here"),
            ));
        }
        let offset = self.offset_of(ordinal).unwrap_or_default();
        self.leaf_at(ordinal, offset)
    }

    /// The leaf of record `ordinal`, which begins at `offset`.
    #[inline]
    pub(crate) fn leaf_at(&self, ordinal: u64, offset: usize) -> Result<&[u8]> {
        self.records().leaf(ordinal, offset)
    }

    /// The leaf, looked at closely; or what is wrong with it.
    #[cold]
    fn new_leaf(&self, ordinal: u64, offset: usize) -> Result<&[u8]> {
        let damaged = |message: &str| self.damaged(offset, ordinal, message);
        let bytes = self.bytes_from(offset).ok_or_else(|| damaged("the record's offset is out of range"))?;
        let leaf = if self.is_checked(ordinal) {
            record::leaf(bytes).map_err(|error| damaged(&error.to_string()))?
        } else {
            let verified = record::verify(bytes, self.header.salt, offset as u64);
            let (_, leaf) = verified.map_err(|error| damaged(&error.to_string()))?;
            self.set_checked(ordinal);
            leaf
        };
        if leaf.first_chunk().map(|sequence| u64::from_le_bytes(*sequence)) != Some(self.base + ordinal) {
            return Err(damaged("another record lies in this one's place"));
        }
        Ok(leaf)
    }

    /// The published bytes from a record's beginning on.
    #[inline]
    fn bytes_from(&self, offset: usize) -> Option<&[u8]> {
        if let Some(rescued) = self.rescued.get()
            && let Some(bytes) = offset.checked_sub(rescued.from).and_then(|at| rescued.bytes.get(at..))
            && !bytes.is_empty()
        {
            return Some(bytes);
        }
        self.map.get_from(offset)
    }

    #[cold]
    fn damaged(&self, offset: usize, ordinal: u64, message: &str) -> Error {
        let message = format!("record {} is damaged ({message})", self.base + ordinal);
        Error::corruption(self.path(), offset as u64, message)
    }

    #[inline]
    fn is_checked(&self, ordinal: u64) -> bool {
        match &self.checked {
            Checked::All => true,
            Checked::Bits { bits, end } => {
                ordinal >= *end
                    || usize::try_from(ordinal / 64)
                        .ok()
                        .and_then(|word| bits.get(word))
                        .is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (ordinal % 64) != 0)
            }
        }
    }

    fn set_checked(&self, ordinal: u64) {
        if let Checked::Bits { bits, .. } = &self.checked
            && let Some(word) = usize::try_from(ordinal / 64).ok().and_then(|word| bits.get(word))
        {
            word.fetch_or(1 << (ordinal % 64), Ordering::Relaxed);
        }
    }

    /// Compares every record's checksum, whether it was before or not; hands each leaf to `visit`.
    pub(crate) fn verify(&self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for ordinal in 0..self.published() {
            let offset = self.offset_of(ordinal).unwrap_or_default();
            let bytes = self.bytes_from(offset).unwrap_or_default();
            record::verify(bytes, self.header.salt, offset as u64)
                .map_err(|error| self.damaged(offset, ordinal, &error.to_string()))?;
            visit(self.leaf_at(ordinal, offset)?)?;
        }
        Ok(())
    }

    /// The writer of this segment; `None` if it was taken.
    pub(crate) fn appender(&self) -> Option<Appender> {
        self.map.appender()
    }

    /// Makes the file's bytes durable. After a failure it fails for ever.
    ///
    /// The kernel tells of an error once and marks the pages clean: a second sync, in another thread, would succeed with
    /// nothing written. So syncs of a file take turns, and none follows one that failed.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut failure = self.sync_failure.lock();
        if let Some(error) = &*failure {
            return Err(error.clone());
        }
        self.let_go();
        let synced = self.file().and_then(|file| file.sync_data());
        synced.inspect_err(|error| *failure = Some(error.clone()))
    }

    /// Whether its file is still in the directory; an error that says so if it isn't. Of a sealed one nobody asks.
    pub(crate) fn check_name(&self) -> Result<()> {
        #[cfg(test)]
        if has(Bug::RemovalUnchecked) {
            return Ok(());
        }
        if self.file.as_ref().is_none_or(|file| file.has_name()) {
            return Ok(());
        }
        let message = "the file was removed while the store had it open";
        Err(Error::at(ErrorKind::Io, &self.path, message))
    }

    /// The bytes that its published records take in the log.
    pub(crate) fn record_bytes(&self) -> u64 {
        (self.map.published() as u64).saturating_sub(RECORDS_START)
    }

    /// Before a large sync: lets go of the pages that are going to be written back.
    fn let_go(&self) {
        let published = self.map.published();
        let from = self.let_go_to.load(Ordering::Relaxed);
        if published.saturating_sub(from) >= LET_GO_BYTES_MIN {
            self.map.let_go(from, published - from);
            self.let_go_to.store(published / 4096 * 4096, Ordering::Relaxed);
        }
    }

    /// After a failed sync: keeps what was not synced in memory, since the kernel may drop its pages.
    pub(crate) fn rescue(&self, from_ordinal: u64) {
        let published = self.published();
        if from_ordinal < published
            && let Some(from) = self.offset_of(from_ordinal)
            && let Some(bytes) = self.map.get_from(from)
        {
            // Only the first failure counts: later ones find less that is known to be good.
            let _ = self.rescued.set(Rescued { from, bytes: bytes.to_vec() });
        }
    }

    /// Writes what is known to be durable into the older of the two slots. Durable with the next sync.
    pub(crate) fn write_slot(&self, floor: u64, clean: bool) -> Result<()> {
        let counter = self.slot_counter.fetch_add(1, Ordering::Relaxed).max(1);
        let slot = FloorSlot { counter, floor, clean };
        let [even, odd] = SLOT_OFFSETS;
        let place = if counter.is_multiple_of(2) { even } else { odd };
        self.file()?.write_all_at(place, &slot.encode(self.header.salt))
    }

    /// Continues the numbering of slots behind those that were found.
    pub(crate) fn continue_slots_after(&self, counter: u64) {
        self.slot_counter.store(counter.saturating_add(1), Ordering::Relaxed);
    }
}

/// Maps a segment's file; the first `published` bytes of it may be read.
pub(crate) fn map_file(file: &Arc<dyn DiskFile>, published: u64, access: Access) -> Result<Arc<SegmentMap>> {
    let map = file.map(RECORDS_START, published, access)?;
    map.advise_random();
    Ok(map)
}
