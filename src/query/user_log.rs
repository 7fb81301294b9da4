//! A user's log: the performance-critical query.
//!
//! Finds the user's postings source by source in the order asked for, lets the index decide what it can, stops at one
//! more than the limit, and asks the processor for the records
//! in one batch. Nothing here depends on how large the store is.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::cold::{OFFSET_LATER, Watch, look_up};
use super::filter::{Filter, Order};
use super::packed::{Known, PackedRecords, Walk};
use super::page::{Page, Place, damaged, read_one};
use crate::error::{Error, ErrorKind, Result};
use crate::format::cursor::UserLogCursor;
use crate::format::keys::IndexKey;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::ids::Fingerprint;
#[cfg(test)]
use crate::index::run::Run;
use crate::index::selection::Kinds;
#[cfg(test)]
use crate::index::selection::Selection;
use crate::index::{Candidate, Direction, Passing, Range, Sink};
use crate::segment::reading::{OffsetTable, Places};
use crate::shard::view::{Reading, ShardView, Source};

/// In how many runs look-ups are begun before the first is finished.
const RUNS_TOGETHER: usize = 8;
/// How many steps of each: most need no more.
const PROBES_AHEAD: usize = 3;

/// How many records apart two are at most whose offsets stand in one or two lines.
const OFFSETS_NEAR: u32 = 16;

/// What is asked.
#[derive(Debug)]
pub(crate) struct UserLogRequest<'q> {
    pub(crate) user_id: &'q Arc<str>,
    pub(crate) filter: &'q Filter,
    pub(crate) order: Order,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<&'q str>,
}

/// Where a page begins, from its cursor.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// User sequences from here on are left out (newest first), or those before (oldest first).
    user_sequence: Option<u64>,
    /// After a rollback: shard sequences from here on are left out (newest first), or those before (oldest first).
    sequence: Option<u64>,
}

/// Makes the page.
pub(crate) fn user_log(reading: &Reading, key: &Arc<IndexKey>, request: &UserLogRequest<'_>) -> Result<Page> {
    let view = &reading.view;
    let user = key.fingerprint(request.user_id.as_bytes());
    let cursor = UserLogCursor {
        oldest_first: request.order == Order::Oldest,
        epoch: view.epoch(),
        user,
        filter_digest: request.filter.digest(),
        user_sequence: 0,
        sequence: 0,
    };
    let start = match request.cursor {
        None => Start { user_sequence: None, sequence: None },
        Some(token) => start_of(token, key, &cursor, view)?,
    };
    let from_newest = request.order == Order::Newest && request.cursor.is_none() && request.filter.is_empty();
    let watch = Watch::begin(view, user, from_newest.then_some(request.limit))?;
    let mut gathering = Gathering {
        reading,
        view,
        request,
        start,
        kinds: request.filter.kinds(),
        places: Vec::new(),
        packed: PackedRecords::of(user),
        near: None,
        records_asked: 0,
        later: watch.cold,
        packs_end: if from_newest { view.packs_end() } else { 0 },
        known: Known::Nothing,
    };
    gathering.walk(user)?;
    if gathering.wants_packed() {
        // These come from the disk together with the blocks.
        watch.fetch(view, &mut gathering.places);
        gathering.walk_packs(key, user, &watch)?;
    }
    let Gathering { mut places, mut packed, records_asked, .. } = gathering;
    let has_more = places.len() > request.limit;
    places.truncate(request.limit);
    // Not before all are known: then they come from the disk together.
    watch.fetch(view, &mut places);
    packed.resolve(view, &mut places)?;
    let records_read = match records_asked {
        0 => places.len() as u64,
        asked => asked + places.iter().filter(|place| !place.asked).count() as u64,
    };
    let view = Arc::clone(view);
    Ok(Page {
        view,
        key: Arc::clone(key),
        user_id: Arc::clone(request.user_id),
        places,
        packed,
        has_more,
        limit: request.limit,
        records_read,
        cursor,
    })
}

/// Reads a cursor: it must be this store's, this user's, this filter's and this order's.
fn start_of(token: &str, key: &IndexKey, own: &UserLogCursor, view: &ShardView) -> Result<Start> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidCursor, message);
    let cursor = UserLogCursor::decode(token, key).map_err(|error| invalid(error.to_string()))?;
    if cursor.user != own.user {
        return Err(invalid("the cursor belongs to another user".to_owned()));
    }
    if cursor.oldest_first != own.oldest_first {
        return Err(invalid("the cursor belongs to the other order".to_owned()));
    }
    if cursor.filter_digest != own.filter_digest {
        return Err(invalid("the cursor belongs to another filter".to_owned()));
    }
    if cursor.epoch > own.epoch {
        return Err(invalid("the cursor is from a later recovery epoch of this store".to_owned()));
    }
    // What it points at may have been rolled back: then it stands behind the last event that survived.
    let lost = view.first_lost_after(cursor.epoch).filter(|first_lost| cursor.sequence >= *first_lost);
    Ok(match lost {
        Some(first_lost) => Start { user_sequence: None, sequence: Some(first_lost) },
        None => Start { user_sequence: Some(cursor.user_sequence), sequence: None },
    })
}

/// A segment that records are in, and those that were there when it was looked at.
#[derive(Clone, Copy)]
struct Near<'g> {
    place: u32,
    base: u64,
    count: u64,
    places: Places<'g>,
    last_ordinal: u32,
}

impl Near<'_> {
    #[inline]
    fn holds(&self, sequence: u64) -> bool {
        sequence.wrapping_sub(self.base) < self.count
    }

    /// Where a record begins that the segment holds; the processor is asked for it, or for what says where it begins.
    #[inline]
    fn offset(&mut self, ordinal: u32, later: bool) -> u32 {
        if later {
            return OFFSET_LATER;
        }
        if let OffsetTable::Sealed(..) = self.places.offsets {
            // What says where a record begins is near at hand if it was read for the record before.
            let far = ordinal.abs_diff(self.last_ordinal) > OFFSETS_NEAR;
            self.last_ordinal = ordinal;
            if far {
                self.places.prefetch_offset(ordinal);
                return OFFSET_LATER;
            }
        }
        let offset = self.places.offset(ordinal);
        self.places.prefetch(offset);
        offset
    }
}

struct Gathering<'g> {
    reading: &'g Reading,
    view: &'g ShardView,
    request: &'g UserLogRequest<'g>,
    start: Start,
    kinds: Kinds,
    places: Vec<Place>,
    packed: PackedRecords,
    /// Where the last record was found: the next is near.
    near: Option<Near<'g>>,
    records_asked: u64,
    /// Reads were slow lately: where records begin is looked up when all are known, and nothing is touched before.
    later: bool,
    /// Records below this sequence are left to [`PackedRecords::walk`].
    packs_end: u64,
    /// What is known of them.
    known: Known,
}

impl Gathering<'_> {
    /// Adds the newest of the user's packed records; where the packs alone don't tell which these are, by the index.
    fn walk_packs(&mut self, key: &IndexKey, user: Fingerprint, watch: &Watch) -> Result<()> {
        let UserLogRequest { user_id, limit, .. } = *self.request;
        let (view, known, asked) = (self.view, self.known, watch.cold);
        let walk = Walk { view, key, user_id: user_id.as_bytes(), user, known, limit, asked };
        if self.packed.walk(&walk, &mut self.places)? {
            watch.end(view, self.places.len(), self.packed.blocks());
            return Ok(());
        }
        (self.packs_end, self.packed) = (0, PackedRecords::of(user));
        self.places.clear();
        self.walk(user)
    }

    fn walk(&mut self, user: Fingerprint) -> Result<()> {
        let packed = self.view.sources.partition_point(|source| source.end() <= self.packs_end);
        let sources = self.view.sources.get(packed..).unwrap_or_default();
        for source in sources {
            if let Source::Run(run) = source {
                run.prefetch(user);
            }
        }
        match self.request.order {
            Order::Newest => {
                let mut near = sources.len();
                for (place, source) in sources.iter().enumerate().rev() {
                    // Where the tail has enough, no run is looked at.
                    if place < near && matches!(source, Source::Run(_)) {
                        near = (place + 1).saturating_sub(RUNS_TOGETHER);
                        approach(sources.get(near..=place).unwrap_or_default(), user);
                    }
                    if self.visit(source, user)?.is_break() {
                        break;
                    }
                }
            }
            Order::Oldest => {
                for source in sources {
                    if self.visit(source, user)?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn visit(&mut self, source: &Source, user: Fingerprint) -> Result<ControlFlow<()>> {
        match source {
            Source::Tail(tail, segment) => {
                let Some(found) = tail.user(user, self.reading.visible(segment)) else {
                    return Ok(ControlFlow::Continue(()));
                };
                self.known = Known::Count(found.count_before());
                let Some(range) = self.range(found.count_before(), found.count()) else {
                    return Ok(ControlFlow::Continue(()));
                };
                self.make_room(range);
                let selection = self.request.filter.selection(source, self.kinds);
                found.walk(range, &selection, self)
            }
            Source::Run(run) => {
                let Some(found) = run.user(user)? else { return Ok(ControlFlow::Continue(())) };
                self.known = Known::Count(found.count_before());
                let Some(range) = self.range(found.count_before(), found.count()) else {
                    return Ok(ControlFlow::Continue(()));
                };
                self.make_room(range);
                let selection = self.request.filter.selection(source, self.kinds);
                #[cfg(test)]
                let (range, selection) = self.seeded(run, range, selection);
                found.walk(range, &selection, self)
            }
        }
    }

    /// Whether packs have to be looked at by themselves: there are some, and not enough was found.
    fn wants_packed(&self) -> bool {
        self.packs_end > 0 && self.places.len() <= self.request.limit
    }

    /// The bugs on purpose of what is asked of runs.
    #[cfg(test)]
    fn seeded(&self, run: &Run, mut range: Range, mut selection: Selection) -> (Range, Selection) {
        if has(Bug::CursorPastMerged) && self.start.user_sequence.is_some() && run.header().level > 0 {
            match range.direction {
                Direction::NewestFirst => range.to -= 1,
                Direction::OldestFirst => range.from += 1,
            }
        }
        if has(Bug::TagsForgottenInRuns) {
            selection.kinds = Kinds::ALL;
        }
        (range, selection)
    }

    /// Room for as many as the range can add.
    fn make_room(&mut self, range: Range) {
        let missing = (self.request.limit + 1).saturating_sub(self.places.len());
        self.places.reserve(missing.min((range.to - range.from) as usize));
    }

    /// Which of a source's postings of the user lie on this side of the cursor; `None` if none does.
    fn range(&self, count_before: u64, count: u32) -> Option<Range> {
        let clamp = |position: u64| {
            u32::try_from(position.saturating_sub(count_before)).unwrap_or(u32::MAX).min(count)
        };
        let (from, to, direction) = match (self.request.order, self.start.user_sequence) {
            (Order::Newest, before) => (0, before.map_or(count, clamp), Direction::NewestFirst),
            (Order::Oldest, after) => {
                (after.map_or(0, |after| clamp(after.saturating_add(1))), count, Direction::OldestFirst)
            }
        };
        (from < to).then_some(Range { from, to, direction })
    }

    #[inline]
    fn keep(&mut self, place: Place) -> ControlFlow<()> {
        self.places.push(place);
        let enough = self.places.len() > self.request.limit;
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether a posting is the first of those that [`PackedRecords::walk`] finds by itself: no segment holds these.
    #[inline]
    fn is_left_to_packs(&mut self, Candidate { sequence, user_sequence, .. }: Candidate) -> bool {
        if sequence >= self.packs_end {
            return false;
        }
        self.known = Known::Newest(sequence, user_sequence);
        true
    }

    /// Asks the record what the index could not decide.
    #[inline(never)]
    fn passes(&mut self, place: &mut Place) -> Result<bool> {
        self.records_asked += 1;
        self.packed.resolve(self.view, std::slice::from_mut(place))?;
        look_up(self.view, place);
        let event = read_one(self.view, &self.packed, *place)?;
        let matches = self.request.filter.matches(&event);
        matches.map_err(|error| damaged(self.view, &self.packed, *place, &error.to_string()))
    }

    /// Where the record lies; the processor is asked for it, or for what says where it begins.
    #[inline]
    fn place(&mut self, candidate: Candidate) -> Result<Place> {
        let Candidate { sequence, user_sequence, ask, .. } = candidate;
        if !self.near.as_ref().is_some_and(|near| near.holds(sequence))
            && let Some(place) = self.come_near(candidate)?
        {
            return Ok(place);
        }
        let near = self.near.as_mut().ok_or_else(|| not_there(sequence))?;
        let ordinal = u32::try_from(sequence.wrapping_sub(near.base)).unwrap_or(u32::MAX);
        let offset = near.offset(ordinal, self.later);
        Ok(Place { segment: near.place, ordinal, offset, asked: ask, user_sequence })
    }

    /// Goes to the segment that holds the record; or the place of a record in a pack.
    #[inline(never)]
    fn come_near(&mut self, candidate: Candidate) -> Result<Option<Place>> {
        let Candidate { sequence, user_sequence, ask, .. } = candidate;
        if let Some(place) = self.packed.place(self.view, sequence, user_sequence, ask) {
            return Ok(Some(place));
        }
        let (place, segment) = self.view.segment_of(sequence).ok_or_else(|| not_there(sequence))?;
        self.near = Some(Near {
            place: u32::try_from(place).unwrap_or(u32::MAX),
            base: segment.base(),
            count: segment.published(),
            places: segment.places(),
            last_ordinal: u32::MAX,
        });
        Ok(None)
    }

    /// Places of the records from one of those that pass on, as many as lie in the same segment. How many these are.
    #[inline]
    fn take_together<P: Fn(usize) -> (usize, u32) + Copy>(
        &mut self,
        passing: Passing<P>,
        from: usize,
        to: usize,
    ) -> Result<usize> {
        let first = passing.sequence(from);
        if !self.near.as_ref().is_some_and(|near| near.holds(first))
            && let Some(place) = self.come_near(passing.candidate(from))?
        {
            self.places.push(place);
            return Ok(1);
        }
        // A copy, for which nothing but this function can ask: then it stays in registers.
        let mut near = self.near.ok_or_else(|| not_there(first))?;
        // Ordinals rise or fall: what lies between two in the segment lies in it, too.
        let together = if near.holds(passing.sequence(to - 1)) {
            to - from
        } else {
            (from + 1..to).take_while(|step| near.holds(passing.sequence(*step))).count() + 1
        };
        // An ordinal of the segment is one of the source, moved.
        let moved = low_half(passing.sequence_base.wrapping_sub(near.base));
        let last_ordinal = passing.ordinal(from + together - 1).wrapping_add(moved);
        let later = self.later;
        // Room is made once, and nothing is asked for each. Places are made of values in registers: one whose address is
        // given away is stored in small parts and loaded in large ones, for which the processor waits each time.
        self.places.extend((from..from + together).map(move |step| {
            let ordinal = passing.ordinal(step).wrapping_add(moved);
            Place {
                segment: near.place,
                ordinal,
                offset: near.offset(ordinal, later),
                asked: false,
                user_sequence: passing.user_sequence(step),
            }
        }));
        if let Some(near) = &mut self.near {
            near.last_ordinal = last_ordinal;
        }
        Ok(together)
    }
}

impl Sink for Gathering<'_> {
    #[inline(never)]
    fn take(&mut self, candidate: Candidate) -> Result<ControlFlow<()>> {
        if self
            .start
            .sequence
            .is_some_and(|first_lost| !is_shown(self.request.order, candidate.sequence, first_lost))
        {
            return Ok(ControlFlow::Continue(()));
        }
        if self.is_left_to_packs(candidate) {
            return Ok(ControlFlow::Break(()));
        }
        let mut place = self.place(candidate)?;
        if candidate.ask && !self.passes(&mut place)? {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(self.keep(place))
    }

    fn take_all<P: Fn(usize) -> (usize, u32) + Copy>(
        &mut self,
        passing: Passing<P>,
    ) -> Result<ControlFlow<()>> {
        if self.start.sequence.is_some() {
            for step in 0..passing.count {
                if self.take(passing.candidate(step))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        let wanted = (self.request.limit + 1).saturating_sub(self.places.len());
        let to = passing.count.min(wanted);
        let mut from = 0;
        while from < to {
            if self.is_left_to_packs(passing.candidate(from)) {
                return Ok(ControlFlow::Break(()));
            }
            from += self.take_together(passing, from, to)?;
        }
        Ok(if to == wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Whether an event is on the side of the rolled-back ones that the page shows.
fn is_shown(order: Order, sequence: u64, first_lost: u64) -> bool {
    match order {
        Order::Newest => sequence < first_lost,
        Order::Oldest => sequence >= first_lost,
    }
}

#[cold]
fn not_there(sequence: u64) -> Error {
    Error::new(ErrorKind::Corruption, format!("the index names record {sequence}, which is not there"))
}

fn low_half(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Begins the look-ups of a user in some runs, so that what each waits for of memory it waits for together with the others:
/// the filter, three steps through the directory, the postings. Each look-up is made again afterwards, from the processor's
/// cache, and tells what is wrong.
fn approach(sources: &[Source], user: Fingerprint) {
    let mut probes = [None; RUNS_TOGETHER];
    let runs = || {
        sources.iter().map(|source| match source {
            Source::Run(run) => Some(&**run),
            Source::Tail(..) => None,
        })
    };
    for (run, probe) in runs().zip(&mut probes) {
        *probe = run.and_then(|run| run.first_probe(user));
    }
    for _ in 0..PROBES_AHEAD {
        for (run, probe) in runs().zip(&mut probes) {
            *probe = run.zip(*probe).and_then(|(run, probe)| run.next_probe(user, probe));
        }
    }
    for (run, probe) in runs().zip(probes) {
        if let Some((run, probe)) = run.zip(probe) {
            run.prefetch_postings(user, probe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_the_place_of_what_was_lost_is_newer_than_it() {
        // A cursor stands among events of which those from 10 on were lost.
        let shown = |order, sequence| is_shown(order, sequence, 10);
        assert_eq!([9, 10, 11].map(|sequence| shown(Order::Newest, sequence)), [true, false, false]);
        assert_eq!([9, 10, 11].map(|sequence| shown(Order::Oldest, sequence)), [false, true, true]);
    }
}
