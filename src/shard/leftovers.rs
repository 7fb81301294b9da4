//! Files that packing and merging have left in a shard's directory: removed as soon as that is safe, since a store may stay
//! open for months until an opening would remove them.
//!
//! Owns the question whether the manifest on disk may name a file. After a manifest could not be written, that on disk may be
//! the new one or the one before. So what either names stays, and the next attempt writes the manifest again, as it is,
//! before it begins: then it is known what the disk names, and what nothing names goes.

use std::path::PathBuf;

use super::Shard;
use super::recovery::is_orphan;
use crate::error::Result;

/// Files that must go, of one who packs or of one who merges; under that one's lock.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    paths: Vec<PathBuf>,
    /// The manifest on disk may name some of them.
    in_doubt: bool,
}

impl Leftovers {
    /// Notes files that a manifest names whose writing has failed.
    pub(super) fn doubt(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.paths.extend(paths);
        self.in_doubt = true;
    }
}

impl Shard {
    /// Before an attempt: removes what earlier ones have left. Afterwards the manifest on disk is surely the one in memory.
    pub(super) fn settle(&self, leftovers: &mut Leftovers) -> Result<()> {
        if leftovers.in_doubt {
            let manifest = self.manifest.lock();
            self.write_manifest(&manifest)?;
            leftovers.in_doubt = false;
        }
        let paths = std::mem::take(&mut leftovers.paths);
        self.discard(leftovers, paths);
        Ok(())
    }

    /// Removes files, but for those that the manifest names. What can't be removed now is removed before the next attempt, or by
    /// the next opening.
    pub(super) fn discard(&self, leftovers: &mut Leftovers, paths: impl IntoIterator<Item = PathBuf>) {
        let mut paths: Vec<PathBuf> = paths.into_iter().collect();
        if paths.is_empty() {
            return;
        }
        {
            let manifest = self.manifest.lock();
            let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
            paths.retain(|path| name(path).is_some_and(|name| is_orphan(&name, &manifest)));
        }
        paths.retain(|path| self.context.disk.remove(path).is_err());
        leftovers.paths.extend(paths);
    }
}
