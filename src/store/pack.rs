//! Packing and unpacking on demand.

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
    /// Takes seconds for a million events, of one processor; other threads read and append meanwhile. Needs room on the
    /// disk for what it packs, until it is packed.
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
    fn repack(&self, work: impl Fn(&Shard, Pace<'_>) -> Result<u64>) -> Result<Packed> {
        self.check_open()?;
        if self.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading only"));
        }
        let bytes_before = self.disk.used_bytes(&self.dir)?;
        let mut events = 0;
        for shard in &*self.shards {
            if let Some(error) = shard.poison() {
                return Err(error.clone());
            }
            shard.run(Job::Seal)?;
            events += work(shard, &mut |_| self.check_open())?;
        }
        Ok(Packed { events, bytes_before, bytes_after: self.disk.used_bytes(&self.dir)? })
    }
}
