//! A directory that is gone when it is no longer needed. Must not know what is in it.

use std::collections::hash_map::RandomState;
use std::fs::DirBuilder;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::failure::{Failure, complain};

const ATTEMPTS: u32 = 16;

/// Removed with everything in it when dropped, unless it is to be kept.
pub(super) struct TemporaryDir {
    path: PathBuf,
    keep: bool,
}

impl TemporaryDir {
    /// A new directory of its owner's alone, for this command: in `parent`, else where the system keeps temporary ones.
    pub(super) fn new(command: &str, parent: Option<&Path>, keep: bool) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        for _ in 0..ATTEMPTS {
            // Keyed anew by the system each time.
            let number = RandomState::new().build_hasher().finish();
            let path = parent.join(format!("usertrail-{command}-{number:016x}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, keep }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::file("create", &path, &error)),
            }
        }
        Err(Failure::Other(format!("cannot create a directory in {}", parent.display())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            complain(&Failure::file("remove", &self.path, &error).to_string());
        }
    }
}
