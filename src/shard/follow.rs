//! A shard in a process that reads beside the writer: opens what is there, and follows the published tail.
//!
//! Owns no file and changes none. How far it may read, the live file says while a writer runs; without one, the durable
//! floor, since what lies above it may be rolled back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::beyond::{look_beyond, refuse_older_manifest};
use super::checkpoint;
use super::next_segment::add_unlisted;
use super::recovery::{Repair, Sealed, open_listed, open_sealed, read_manifest};
use super::replay::{Replayed, replay};
use super::view::{ShardView, Source};
use super::{Context, Opened, Shard};
use crate::error::{Error, Result};
use crate::format::bytes::u64_at;
use crate::format::manifest::{ClosedEntry, Rollback, ShardManifest};
use crate::format::record;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::{Header, RECORDS_START};
use crate::ids::ShardId;
use crate::index::tail::TailIndex;
use crate::io::{Access, DiskFile};
use crate::segment::scan::{Start, scan};
use crate::segment::{Segment, map_file};

/// Whom a reader follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Following {
    /// The writer's session, as far as this reader has seen; 0 before the first.
    session: u64,
    /// That writer ran when it was seen: its published tail counts.
    running: bool,
}

/// How far a follower may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// A writer runs, and has published this much.
    Published(u64),
    /// No writer runs: what is known to be durable.
    Durable,
}

/// Where a log stops.
struct Stop {
    path: PathBuf,
    offset: u64,
    /// Something lies behind its last record.
    dirty: bool,
}

/// Opens a shard for reading.
///
/// Says also whether records above the durable floor were left out, which a recovery would make readable.
pub(crate) fn open(context: &Context, dir: &Path, shard: ShardId, extent: Extent) -> Result<(Opened, bool)> {
    let manifest = || read_manifest(context, dir, shard);
    while_it_holds(manifest, |manifest| open_listed_by(context, dir, shard, extent, manifest))
}

/// Opens what a manifest names. The writer may have put other files in the place of some meanwhile, and removed these: it
/// names the new ones first, so a failure counts only if the manifest is still the one that it came of.
fn while_it_holds<T>(
    read: impl Fn() -> Result<ShardManifest>,
    open: impl Fn(ShardManifest) -> Result<T>,
) -> Result<T> {
    let mut manifest = read()?;
    loop {
        let outcome = open(manifest.clone());
        if outcome.is_ok() {
            return outcome;
        }
        let now = read()?;
        if now == manifest {
            return outcome;
        }
        manifest = now;
    }
}

/// Opens the shard that a manifest describes.
fn open_listed_by(
    context: &Context,
    dir: &Path,
    shard: ShardId,
    extent: Extent,
    mut manifest: ShardManifest,
) -> Result<(Opened, bool)> {
    add_unlisted(context, dir, shard, &mut manifest)?;
    let sealed = open_sealed(context, dir, shard, &manifest, Repair::No)?;
    let unsealed: Vec<_> = manifest.segments.iter().filter(|entry| !entry.sealed).collect();
    let mut opened = Vec::new();
    let mut floor = sealed.end;
    let mut left_out = false;
    let mut base = sealed.end;
    // Where the log stops, should it stop too early: the first segment with something behind its records, else the last
    // one with records.
    let mut stop = Stop { path: dir.to_owned(), offset: 0, dirty: false };
    for entry in &unsealed {
        let (file, header) = open_listed(context, dir, shard, entry)?;
        if extent == Extent::Durable {
            let end = manifest.closed(entry.id).map(|closed| closed.end);
            let checkpoint = checkpoint::read(context, dir, &file, &header, base);
            floor = floor.max(checkpoint.floor);
            let found = scan(&file, header.salt, Start { end, ..checkpoint.start })?;
            if !stop.dirty && (found.dirty || found.count() > 0) {
                let path = file.path().to_owned();
                stop = Stop { path, offset: found.end_offset, dirty: found.dirty };
            }
            floor = floor.max(found.floor);
            left_out |= found.dirty;
            base = found.end();
        }
        opened.push((file, header));
    }
    if extent == Extent::Durable {
        refuse_older_manifest(&look_beyond(context, dir, shard, &manifest)?, dir, shard, base.max(floor))?;
    }
    let bound = match extent {
        Extent::Published(end) => end,
        Extent::Durable => {
            left_out |= base > floor;
            floor
        }
    };
    let rollbacks: Arc<[Rollback]> = manifest.rollbacks.clone().into();
    let Sealed { packs, segments, runs, .. } = sealed;
    let coldness = Arc::default();
    let mut view =
        ShardView { shard, packs, segments, sources: runs.sources, rollbacks, heads: None, coldness };
    let mut users_total = sealed.users_total;
    let mut end = sealed.end;
    for (file, header) in opened {
        // The one that is written to comes last: the reader goes on in it. What the writer has only prepared behind it
        // would make every look at what is new open the shard again.
        if end > bound || end == bound && matches!(view.sources.last(), Some(Source::Tail(..))) {
            break;
        }
        let closed = manifest.closed(header.segment);
        let (segment, tail, new_users) = open_unsealed(context, dir, file, header, (end, bound), closed)?;
        users_total += new_users;
        end = segment.end();
        view.sources.push(Source::Tail(tail, Arc::clone(&segment)));
        view.segments.push(segment);
    }
    if end < bound {
        let message =
            format!("record {end} of shard {shard} is damaged or missing, though {bound} were stored");
        let stop = match (extent, view.segments.last()) {
            (Extent::Published(_), Some(last)) => Stop { path: last.path().to_owned(), ..stop },
            _ => stop,
        };
        return Err(Error::corruption(&stop.path, stop.offset, message));
    }
    let opened = Opened { view, manifest, writer: None, frozen: Vec::new(), durable: floor, users_total };
    Ok((opened, left_out))
}

/// Opens a segment that isn't sealed, whose first sequence is `base`, and takes in its records up to the sequence `bound`.
/// Says how many users are new.
fn open_unsealed(
    context: &Context,
    dir: &Path,
    file: Arc<dyn DiskFile>,
    header: Header,
    (base, bound): (u64, u64),
    closed: Option<ClosedEntry>,
) -> Result<(Arc<Segment>, Arc<TailIndex>, u64)> {
    let known = checkpoint::read(context, dir, &file, &header, base).known;
    // The writer may have made it since the bound was read.
    let known = known.filter(|known| known.scope().end() <= bound);
    let (skipped, published) =
        known.as_ref().map_or((0, RECORDS_START), |known| (known.scope().records, known.scope().records_end));
    let map = map_file(&file, published, Access::Read)?;
    let mut segment = Segment::growing_behind(file, map, header, base, skipped);
    if let Some(closed) = closed {
        segment.close(closed.end, closed.used_to);
    }
    let (tail, restored) = match known {
        Some(known) => known.restore(&segment)?,
        None => (TailIndex::new(base, segment.records_max()), Replayed::NOTHING),
    };
    let (segment, tail) = (Arc::new(segment), Arc::new(tail));
    let new_users = catch_up(context, &segment, &tail, bound)?;
    Ok((segment, tail, restored.new_users + new_users))
}

/// Takes in the records of `segment` up to the shard sequence `bound`, as far as they lie in it. Says how many users are
/// new.
fn catch_up(context: &Context, segment: &Segment, tail: &TailIndex, bound: u64) -> Result<u64> {
    let bound = bound.min(segment.closed_end().unwrap_or(u64::MAX));
    let mut ordinal = segment.published();
    let mut offset = match ordinal.checked_sub(1) {
        None => usize::try_from(RECORDS_START).unwrap_or_default(),
        Some(last) => {
            let at = segment.offset_of(last).unwrap_or_default();
            at + record::record_bytes(segment.leaf_at(last, at)?.len())
        }
    };
    // Where the published records end, only they say, and behind them the writer is writing: so they are found in copies,
    // and their bytes are lent from the mapping only once they are known to be records.
    let mut offsets = Vec::new();
    let mut window = Window::default();
    while segment.base() + ordinal + (offsets.len() as u64) < bound {
        let bytes = window.at(segment, offset)?;
        let Ok((_, leaf)) = record::verify(bytes, segment.salt(), offset as u64) else { break };
        // A record of a later place, where the segment before this one stops too early, continues nothing.
        if u64_at(leaf, 0) != Some(segment.base() + ordinal + offsets.len() as u64) {
            break;
        }
        offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
        offset += record::record_bytes(leaf.len());
    }
    let _ = segment.map().publish_up_to(offset);
    let replayed = replay(&context.key, segment, tail, ordinal, &offsets)?;
    ordinal += offsets.len() as u64;
    debug_assert_eq!(ordinal, segment.published(), "every record that was found is published");
    Ok(replayed.new_users)
}

/// A piece of a segment's file, copied.
#[derive(Default)]
struct Window {
    begin: usize,
    bytes: Vec<u8>,
}

/// How much is copied at a time: many records, and at least the longest one.
const WINDOW_BYTES: usize = 1 << 18;

impl Window {
    /// The bytes from `offset` on: a whole record, if there is one.
    fn at(&mut self, segment: &Segment, offset: usize) -> Result<&[u8]> {
        let longest = record::record_bytes(record::LEAF_BYTES_MAX);
        let file_bytes = segment.map().len();
        let wanted = offset.saturating_add(longest).min(file_bytes);
        if offset < self.begin || wanted > self.begin + self.bytes.len() {
            self.begin = offset.min(file_bytes);
            self.bytes.resize(WINDOW_BYTES.min(file_bytes - self.begin), 0);
            segment.file()?.read_exact_at(self.begin as u64, &mut self.bytes)?;
        }
        Ok(self.bytes.get(offset - self.begin..).unwrap_or_default())
    }
}

impl Shard {
    /// What the live file said when this reader opened the shard: the writer's session, and whether the writer ran.
    pub(crate) fn begin_following(&self, session: u64, running: bool) {
        *self.following.lock() = Following { session, running };
    }

    /// Whether a writer ran when this reader looked last: its tails in the live file count.
    pub(crate) fn follows_a_writer(&self) -> bool {
        self.following.lock().running
    }

    /// Takes in what the writer has published since, in a store opened for reading.
    pub(crate) fn follow(&self, session: u64, published: u64) -> Result<()> {
        let mut following = self.following.lock();
        if session != 0 && session != following.session {
            // Another writer took over, and may have rolled back what this reader has seen.
            let (opened, _) = open(&self.context, &self.dir, self.id, Extent::Published(published))?;
            *following = Following { session, running: true };
            self.adopt(opened);
            return Ok(());
        }
        if !following.running || published <= self.published() {
            return Ok(());
        }
        let view = self.view();
        let mut end = view.end();
        if let Some(Source::Tail(tail, segment)) = view.sources.last() {
            let users = catch_up(&self.context, segment, tail, published)?;
            self.users_total.fetch_add(users, Ordering::Relaxed);
            end = segment.end();
        }
        #[cfg(test)]
        let published = if has(Bug::FollowingForgotten) { end } else { published };
        if end < published {
            // The writer went on in another segment; what it sealed meanwhile has a run by now.
            let (opened, _) = open(&self.context, &self.dir, self.id, Extent::Published(published))?;
            self.adopt(opened);
        } else {
            self.follow_to(end);
        }
        Ok(())
    }

    fn adopt(&self, opened: Opened) {
        let end = opened.view.end();
        self.users_total.store(opened.users_total, Ordering::Relaxed);
        *self.manifest.lock() = opened.manifest;
        self.change_view(|view| *view = opened.view);
        self.follow_to(end);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_file_that_vanished_is_looked_for_in_the_next_manifest() {
        let written = Cell::new(0);
        let read = || Ok(ShardManifest { next_segment: written.get(), ..ShardManifest::default() });
        // While the reader opens what the manifest names, the writer writes three more.
        let opened = while_it_holds(read, |manifest| {
            written.set((written.get() + 1).min(3));
            match manifest.next_segment {
                3 => Ok(3),
                older => Err(Error::corruption(Path::new("a.run"), older, "missing")),
            }
        });
        assert_eq!(opened.unwrap(), 3);
        // Damage is damage, in a manifest that stays.
        let attempts = Cell::new(0);
        let refused = while_it_holds(read, |_| {
            attempts.set(attempts.get() + 1);
            Err::<(), _>(Error::corruption(Path::new("a.run"), 0, "damaged"))
        });
        assert_eq!((refused.unwrap_err().kind(), attempts.get()), (ErrorKind::Corruption, 1));
    }
}
