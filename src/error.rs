//! The one error of the crate: what kind, what was being done, where. Knows no room.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The directory is not a store, or does not exist.
    NotAStore,
    /// A store (or something else) is already there.
    AlreadyExists,
    /// Another process (or another `Store` of this one) has the store open for writing, or readers that open it one after the
    /// other leave a writer no gap.
    Locked,
    /// The store was written by a newer version of the format.
    NewerFormat,
    /// Bytes on disk are not what was written: the message names file and offset.
    Corruption,
    /// The file system is full (or a quota is). Nothing was written; writing resumes when there is room.
    StorageFull,
    /// Any other failure of the operating system.
    Io,
    /// The event breaks a limit or rule: the message names the field.
    InvalidEvent,
    /// The cursor is empty, damaged, forged, or belongs to another user, filter or store.
    InvalidCursor,
    /// An option or argument is out of its range.
    InvalidOption,
    /// The store was opened for reading only, or the file system is read-only.
    ReadOnly,
    /// An earlier sync failed: this shard takes no more writes until the store is opened again.
    Poisoned,
    /// The event was stored, but the sync that should make it durable failed: it may or may not survive.
    OutcomeUnknown,
    /// The store was closed, or it was opened by the process that this one was forked from (told on Linux).
    Closed,
}

/// Why an operation failed: a [kind](ErrorKind) to decide by, and a message for people.
///
/// Cheap to clone, so that one failed sync can be told to everyone who waited for it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or directory concerned, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The byte offset in [`Self::path`], where there is one.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), path: None, offset: None, source: None }))
    }

    pub(crate) fn at(kind: ErrorKind, path: &Path, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            path: Some(path.to_owned()),
            offset: None,
            source: None,
        }))
    }

    /// Damage: what is wrong, in which file, at which byte.
    pub(crate) fn corruption(path: &Path, offset: u64, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind: ErrorKind::Corruption,
            message: message.into(),
            path: Some(path.to_owned()),
            offset: Some(offset),
            source: None,
        }))
    }

    /// A failed system call: `operation` is what was being done to `path`.
    pub(crate) fn io(operation: &str, path: &Path, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ErrorKind::StorageFull
            }
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            _ => ErrorKind::Io,
        };
        Self(Arc::new(Inner {
            kind,
            message: format!("cannot {operation}"),
            path: Some(path.to_owned()),
            offset: None,
            source: Some(Box::new(source)),
        }))
    }

    /// The same failure, told as `kind` to somebody it concerns in another way.
    pub(crate) fn told_as(&self, kind: ErrorKind, message: &str) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.to_owned(),
            path: None,
            offset: None,
            source: Some(Box::new(self.clone())),
        }))
    }

    /// The operating system's error underneath, where there is one.
    pub(crate) fn io_kind(&self) -> Option<io::ErrorKind> {
        let source = self.0.source.as_ref()?;
        source.downcast_ref::<io::Error>().map(io::Error::kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(path) = &self.0.path {
            write!(f, ": {}", path.display())?;
        }
        if let Some(offset) = self.0.offset {
            write!(f, " at byte {offset}")?;
        }
        // One line says all: callers print errors more often than they walk source chains.
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Error").field(&self.0).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<crate::event::EventError> for Error {
    fn from(error: crate::event::EventError) -> Self {
        let message = error.to_string();
        Self::new(ErrorKind::InvalidEvent, message)
    }
}
