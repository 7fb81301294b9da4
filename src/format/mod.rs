//! Bytes to structures and back: record, segment header and footer, index run, manifests, cursor, keys.
//!
//! Owns every on-disk and token layout, as described in `docs/FORMAT.md`. Works on `&[u8]` alone: must not know
//! files or time.
#![deny(clippy::indexing_slicing)]

use std::path::Path;

use crate::error::{Error, ErrorKind};

pub(crate) mod bytes;
pub(crate) mod checkpoint;
pub(crate) mod compression;
pub(crate) mod cursor;
pub(crate) mod event_id;
pub(crate) mod heads;
pub(crate) mod keys;
pub(crate) mod manifest;
pub(crate) mod pack;
pub(crate) mod pack_block;
pub(crate) mod posting;
pub(crate) mod record;
pub(crate) mod run;
#[cfg(test)]
pub(crate) mod seeded;
pub(crate) mod segment;

/// The version that files of this store format carry, but for the shards' manifests. A reader refuses a higher one.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Why bytes can't be what they should be. The caller knows file and offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("{0}")]
    Damaged(&'static str),
    #[error("written by format version {found}, newer than this program's {known}")]
    Newer { found: u32, known: u32 },
}

pub(crate) type FormatResult<T> = Result<T, FormatError>;

/// A format error, told with the file and the place that the bytes came from.
pub(crate) fn located(path: &Path, offset: u64) -> impl Fn(FormatError) -> Error {
    move |error| match error {
        FormatError::Newer { .. } => Error::at(ErrorKind::NewerFormat, path, error.to_string()),
        FormatError::Damaged(_) => Error::corruption(path, offset, error.to_string()),
    }
}
