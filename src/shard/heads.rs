//! A shard's head table: when the one on disk is believed, who takes runs in, how a larger one is made.
//!
//! A user who isn't in the active segment's tail needs his count and last sequence at append. Frozen tails are asked, then
//! runs that the table doesn't cover yet, then the table: one look instead of one for each run. Without a table the runs
//! are asked, as they always can be.
//!
//! The table is a cache that must never be wrong: a user sequence that was given out twice would be for ever. So:
//!
//! - It holds what sealed segments say alone: these are durable, and are never rolled back.
//! - Its file says up to where it covers the log only after a sync has made those entries durable, and names the end of the
//!   sealed segment there by its salt. A store without that segment doesn't use it.
//! - What was closed cleanly, and marked so, is used as it is. The mark is taken off, durably, before anything is changed.
//! - After anything else the entries below that place are copied to a new table, and the runs above are taken in again:
//!   entries that are ahead may be half of a run, or may not be on the disk though the cache shows them.
//! - A table whose sync has failed, or with an entry that doesn't match its check, is dropped, and one made from the runs.
//!
//! Nothing here is waited for by a writer, and no error here is one of the store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::view::{ShardView, Source};
use super::{Context, Shard};
use crate::error::Result;
use crate::format::heads::{Mark, TableHeader};
use crate::format::pack::Part;
use crate::index::heads::{HeadTable, Refusal};
use crate::index::run::Run;
use crate::io::{Access, temporary_name};
use crate::segment::create::new_salt;

/// The name of the table in the shard's directory.
pub(crate) const HEADS_NAME: &str = "HEADS";

/// After how many sealed segments the table says durably how far it goes. What a crash then leaves to be taken in again
/// is at most that much, some milliseconds a segment.
const CHECKPOINT_SEGMENTS: usize = if cfg!(test) { 1 } else { 16 };

/// Opens the table that is there, if it was closed cleanly and is of this history. Costs a look at its first page.
pub(super) fn open_clean(context: &Context, dir: &Path, view: &ShardView) -> Option<Arc<HeadTable>> {
    let table = open_any(context, dir, view)?;
    table.state().clean.then(|| Arc::new(table))
}

/// Opens the table that is there, if it covers something of this history. A table that isn't clean must be copied.
fn open_any(context: &Context, dir: &Path, view: &ShardView) -> Option<HeadTable> {
    let path = dir.join(HEADS_NAME);
    if !context.disk.exists(&path).ok()? {
        return None;
    }
    // Whatever is wrong with it: it is made anew.
    let table = HeadTable::open(context.disk.open(&path, Access::Write).ok()?).ok()?;
    let header = table.header();
    let covers = table.state().covers;
    let ours = header.store_id == context.store_id && header.shard == view.shard.get();
    (ours && mark_at(view, covers.end) == Some(covers)).then_some(table)
}

/// The mark of the sealed segment that ends here, if one does.
fn mark_at(view: &ShardView, end: u64) -> Option<Mark> {
    let segments = view.segments.iter().rev().filter(|segment| segment.is_sealed());
    let mut ends = segments.map(|segment| (segment.end(), segment.salt().0));
    let packed = view.packs.iter().rev().flat_map(|pack| pack.parts().iter().rev());
    let mut packed = packed.map(|part| (part.end(), part.salt));
    let found = ends.find(|(at, _)| *at == end).or_else(|| packed.find(|(at, _)| *at == end))?;
    Some(Mark { end, salt: found.1 })
}

/// The oldest run that goes beyond `covers`.
fn next_run(view: &ShardView, covers: u64) -> Option<Arc<Run>> {
    view.sources.iter().find_map(|source| match source {
        Source::Run(run) if source.end() > covers => Some(Arc::clone(run)),
        _ => None,
    })
}

/// Whether much was taken in since the file says how far the table goes.
fn is_checkpoint_due(view: &ShardView, table: &HeadTable) -> bool {
    let (from, to) = (table.state().covers.end, table.covers());
    let packed = view.packs.iter().flat_map(|pack| pack.parts()).map(Part::end);
    let ends = packed.chain(view.segments.iter().map(|segment| segment.end()));
    from < to && ends.filter(|end| *end > from && *end <= to).count() >= CHECKPOINT_SEGMENTS
}

impl Shard {
    /// Takes in the run of a segment that was just sealed. The caller seals, so nobody else takes anything in.
    ///
    /// Before the run takes the place of its tail in the view: whoever is in it is found in the tail meanwhile.
    pub(super) fn fold_sealed(&self, run: Option<&Arc<Run>>) {
        let view = self.view();
        let Some((table, run)) = view.heads.as_ref().zip(run) else { return };
        // A table that is behind catches up in the background: what it covers has no gaps.
        if next_run(&view, table.covers()).is_none() {
            self.fold_run(table, run);
        }
    }

    /// Takes in a run in place. Says whether the table has taken it; one that can't be used any more is dropped.
    fn fold_run(&self, table: &Arc<HeadTable>, run: &Run) -> bool {
        let folded = table.begin_use().and_then(|()| table.fold(run, &self.leaving));
        match folded {
            Ok(Ok(())) => {
                table.set_covers(run.end());
                true
            }
            // A larger one is made, or nothing is needed any more.
            Ok(Err(Refusal::Full | Refusal::Stopped)) => false,
            Ok(Err(Refusal::Damaged)) | Err(_) => {
                self.drop_heads(table);
                false
            }
        }
    }

    /// Writers don't ask this table any more.
    fn drop_heads(&self, table: &Arc<HeadTable>) {
        self.change_view(|view| {
            view.heads = view.heads.take().filter(|other| !Arc::ptr_eq(other, table));
        });
    }

    /// Whether the table isn't what it should be.
    pub(crate) fn wants_heads(&self) -> bool {
        let view = self.view();
        let Some(newest_end) = self.newest_run_end() else { return false };
        let lacks = view.heads.as_ref().is_none_or(|table| {
            table.is_damaged() || table.covers() < newest_end || is_checkpoint_due(&view, table)
        });
        // What failed is tried again when there is more to cover.
        lacks
            && self.heads_failed_at.load(Ordering::Relaxed) < newest_end
            && self.building.try_lock().is_some()
    }

    /// Where the newest run ends, if there is one.
    fn newest_run_end(&self) -> Option<u64> {
        let view = self.view();
        view.sources.iter().rfind(|source| matches!(source, Source::Run(_))).map(Source::end)
    }

    /// Makes the table what it should be: takes in what it lacks, makes it durable now and then, or makes another one.
    pub(super) fn tend_heads(&self) -> Result<()> {
        let Some(_building) = self.building.try_lock() else { return Ok(()) };
        if self.is_closed() {
            return Ok(());
        }
        let outcome = self.tend();
        if outcome.is_err() {
            self.heads_failed_at.store(self.newest_run_end().unwrap_or_default(), Ordering::Relaxed);
        }
        outcome
    }

    fn tend(&self) -> Result<()> {
        if self.newest_run_end().is_none() {
            return Ok(());
        }
        let usable = self.view().heads.clone().filter(|table| !table.is_damaged());
        if let Some(table) = &usable {
            self.catch_up(table);
            let view = self.view();
            let kept = view.heads.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, table) && !kept.is_damaged());
            if kept && next_run(&view, table.covers()).is_none() {
                table.populate(&self.leaving);
                return self.checkpoint_heads(&view, table);
            }
        }
        // Full, damaged, or not there.
        let older = self.view().heads.clone().filter(|table| !table.is_damaged());
        let older = older.or_else(|| open_any(&self.context, &self.dir, &self.view()).map(Arc::new));
        if older.is_some() && self.make_table(older.as_deref())? {
            return Ok(());
        }
        self.make_table(None).map(drop)
    }

    /// Takes in what was sealed while the table could not be.
    fn catch_up(&self, table: &Arc<HeadTable>) {
        loop {
            let _sealing = self.sealing.lock();
            let Some(run) = next_run(&self.view(), table.covers()) else { return };
            if !self.fold_run(table, &run) {
                return;
            }
        }
    }

    fn checkpoint_heads(&self, view: &ShardView, table: &Arc<HeadTable>) -> Result<()> {
        if !is_checkpoint_due(view, table) {
            return Ok(());
        }
        let Some(mark) = mark_at(view, table.covers()) else { return Ok(()) };
        table.checkpoint(mark).inspect_err(|_| self.drop_heads(table))
    }

    /// Makes a new table, from another one and the runs that it doesn't cover, and puts it in its place. `false` if the
    /// other one turns out to be damaged, or there is no need any more.
    fn make_table(&self, older: Option<&HeadTable>) -> Result<bool> {
        let path = self.dir.join(HEADS_NAME);
        let temporary = temporary_name(&path);
        let made = self.fill_table(&temporary, older).and_then(|made| match made {
            Some(table) => self.put_in_place(&temporary, table).map(|()| true),
            None => Ok(false),
        });
        if !matches!(made, Ok(true)) {
            let _ = self.context.disk.remove(&temporary);
        }
        made
    }

    fn fill_table(&self, temporary: &Path, older: Option<&HeadTable>) -> Result<Option<HeadTable>> {
        let header = TableHeader {
            store_id: self.context.store_id,
            shard: self.id.get(),
            lines: TableHeader::lines_for(self.users_total.load(Ordering::Relaxed)),
            salt: new_salt()?.0,
        };
        let file = self.context.disk.allocate(temporary, header.file_bytes())?;
        let Ok(table) = HeadTable::create(file, header, &self.leaving)? else { return Ok(None) };
        if let Some(older) = older
            && table.fold_table(older, &self.leaving).is_err()
        {
            return Ok(None);
        }
        if !self.fold_rest(&table)? {
            return Ok(None);
        }
        // The long part of making it durable, while sealing may go on.
        if let Some(mark) = mark_at(&self.view(), table.covers()) {
            table.checkpoint(mark)?;
        }
        Ok(Some(table))
    }

    /// Takes in all runs beyond what the table covers.
    fn fold_rest(&self, table: &HeadTable) -> Result<bool> {
        while let Some(run) = next_run(&self.view(), table.covers()) {
            if table.fold(&run, &self.leaving)?.is_err() {
                return Ok(false);
            }
            table.set_covers(run.end());
        }
        Ok(true)
    }

    fn put_in_place(&self, temporary: &Path, table: HeadTable) -> Result<()> {
        let _sealing = self.sealing.lock();
        if self.is_closed() || !self.fold_rest(&table)? {
            let _ = self.context.disk.remove(temporary);
            return Ok(());
        }
        self.context.disk.rename(temporary, &self.dir.join(HEADS_NAME))?;
        self.change_view(|view| view.heads = Some(Arc::new(table)));
        self.context.disk.sync_dir(&self.dir)
    }

    /// At closing, when nothing is sealed any more: what the table says is made durable, for the next opening.
    ///
    /// An error is nobody's loss: that opening makes another one.
    pub(crate) fn close_heads(&self) {
        let _sealing = self.sealing.lock();
        let view = self.view();
        let Some(table) = &view.heads else { return };
        let usable = !table.state().clean && !table.is_damaged() && !table.is_ahead();
        if let Some(mark) = mark_at(&view, table.covers()).filter(|_| usable) {
            let _ = table.close(mark);
        }
    }
}
