//! Merges index runs behind everybody's back, so that a look-up meets few of them however much is stored.
//!
//! Size-tiered: a run of level n covers about fan-out^n segments; as soon as there are fan-out neighbours of one level (or
//! lower ones between them), they become one of the next. So a posting is written once a level, and at most fan-out less one
//! runs of each level stand side by side.
//!
//! The order: the new run is written under a temporary name, synced, renamed, opened and verified; the manifest names it
//! in place of its inputs; the view has it; the inputs are removed. A crash before the manifest leaves a file that it does
//! not name, one after it leaves inputs that it does not name, and both are removed by the next opening. Readers that hold
//! the view from before go on with the inputs.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shard;
use super::leftovers::Leftovers;
use super::sealed::map_run;
use super::view::{ShardView, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::format::manifest::RunEntry;
use crate::format::run::{RUN_RECORDS_MAX, merged_salt};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::index::builder::RunScope;
use crate::index::merge::{Merge, Pace};
use crate::index::run::Run;
use crate::io::{DiskFile, temporary_name};
use crate::segment::create::{merged_run_path, run_path};

/// How many neighbours are merged into one, unless the options say something else.
pub(crate) const MERGE_FAN_OUT: usize = 8;
/// How many fan-outs of runs are merged at once where more of them wait than should.
const BACKLOG: usize = 2;

/// Held while merging, so that two threads don't merge the same runs.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    /// Why nothing is merged any more, if damage was met.
    refused: Option<Error>,
    leftovers: Leftovers,
}

/// What the choice of a merge depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    level: u32,
    base: u64,
    end: u64,
}

impl Piece {
    fn of(run: &Run) -> Self {
        let header = run.header();
        Self { level: header.level, base: header.base, end: header.base + header.records }
    }
}

/// Which runs are to be merged next: of the lowest level that has enough neighbours, the oldest. Runs of lower levels that
/// lie between them, as a repair leaves them, go with them.
fn due(pieces: &[Piece], fan_out: usize) -> Option<Range<usize>> {
    let highest = pieces.iter().map(|piece| piece.level).max()?;
    (0..=highest).find_map(|level| due_at(level, pieces, fan_out))
}

fn due_at(level: u32, pieces: &[Piece], fan_out: usize) -> Option<Range<usize>> {
    // How many of this level were found behind each other, the first of them, and one past the last.
    let (mut count, mut begin, mut end) = (0, 0, 0);
    for (place, piece) in pieces.iter().enumerate() {
        if piece.level < level {
            continue;
        }
        let base = pieces.get(begin).map_or(0, |first| first.base);
        let goes_on = piece.level == level && count > 0 && piece.end - base <= RUN_RECORDS_MAX;
        if !goes_on && count >= fan_out {
            break;
        }
        if !goes_on {
            // What is left of it would make too large a run with its neighbour, or has no equal one: it stays as it is.
            (count, begin) = (0, place);
        }
        if piece.level == level {
            (count, end) = (count + 1, place + 1);
        }
        if count == fan_out * BACKLOG {
            break;
        }
    }
    (count >= fan_out).then_some(begin..end)
}

impl Shard {
    /// Merges what is due, and what becomes due by that. `pace` is told how many bytes were written; it may wait, and ends
    /// the work by an error.
    pub(crate) fn merge_due(&self, pace: &mut Pace<'_>) -> Result<()> {
        let mut merging = self.merging.lock();
        while !self.is_closed() && self.poison().is_none() {
            self.settle(&mut merging.leftovers)?;
            let view = self.view();
            let runs: Vec<&Arc<Run>> = view.runs().collect();
            let pieces: Vec<Piece> = runs.iter().map(|run| Piece::of(run)).collect();
            let Some(chosen) = due(&pieces, self.context.merge_fan_out) else { return Ok(()) };
            if let Some(error) = &merging.refused {
                return Err(error.clone());
            }
            pace(0)?;
            let inputs: Vec<&Run> = runs.get(chosen).unwrap_or_default().iter().map(|run| &***run).collect();
            let merged = self.merge(&mut merging.leftovers, &view, &inputs, pace);
            merged.inspect_err(|error| {
                // What is damaged stays so: trying it again after each seal would only cost.
                if error.kind() == ErrorKind::Corruption {
                    merging.refused = Some(error.clone());
                }
            })?;
        }
        Ok(())
    }

    /// The bytes of runs that are due to be merged.
    pub(crate) fn merge_waiting_bytes(&self, view: &ShardView) -> u64 {
        let runs: Vec<&Arc<Run>> = view.runs().collect();
        let pieces: Vec<Piece> = runs.iter().map(|run| Piece::of(run)).collect();
        let chosen = due(&pieces, self.context.merge_fan_out).unwrap_or_default();
        runs.get(chosen).unwrap_or_default().iter().map(|run| run.file_bytes()).sum()
    }

    fn merge(
        &self,
        leftovers: &mut Leftovers,
        view: &ShardView,
        inputs: &[&Run],
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        let (Some(oldest), Some(newest)) = (inputs.first(), inputs.last()) else { return Ok(()) };
        let covered = Piece::of(oldest).base..Piece::of(newest).end;
        let ids = view.segment_id_of(covered.start).zip(view.segment_id_of(covered.end - 1));
        let (first, last) = ids.ok_or_else(|| {
            Error::corruption(oldest.path(), 0, "the index run covers records that are not there")
        })?;
        let salt = {
            let manifest = self.manifest.lock();
            let segments = manifest.segments.iter().filter(|entry| (first..=last).contains(&entry.id));
            merged_salt(segments.map(|entry| entry.salt))
        };
        let scope = RunScope {
            store_id: self.context.store_id,
            shard: self.id.get(),
            base: covered.start,
            records: covered.end - covered.start,
            salt,
            time_base: oldest.header().time_base,
            level: 1 + inputs.iter().map(|run| run.header().level).max().unwrap_or_default(),
        };
        let plan = Merge::plan(inputs, scope, pace)?;
        let path = merged_run_path(&self.dir, first, last);
        let merged = self.write_merged(&plan, &path, pace).inspect_err(|_| {
            // Its space is of more use to others, and no manifest names it yet.
            self.discard(leftovers, [temporary_name(&path), path.clone()]);
        })?;
        let input_paths = || inputs.iter().map(|run| run.path().to_owned());
        #[cfg(test)]
        if has(Bug::MergedTooSoonRemoved) {
            input_paths().for_each(|path| drop(self.context.disk.remove(&path)));
        }
        self.list_merged(RunEntry { first, last, salt }).inspect_err(|error| {
            if self.manifest_stayed(error) {
                // Its space is of more use to others.
                self.discard(leftovers, [path.clone()]);
            } else {
                leftovers.doubt([path.clone()]);
            }
        })?;
        self.merges.fetch_add(1, Ordering::Relaxed);
        self.merged_bytes.fetch_add(merged.file_bytes(), Ordering::Relaxed);
        self.change_view(|view| {
            let is_input = |source: &Source| match source {
                Source::Run(run) => covered.contains(&run.header().base),
                Source::Tail(..) => false,
            };
            let first = view.sources.iter().position(is_input).unwrap_or_default();
            view.sources.retain(|source| !is_input(source));
            view.sources.insert(first.min(view.sources.len()), Source::Run(merged));
        });
        self.discard(leftovers, input_paths().chain(self.empty_runs_between(view, inputs)));
        Ok(())
    }

    /// The empty runs of segments without users that lie between these: nothing reads them any more when these are merged.
    fn empty_runs_between(&self, view: &ShardView, inputs: &[&Run]) -> Vec<PathBuf> {
        let manifest = self.manifest.lock();
        let pairs = inputs.iter().zip(inputs.iter().skip(1));
        let gaps = pairs.filter(|(run, next)| run.end() < next.header().base);
        let ids = gaps.filter_map(|(run, next)| {
            let last = view.segment_id_of(next.header().base.checked_sub(1)?)?;
            Some(view.segment_id_of(run.end())?..=last)
        });
        let segments =
            ids.flat_map(|ids| manifest.segments.iter().filter(move |entry| ids.contains(&entry.id)));
        segments.map(|entry| run_path(&self.dir, entry.id)).collect()
    }

    /// Writes a merged run, and compares it with what it is made of.
    fn write_merged(&self, plan: &Merge<'_>, path: &Path, pace: &mut Pace<'_>) -> Result<Arc<Run>> {
        let disk = &*self.context.disk;
        let temporary = temporary_name(path);
        let make = |bytes| disk.allocate(&temporary, bytes);
        let file: Arc<dyn DiskFile> = plan.write(make, pace)?;
        drop(file);
        disk.rename(&temporary, path)?;
        disk.sync_dir(&self.dir)?;
        let merged = Arc::new(map_run(&self.context, path)?);
        merged.verify()?;
        if merged.totals()? != plan.totals() {
            return Err(Error::corruption(path, 0, "the merged run is not what it was made of"));
        }
        merged.let_go(0, merged.file_bytes());
        Ok(merged)
    }

    /// Puts a merged run into the manifest, in place of those that it was made of. If that fails, the manifest on disk may
    /// name it nevertheless: so the inputs stay, and most of the time the file does.
    fn list_merged(&self, entry: RunEntry) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        changed.runs.retain(|old| !(entry.first..=entry.last).contains(&old.first));
        changed.runs.push(entry);
        changed.runs.sort_unstable_by_key(|run| run.first);
        self.write_manifest(&changed)?;
        *manifest = changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(levels: &[u32]) -> Vec<Piece> {
        let piece = |(place, level): (usize, &u32)| {
            let base = 10 * place as u64;
            Piece { level: *level, base, end: base + 10 }
        };
        levels.iter().enumerate().map(piece).collect()
    }

    #[test]
    fn neighbours_of_the_lowest_level_are_merged_when_there_are_enough() {
        assert_eq!(due(&[], 4), None);
        assert_eq!(due(&pieces(&[0, 0, 0]), 4), None);
        assert_eq!(due(&pieces(&[0, 0, 0, 0]), 4), Some(0..4));
        assert_eq!(due(&pieces(&[1, 1, 1, 0, 0, 0, 0]), 4), Some(3..7));
        // A backlog is merged in one go, but not all of a large one.
        assert_eq!(due(&pieces(&[0; 7]), 4), Some(0..7));
        assert_eq!(due(&pieces(&[0; 9]), 4), Some(0..8));
        // A lower one between others goes with them; a single one does not make others grow.
        assert_eq!(due(&pieces(&[1, 0, 1, 1]), 4), None);
        assert_eq!(due(&pieces(&[1, 0, 1, 1, 1, 0]), 4), Some(0..5));
        assert_eq!(due(&pieces(&[0, 1, 1, 1, 2, 1, 0, 0, 0]), 4), None);
        assert_eq!(due(&pieces(&[3, 0]), 2), None);
    }

    #[test]
    fn a_run_that_would_get_too_large_is_not_made() {
        let huge = RUN_RECORDS_MAX / 3;
        let pieces: Vec<Piece> =
            (0..20).map(|n: u64| Piece { level: 3, base: n * huge, end: (n + 1) * huge }).collect();
        assert_eq!(due(&pieces, 4), None);
        assert_eq!(due(&pieces, 3), Some(0..3));
        let beyond = |n: u64| Piece {
            level: 0,
            base: n * 2 * RUN_RECORDS_MAX,
            end: (2 * n + 1) * RUN_RECORDS_MAX + 1,
        };
        assert_eq!(due(&[beyond(0), beyond(1), beyond(2)], 2), None);
    }

    proptest! {
        #[test]
        fn there_are_few_runs_however_many_segments_there_were(segments in 1_usize..2000, fan_out in 2_usize..17) {
            let mut levels: Vec<u32> = Vec::new();
            let mut written = 0;
            for segment in 0..segments {
                levels.insert(levels.len(), 0);
                prop_assert!(levels.len() <= segment + 1);
                while let Some(chosen) = due(&pieces(&levels), fan_out) {
                    prop_assert!(chosen.len() >= fan_out);
                    let level = 1 + levels[chosen.clone()].iter().max().unwrap();
                    written += (fan_out as u64).pow(level);
                    levels.splice(chosen, [level]);
                }
            }
            let levels_max = segments.ilog(fan_out) + 1;
            prop_assert!(levels.len() <= (fan_out - 1) * levels_max as usize);
            prop_assert!(written <= segments as u64 * u64::from(levels_max));
        }
    }
}
