//! Pages whose parts are not in memory: what they need is asked for together, so that the disk works on all of it at a
//! time, where touching one page of memory after the other would wait for each.
//!
//! Asking costs a call of the system each time, so it is done only where reads were slow lately. Must not decide what is
//! on a page.

use std::time::{Duration, Instant};

use super::packed::may_be_in;
use super::page::Place;
use crate::error::Result;
use crate::ids::Fingerprint;
use crate::segment::reading::Places;
use crate::shard::view::{ShardView, Source};

/// How much the disk is asked for at least.
const PAGE_BYTES: usize = 4096;

/// An offset that was not looked up yet.
pub(super) const OFFSET_LATER: u32 = u32::MAX;

/// What a page takes at most in memory, from the walk through the index to the touch of its last record: a read of the disk
/// is not faster than that.
const HOT: Duration = Duration::from_micros(40);
/// And for each record that is found.
const HOT_RECORD: Duration = Duration::from_nanos(200);

/// And for each block of a pack that is decompressed.
const HOT_BLOCK: Duration = Duration::from_micros(20);

/// Whether a page that took so long until its records were found may have waited for the disk: then the kernel is asked
/// whether it did.
fn is_slow(took: Duration, records: usize) -> bool {
    took > HOT + HOT_RECORD * u32::try_from(records).unwrap_or(u32::MAX)
}

/// Watches how long a page takes. A page from memory costs two looks at the clock.
pub(super) struct Watch {
    began: Instant,
    /// Reads were slow lately: everything is asked for before it is touched.
    pub(super) cold: bool,
}

impl Watch {
    /// Begins a page: where reads were slow lately, asks for what the index has of the user, or, if the `newest` records are
    /// wanted, so many, for the user's newest blocks in packs in place of what the index has of these.
    pub(super) fn begin(view: &ShardView, user: Fingerprint, newest: Option<usize>) -> Result<Self> {
        let cold = view.coldness.is_cold();
        if cold {
            ask_for_index(view, user, newest)?;
        }
        Ok(Self { began: Instant::now(), cold })
    }

    /// Ends the walk through packs, which read so many blocks: looks whether what is before them had to be waited for.
    pub(super) fn end(&self, view: &ShardView, records: usize, blocks: usize) {
        let blocks = HOT_BLOCK * u32::try_from(blocks).unwrap_or(u32::MAX);
        if !self.cold && is_slow(self.began.elapsed().saturating_sub(blocks), records) {
            view.coldness.note_slow();
        }
    }

    /// Ends the walk through the index: asks for the records that it found, if they are not in memory.
    pub(super) fn fetch(&self, view: &ShardView, places: &mut [Place]) {
        let segment_of = |place: &Place| view.segments.get(place.segment as usize);
        if self.cold {
            ask_for_offsets(view, places);
            for place in places.iter_mut() {
                look_up(view, place);
            }
        } else {
            let mut near: Option<(u32, Places<'_>)> = None;
            for place in places.iter_mut().filter(|place| place.offset == OFFSET_LATER) {
                if near.as_ref().is_none_or(|(segment, _)| *segment != place.segment) {
                    near = segment_of(place).map(|segment| (place.segment, segment.places()));
                }
                if let Some((_, records)) = &mut near {
                    place.offset = records.offset(place.ordinal);
                    records.prefetch(place.offset);
                }
            }
            // The page's last record is the oldest, or the one farthest from what was read last.
            let last = places.last().and_then(|place| Some((segment_of(place)?, place)));
            if let Some((segment, place)) = last.filter(|(segment, _)| segment.is_sealed()) {
                segment.touch(place.offset as usize);
            }
            let slow = is_slow(self.began.elapsed(), places.len());
            if !slow || !view.coldness.note_slow() {
                return;
            }
        }
        ask_for_records(view, places);
    }
}

/// Asks for the offsets that were left for later.
fn ask_for_offsets(view: &ShardView, places: &[Place]) {
    for place in places.iter().filter(|place| place.offset == OFFSET_LATER) {
        if let Some(segment) = view.segments.get(place.segment as usize) {
            segment.ask_for_offset(u64::from(place.ordinal));
        }
    }
}

/// Asks for records, each page of memory once. What is not sealed may come from the disk, too: opening a store reads little
/// of it.
fn ask_for_records(view: &ShardView, places: &[Place]) {
    #[cfg(test)]
    if crate::format::seeded::has(crate::format::seeded::Bug::RecordsNotAsked) {
        return;
    }
    let mut asked = None;
    for place in places {
        let Some(segment) = view.segments.get(place.segment as usize) else { continue };
        let extent = segment.extent(u64::from(place.ordinal), place.offset as usize);
        let pages = Some((place.segment, extent.start / PAGE_BYTES, (extent.end - 1) / PAGE_BYTES));
        if asked != pages {
            segment.ask_for(extent);
            asked = pages;
        }
    }
}

/// Looks up where a record begins that was left for later.
pub(super) fn look_up(view: &ShardView, place: &mut Place) {
    if place.offset == OFFSET_LATER
        && let Some(segment) = view.segments.get(place.segment as usize)
    {
        let offset = segment.offset_of(u64::from(place.ordinal)).unwrap_or_default();
        // At 0 none begins.
        place.offset = u32::try_from(offset).unwrap_or_default();
    }
}

fn ask_for_index(view: &ShardView, user: Fingerprint, newest: Option<usize>) -> Result<()> {
    // Of runs over packs, a page of the newest takes their filters alone.
    let packs_end = newest.map_or(0, |_| view.packs_end());
    let runs = || {
        view.sources.iter().filter_map(|source| match source {
            Source::Run(run) => Some(run),
            Source::Tail(..) => None,
        })
    };
    for run in runs() {
        if run.end() > packs_end { run.ask_for(user) } else { run.ask_for_filter(user) }
    }
    view.packs.iter().for_each(|pack| pack.ask_for_directory(user.prefix()));
    if let Some(records) = newest {
        for pack in &view.packs {
            if may_be_in(view, user, pack)? {
                pack.ask_for_newest(user.prefix(), records)?;
            }
        }
    }
    for run in runs().filter(|run| run.end() > packs_end) {
        if let Some(found) = run.user(user)? {
            found.ask_for_postings();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_from_memory_is_told_from_one_from_the_disk() {
        let micros = Duration::from_micros;
        // Pages of a hundred take some microseconds in memory; one read of a fast disk takes eighty.
        for (took, records, waited) in [
            (0, 0, false),
            (40, 0, false),
            (41, 0, true),
            (10, 100, false),
            (60, 100, false),
            (61, 100, true),
            (80, 100, true),
            (100, 500, false),
            (2_000, 10_000, false),
            (5_000, 10_000, true),
        ] {
            assert_eq!(is_slow(micros(took), records), waited, "{took} µs, {records} records");
        }
        assert!(!is_slow(Duration::from_secs(800), usize::MAX), "no overflow");
    }
}
