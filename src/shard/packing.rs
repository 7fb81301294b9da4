//! Packs: which old segments are packed and which packs merged, and how they change places without a loss.
//!
//! The order, for a pack in place of segments (or of smaller packs) and back: the new file under a temporary name, synced;
//! every record compared; renamed, the directory synced; the manifest; the view; then the old files are removed. A
//! crash before the manifest leaves files that it doesn't name, one behind it leaves files that a pack stands for:
//! opening removes both. What an error leaves is removed without that (`leftovers.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::leftovers::Leftovers;
use super::recovery::{Sealed, open_listed};
use super::{Context, Shard};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventView;
use crate::format::manifest::{PackEntry, SegmentEntry, ShardManifest};
use crate::format::pack::{KEY_WITHOUT_USER, Part};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::io::{Access, temporary_name};
use crate::segment::create::{log_path, new_salt};
use crate::segment::pack::input::{Input, Merge};
use crate::segment::pack::restore::{restore, temporary_names};
use crate::segment::pack::writer::{Plan, write};
use crate::segment::pack::{Pack, pack_path};
use crate::segment::seal::read_footer;
use crate::segment::{Segment, map_file};

/// How many segments or packs go into one pack at a time: bounds the memory that their orders take.
const FAN_IN_MAX: usize = 16;
/// How many packs of about the same size are merged.
const FAN_IN_MIN: usize = 4;
/// How many bytes of leaves a pack gets by merging: bounds the time that it takes and the room on the disk.
const LEAF_BYTES_MAX: u64 = 4 << 30;
/// After how many bytes of leaves the background lets others have their turn.
const TURN_BYTES: usize = 1 << 20;

/// Held while packing and unpacking, so that two threads don't pack the same.
#[derive(Debug)]
pub(crate) struct Packing {
    /// The number that the next pack gets.
    pub(crate) next: u64,
    /// Why nothing is packed in the background any more, if damage was met.
    pub(crate) refused: Option<Error>,
    leftovers: Leftovers,
}

impl Packing {
    pub(crate) fn behind(next: u64) -> Self {
        Self { next, refused: None, leftovers: Leftovers::default() }
    }
}

/// What becomes one pack: packs, and segments behind them.
struct Chosen {
    packs: Vec<Arc<Pack>>,
    segments: Vec<Arc<Segment>>,
}

impl Chosen {
    /// The files that the pack stands for.
    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let packs = self.packs.iter().map(|pack| pack.path().to_owned());
        packs.chain(self.segments.iter().map(|segment| segment.path().to_owned()))
    }
}

/// Told how many bytes were handled; may wait, and ends the work by an error.
pub(crate) type Pace<'p> = &'p mut dyn FnMut(u64) -> Result<()>;

impl Shard {
    /// Packs the oldest segments, as far as more sealed bytes are unpacked than the store was told to keep, and merges
    /// packs of about the same size.
    ///
    /// `wait` is told how many bytes of leaves were handled; it may wait, and ends the work by an error.
    pub(crate) fn pack_due(&self, wait: Pace<'_>) -> Result<()> {
        let Some(keep) = self.context.pack_after else { return Ok(()) };
        let mut packing = self.packing.lock();
        self.settle_packing(&mut packing)?;
        while let Some(chosen) = self.due(keep) {
            if let Some(error) = &packing.refused {
                return Err(error.clone());
            }
            wait(0)?;
            let packed = self.pack_together(&mut packing, &chosen, wait);
            packed.inspect_err(|error| {
                // What is damaged stays so: trying it again after each seal would only cost.
                if error.kind() == ErrorKind::Corruption {
                    packing.refused = Some(error.clone());
                }
            })?;
        }
        Ok(())
    }

    /// What is to be packed next, where `keep` bytes of sealed segments may stay as they are.
    fn due(&self, keep: u64) -> Option<Chosen> {
        if self.is_closed() || self.poison().is_some() {
            return None;
        }
        let view = self.view();
        let sealed: Vec<_> =
            view.segments.iter().take_while(|segment| segment.is_sealed()).cloned().collect();
        let mut unpacked: u64 = sealed.iter().map(|segment| segment.header().file_bytes).sum();
        if unpacked > keep {
            let chosen = sealed.into_iter().take(FAN_IN_MAX).take_while(|segment| {
                // A quarter more than must be, so that the next one does not follow at once.
                let more = unpacked > keep - keep / 4;
                unpacked -= segment.header().file_bytes;
                more
            });
            return Some(Chosen { packs: Vec::new(), segments: chosen.collect() });
        }
        let newest = view.packs.len().checked_sub(FAN_IN_MIN)?;
        let bytes = |pack: &Arc<Pack>| pack.header().leaf_bytes;
        let merged =
            (0..=newest).rev().map(|first| &view.packs[first..first + FAN_IN_MIN]).find(|packs| {
                let all: u64 = packs.iter().map(bytes).sum();
                let largest = packs.iter().map(bytes).max().unwrap_or_default();
                largest <= all / 2 && all <= LEAF_BYTES_MAX
            })?;
        Some(Chosen { packs: merged.to_vec(), segments: Vec::new() })
    }

    /// Packs everything that is sealed, into as few packs as can be. Says how many records were packed that were not.
    pub(crate) fn pack_all(&self, wait: Pace<'_>) -> Result<u64> {
        let mut packing = self.packing.lock();
        self.settle_packing(&mut packing)?;
        let before = self.packed_records();
        while let Some(chosen) = self.due(0) {
            self.pack_together(&mut packing, &chosen, wait)?;
        }
        while let Some(chosen) = self.mergeable() {
            self.pack_together(&mut packing, &chosen, wait)?;
        }
        Ok(self.packed_records() - before)
    }

    /// Nothing is removed, nor the manifest written, once the store is closed.
    fn settle_packing(&self, packing: &mut Packing) -> Result<()> {
        if self.is_closed() || self.poison().is_some() {
            return Ok(());
        }
        self.settle(&mut packing.leftovers)
    }

    fn packed_records(&self) -> u64 {
        self.view().packs.iter().map(|pack| pack.records()).sum()
    }

    /// Neighbours that fit one pack.
    fn mergeable(&self) -> Option<Chosen> {
        let view = self.view();
        (0..view.packs.len()).find_map(|first| {
            let mut bytes = 0;
            let chosen: Vec<_> = view.packs[first..]
                .iter()
                .take(FAN_IN_MAX)
                .take_while(|pack| {
                    bytes += pack.header().leaf_bytes;
                    bytes <= LEAF_BYTES_MAX
                })
                .cloned()
                .collect();
            (chosen.len() > 1).then_some(Chosen { packs: chosen, segments: Vec::new() })
        })
    }

    /// Makes one pack of packs and of the segments behind them.
    fn pack_together(&self, packing: &mut Packing, chosen: &Chosen, wait: Pace<'_>) -> Result<()> {
        if let Some(error) = self.refusal() {
            return Err(error);
        }
        let Chosen { packs, segments } = chosen;
        let parts = packs.iter().flat_map(|pack| pack.parts().iter().copied());
        let parts: Vec<Part> = parts.chain(segments.iter().filter_map(|segment| part_of(segment))).collect();
        let (Some(first), Some(last)) = (parts.first().copied(), parts.last().copied()) else {
            return Ok(());
        };
        let plan = Plan {
            store_id: self.context.store_id,
            shard: self.id.get(),
            number: packing.next,
            salt: new_salt()?.0,
            parts,
        };
        // A number is not used again while the store is open: a manifest that could not be written may name it
        // nevertheless.
        packing.next += 1;
        let path = pack_path(&self.dir, plan.number);
        let temporary = temporary_name(&path);
        let written = self.write_pack(&plan, &temporary, chosen, wait);
        let disk = &self.context.disk;
        let renamed = written
            .and_then(|()| disk.rename(&temporary, &path))
            .and_then(|()| disk.sync_dir(&self.dir))
            .and_then(|()| Pack::open(&**disk, &path));
        let pack = Arc::new(renamed.inspect_err(|_| {
            // No manifest names its number yet. Left there, each attempt would add another one.
            self.discard(&mut packing.leftovers, [temporary.clone(), path.clone()]);
        })?);
        #[cfg(test)]
        if has(Bug::PackedBeforeManifest) {
            chosen.paths().for_each(|path| drop(disk.remove(&path)));
        }
        let covers = |segment: u64| (first.segment..=last.segment).contains(&segment);
        let entry =
            PackEntry { first: first.segment, last: last.segment, number: plan.number, salt: plan.salt };
        let changed = self.change_manifest(|manifest| {
            manifest.packs.retain(|old| !covers(old.first));
            let place = manifest.packs.partition_point(|old| old.first < entry.first);
            manifest.packs.insert(place, entry);
        });
        changed.inspect_err(|error| {
            if self.manifest_stayed(error) {
                // Its space is of more use to others: this may be tried again and again, each time with another number.
                self.discard(&mut packing.leftovers, [path.clone()]);
            } else {
                packing.leftovers.doubt([path.clone()]);
            }
        })?;
        self.change_view(|view| {
            view.packs.retain(|old| !packs.iter().any(|gone| Arc::ptr_eq(gone, old)));
            let place = view.packs.partition_point(|old| old.base() < pack.base());
            view.packs.insert(place, Arc::clone(&pack));
            view.segments.retain(|segment| !covers(segment.header().segment));
        });
        self.discard(&mut packing.leftovers, chosen.paths());
        Ok(())
    }

    fn write_pack(
        &self,
        plan: &Plan,
        temporary: &Path,
        Chosen { packs, segments }: &Chosen,
        wait: Pace<'_>,
    ) -> Result<()> {
        let key_of = |leaf: &[u8]| {
            let event = EventView::parse(leaf).map_err(|error| error.to_string())?;
            let user = event.user_id_bytes();
            Ok(user.map_or(KEY_WITHOUT_USER, |user| self.context.key.fingerprint(user).prefix()))
        };
        let mut inputs = Vec::with_capacity(packs.len() + segments.len());
        for pack in packs {
            inputs.push(Input::of_pack(pack, &key_of)?);
        }
        for segment in segments {
            inputs.push(Input::of_segment(segment, &key_of, &mut || wait(0))?);
        }
        let mut turns = Turns { wait, bytes: 0 };
        let mut merge = Merge::new(inputs, &key_of);
        write(&self.context.disk, temporary, plan, &mut merge, &mut |bytes| turns.take(bytes))
    }

    /// Makes segments again of all that is packed. Says how many records.
    pub(crate) fn unpack_all(&self, wait: Pace<'_>) -> Result<u64> {
        let mut packing = self.packing.lock();
        self.settle_packing(&mut packing)?;
        let mut records = 0;
        // The newest first: what is packed lies before what is not.
        while let Some(pack) = self.view().packs.last().cloned() {
            self.unpack(&mut packing.leftovers, &pack, wait)?;
            records += pack.records();
        }
        Ok(records)
    }

    fn unpack(&self, leftovers: &mut Leftovers, pack: &Arc<Pack>, wait: Pace<'_>) -> Result<()> {
        if let Some(error) = self.refusal() {
            return Err(error);
        }
        let disk = &self.context.disk;
        let names = temporary_names(pack, |segment| log_path(&self.dir, segment));
        let mut turns = Turns { wait, bytes: 0 };
        let written = restore(disk, pack, &names, &mut |bytes| turns.take(bytes));
        let renamed = written.and_then(|()| {
            for (part, name) in pack.parts().iter().zip(&names) {
                disk.rename(name, &log_path(&self.dir, part.segment))?;
            }
            disk.sync_dir(&self.dir)
        });
        let made = || pack.parts().iter().map(|part| log_path(&self.dir, part.segment));
        let open = |part| open_segment(&self.context, &self.dir, self, part);
        let opened = renamed.and_then(|()| pack.parts().iter().map(open).collect::<Result<Vec<_>>>());
        let segments = opened.inspect_err(|_| {
            // The manifest names the pack as before.
            self.discard(leftovers, made().chain(names.iter().cloned()));
        })?;
        let number = pack.header().number;
        #[cfg(test)]
        if has(Bug::UnpackedBeforeManifest) {
            let _ = disk.remove(pack.path());
        }
        let changed = self.change_manifest(|manifest| manifest.packs.retain(|entry| entry.number != number));
        changed.inspect_err(|error| {
            if self.manifest_stayed(error) {
                self.discard(leftovers, made());
            } else {
                leftovers.doubt(made());
            }
        })?;
        self.change_view(|view| {
            view.packs.retain(|other| !Arc::ptr_eq(other, pack));
            view.segments.splice(0..0, segments);
        });
        self.discard(leftovers, [pack.path().to_owned()]);
        Ok(())
    }

    fn change_manifest(&self, change: impl FnOnce(&mut ShardManifest)) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        change(&mut changed);
        self.write_manifest(&changed)?;
        *manifest = changed;
        Ok(())
    }
}

/// Tells the wait not more often than it must.
struct Turns<'p> {
    wait: Pace<'p>,
    bytes: usize,
}

impl Turns<'_> {
    fn take(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        if self.bytes < TURN_BYTES {
            return Ok(());
        }
        (self.wait)(std::mem::take(&mut self.bytes) as u64)
    }
}

/// What a pack keeps of a sealed segment.
fn part_of(segment: &Segment) -> Option<Part> {
    let (header, footer) = (segment.header(), segment.footer()?);
    Some(Part {
        segment: header.segment,
        generation: header.generation,
        salt: header.salt.0,
        file_bytes: header.file_bytes,
        created_at_micros: header.created_at_micros,
        base: footer.base,
        count: footer.count,
        recorded_max_micros: footer.recorded_max_micros,
        users_total: footer.users_total,
    })
}

/// Opens a segment that was made again.
fn open_segment(context: &Context, dir: &Path, shard: &Shard, part: &Part) -> Result<Arc<Segment>> {
    let (file, header) = open_listed(context, dir, shard.id, &entry_of(part))?;
    let footer = read_footer(&*file, header.salt)?;
    let map = map_file(&file, file.len(), Access::Read)?;
    let _ = file.set_read_only();
    Ok(Arc::new(Segment::sealed(file.path(), map, header, footer)))
}

/// How the manifest lists a packed segment.
fn entry_of(part: &Part) -> SegmentEntry {
    SegmentEntry {
        id: part.segment,
        generation: part.generation,
        salt: part.salt,
        file_bytes: part.file_bytes,
        sealed: true,
    }
}

/// Opens the pack that stands for a listed segment, unless it was opened for one before it.
pub(super) fn open_packed(
    context: &Context,
    dir: &Path,
    manifest: &ShardManifest,
    (listed, entry): (&PackEntry, &SegmentEntry),
    sealed: &mut Sealed,
) -> Result<()> {
    let open = sealed.packs.last().filter(|pack| pack.header().number == listed.number);
    let pack = if let Some(pack) = open {
        Arc::clone(pack)
    } else {
        let pack = open_listed_pack(context, dir, manifest, listed)?;
        let first = sealed.packs.is_empty() && sealed.segments.is_empty();
        if !sealed.segments.is_empty() || !first && pack.base() != sealed.end {
            let message = format!("the pack begins at {} instead of {}", pack.base(), sealed.end);
            return Err(Error::corruption(pack.path(), 0, message));
        }
        sealed.packs.push(Arc::clone(&pack));
        pack
    };
    let part = pack.parts().iter().find(|part| part.segment == entry.id);
    let part = part.ok_or_else(|| pack.damaged(0, "the pack is not the one that the manifest names"))?;
    sealed.end = part.end();
    sealed.users_total = part.users_total;
    sealed.last_recorded_at = part.recorded_max_micros;
    Ok(())
}

fn open_listed_pack(
    context: &Context,
    dir: &Path,
    manifest: &ShardManifest,
    listed: &PackEntry,
) -> Result<Arc<Pack>> {
    let path: PathBuf = pack_path(dir, listed.number);
    let pack = Pack::open(&*context.disk, &path)?;
    let header = pack.header();
    let covered = manifest.segments.iter().filter(|entry| (listed.first..=listed.last).contains(&entry.id));
    let belongs = header.store_id == context.store_id
        && header.shard == manifest.shard
        && header.number == listed.number
        && header.salt == listed.salt
        && covered.copied().eq(pack.parts().iter().map(entry_of));
    if !belongs {
        return Err(pack.damaged(0, "the file is not the pack that the manifest names"));
    }
    Ok(Arc::new(pack))
}
