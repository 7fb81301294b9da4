//! Segments numbered beyond those that the manifest lists, and what they say of the log: a manifest that is older than the store
//! (a disk that lost its newer one after reporting it durable, a file put back by hand) must not pass for the whole of it.
//!
//! Such a file may be left over from an opening that was cut off before it wrote the manifest; then it is removed. But then it
//! holds copies of what the manifest names, and no durable floor beyond their end.

use std::io;
use std::path::{Path, PathBuf};

use super::maintain::MANIFEST_NAME;
use super::{Context, checkpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::format::manifest::ShardManifest;
use crate::format::segment::Header;
use crate::ids::ShardId;
use crate::io::Access;
use crate::segment::create::read_header;
use crate::segment::scan::floor_in;

/// A segment that the manifest can't know of.
pub(super) struct Beyond {
    path: PathBuf,
    header: Header,
    /// Everything below this sequence was on stable storage, says the file or its index checkpoint.
    pub(super) floor: u64,
}

/// Looks for segments numbered beyond the manifest. Costs a listing of the directory, and all of each file that there is.
pub(super) fn look_beyond(
    context: &Context,
    dir: &Path,
    shard: ShardId,
    manifest: &ShardManifest,
) -> Result<Vec<Beyond>> {
    let mut beyond = Vec::new();
    for name in context.disk.list(dir)? {
        let number = name.strip_suffix(".log").and_then(|id| id.parse::<u64>().ok());
        let Some(id) = number.filter(|id| *id >= manifest.next_segment) else { continue };
        let path = dir.join(&name);
        let file = match context.disk.open(&path, Access::Read) {
            Ok(file) => file,
            // Removed by a writer that opens the store meanwhile.
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => continue,
            Err(error) => return Err(error),
        };
        let header = match read_header(&*file) {
            Ok(header) => header,
            // Its creation was cut off.
            Err(error) if error.kind() == ErrorKind::Corruption => continue,
            Err(error) => return Err(error),
        };
        if (header.store_id, header.shard, header.segment) != (context.store_id, shard.get(), id) {
            continue;
        }
        let checkpointed = checkpoint::find(context, dir, &header).map_or(0, |it| it.scope.end());
        let floor = floor_in(&file, header.salt)?.max(checkpointed);
        beyond.push(Beyond { path, header, floor });
    }
    Ok(beyond)
}

/// Refuses a log that ends at `end`, where a segment beyond it says that more was on stable storage.
pub(super) fn refuse_older_manifest(beyond: &[Beyond], dir: &Path, shard: ShardId, end: u64) -> Result<()> {
    let Some(newest) = beyond.iter().max_by_key(|it| it.floor).filter(|it| it.floor > end) else {
        return Ok(());
    };
    let message = format!(
        "the manifest is older than the store: by it shard {shard} ends at {end}, but {} says that everything below {} \
         was on stable storage; nothing was changed",
        newest.path.file_name().unwrap_or_default().display(),
        newest.floor
    );
    Err(Error::corruption(&dir.join(MANIFEST_NAME), 0, message))
}

/// A person asked for the repair: those that hold more stay, under names that no store opens.
pub(super) fn keep_newer(beyond: &[Beyond], context: &Context, end: u64) -> Result<()> {
    for newer in beyond.iter().filter(|it| it.floor > end) {
        context.disk.rename(&newer.path, &damaged_name(&newer.path, newer.header.generation))?;
    }
    Ok(())
}

/// The name of a damaged file that a repair keeps for people.
pub(super) fn damaged_name(path: &Path, generation: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{generation}"));
    PathBuf::from(name)
}
