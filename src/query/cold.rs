//! Pages whose parts are not in memory: what they need is asked for together, so that the disk works on all of it at a
//! time, where touching one page of memory after the other would wait for each.
//!
//! Asking costs a call of the system each time, so it is done only where reads were slow lately. Must not decide what is
//! on a page.

use std::time::{Duration, Instant};

use super::page::Place;
use crate::error::Result;
use crate::ids::Fingerprint;
use crate::shard::view::{ShardView, Source};

/// An offset that was not looked up yet.
pub(super) const OFFSET_LATER: u32 = u32::MAX;

/// A touch that takes longer may have gone to the disk: then the kernel is asked whether it did.
const TOUCH_SLOW: Duration = Duration::from_micros(20);
/// The same for a walk through the index.
const WALK_SLOW: Duration = Duration::from_micros(60);

/// Watches how long a page takes.
pub(super) struct Watch {
    began: Instant,
    /// Reads were slow lately: everything is asked for before it is touched.
    pub(super) cold: bool,
}

impl Watch {
    /// Begins a page: where reads were slow lately, asks for what the index has of the user, and for the user's newest
    /// blocks in packs.
    pub(super) fn begin(view: &ShardView, user: Fingerprint) -> Result<Self> {
        let cold = view.coldness.is_cold();
        if cold {
            ask_for_index(view, user)?;
        }
        Ok(Self { began: Instant::now(), cold })
    }

    /// Ends the walk through the index: asks for the records that it found in sealed segments, if they are not in memory.
    pub(super) fn fetch(&self, view: &ShardView, places: &mut [Place]) {
        let segment_of = |place: &Place| view.segments.get(place.segment as usize);
        if self.cold {
            for place in places.iter().filter(|place| place.offset == OFFSET_LATER) {
                if let Some(segment) = segment_of(place) {
                    segment.ask_for_offset(u64::from(place.ordinal));
                }
            }
            for place in places.iter_mut() {
                look_up(view, place);
            }
        } else {
            let slow = self.began.elapsed() > WALK_SLOW;
            for place in places.iter_mut().filter(|place| place.offset == OFFSET_LATER) {
                look_up(view, place);
                if let Some(segment) = segment_of(place) {
                    segment.prefetch(place.offset as usize);
                }
            }
            // The page's last record is the oldest, or the one farthest from what was read last.
            let last = places.last().and_then(|place| Some((segment_of(place)?, place)));
            let touched = last.filter(|(segment, _)| segment.is_sealed()).is_some_and(|(segment, place)| {
                let began = Instant::now();
                segment.touch(place.offset as usize);
                began.elapsed() > TOUCH_SLOW
            });
            if slow || touched {
                view.coldness.note_slow();
            }
            if !touched {
                return;
            }
        }
        for place in places.iter() {
            if let Some(segment) = segment_of(place).filter(|segment| segment.is_sealed()) {
                segment.ask_for_record(place.offset as usize);
            }
        }
    }
}

/// Looks up where a record begins that was left for later.
pub(super) fn look_up(view: &ShardView, place: &mut Place) {
    if place.offset == OFFSET_LATER
        && let Some(segment) = view.segments.get(place.segment as usize)
    {
        let offset = segment.offset_of(u64::from(place.ordinal)).unwrap_or_default();
        place.offset = u32::try_from(offset).unwrap_or(u32::MAX - 1);
    }
}

fn ask_for_index(view: &ShardView, user: Fingerprint) -> Result<()> {
    let runs = || {
        view.sources.iter().filter_map(|source| match source {
            Source::Run(run) => Some(run),
            Source::Tail(..) => None,
        })
    };
    runs().for_each(|run| run.ask_for(user));
    view.packs.iter().for_each(|pack| pack.ask_for_directory(user.prefix()));
    for run in runs() {
        if let Some(found) = run.user(user)? {
            found.ask_for_postings();
        }
    }
    for pack in &view.packs {
        pack.ask_for(&pack.block_of(user.prefix(), u32::MAX)?);
    }
    Ok(())
}
