//! Mappings, and text in them: the only unsafe code of the crate.
//!
//! A [`SegmentMap`] is a file mapped whole, in three regions:
//!
//! ```text
//! 0            start                published                    length
//! | never lent | lent as &[u8],     | written by the one Appender, |
//! |            | never written      | never lent                   |
//! ```
//!
//! `published` only grows, by a release store after the bytes below it were stored; a reader loads it with acquire
//! before it forms a slice. So no byte is ever both lent and written: that is the whole safety argument.
//!
//! What is assumed: no other process writes below `published` or shortens the file (the store's lock, and files that
//! are never truncated, see to that). Must not know what the bytes mean.
#![expect(unsafe_code, reason = "mappings are raw memory; every block below says why it is sound")]

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;
use memmap2::{Advice, MmapMut, MmapRaw, UncheckedAdvice};
use parking_lot::Mutex;

use super::Access;
use super::sync::ByteTail;
use crate::error::{Error, Result};

/// Mapped memory, and who looks at it.
#[derive(Debug)]
pub(crate) struct Memory {
    raw: MmapRaw,
    /// A shared mapping of a file: its pages outlive their place in this process's address space.
    of_file: bool,
    maps: Mutex<Vec<Weak<SegmentMap>>>,
    /// Who is told of what is stored: the disk that fails on purpose.
    #[cfg(test)]
    watcher: Option<Box<dyn Watch>>,
}

/// Told of each store into mapped memory, behind it, in the thread that stores.
#[cfg(test)]
pub(crate) trait Watch: Send + Sync + std::fmt::Debug {
    fn stored(&self, offset: usize, bytes: &[u8]);
}

impl Memory {
    /// Wraps anonymous memory. Nobody else may hold a reference into it.
    pub(crate) fn anonymous(raw: impl Into<MmapRaw>) -> Arc<Self> {
        Arc::new(Self {
            raw: raw.into(),
            of_file: false,
            maps: Mutex::new(Vec::new()),
            #[cfg(test)]
            watcher: None,
        })
    }

    /// Wraps a shared mapping of a file. Nobody else may hold a reference into it.
    pub(crate) fn of_file(raw: MmapRaw) -> Arc<Self> {
        Arc::new(Self {
            raw,
            of_file: true,
            maps: Mutex::new(Vec::new()),
            #[cfg(test)]
            watcher: None,
        })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Copies bytes in: the in-memory twin of `pwrite`.
    ///
    /// Returns `false`, and copies nothing, if the range isn't inside, is lent to readers, or belongs to a living
    /// appender.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(end) = offset.checked_add(bytes.len()).filter(|end| *end <= self.len()) else {
            return false;
        };
        let maps = self.maps.lock();
        let taken = maps.iter().filter_map(Weak::upgrade).any(|map| {
            let taken_end = if map.appender_lives() { self.len() } else { map.published() };
            offset < taken_end && end > map.start
        });
        if taken {
            return false;
        }
        // SAFETY: in range; outside of what any map lends and of what an appender writes, as just checked, and the
        // registry stays locked, so that no map is made meanwhile.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.as_mut_ptr().add(offset), bytes.len());
        }
        true
    }

    /// Copies bytes out: the in-memory twin of `pread`.
    ///
    /// Returns `false` if the range isn't inside, or a living appender may be writing there.
    pub(crate) fn copy_out(&self, offset: usize, buffer: &mut [u8]) -> bool {
        let Some(end) = offset.checked_add(buffer.len()).filter(|end| *end <= self.len()) else {
            return false;
        };
        let maps = self.maps.lock();
        let mut living = maps.iter().filter_map(Weak::upgrade).filter(|map| map.appender_lives());
        if living.any(|map| end > map.published().max(map.start)) {
            return false;
        }
        // SAFETY: in range, and nobody writes there: appenders write above `published`, and `copy_in` holds the
        // registry's lock, as this does.
        unsafe {
            std::ptr::copy_nonoverlapping(self.raw.as_ptr().add(offset), buffer.as_mut_ptr(), buffer.len());
        }
        true
    }
}

#[cfg(test)]
impl Memory {
    /// Wraps anonymous memory, as [`Self::anonymous`]; every store into it is told to `watcher`.
    pub(crate) fn watched(raw: impl Into<MmapRaw>, watcher: Box<dyn Watch>) -> Arc<Self> {
        let maps = Mutex::new(Vec::new());
        Arc::new(Self { raw: raw.into(), of_file: false, maps, watcher: Some(watcher) })
    }

    #[inline]
    fn tell(&self, offset: usize, bytes: &[u8]) {
        if let Some(watcher) = &self.watcher {
            watcher.stored(offset, bytes);
        }
    }

    /// Overwrites bytes, lent or not: a page that the kernel dropped is read from the disk again, as it is there.
    ///
    /// For the disk that fails on purpose, whose stores have no threads. The caller holds no slice of any map of this
    /// memory during the call.
    pub(crate) fn forget(&self, offset: usize, bytes: &[u8]) {
        let _maps = self.maps.lock();
        assert!(offset + bytes.len() <= self.len());
        // SAFETY: in range, as just checked; no slice into the mapping is alive, as the caller promises, and no
        // other thread stores or reads.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.as_mut_ptr().add(offset), bytes.len());
        }
    }
}

/// A file (or anonymous memory) mapped whole, readable up to what was published.
#[derive(Debug)]
pub(crate) struct SegmentMap {
    memory: Arc<Memory>,
    start: usize,
    /// Alone on its lines: the writer stores here at every append, and readers use the fields beside it.
    published: CachePadded<ByteTail>,
    appender: AtomicU8,
}

const APPENDER_NEVER: u8 = 0;
const APPENDER_LIVES: u8 = 1;
const APPENDER_GONE: u8 = 2;

impl SegmentMap {
    /// Wraps a mapping. Bytes in `start..published` must not be written by anybody from now on.
    pub(crate) fn new(memory: &Arc<Memory>, start: usize, published: usize) -> Arc<Self> {
        let start = start.min(memory.len());
        let map = Arc::new(Self {
            start,
            published: CachePadded::new(ByteTail::new(published.clamp(start, memory.len()))),
            appender: AtomicU8::new(APPENDER_NEVER),
            memory: Arc::clone(memory),
        });
        let mut maps = memory.maps.lock();
        maps.retain(|map| map.strong_count() > 0);
        maps.push(Arc::downgrade(&map));
        drop(maps);
        map
    }

    /// The end of what readers may see.
    pub(crate) fn published(&self) -> usize {
        self.published.get()
    }

    fn appender_lives(&self) -> bool {
        self.appender.load(Ordering::Acquire) == APPENDER_LIVES
    }

    /// The mapping's length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// The published bytes from `offset`, `length` of them; `None` if any of them isn't published.
    #[inline]
    pub(crate) fn get(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let end = offset.checked_add(length)?;
        if end > self.published.get() {
            return None;
        }
        self.lend(offset, end)
    }

    /// All published bytes from `offset` on.
    #[inline]
    pub(crate) fn get_from(&self, offset: usize) -> Option<&[u8]> {
        self.lend(offset, self.published.get())
    }

    /// The bytes in `offset..end`; `end` is not above what `published` has been seen to be.
    #[inline]
    fn lend(&self, offset: usize, end: usize) -> Option<&[u8]> {
        if offset < self.start || end < offset {
            return None;
        }
        // SAFETY: `offset..end` lies in the mapping (published never exceeds its length) and below `published`,
        // which the writer passed with a release store after its last write there; nobody writes there again. The
        // mapping lives as long as `self`, which the slice borrows.
        Some(unsafe { std::slice::from_raw_parts(self.memory.raw.as_ptr().add(offset), end - offset) })
    }

    /// Lets readers see everything below `end`. For a reader that follows another process's writer, and for a
    /// segment that was sealed; nothing below `end` may be written from now on. Never goes back. Refused (`false`)
    /// while the appender lives, whose alone it is to publish.
    #[must_use]
    pub(crate) fn publish_up_to(&self, end: usize) -> bool {
        if self.appender_lives() {
            return false;
        }
        self.published.raise(end.min(self.memory.len()));
        true
    }

    /// The one writer of this mapping, at the published end. `None` if it was taken before.
    pub(crate) fn appender(self: &Arc<Self>) -> Option<Appender> {
        self.appender
            .compare_exchange(APPENDER_NEVER, APPENDER_LIVES, Ordering::AcqRel, Ordering::Acquire)
            .ok()?;
        Some(Appender { end: self.published.get(), map: Arc::clone(self) })
    }

    /// Asks the processor to bring the line at `offset` near; a hint, never a fault, wherever that is.
    #[inline]
    pub(crate) fn prefetch(&self, offset: usize) {
        self.prefetcher().line(offset);
    }

    /// The same for many lines.
    #[inline]
    pub(crate) fn prefetcher(&self) -> Prefetcher {
        Prefetcher(self.memory.raw.as_ptr())
    }

    /// Makes the pages of a range present and writable, so that storing there doesn't fault. Best effort.
    pub(crate) fn populate(&self, offset: usize, length: usize) {
        let page = 4096;
        let first = offset / page * page;
        let end = offset.saturating_add(length).min(self.memory.len());
        if first < end {
            // An old kernel refuses the advice; then the stores fault, which is only slower.
            let _ = self.memory.raw.advise_range(Advice::PopulateWrite, first, end - first);
        }
    }

    /// Makes the pages of a range present for reading: a store there still faults, but nothing becomes dirty before.
    pub(crate) fn populate_for_reading(&self, offset: usize, length: usize) {
        let page = 4096;
        let first = offset / page * page;
        let end = offset.saturating_add(length).min(self.memory.len());
        if first < end {
            let _ = self.memory.raw.advise_range(Advice::PopulateRead, first, end - first);
        }
    }

    /// Asks the disk for the pages of a range, in as few reads as can be; doesn't wait for them. Best effort.
    pub(crate) fn will_need(&self, offset: usize, length: usize) {
        #[cfg(test)]
        if WITHHELD.get() {
            return;
        }
        let page = 4096;
        let first = offset / page * page;
        let end = offset.saturating_add(length).min(self.memory.len());
        if self.memory.of_file && first < end {
            let _ = self.memory.raw.advise_range(Advice::WillNeed, first, end - first);
        }
    }

    /// Brings the pages of a range into memory and waits for them, a piece at a time, so that others' reads of the disk get
    /// their turn between; as long as `go_on` says so. Best effort.
    pub(crate) fn bring_in(&self, range: std::ops::Range<usize>, go_on: &dyn Fn() -> bool) {
        const PIECE_BYTES: usize = 128 << 10;
        for offset in range.clone().step_by(PIECE_BYTES).take_while(|_| self.memory.of_file && go_on()) {
            let length = PIECE_BYTES.min(range.end - offset);
            // One read of the disk; populating alone would read page by page.
            self.will_need(offset, length);
            self.populate_for_reading(offset, length);
        }
    }

    /// Takes whole published pages out of this process's page table; a read brings them back, from the page cache.
    ///
    /// A page that is written back while it is mapped for writing is first protected in every processor's table, one
    /// interrupt a page; a range that was let go in one call costs one. Best effort.
    pub(crate) fn let_go(&self, offset: usize, length: usize) {
        let page = 4096;
        let first = offset.next_multiple_of(page);
        let end = offset.saturating_add(length).min(self.published()) / page * page;
        if self.memory.of_file && first < end {
            // SAFETY: the mapping is a shared one of a file, so its bytes are those of the page cache before and after:
            // slices that were lent stay valid and keep their content. Only whole pages below `published` go, where
            // nobody stores.
            let _ = unsafe {
                self.memory.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, first, end - first)
            };
        }
    }

    /// Tells the kernel that reads come in no order, so that it doesn't read megabytes around each. Best effort.
    pub(crate) fn advise_random(&self) {
        let _ = self.memory.raw.advise(Advice::Random);
    }
}

#[cfg(test)]
thread_local! {
    /// What this thread asks for does not reach the disk: so a test sees what is touched, and when.
    pub(crate) static WITHHELD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Where a mapping begins, or began: nothing is ever read through it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefetcher(*const u8);

impl Prefetcher {
    /// Asks the processor to bring the line at `offset` near; a hint, never a fault, wherever that is.
    #[inline]
    pub(crate) fn line(self, offset: usize) {
        let line = self.0.wrapping_add(offset);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing architecturally and never faults, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// The right to store past a mapping's published end. One for each mapping; not cloneable.
#[derive(Debug)]
pub(crate) struct Appender {
    map: Arc<SegmentMap>,
    end: usize,
}

impl Appender {
    /// Where the next byte goes.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Copies `bytes` behind what was stored so far, unseen by readers. `false` (and nothing stored) if it is too long.
    #[inline]
    #[must_use]
    pub(crate) fn store(&mut self, bytes: &[u8]) -> bool {
        let Some(end) = self.end.checked_add(bytes.len()).filter(|end| *end <= self.map.memory.len()) else {
            return false;
        };
        // SAFETY: `self.end..end` is inside the mapping and at or above `published` (it starts there and only
        // grows ahead of it), so no slice of it was lent; this is the only Appender, borrowed exclusively, so nobody
        // else stores there. `bytes` can't overlap it, because no safe reference to that range exists.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.map.memory.raw.as_mut_ptr().add(self.end),
                bytes.len(),
            );
        }
        #[cfg(test)]
        self.map.memory.tell(self.end, bytes);
        self.end = end;
        true
    }

    /// Lets readers see all that was stored.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.map.published.publish(self.end);
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.map.appender.store(APPENDER_GONE, Ordering::Release);
    }
}

/// A small mapping of 64-bit words that several processes read and write atomically.
#[derive(Debug, Clone)]
pub(crate) struct SharedWords {
    memory: Arc<Memory>,
    access: Access,
}

impl SharedWords {
    /// Wraps a mapping; its length is rounded down to whole words.
    pub(crate) fn new(memory: Arc<Memory>, access: Access) -> Self {
        Self { memory, access }
    }

    /// How many words there are.
    pub(crate) fn len(&self) -> usize {
        self.memory.len() / 8
    }

    /// Reads word `index`; 0 beyond the end.
    #[inline]
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.word(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Writes word `index`; nothing beyond the end, or where the mapping is for reading.
    #[inline]
    pub(crate) fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index).filter(|_| self.access == Access::Write) {
            word.store(value, Ordering::Release);
            #[cfg(test)]
            self.memory.tell(index * 8, &value.to_ne_bytes());
        }
    }

    /// The same where several write: never makes it less.
    #[inline]
    pub(crate) fn raise(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index).filter(|_| self.access == Access::Write) {
            word.fetch_max(value, Ordering::AcqRel);
            #[cfg(test)]
            self.memory.tell(index * 8, &word.load(Ordering::Acquire).to_ne_bytes());
        }
    }

    /// Asks the processor to bring the line of word `index` near; a hint, never a fault.
    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        if index < self.len() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch reads nothing architecturally; the address is inside the mapping.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(self.memory.raw.as_ptr().add(index * 8).cast());
            }
        }
    }

    /// Makes pages present for reading. Best effort.
    pub(crate) fn populate(&self, index: usize, words: usize) {
        let page = 4096;
        let first = index * 8 / page * page;
        let end = (index.saturating_add(words)).saturating_mul(8).min(self.memory.len());
        if first < end {
            let _ = self.memory.raw.advise_range(Advice::PopulateRead, first, end - first);
        }
    }

    #[inline]
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.len() {
            return None;
        }
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "a mapping starts at a page, and words are counted from there"
        )]
        // SAFETY: in range, and aligned, since a mapping starts at a page. Every access in every process is an
        // atomic one through this type; `store` checks that the mapping is writable.
        Some(unsafe { AtomicU64::from_ptr(self.memory.raw.as_mut_ptr().cast::<u64>().add(index)) })
    }
}

/// Whether something is open in this process. A child that was forked finds it closed: it has the mappings of the process that
/// opened it, and none of its threads, so whatever it would store would lie where that one stores.
#[derive(Debug)]
pub(crate) struct OpenHere(SharedWords);

impl OpenHere {
    /// It is open.
    pub(crate) fn new() -> Result<Self> {
        let page = MmapMut::map_anon(4096)
            .map_err(|source| Error::io("allocate a page for", Path::new("the store"), source))?;
        let memory = Memory::anonymous(page);
        #[cfg(target_os = "linux")]
        // SAFETY: the page is anonymous and private, this type's alone, and read and written as atomic words. Zeros in a
        // child are a value like any other. Before Linux 4.14 it is refused; then a child finds what was there.
        unsafe {
            let advice = rustix::mm::Advice::LinuxWipeOnFork;
            let _ = rustix::mm::madvise(memory.raw.as_mut_ptr().cast(), memory.len(), advice);
        }
        let words = SharedWords::new(memory, Access::Write);
        words.store(0, 1);
        Ok(Self(words))
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(0) != 0
    }

    /// Says whether it was open until now.
    pub(crate) fn close(&self) -> bool {
        self.0.word(0).is_some_and(|word| word.swap(0, Ordering::AcqRel) != 0)
    }
}

/// The bytes as text, if all of them are ASCII.
///
/// For texts of some dozens of bytes, wherever they lie: sixteen at a time, those at the end overlapping those before.
/// `<[u8]>::is_ascii` and `str::from_utf8` look at what is left over byte by byte.
#[inline]
pub(crate) fn ascii(bytes: &[u8]) -> Option<&str> {
    if !is_ascii(bytes) {
        return None;
    }
    // SAFETY: every byte is below 128, as was just looked at, and such bytes are UTF-8. `bytes` is a shared slice, so they
    // don't change while it lives; where they are those of a mapped file, that is what the module's assumption says, which
    // every check of lent bytes rests on, the standard library's too: nothing is remembered from an earlier call.
    Some(unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// Whether all bytes are below 128.
///
/// Up to 128 bytes without a loop: a part from the front and one from the end, overlapping in the middle.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    if let (Some(front), Some(back)) = (bytes.first_chunk::<64>(), bytes.last_chunk()) {
        let (parts, _) = bytes.as_chunks();
        return !any_high(front, parts.get(1..).unwrap_or_default(), back);
    }
    if let (Some(front), Some(back)) = (bytes.first_chunk::<32>(), bytes.last_chunk()) {
        return !any_high(front, &[], back);
    }
    if let (Some(front), Some(back)) = (bytes.first_chunk::<16>(), bytes.last_chunk()) {
        return !any_high(front, &[], back);
    }
    let all = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last)
    } else {
        bytes.iter().fold(0, |all, byte| all | u64::from(*byte))
    };
    all & 0x8080_8080_8080_8080 == 0
}

/// Whether any byte of these parts, each some blocks of sixteen, has its highest bit set.
#[cfg(target_arch = "x86_64")]
#[inline]
fn any_high<const N: usize>(front: &[u8; N], middle: &[[u8; N]], back: &[u8; N]) -> bool {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_setzero_si128};
    // SAFETY: each load reads the sixteen bytes of an array, at any alignment; every x86-64 processor has SSE2.
    unsafe {
        let or = |all, block: &[u8; 16]| _mm_or_si128(all, _mm_loadu_si128(block.as_ptr().cast()));
        let add = |all, part: &[u8; N]| part.as_chunks().0.iter().fold(all, or);
        let ends = add(add(_mm_setzero_si128(), front), back);
        _mm_movemask_epi8(middle.iter().fold(ends, add)) != 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn any_high<const N: usize>(front: &[u8; N], middle: &[[u8; N]], back: &[u8; N]) -> bool {
    let or = |all, block: &[u8; 16]| all | u128::from_ne_bytes(*block);
    let add = |all, part: &[u8; N]| part.as_chunks().0.iter().fold(all, or);
    let all = middle.iter().fold(add(add(0, front), back), add);
    all & u128::from_ne_bytes([0x80; 16]) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapMut;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ascii_is_told_from_all_else(
            mut bytes in proptest::collection::vec(0_u8..128, 0..300),
            skipped in 0_usize..16,
            other in proptest::option::of((any::<proptest::sample::Index>(), 128_u8..)),
        ) {
            if let Some((place, byte)) = other && !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            // At every alignment.
            let bytes = bytes.get(skipped..).unwrap_or_default();
            let expected = std::str::from_utf8(bytes).ok().filter(|_| bytes.is_ascii());
            prop_assert_eq!(ascii(bytes), expected);
        }
    }

    fn anonymous(bytes: usize) -> Arc<Memory> {
        Memory::anonymous(MmapMut::map_anon(bytes).unwrap())
    }

    #[test]
    fn only_published_bytes_are_lent() {
        let map = SegmentMap::new(&anonymous(8192), 4096, 4096);
        let mut appender = map.appender().unwrap();
        assert!(map.appender().is_none(), "a second appender");
        assert!(appender.store(b"hello"));
        assert_eq!(map.get(4096, 5), None, "stored, not published");
        appender.publish();
        assert_eq!(map.get(4096, 5), Some(&b"hello"[..]));
        assert_eq!(map.get(4096, 6), None);
        assert_eq!(map.get(4095, 1), None, "the header is never lent");
        assert_eq!(map.get(usize::MAX, 2), None);
        assert!(!appender.store(&[0; 8192]), "too long");
        assert_eq!(appender.end(), 4101);
    }

    #[test]
    fn publishing_never_goes_back() {
        let map = SegmentMap::new(&anonymous(4096), 0, 100);
        assert!(map.publish_up_to(50));
        assert!(map.get(0, 100).is_some());
        assert!(map.publish_up_to(1 << 20));
        assert_eq!(map.get_from(0).unwrap().len(), 4096);
        let map = SegmentMap::new(&anonymous(4096), 0, 100);
        let appender = map.appender().unwrap();
        assert!(!map.publish_up_to(200), "the appender publishes");
        drop(appender);
        assert!(map.publish_up_to(200));
    }

    #[test]
    fn copies_stay_inside_and_off_what_is_lent() {
        let memory = anonymous(8192);
        assert!(memory.copy_in(8186, b"123456"));
        assert!(!memory.copy_in(8187, b"123456"));
        let mut buffer = [0; 6];
        assert!(memory.copy_out(8186, &mut buffer));
        assert_eq!(&buffer, b"123456");
        assert!(!memory.copy_out(usize::MAX, &mut buffer));
        let map = SegmentMap::new(&memory, 4096, 5000);
        assert!(memory.copy_in(4000, &[1; 96]), "the header is written in place");
        assert!(!memory.copy_in(4000, &[1; 97]), "lent");
        assert!(memory.copy_in(5000, &[1; 8]), "a footer, nobody appends");
        let appender = map.appender().unwrap();
        assert!(!memory.copy_in(5000, &[1; 8]), "the appender's");
        assert!(!memory.copy_out(5000, &mut buffer), "the appender's");
        drop(appender);
        assert!(memory.copy_in(5000, &[1; 8]));
    }

    #[test]
    fn words_are_bounded_and_read_only_where_they_must_be() {
        let memory = anonymous(4096);
        let words = SharedWords::new(Arc::clone(&memory), Access::Write);
        words.store(511, 7);
        words.store(512, 9);
        assert_eq!((words.load(511), words.load(512)), (7, 0));
        words.raise(511, 6);
        words.raise(512, 9);
        assert_eq!((words.load(511), words.load(512)), (7, 0));
        words.raise(511, 8);
        let reader = SharedWords::new(memory, Access::Read);
        reader.store(511, 9);
        reader.raise(511, 9);
        assert_eq!(reader.load(511), 8);
    }

    #[test]
    #[ignore = "a bug on purpose, which a sanitizer must notice: .ci/long asan"]
    fn a_load_beyond_the_end() {
        let bytes = vec![b'a'; 24].into_boxed_slice();
        // SAFETY: there is none, on purpose: the last eight of these thirty-two bytes belong to nobody.
        let longer = unsafe { std::slice::from_raw_parts(std::hint::black_box(bytes.as_ptr()), 32) };
        assert!(ascii(longer).is_none_or(|text| text.len() == 32));
    }

    #[test]
    #[ignore = "a bug on purpose, which a sanitizer must notice: .ci/long asan"]
    fn a_text_that_was_freed() {
        let bytes = vec![b'a'; 40].into_boxed_slice();
        let text: *const str = ascii(&bytes).unwrap();
        drop(std::hint::black_box(bytes));
        // SAFETY: there is none, on purpose: the text's bytes were given back.
        let text = unsafe { &*text };
        assert!(std::hint::black_box(text).bytes().all(|byte| byte == b'a'));
    }
}
