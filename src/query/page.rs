//! A page: the records that were found, lent in place, and the cursor to the next ones.

use std::sync::Arc;

use super::packed::PackedRecords;
use crate::error::{Error, Result};
use crate::event::{Event, EventView};
use crate::format::cursor::UserLogCursor;
use crate::format::keys::IndexKey;
use crate::segment::reading::Records;
use crate::shard::view::ShardView;

/// Where a record of the page lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The segment's place in the view.
    pub(crate) segment: u32,
    pub(crate) ordinal: u32,
    pub(crate) offset: u32,
    /// The record was touched already, to decide the filter.
    pub(crate) asked: bool,
    pub(crate) user_sequence: u64,
}

/// One page of a user's log.
///
/// The events are lent from the store's mapped files: [`Page::iter`] copies nothing. While a page is held, its view of
/// the shard stays, so hold it no longer than needed; [`Page::to_events`] makes owned copies.
#[derive(Debug)]
pub struct Page {
    pub(crate) view: Arc<ShardView>,
    pub(crate) key: Arc<IndexKey>,
    /// Whose log it is.
    pub(crate) user_id: Arc<str>,
    pub(crate) places: Vec<Place>,
    /// The blocks of packs that hold some of them.
    pub(crate) packed: PackedRecords,
    pub(crate) has_more: bool,
    pub(crate) limit: usize,
    pub(crate) records_read: u64,
    /// The cursor but for its position, which is that of the last event.
    pub(crate) cursor: UserLogCursor,
}

impl Page {
    /// How many events are on the page.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no event on the page.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The limit that was asked for, or the default.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether more events of the user pass the filter behind this page. Exact at the moment of the query.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// How many records were touched to make the page and to show it: its own, and those that the index could not decide.
    pub fn records_read(&self) -> u64 {
        self.records_read
    }

    /// The events, in the order that was asked for.
    ///
    /// Costs about ten nanoseconds an event in memory, and a checksum the first time that a record is read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corruption`](crate::ErrorKind::Corruption), naming file and offset, in place of an event whose record
    /// is damaged.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<EventView<'_>>> {
        Events { page: self, places: self.places.iter(), segment: u32::MAX, records: None }
    }

    /// The events, copied.
    ///
    /// # Errors
    ///
    /// As [`Page::iter`].
    pub fn to_events(&self) -> Result<Vec<Event>> {
        self.iter()
            .zip(&self.places)
            .map(|(view, place)| {
                view?
                    .to_owned()
                    .map_err(|error| damaged(&self.view, &self.packed, *place, &error.to_string()))
            })
            .collect()
    }

    /// The cursor of the next page: opaque, URL-safe, 86 characters. `None` on the last page.
    ///
    /// It belongs to this user, filter and order, never expires, and neither repeats nor skips an event, whatever is
    /// appended meanwhile.
    pub fn next_cursor(&self) -> Option<String> {
        self.has_more.then(|| self.end_cursor()).flatten()
    }

    /// The cursor behind the last event of the page, also where there is nothing more yet; `None` on an empty page.
    pub fn end_cursor(&self) -> Option<String> {
        let last = self.places.last()?;
        let sequence = if last.is_packed() {
            self.packed.tell(&self.view, *last)?.0
        } else {
            self.view.segments.get(last.segment as usize)?.base() + u64::from(last.ordinal)
        };
        let position = UserLogCursor { user_sequence: last.user_sequence, sequence, ..self.cursor };
        Some(position.encode(&self.key))
    }
}

/// The events of a page.
struct Events<'p> {
    page: &'p Page,
    places: std::slice::Iter<'p, Place>,
    /// Where the last one lay, and the records there; none in a pack.
    segment: u32,
    records: Option<Records<'p>>,
}

impl<'p> Iterator for Events<'p> {
    type Item = Result<EventView<'p>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let place = self.places.next()?;
        if place.segment != self.segment {
            let segment = self.page.view.segments.get(place.segment as usize);
            self.records = segment.map(|segment| segment.records());
            self.segment = place.segment;
        }
        Some(self.read(place))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for Events<'_> {}

impl<'p> Events<'p> {
    #[inline]
    fn read(&self, place: &Place) -> Result<EventView<'p>> {
        let page = self.page;
        let event = read(self.records.as_ref(), &page.view, &page.packed, place)?;
        // An index that is wrong must not show somebody else's event: each record says itself whose it is.
        event
            .of_user(&page.user_id)
            .ok_or_else(|| damaged(&page.view, &page.packed, *place, "it belongs to another user"))
    }
}

/// Reads a record that the index named, in a segment or, without `records`, in a pack, and checks that it is what the index
/// says.
#[inline]
fn read<'v>(
    records: Option<&Records<'v>>,
    view: &'v ShardView,
    packed: &'v PackedRecords,
    place: &Place,
) -> Result<EventView<'v>> {
    let leaf = match records {
        Some(records) => records.leaf(u64::from(place.ordinal), place.offset as usize)?,
        None => packed.leaf(*place)?,
    };
    let event = EventView::parse(leaf).map_err(|error| damaged(view, packed, *place, &error.to_string()))?;
    if event.user_sequence() != Some(place.user_sequence) {
        return Err(damaged(view, packed, *place, "it is not the event that the index names"));
    }
    Ok(event)
}

/// The same for one record.
pub(crate) fn read_one<'v>(
    view: &'v ShardView,
    packed: &'v PackedRecords,
    place: Place,
) -> Result<EventView<'v>> {
    let records = view.segments.get(place.segment as usize).map(|segment| segment.records());
    read(records.as_ref(), view, packed, &place)
}

#[cold]
pub(crate) fn damaged(view: &ShardView, packed: &PackedRecords, place: Place, message: &str) -> Error {
    if place.is_packed()
        && let Some((sequence, pack, offset)) = packed.tell(view, place)
    {
        return pack.damaged(offset, &format!("record {sequence} is damaged ({message})"));
    }
    let segment = view.segments.get(place.segment as usize);
    let path = segment.map_or(std::path::Path::new(""), |segment| segment.path());
    let base = segment.map_or(0, |segment| segment.base());
    let message = format!("record {} is damaged ({message})", base + u64::from(place.ordinal));
    Error::corruption(path, u64::from(place.offset), message)
}
