//! The directories of the disk that fails on purpose: which name leads to which file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::io::parent;

/// A change to a directory.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Directory(PathBuf),
    Set(PathBuf, u64),
    Gone(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    /// The name that is not what it was.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Set(path, _) | Self::Gone(path) | Self::Rename(_, path, _) => path,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        parent(self.path())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<PathBuf, u64>,
    pub(super) directories: BTreeSet<PathBuf>,
}

impl Names {
    pub(super) fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Directory(path) => drop(self.directories.insert(path.clone())),
            NameChange::Set(path, inode) => drop(self.files.insert(path.clone(), *inode)),
            NameChange::Gone(path) => drop(self.files.remove(path)),
            NameChange::Rename(from, to, inode) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *inode);
            }
        }
    }

    /// The new name alone, the old one stays: a file system without a journal writes the two places one after the other.
    pub(super) fn apply_half(&mut self, change: &NameChange) {
        match change {
            NameChange::Rename(_, to, inode) => drop(self.files.insert(to.clone(), *inode)),
            other => self.apply(other),
        }
    }

    /// Whether the path can be reached from the directory that the test began with.
    pub(super) fn reachable(&self, path: &Path) -> bool {
        path.ancestors()
            .skip(1)
            .filter(|dir| !dir.as_os_str().is_empty())
            .all(|dir| self.directories.contains(dir))
    }
}
