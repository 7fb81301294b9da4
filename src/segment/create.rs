//! Makes segment files: allocated whole, header written, so that a writer can begin at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::record::Salt;
use crate::format::segment::{HEADER_BYTES, Header, RECORDS_START};
use crate::io::{Disk, DiskFile, parent};

/// The smallest segment, and the first of every shard.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// The largest segment: a record's offset fits 32 bits, a posting's ordinal too.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The name of a segment's log.
pub(crate) fn log_path(shard_dir: &Path, id: u64) -> PathBuf {
    shard_dir.join(format!("{id:016}.log"))
}

/// The name of a segment's index run.
pub(crate) fn run_path(shard_dir: &Path, id: u64) -> PathBuf {
    shard_dir.join(format!("{id:016}.run"))
}

/// The name of the index checkpoint of a segment that isn't sealed.
pub(crate) fn checkpoint_path(shard_dir: &Path, id: u64) -> PathBuf {
    shard_dir.join(format!("{id:016}.ckpt"))
}

/// The name of the index run that covers several segments.
pub(crate) fn merged_run_path(shard_dir: &Path, first: u64, last: u64) -> PathBuf {
    shard_dir.join(format!("{first:016}-{last:016}.run"))
}

/// A random salt.
pub(crate) fn new_salt() -> Result<Salt> {
    #[cfg(test)]
    if let Some(salt) = crate::format::seeded::random() {
        return Ok(Salt(salt));
    }
    getrandom::u64()
        .map(Salt)
        .map_err(|error| Error::new(ErrorKind::Io, format!("cannot get random bytes: {error}")))
}

/// Makes a segment's file under `path`: its space and its header, nothing synced.
pub(crate) fn allocate_file(disk: &dyn Disk, path: &Path, header: &Header) -> Result<Arc<dyn DiskFile>> {
    let file = disk.allocate(path, header.file_bytes)?;
    if let Err(error) = file.write_all_at(0, &header.encode()) {
        // Its space is of more use to others.
        let _ = disk.remove(path);
        return Err(error);
    }
    Ok(file)
}

/// Makes a segment's file under `path`, synced, its name synced too.
pub(crate) fn create_file(disk: &dyn Disk, path: &Path, header: &Header) -> Result<Arc<dyn DiskFile>> {
    let file = allocate_file(disk, path, header)?;
    if let Err(error) = file.sync_data().and_then(|()| disk.sync_dir(parent(path))) {
        let _ = disk.remove(path);
        return Err(error);
    }
    Ok(file)
}

/// Writes and syncs every block behind the header, in pieces, so that other syncs of the disk get their turn between them.
///
/// Nobody may have mapped the file's records for writing yet.
pub(crate) fn write_zeros(file: &dyn DiskFile) -> Result<()> {
    const PIECE: u64 = 128 << 10;
    let mut offset = RECORDS_START;
    while offset < file.len() {
        let length = PIECE.min(file.len() - offset);
        file.write_zeros(offset, length)?;
        file.sync_data()?;
        offset += length;
    }
    Ok(())
}

/// Reads and checks a segment file's header.
pub(crate) fn read_header(file: &dyn DiskFile) -> Result<Header> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(0, &mut bytes)?;
    let header = Header::decode(&bytes).map_err(crate::format::located(file.path(), 0))?;
    if header.file_bytes != file.len() {
        return Err(Error::corruption(
            file.path(),
            file.len().min(header.file_bytes),
            format!("the file has {} bytes instead of {}", file.len(), header.file_bytes),
        ));
    }
    Ok(header)
}
