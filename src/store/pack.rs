//! Packing and unpacking on demand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Core, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::io::Access;
use crate::shard::packing::Pace;
use crate::shard::{Job, Shard};

/// What [`Store::pack`] or [`Store::unpack`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Packed {
    /// How many events were packed, or unpacked, that were not before.
    pub events: u64,
    /// The length of the store's files before, in bytes.
    pub bytes_before: u64,
    /// And now.
    pub bytes_after: u64,
}

impl Store {
    /// Packs every sealed segment now, into as few packs as can be, whatever [`Options::pack_after`] says: sorted by user,
    /// compressed, compared event by event with the segments, which then go. Events stay byte for byte what they were.
    ///
    /// Takes seconds for a million events; each processor packs a shard at a time, and other threads read and append
    /// meanwhile. Needs room on the disk for what it packs, until it is packed.
    ///
    /// [`Options::pack_after`]: super::Options::pack_after
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly), [`StorageFull`](ErrorKind::StorageFull),
    /// [`Corruption`](ErrorKind::Corruption) naming file and offset of a damaged record, or what the operating system
    /// says. What was packed before stays packed; nothing is lost.
    pub fn pack(&self) -> Result<Packed> {
        self.0.core.repack(|shard, pace| shard.pack_all(pace))
    }

    /// Makes segments again of everything that is packed. A store that packs on its own (see [`Options::pack_after`]) may
    /// do so again.
    ///
    /// [`Options::pack_after`]: super::Options::pack_after
    ///
    /// # Errors
    ///
    /// As [`Store::pack`].
    pub fn unpack(&self) -> Result<Packed> {
        self.0.core.repack(|shard, pace| shard.unpack_all(pace))
    }
}

impl Core {
    fn repack(&self, work: impl Fn(&Shard, Pace<'_>) -> Result<u64> + Sync) -> Result<Packed> {
        self.check_open()?;
        if self.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading only"));
        }
        let bytes_before = self.disk.used_bytes(&self.dir)?;
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let some = || -> Result<u64> {
            let mut events = 0;
            while !failed.load(Ordering::Relaxed)
                && let Some(shard) = self.shards.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let done = repack_shard(self, shard, &work);
                failed.fetch_or(done.is_err(), Ordering::Relaxed);
                events += done?;
            }
            Ok(events)
        };
        // Somebody waits for it: each processor takes a shard at a time.
        let threads = if self.background.has_threads() { cores().min(self.shards.len()) } else { 1 };
        let events = std::thread::scope(|scope| {
            // Where there can be no more threads, those that there are do it.
            let others: Vec<_> = (1..threads)
                .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, some).ok())
                .collect();
            let own = some();
            let done = others
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            // All of them end before any of the errors is told.
            let done: Vec<_> = std::iter::once(own).chain(done).collect();
            done.into_iter().sum::<Result<u64>>()
        })?;
        Ok(Packed { events, bytes_before, bytes_after: self.disk.used_bytes(&self.dir)? })
    }
}

fn repack_shard(
    core: &Core,
    shard: &Shard,
    work: &(impl Fn(&Shard, Pace<'_>) -> Result<u64> + Sync),
) -> Result<u64> {
    if let Some(error) = shard.poison() {
        return Err(error.clone());
    }
    shard.run(Job::Seal)?;
    work(shard, &mut |_| core.check_open())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::open::{Host, WorkersKind, create_new, open};
    use super::super::{Options, PackAfter, Store};
    use crate::error::ErrorKind;
    use crate::event::{Action, Details, Message, NewEvent, UserId};
    use crate::io::memory::MemoryDisk;
    use crate::io::{Disk, Mode};
    use crate::segment::pack::Pack;

    fn user(number: usize) -> UserId<'static> {
        UserId::new(format!("user-{number}")).unwrap()
    }

    /// A store of one shard without threads.
    fn store(disk: &Arc<MemoryDisk>) -> Store {
        let host = Host { workers: WorkersKind::Caller, ..Host::machine((**disk).clone()) };
        let options = Options::new().shards(1).segment_bytes_max(1 << 20).pack_after(PackAfter::Never);
        create_new(&options, &host, "memory".into()).unwrap()
    }

    fn fill(store: &Store, events: usize, bytes: usize, users: usize) {
        for number in 0..events {
            let text = serde_json::json!({ "number": number, "text": "x".repeat(bytes) });
            let event = NewEvent::builder(Action::AUTH_LOGIN).details(Details::from_value(&text).unwrap());
            let event = if number % 9 == 8 { event } else { event.user(user(number % users)) };
            store.append(&event.build().unwrap()).unwrap();
        }
    }

    /// The leaves of a pack, as far as they can be read; `None` if something is wrong.
    fn leaves(disk: &MemoryDisk, path: &Path) -> Option<Vec<Vec<u8>>> {
        let pack = Pack::open(disk, path).ok()?;
        let mut leaves = Vec::new();
        pack.verify(|leaf| {
            leaves.push(leaf.to_vec());
            Ok(())
        })
        .ok()?;
        Some(leaves)
    }

    #[test]
    fn every_damage_to_a_pack_is_an_error_or_harmless() {
        let disk = Arc::new(MemoryDisk::default());
        let store = store(&disk);
        fill(&store, 40, 50_000, 3);
        store.pack().unwrap();
        let path = Path::new("memory/shard-00/0000000000000000.pack");
        let bytes = disk.read(path, u64::MAX).unwrap();
        let whole = leaves(&disk, path).unwrap();
        assert!(whole.len() >= 20);
        let scratch = Path::new("memory/scratch");
        let mut told = 0;
        let mut tries = 0;
        for (at, byte) in bytes.iter().enumerate() {
            // Of zeros, which are padding most of the time, a sample.
            if *byte == 0 && at % 7 != 0 {
                continue;
            }
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            disk.write_synced(scratch, &damaged, Mode::Shared).unwrap();
            tries += 1;
            match leaves(&disk, scratch) {
                None => told += 1,
                Some(found) => assert!(found == whole, "byte {at} is another event"),
            }
        }
        assert!(told * 3 > tries, "{told} of {tries}");
        for length in (0..bytes.len()).step_by(13) {
            disk.write_synced(scratch, &bytes[..length], Mode::Shared).unwrap();
            assert_eq!(leaves(&disk, scratch), None, "cut to {length}");
        }
    }

    #[test]
    fn a_damaged_block_is_named_and_hides_no_other() {
        let disk = Arc::new(MemoryDisk::default());
        let store = store(&disk);
        fill(&store, 60, 40_000, 5);
        store.pack().unwrap();
        let view = store.0.core.shards[0].view();
        let pack = Arc::clone(&view.packs[0]);
        // The first block is somebody's; its middle is hit.
        let (block, _) = (0..5)
            .map(user)
            .find_map(|user| {
                let key = store.0.core.key.fingerprint(user.as_str().as_bytes()).prefix();
                let found = pack.block_of(key, 0).ok()?;
                (found.number == 0).then_some((found.offset, key))
            })
            .unwrap();
        let path = pack.path().to_owned();
        let mut bytes = disk.read(&path, u64::MAX).unwrap();
        bytes[usize::try_from(block).unwrap() + 20] ^= 1;
        disk.write_synced(&path, &bytes, Mode::Shared).unwrap();
        let damaged = Pack::open(&*disk, &path).unwrap();
        store.0.core.shards[0].change_view(|view| view.packs = vec![Arc::new(damaged)]);
        let (mut fine, mut told) = (0, 0);
        for number in 0..5 {
            for event in store.user_log(&user(number)).limit(500).page().unwrap().iter() {
                match event {
                    Ok(event) => fine += usize::from(event.user_id() == Ok(Some(user(number).as_str()))),
                    Err(error) => {
                        assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(block)));
                        assert_eq!(error.path(), Some(&*path));
                        told += 1;
                    }
                }
            }
        }
        assert!(told > 0 && fine > told, "{fine} and {told}");
        assert_eq!(store.check().unwrap_err().offset(), Some(block));
    }

    #[test]
    fn closing_waits_for_a_packing_that_another_caller_is_in() {
        let disk = Arc::new(MemoryDisk::default());
        let store = store(&disk);
        fill(&store, 60, 40_000, 5);
        let shard = Arc::clone(&store.0.core.shards[0]);
        std::thread::scope(|scope| {
            let mut closer = None;
            let packed = shard.pack_all(&mut |_| {
                let closer = closer.get_or_insert_with(|| {
                    let closer = scope.spawn(|| store.close());
                    while !shard.is_closed() {
                        std::thread::yield_now();
                    }
                    // Time for a closing that doesn't wait to give up the store's lock. On a busy machine each yield is long.
                    (0..300).for_each(|_| std::thread::yield_now());
                    closer
                });
                assert!(!closer.is_finished(), "the manifest is still to be written");
                Ok(())
            });
            assert!(packed.unwrap() > 0);
            closer.unwrap().join().unwrap().unwrap();
        });
        let error = shard.unpack_all(&mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert_eq!(shard.view().packs.len(), 1);
    }

    #[test]
    fn no_record_is_read_to_open_a_store_without_users() {
        let disk = Arc::new(MemoryDisk::default());
        let host = Host { workers: WorkersKind::Caller, ..Host::machine((*disk).clone()) };
        for packed in [false, true] {
            let store =
                if packed { open(&Options::new(), &host, "memory".into()).unwrap() } else { store(&disk) };
            let system = NewEvent::builder(Action::new("system.noted").unwrap());
            let system = system.category(crate::Category::System).level(crate::Level::Info);
            let system = system.message(Message::new("m".repeat(2000)).unwrap()).build().unwrap();
            if packed {
                store.pack().unwrap();
            } else {
                for _ in 0..1500 {
                    store.append(&system).unwrap();
                }
            }
            store.close().unwrap();
            let name = if packed { "0000000000000000.pack" } else { "0000000000000000.log" };
            let path = Path::new("memory/shard-00").join(name);
            let whole = disk.read(&path, u64::MAX).unwrap();
            let mut damaged = whole.clone();
            damaged[if packed { 5000 } else { 100_000 }] ^= 1;
            disk.write_synced(&path, &damaged, Mode::Shared).unwrap();
            let store = open(&Options::new(), &host, "memory".into()).unwrap();
            assert_eq!(store.check().unwrap_err().kind(), ErrorKind::Corruption);
            store.close().unwrap();
            disk.write_synced(&path, &whole, Mode::Shared).unwrap();
        }
    }

    #[test]
    fn packing_ends_soon_when_it_is_told_to() {
        let disk = Arc::new(MemoryDisk::default());
        let store = store(&disk);
        fill(&store, 60, 40_000, 5);
        let mut told = 0;
        let outcome = store.0.core.shards[0].pack_all(&mut |bytes| {
            told += bytes;
            Err(crate::Error::new(ErrorKind::Closed, "enough"))
        });
        assert_eq!((outcome.unwrap_err().kind(), told), (ErrorKind::Closed, 0), "before much was read");
    }

    #[test]
    fn packing_saves_room_and_is_undone_byte_for_byte() {
        let disk = Arc::new(MemoryDisk::default());
        let store = store(&disk);
        for number in 0..12_000 {
            let message = Message::new(format!("message {number} of this store, from somewhere")).unwrap();
            let event = NewEvent::builder(Action::AUTH_LOGIN).message(message).user(user(number % 100));
            store.append(&event.build().unwrap()).unwrap();
        }
        let core = &store.0.core;
        let all = |store: &Store| {
            let view = store.0.core.shards[0].view();
            (0..view.end()).map(|sequence| view.leaf(sequence).unwrap().to_vec()).collect::<Vec<_>>()
        };
        let before = all(&store);
        let stats = store.stats().unwrap();
        let packed = store.pack().unwrap();
        assert_eq!(packed.events, store.stats().unwrap().packed_events);
        assert!(packed.events > 8_000 && packed.bytes_after < packed.bytes_before);
        let packs = store.stats().unwrap();
        assert!(packs.pack_bytes * 2 < packs.packed_events * 200, "{packs:?}");
        assert_eq!(all(&store), before);
        assert_eq!(store.pack().unwrap().events, 0, "a second time there is nothing to do");
        let unpacked = store.unpack().unwrap();
        assert_eq!((unpacked.events, unpacked.bytes_after), (packed.events, packed.bytes_before));
        assert_eq!(all(&store), before);
        assert_eq!(store.stats().unwrap().segments, stats.segments);
        core.shards[0].check().unwrap();
    }
}
