//! What a sealed segment has beside its records: the index run, and the footer. Makes them, opens them, and makes them
//! anew from the records where a person asked for a repair.

use std::path::Path;
use std::sync::Arc;

use super::maintain::MANIFEST_NAME;
use super::recovery::Repair;
use super::replay::{index_record, replay};
use super::view::{ShardView, Source};
use super::{Context, Frozen};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventView;
use crate::format::bytes::u64_at;
use crate::format::manifest::{ClosedEntry, RunEntry};
use crate::format::run::{Dictionaries, merged_salt};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::Header;
use crate::index::builder::{RunBuilder, RunScope, UserPostings};
use crate::index::run::Run;
use crate::index::tail::TailIndex;
use crate::io::mmap::SegmentMap;
#[cfg(test)]
use crate::io::temporary_name;
use crate::io::{Access, DiskFile, Mode, replace_file};
use crate::segment::create::{merged_run_path, run_path};
use crate::segment::pack::Pack;
use crate::segment::scan::{Start, scan};
use crate::segment::seal::{Times, plan};
use crate::segment::{Segment, map_file};

/// Writes the run of a full segment. It is empty, and not given back, if no event in it has a user; where none up to its end has,
/// it isn't written.
pub(super) fn write_run(
    context: &Context,
    dir: &Path,
    segment: &Covered,
    tail: &TailIndex,
    times: &Times,
) -> Result<Option<Arc<Run>>> {
    if segment.without_users {
        return Ok(None);
    }
    let path = run_path(dir, segment.id);
    let mut users = tail.users();
    users.sort_unstable_by_key(|(user, _)| *user);
    let scope = RunScope {
        store_id: context.store_id,
        shard: segment.shard,
        base: segment.base,
        records: segment.end - segment.base,
        salt: segment.salt,
        time_base: times.base(),
        level: 0,
    };
    let mut builder = RunBuilder::new(scope, users.len());
    for (user, slot) in users {
        let found = tail.sealed_user(slot);
        let postings = found.postings();
        let count_before = found.count_before();
        let times = postings.iter().map(|posting| times.of(posting.ordinal as usize));
        builder.push(UserPostings { user, count_before, postings: &postings }, times)?;
    }
    let dictionaries = Dictionaries { actions: tail.actions.names(), services: tail.services.names() };
    let bytes = builder.finish(&dictionaries)?;
    #[cfg(test)]
    if has(Bug::RunNotSynced) {
        let temporary = temporary_name(&path);
        context.disk.write_unsynced(&temporary, &bytes)?;
        context.disk.rename(&temporary, &path)?;
        context.disk.sync_dir(dir)?;
        return Ok(unless_empty(map_own_run(context, &path)?));
    }
    replace_file(&*context.disk, &path, &bytes, Mode::Shared)?;
    Ok(unless_empty(map_own_run(context, &path)?))
}

fn unless_empty(run: Run) -> Option<Arc<Run>> {
    (!run.is_empty()).then(|| Arc::new(run))
}

/// Maps a merged run.
pub(super) fn map_run(context: &Context, path: &Path) -> Result<Run> {
    Run::open(path, map(context, path)?)
}

/// Maps a segment's own run, which may be empty.
fn map_own_run(context: &Context, path: &Path) -> Result<Run> {
    Run::open_own(path, map(context, path)?)
}

fn map(context: &Context, path: &Path) -> Result<Arc<SegmentMap>> {
    let file = context.disk.open(path, Access::Read)?;
    let map = file.map(0, file.len(), Access::Read)?;
    map.advise_random();
    Ok(map)
}

/// A sealed segment that a run covers, packed or not.
#[derive(Clone, Debug)]
pub(super) struct Covered {
    id: u64,
    shard: u16,
    base: u64,
    end: u64,
    salt: u64,
    records_max: usize,
    /// Up to its end, no event of the shard has a user.
    without_users: bool,
    records: Records,
}

/// Where the records of a sealed segment are.
#[derive(Clone, Debug)]
enum Records {
    Segment(Arc<Segment>),
    Pack(Arc<Pack>),
}

impl Covered {
    pub(super) fn by(segment: &Arc<Segment>) -> Self {
        Self {
            id: segment.header().segment,
            shard: segment.header().shard,
            base: segment.base(),
            end: segment.end(),
            salt: segment.salt().0,
            records_max: segment.records_max(),
            without_users: segment.footer().is_some_and(|footer| footer.users_total == 0),
            records: Records::Segment(Arc::clone(segment)),
        }
    }

    /// A segment that is about to be sealed.
    pub(super) fn by_frozen(frozen: &Frozen) -> Self {
        Self { without_users: frozen.users_total == 0, ..Self::by(&frozen.segment) }
    }

    /// The segments that a pack stands for.
    pub(super) fn by_pack(pack: &Arc<Pack>) -> impl Iterator<Item = Self> {
        pack.parts().iter().map(|part| Self {
            id: part.segment,
            shard: pack.header().shard,
            base: part.base,
            end: part.end(),
            salt: part.salt,
            records_max: usize::try_from(part.count).unwrap_or(usize::MAX),
            without_users: part.users_total == 0,
            records: Records::Pack(Arc::clone(pack)),
        })
    }

    /// Hands each leaf to `visit`, in no certain order, with the file that it comes from and its place there.
    fn verify(&self, mut visit: impl FnMut(&[u8], &Path, u64) -> Result<()>) -> Result<()> {
        match &self.records {
            Records::Segment(segment) => segment.verify(|leaf| {
                let ordinal = u64_at(leaf, 0).unwrap_or_default().wrapping_sub(self.base);
                visit(leaf, segment.path(), segment.offset_of(ordinal).unwrap_or_default() as u64)
            }),
            Records::Pack(pack) => pack.verify(|leaf| {
                let own = u64_at(leaf, 0).is_some_and(|sequence| (self.base..self.end).contains(&sequence));
                if own { visit(leaf, pack.path(), 0) } else { Ok(()) }
            }),
        }
    }
}

/// What covers the sealed segments of a shard.
#[derive(Default)]
pub(super) struct Runs {
    /// Oldest first.
    pub(super) sources: Vec<Source>,
    /// Damaged merged runs, in whose place each segment has a run of its own again.
    pub(super) given_up: Vec<RunEntry>,
}

/// Opens the runs of these segments, all that are sealed: the merged ones, and the own run of each segment that none of
/// those covers.
pub(super) fn open_runs(
    context: &Context,
    dir: &Path,
    segments: &[Covered],
    merged: &[RunEntry],
    repair: Repair,
) -> Result<Runs> {
    let mut runs = Runs::default();
    let mut merged = merged.iter().peekable();
    let mut rest = segments;
    let repairs = |error: &Error| repair == Repair::RollBack && error.kind() == ErrorKind::Corruption;
    while let Some((segment, behind)) = rest.split_first() {
        let Some(entry) = merged.next_if(|entry| entry.first == segment.id) else {
            let run = match open_run(context, dir, segment, repair) {
                Err(error) if repairs(&error) => remake_run(context, dir, segment)?,
                run => run?,
            };
            runs.sources.extend(run.map(Source::Run));
            rest = behind;
            continue;
        };
        let (covered, behind) = rest.split_at(rest.partition_point(|segment| segment.id <= entry.last));
        match open_merged(context, dir, covered, entry, repair) {
            Err(error) if repairs(&error) => {
                for segment in covered {
                    runs.sources.extend(remake_run(context, dir, segment)?.map(Source::Run));
                }
                runs.given_up.push(*entry);
            }
            run => runs.sources.push(Source::Run(run?)),
        }
        rest = behind;
    }
    if merged.next().is_some() {
        let message = "the manifest lists an index run of segments that are not sealed";
        return Err(Error::corruption(&dir.join(MANIFEST_NAME), 0, message));
    }
    Ok(runs)
}

/// Opens a merged run, which must be that of these segments. For a repair, all of it is checked.
fn open_merged(
    context: &Context,
    dir: &Path,
    covered: &[Covered],
    entry: &RunEntry,
    repair: Repair,
) -> Result<Arc<Run>> {
    let path = merged_run_path(dir, entry.first, entry.last);
    let run = map_run(context, &path).map_err(|error| match error.io_kind() {
        Some(std::io::ErrorKind::NotFound) => Error::corruption(&path, 0, "the index run is missing"),
        _ => error,
    })?;
    let header = run.header();
    let base = covered.first().map_or(0, |segment| segment.base);
    let end = covered.last().map_or(0, |segment| segment.end);
    let salt = merged_salt(covered.iter().map(|segment| segment.salt));
    let belongs = header.store_id == context.store_id
        && covered.iter().all(|segment| segment.shard == header.shard)
        && covered.last().is_some_and(|last| last.id == entry.last)
        && (base, end) == (header.base, header.base.saturating_add(header.records))
        && (header.salt, entry.salt) == (salt, salt);
    if !belongs {
        return Err(Error::corruption(&path, 0, "the index run belongs to other segments"));
    }
    if repair == Repair::RollBack {
        run.verify()?;
    }
    Ok(Arc::new(run))
}

/// Opens a sealed segment's run, unless no event in it has a user. For a repair, all of it is checked.
fn open_run(context: &Context, dir: &Path, segment: &Covered, repair: Repair) -> Result<Option<Arc<Run>>> {
    let path = run_path(dir, segment.id);
    if !context.disk.exists(&path)? {
        if segment.without_users {
            return Ok(None);
        }
        let mut with_user = false;
        // Once no segment without users had a file. Its records say whether it is one; a lost file does not pass for it.
        segment.verify(|leaf, _, _| {
            with_user |= EventView::parse(leaf).is_ok_and(|view| view.user_sequence().is_some());
            Ok(())
        })?;
        if with_user {
            return Err(Error::corruption(&path, 0, "the index run is missing"));
        }
        return Ok(None);
    }
    let run = map_own_run(context, &path)?;
    let header = run.header();
    let belongs = header.store_id == context.store_id
        && header.shard == segment.shard
        && (header.base, header.records) == (segment.base, segment.end - segment.base)
        && header.salt == segment.salt;
    if !belongs {
        return Err(Error::corruption(&path, 0, "the index run belongs to another segment"));
    }
    if repair == Repair::RollBack {
        run.verify()?;
    }
    Ok(unless_empty(run))
}

/// Compares the checksums of the empty runs, which no view holds.
pub(super) fn check_empty_runs(context: &Context, dir: &Path, view: &ShardView) -> Result<()> {
    let packed = view.packs.iter().flat_map(Covered::by_pack);
    let sealed = view.segments.iter().filter(|segment| segment.is_sealed()).map(Covered::by);
    let is_indexed =
        |segment: &Covered| view.runs().any(|run| (run.header().base..run.end()).contains(&segment.base));
    for segment in packed.chain(sealed).filter(|segment| !is_indexed(segment)) {
        match map_own_run(context, &run_path(dir, segment.id)) {
            // Not written, or merged since.
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {}
            run => run?.verify()?,
        }
    }
    Ok(())
}

/// Makes a damaged or missing run anew from the segment's records.
fn remake_run(context: &Context, dir: &Path, segment: &Covered) -> Result<Option<Arc<Run>>> {
    let tail = TailIndex::new(segment.base, segment.records_max);
    let count = usize::try_from(segment.end - segment.base).unwrap_or_default();
    let mut times = vec![0; count];
    // A pack has its records by user: each user's in their order, and more is not needed.
    segment.verify(|leaf, path, offset| {
        let ordinal = u64_at(leaf, 0).unwrap_or_default().wrapping_sub(segment.base);
        let event = index_record(&context.key, &tail, (path, offset), ordinal, leaf)?;
        let place = usize::try_from(ordinal).ok().and_then(|ordinal| times.get_mut(ordinal));
        let lost = || Error::corruption(path, offset, "a record of another segment");
        *place.ok_or_else(lost)? = event.occurred_at().as_micros();
        Ok(())
    })?;
    write_run(context, dir, segment, &tail, &Times::of_intact(times))
}

/// Makes a damaged footer anew from the segment's records, in a copy of the file that takes its place.
pub(super) fn remake_footer(
    context: &Context,
    file: &Arc<dyn DiskFile>,
    header: Header,
    (base, users_before): (u64, u64),
    closed: Option<ClosedEntry>,
) -> Result<Arc<dyn DiskFile>> {
    let path = file.path().to_owned();
    let end = closed.map(|closed| closed.end);
    let found = scan(file, header.salt, Start { end, ..Start::whole(base) })?;
    let damaged = |message| Error::corruption(&path, found.end_offset, message);
    if found.beyond.is_some() || found.count() == 0 {
        return Err(damaged("the footer is damaged, and so is a record: nothing was changed"));
    }
    let map = map_file(file, found.end_offset, Access::Read)?;
    let mut segment = Segment::growing(Arc::clone(file), map, header, base);
    if let Some(closed) = closed {
        segment.close(closed.end, closed.used_to);
    }
    let tail = TailIndex::new(base, segment.records_max());
    let replayed = replay(&context.key, &segment, &tail, 0, &found.offsets)?;
    let sealing = plan(&segment, users_before + replayed.new_users, None)?;
    let mut bytes = context.disk.read(&path, file.len())?;
    for (offset, part) in &sealing.parts {
        let place = usize::try_from(*offset).ok().and_then(|at| bytes.get_mut(at..at + part.len()));
        place.ok_or_else(|| damaged("the footer has no room"))?.copy_from_slice(part);
    }
    replace_file(&*context.disk, &path, &bytes, Mode::Shared)?;
    context.disk.open(&path, Access::Read)
}
