//! Makes the files of a new store, in an order in which a crash leaves a store or none.

use std::path::{Path, PathBuf};

use super::open::{Host, live_words};
use super::options::{Durability, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::format::keys::{IndexKey, ROUTE_HASH_VERSION};
use crate::format::located;
use crate::format::manifest::{SegmentEntry, ShardManifest, StoreManifest};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::{FloorSlot, Header, RECORDS_START, SLOT_OFFSETS};
use crate::io::{Access, Disk, LockGuard, Mode, TEMPORARY_SUFFIX, parent, replace_file};
use crate::segment::create::{SEGMENT_BYTES_MIN, create_file, log_path, new_salt};
use crate::shard::maintain::MANIFEST_NAME;

/// The file that makes a directory a store: its manifest.
pub(super) const STORE_NAME: &str = "STORE";
/// The index key.
pub(super) const KEY_NAME: &str = "KEY";
/// Locked by the writer.
pub(super) const LOCK_NAME: &str = "LOCK";
/// The tails, for readers beside the writer.
pub(super) const LIVE_NAME: &str = "LIVE";

/// A shard's directory.
pub(super) fn shard_dir(dir: &Path, shard: u16) -> PathBuf {
    dir.join(format!("shard-{shard:02}"))
}

/// Whether a store can be made here: nothing is there, or only what a creation that was cut short left behind. Without the lock
/// it is a guess: another creation may be about to end.
pub(super) fn is_vacant(disk: &dyn Disk, dir: &Path) -> Result<bool> {
    // Looked for first: one that is made after that is passed over here, and seen under the lock.
    if !disk.exists(dir)? {
        return Ok(true);
    }
    let names = disk.list(dir)?;
    let own = |name: &String| {
        [KEY_NAME, LOCK_NAME, LIVE_NAME].contains(&name.as_str())
            || name.starts_with("shard-")
            || name.ends_with(TEMPORARY_SUFFIX)
    };
    if !names.iter().all(own) {
        return Ok(false);
    }
    for name in names.iter().filter(|name| name.starts_with("shard-")) {
        if let Err(error) = refuse_records(disk, &dir.join(name)) {
            // Somebody may have made the store since its directory was listed.
            return if disk.exists(&dir.join(STORE_NAME))? { Ok(false) } else { Err(error) };
        }
    }
    Ok(true)
}

/// A creation that was cut short has stored nothing: where records are, the store's own file was lost, and making a new
/// store would destroy them.
fn refuse_records(disk: &dyn Disk, shard: &Path) -> Result<()> {
    for name in disk.list(shard)?.iter().filter(|name| !name.ends_with(TEMPORARY_SUFFIX)) {
        let path = shard.join(name);
        if name == MANIFEST_NAME {
            continue;
        }
        let mut first = [0; 8];
        let empty = path == log_path(shard, 0) && {
            let file = disk.open(&path, Access::Read)?;
            // Cut short before it had its length, it has no records either.
            file.len() < SEGMENT_BYTES_MIN || {
                file.read_exact_at(RECORDS_START, &mut first)?;
                first == [0; 8]
            }
        };
        if !empty {
            let message = format!("the store has records, but its file {STORE_NAME} is missing");
            return Err(Error::corruption(&path, 0, message));
        }
    }
    Ok(())
}

pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    #[cfg(test)]
    if let Some(number) = crate::format::seeded::random() {
        bytes.iter_mut().zip(number.to_le_bytes().into_iter().cycle()).for_each(|(to, byte)| *to = byte);
        return Ok(bytes);
    }
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Io, format!("cannot get random bytes: {error}")))?;
    Ok(bytes)
}

/// Who made the files of a store, of which the lock is the caller's.
pub(super) enum Created {
    Here(Box<dyn LockGuard>),
    /// Somebody who had the lock before: nothing was changed.
    ByAnother(Box<dyn LockGuard>),
}

/// Makes the files of a new store where it was vacant; `STORE` comes last and makes it one. The lock is the caller's from the
/// first file on.
pub(super) fn create_files(options: &Options, host: &Host, dir: &Path) -> Result<Created> {
    let disk = &host.disk;
    let named_in = directories_to_sync(&**disk, dir)?;
    disk.create_dir(dir)?;
    let lock = disk.lock(&dir.join(LOCK_NAME))?;
    let vacant = is_vacant(&**disk, dir)?;
    #[cfg(test)]
    let vacant = vacant || has(Bug::VacantWithoutLock);
    if !vacant {
        return Ok(Created::ByAnother(lock));
    }
    let store_id: [u8; 16] = random()?;
    let name = options.name.clone().unwrap_or_else(|| {
        let [a, b, c, d, ..] = store_id;
        format!("usertrail-{:08x}", u32::from_be_bytes([a, b, c, d]))
    });
    let durability = options.durability.unwrap_or_default();
    let interval = match durability {
        Durability::Interval(interval) => u64::try_from(interval.as_micros()).unwrap_or(u64::MAX),
        _ => 0,
    };
    let manifest = StoreManifest {
        store_id,
        name,
        shards: options.shards_or_default(),
        route_hash_version: ROUTE_HASH_VERSION,
        segment_bytes_max: options.segment_bytes_max,
        created_at_micros: host.clock.wall_micros(),
        durability: match durability {
            Durability::Buffered => 0,
            Durability::Interval(_) => 1,
            Durability::Durable => 2,
        },
        sync_interval_micros: interval,
    };
    let key = IndexKey::new(random()?);
    replace_file(&**disk, &dir.join(KEY_NAME), &key.encode(), Mode::Private)?;
    for shard in 0..manifest.shards {
        create_shard(&**disk, dir, &manifest, shard)?;
    }
    // Whoever sees the store while it has a writer, as it has from the beginning, finds the tails.
    disk.shared_words(&dir.join(LIVE_NAME), live_words(&manifest), Access::Write)?;
    // The shards' names come before the name that makes it a store, and the directory's own before both.
    disk.sync_dir(dir)?;
    #[cfg(test)]
    let named_in = if has(Bug::StoreNameNotSynced) { Vec::new() } else { named_in };
    named_in.iter().try_for_each(|named_in| named_in.sync(&**disk))?;
    let path = dir.join(STORE_NAME);
    let bytes = manifest.encode().map_err(located(&path, 0))?;
    replace_file(&**disk, &path, &bytes, Mode::Shared)?;
    Ok(Created::Here(lock))
}

/// A directory on the way to the store.
struct NamedIn<'d> {
    dir: &'d Path,
    /// The name in it that leads to the store was there before.
    was_there: bool,
}

impl NamedIn<'_> {
    fn sync(&self, disk: &dyn Disk) -> Result<()> {
        use std::io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        disk.sync_dir(self.dir).or_else(|error| match error.io_kind() {
            // Somebody else's, and most likely not new: as good as can be.
            Some(PermissionDenied | InvalidInput | Unsupported) if self.was_there => Ok(()),
            _ => Err(error),
        })
    }
}

/// The directories that hold the store's own name and those of its parents: a power cut must not take the way to what is
/// durable. Also of those that are there: a creation that was killed may have made them, in the cache alone.
fn directories_to_sync<'d>(disk: &dyn Disk, dir: &'d Path) -> Result<Vec<NamedIn<'d>>> {
    let paths = dir.ancestors().filter(|path| !path.as_os_str().is_empty() && path.file_name().is_some());
    paths.map(|path| Ok(NamedIn { dir: parent(path), was_there: disk.exists(path)? })).collect()
}

fn create_shard(disk: &dyn Disk, dir: &Path, store: &StoreManifest, shard: u16) -> Result<()> {
    let dir = shard_dir(dir, shard);
    disk.create_dir(&dir)?;
    let header = Header {
        store_id: store.store_id,
        shard,
        generation: 0,
        segment: 0,
        file_bytes: SEGMENT_BYTES_MIN.min(store.segment_bytes_max),
        salt: new_salt()?,
        created_at_micros: store.created_at_micros,
    };
    let file = create_file(disk, &log_path(&dir, 0), &header)?;
    let slot = FloorSlot { counter: 1, floor: 0, clean: true };
    file.write_all_at(SLOT_OFFSETS[1], &slot.encode(header.salt))?;
    file.sync_data()?;
    let entry = SegmentEntry {
        id: 0,
        generation: 0,
        salt: header.salt.0,
        file_bytes: header.file_bytes,
        sealed: false,
    };
    let manifest = ShardManifest {
        store_id: store.store_id,
        shard,
        next_segment: 1,
        segments: vec![entry],
        rollbacks: Vec::new(),
        runs: Vec::new(),
        packs: Vec::new(),
        closed: Vec::new(),
    };
    let path = dir.join(MANIFEST_NAME);
    let bytes = manifest.encode().map_err(located(&path, 0))?;
    replace_file(disk, &path, &bytes, Mode::Shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, NewEvent};
    use crate::format::seeded::seed;
    use crate::io::memory::MemoryDisk;
    use crate::store::open::{WorkersKind, create, create_new, open};

    /// How many events a store has after somebody else, to whom its place had looked vacant before, got the lock.
    fn events_after_a_second_creation() -> Result<u64> {
        let host = Host { workers: WorkersKind::Caller, ..Host::machine(MemoryDisk::default()) };
        let (options, dir) = (Options::new().shards(1), PathBuf::from("memory"));
        let store = create_new(&options, &host, dir.clone())?;
        store.append(&NewEvent::builder(Action::AUTH_LOGIN).build().unwrap())?;
        store.close()?;
        drop(create(&options, &host, &dir)?);
        Ok(open(&options, &host, dir)?.stats()?.events)
    }

    #[test]
    fn a_store_that_another_made_meanwhile_is_not_made_again() {
        assert_eq!(events_after_a_second_creation().unwrap(), 1);
        seed(Some(Bug::VacantWithoutLock));
        let events = events_after_a_second_creation();
        seed(None);
        assert!(!matches!(events, Ok(1)), "the seeded bug went unnoticed");
    }

    #[test]
    fn a_store_is_read_from_when_it_is_one() {
        let host = Host { workers: WorkersKind::Caller, ..Host::machine(MemoryDisk::default()) };
        let (options, dir) = (Options::new().shards(1), PathBuf::from("memory"));
        // Its creator has the lock, and has not begun to write.
        let _created = create(&options, &host, &dir).unwrap();
        let reader = open(&Options::new().read_only(true), &host, dir).unwrap();
        assert_eq!(reader.stats().unwrap().events, 0);
    }

    #[test]
    fn a_new_store_is_refused_where_one_was_made_meanwhile() {
        let host = Host { workers: WorkersKind::Caller, ..Host::machine(MemoryDisk::default()) };
        let options = Options::new().shards(1);
        create_new(&options, &host, "memory".into()).unwrap().close().unwrap();
        let error = create_new(&options, &host, "memory".into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(matches!(create(&options, &host, Path::new("memory")), Ok(Created::ByAnother(_))));
    }
}
