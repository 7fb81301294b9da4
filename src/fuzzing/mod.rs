//! Doors for the fuzzer: one function for each target, which takes any bytes and must not panic.
//!
//! Exists in tests and under `--cfg fuzzing` alone (`cargo fuzz` sets it): `fuzz/` has a program for each of these, and the
//! tests below run the same functions over what is kept under `fuzz/corpus`. What a function asserts is a promise: what was
//! written comes back, what is read once is read the same again. Nearly everything on disk is under a checksum that no
//! fuzzer guesses: so most functions read the bytes as they are, and once more with the checksum made to match.
//!
//! May import everything; nothing imports it.

mod events;
mod formats;
mod stores;

pub use events::{authlog, details, event_json, event_view, import, names, time};
pub use formats::{
    checkpoint, cursor, event_id, heads, key, manifest, pack, pack_block, postings, record, run, segment,
};
pub use stores::{pack_file, question, recovery, resealed, run_file};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name: that of its program and of its corpus.
pub const TARGETS: [(&str, Target); 24] = [
    ("authlog", authlog),
    ("checkpoint", checkpoint),
    ("cursor", cursor),
    ("details", details),
    ("event_id", event_id),
    ("event_json", event_json),
    ("event_view", event_view),
    ("heads", heads),
    ("import", import),
    ("key", key),
    ("manifest", manifest),
    ("names", names),
    ("pack", pack),
    ("pack_block", pack_block),
    ("pack_file", pack_file),
    ("postings", postings),
    ("question", question),
    ("record", record),
    ("recovery", recovery),
    ("resealed", resealed),
    ("run", run),
    ("run_file", run_file),
    ("segment", segment),
    ("time", time),
];

/// Takes numbers off the front of the fuzzer's bytes; zeros when there are no more.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (front, rest) = self.0.split_at(N.min(self.0.len()));
        taken.iter_mut().zip(front).for_each(|(to, from)| *to = *from);
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(crate) fn word(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
