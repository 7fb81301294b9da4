//! The record: everything that reached the file system, in one order, with what the store's process said meanwhile. Knows
//! nothing of FUSE.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What was written.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    /// So many zeros: most of what makes a segment's pages present.
    Zeros(usize),
    Data(Arc<[u8]>),
}

impl Bytes {
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) { Self::Zeros(bytes.len()) } else { Self::Data(bytes.into()) }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Zeros(length) => *length,
            Self::Data(data) => data.len(),
        }
    }
}

/// One thing that happened. Paths are from the mounted directory on; files are known by their numbers, whatever their names.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Write {
        file: u64,
        offset: u64,
        bytes: Bytes,
    },
    /// The file's length changes, by an allocation or a cut.
    Length {
        file: u64,
        bytes: u64,
    },
    Create {
        path: PathBuf,
        file: u64,
    },
    Directory {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        file: u64,
    },
    Remove {
        path: PathBuf,
    },
    Sync {
        file: u64,
    },
    SyncDirectory {
        path: PathBuf,
    },
    Note(Note, Arc<[u8]>),
}

/// What the store's process says to the recorder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Note {
    /// The store is open: how many records each shard has.
    Opened { ends: Vec<u64> },
    /// An event was taken; the bytes of its leaf come behind the note.
    Took {
        shard: u16,
        sequence: u64,
        epoch: u32,
        user: Option<u8>,
        marker: String,
        /// The atomic group that it is part of: first sequence, and how many.
        group: (u64, u64),
    },
    /// The store has said that everything in this shard before `end` is on stable storage.
    Durable { shard: u16, end: u64 },
}

impl Note {
    /// As it is written to the notes' file.
    pub(super) fn encode(&self, leaf: &[u8]) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap();
        bytes.push(b'\n');
        bytes.extend_from_slice(leaf);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, Arc<[u8]>)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let note = serde_json::from_slice(&bytes[..end]).ok()?;
        Some((note, bytes[end + 1..].into()))
    }
}

/// The name of the file that notes are written to, in the mounted directory.
pub(super) const NOTES: &str = "NOTES";
