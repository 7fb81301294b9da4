//! Arrays that grow by chunks and never move, so that one thread appends while others read without a lock.
//!
//! Every element is an atomic. Who may read what is decided elsewhere (the shard's published tail): here all loads and
//! stores are relaxed, and the publication orders them.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::sync::{AtomicU32, AtomicU64};

/// Elements a chunk; as few as the largest block of a tail's needs where loom keeps a history of each.
const CHUNK: usize = if cfg!(all(test, loom)) { 128 } else { 2048 };

/// An atomic integer that a [`Chunked`] can hold.
pub(crate) trait Cell: Default {
    type Value: Copy + Default;
    fn get(&self) -> Self::Value;
    fn set(&self, value: Self::Value);
}

impl Cell for AtomicU32 {
    type Value = u32;

    #[inline]
    fn get(&self) -> u32 {
        self.load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, value: u32) {
        self.store(value, Ordering::Relaxed);
    }
}

impl Cell for AtomicU64 {
    type Value = u64;

    #[inline]
    fn get(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }
}

/// A growing array of at most the length it was made for.
#[derive(Debug)]
pub(crate) struct Chunked<C> {
    chunks: Box<[OnceLock<Box<[C]>>]>,
}

impl<C: Cell> Chunked<C> {
    /// For at most `elements_max` elements; allocates a few bytes for each 2048 of them.
    pub(crate) fn new(elements_max: usize) -> Self {
        Self { chunks: (0..elements_max.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    /// The element, or zero where nothing was stored.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> C::Value {
        let chunk = self.chunks.get(index / CHUNK).and_then(OnceLock::get);
        chunk.and_then(|chunk| chunk.get(index % CHUNK)).map_or_else(C::Value::default, Cell::get)
    }

    /// Stores an element. `false` beyond the length it was made for.
    #[inline]
    #[must_use]
    pub(crate) fn set(&self, index: usize, value: C::Value) -> bool {
        let Some(chunk) = self.chunks.get(index / CHUNK) else { return false };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| C::default()).collect());
        match chunk.get(index % CHUNK) {
            Some(cell) => {
                cell.set(value);
                true
            }
            None => false,
        }
    }

    /// Up to `length` elements from `index`, within one chunk; fewer where the chunk ends or is not there.
    #[inline]
    pub(crate) fn slice(&self, index: usize, length: usize) -> &[C] {
        let chunk = self.chunks.get(index / CHUNK).and_then(OnceLock::get);
        let rest = chunk.and_then(|chunk| chunk.get(index % CHUNK..)).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }

    /// For reading elements that are mostly near each other.
    #[inline]
    pub(crate) fn reader(&self) -> Reader<'_, C> {
        Reader { array: self, chunk: &[], first: 0 }
    }

    /// Where `length` elements (at most a chunk) fit behind `index` without crossing a chunk's edge.
    pub(crate) const fn place(index: usize, length: usize) -> usize {
        if index % CHUNK + length > CHUNK { index.next_multiple_of(CHUNK) } else { index }
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let made = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        made * CHUNK * size_of::<C>() + size_of_val(&*self.chunks)
    }
}

/// Reads elements; remembers the chunk of the one before.
#[derive(Debug)]
pub(crate) struct Reader<'a, C> {
    array: &'a Chunked<C>,
    chunk: &'a [C],
    /// The index of the chunk's first element.
    first: usize,
}

// Also where the elements can't be copied.
impl<C> Clone for Reader<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Reader<'_, C> {}

impl<C: Cell> Reader<'_, C> {
    /// As [`Chunked::get`].
    #[inline]
    pub(crate) fn get(&mut self, index: usize) -> C::Value {
        match self.chunk.get(index.wrapping_sub(self.first)) {
            Some(cell) => cell.get(),
            None => self.get_far(index),
        }
    }

    #[inline(never)]
    fn get_far(&mut self, index: usize) -> C::Value {
        self.first = index / CHUNK * CHUNK;
        self.chunk = self.array.slice(self.first, CHUNK);
        self.chunk.get(index - self.first).map_or_else(C::Value::default, Cell::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read() {
        let array = Chunked::<AtomicU32>::new(5000);
        assert!((0..5000).all(|index| array.set(index, u32::try_from(index).unwrap() * 3)));
        assert!((0..5000).all(|index| array.get(index) == u32::try_from(index).unwrap() * 3));
        assert!(!array.set(3 * CHUNK, 1), "beyond the end");
        assert_eq!(array.get(3 * CHUNK), 0);
        let mut reader = array.reader();
        for index in (0..3 * CHUNK + 2).rev().chain([0, 5000, CHUNK, CHUNK - 1]) {
            assert_eq!(reader.get(index), array.get(index), "{index}");
        }
        assert_eq!(array.slice(CHUNK - 2, 10).len(), 2, "a slice ends with its chunk");
        assert_eq!(Chunked::<AtomicU32>::place(CHUNK - 2, 3), CHUNK);
        assert_eq!(Chunked::<AtomicU32>::place(CHUNK - 3, 3), CHUNK - 3);
        assert_eq!(Chunked::<AtomicU64>::new(100).get(7), 0);
    }
}
