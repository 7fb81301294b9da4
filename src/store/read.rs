//! Reading: a user's log, counts, an event by its id.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Core, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Action, Category, Event, EventId, EventView, Level, Service, Status, Timestamp, UserId};
use crate::format::event_id;
use crate::query::Order;
use crate::query::filter::Filter;
use crate::query::page::Page;
use crate::query::user_log::{UserLogRequest, user_log};

/// The limit of a page, where none is given.
pub(crate) const LIMIT_DEFAULT: usize = 100;
/// The highest limit of a page.
pub(crate) const LIMIT_MAX: usize = 500;

/// A question to a user's log, to be refined and then asked with [`UserLogQuery::page`].
///
/// Each of the filters may be given several times: any of the values passes. Different filters must all pass.
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until `page` asks it"]
pub struct UserLogQuery<'s> {
    core: &'s Core,
    user_id: Arc<str>,
    filter: Filter,
    order: Order,
    limit: usize,
    cursor: Option<String>,
}

impl UserLogQuery<'_> {
    /// At most this many events, 1 to 500. Default 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Goes on where the page that gave this cursor ended. User, filters and order must be the same; the limit may differ.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Events of this level.
    pub fn level(mut self, level: Level) -> Self {
        self.filter.levels.insert(level);
        self
    }

    /// Events of this category.
    pub fn category(mut self, category: Category) -> Self {
        self.filter.categories.insert(category);
        self
    }

    /// Events with this outcome.
    pub fn status(mut self, status: Status) -> Self {
        self.filter.statuses.insert(status);
        self
    }

    /// Events with this action.
    pub fn action(mut self, action: &Action<'_>) -> Self {
        self.filter.actions.insert(action.as_str().to_owned());
        self
    }

    /// Events from this part of the application.
    pub fn service(mut self, service: &Service<'_>) -> Self {
        self.filter.services.insert(service.as_str().to_owned());
        self
    }

    /// Events that occurred at this time or later.
    pub fn since(mut self, since: Timestamp) -> Self {
        self.filter.since = Some(since.as_micros());
        self
    }

    /// Events that occurred before this time.
    pub fn until(mut self, until: Timestamp) -> Self {
        self.filter.until = Some(until.as_micros());
        self
    }

    /// Newest first (the default) or oldest first, by user sequence.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Asks. Reads the user's postings and at most one record more than the page shows, whatever the store's size; with a
    /// time bound at most two blocks of 128 records more, where the user's events arrived in the order of their times.
    ///
    /// # Errors
    ///
    /// [`InvalidOption`](ErrorKind::InvalidOption) for a limit out of range,
    /// [`InvalidCursor`](ErrorKind::InvalidCursor), [`Corruption`](ErrorKind::Corruption) naming file and offset of a
    /// damaged index page. Damaged records show when the page is read.
    pub fn page(&self) -> Result<Page> {
        let core = self.core;
        core.check_open()?;
        if !(1..=LIMIT_MAX).contains(&self.limit) {
            let message = format!("a limit of {}: must be from 1 to {LIMIT_MAX}", self.limit);
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let shard = core.shard_of(self.user_id.as_bytes());
        core.follow(shard)?;
        let request = UserLogRequest {
            user_id: &self.user_id,
            filter: &self.filter,
            order: self.order,
            limit: self.limit,
            cursor: self.cursor.as_deref(),
        };
        let page = user_log(&shard.reading(), &core.key, &request)?;
        core.reads.records.fetch_add(page.records_read(), Ordering::Relaxed);
        core.reads.pages.fetch_add(1, Ordering::Relaxed);
        Ok(page)
    }
}

impl Store {
    /// A user's log: the events on the user's trail, newest first, 100 of them, of every category, unless the query says
    /// otherwise. Events without a user are in nobody's.
    ///
    /// ```
    /// use usertrail::{Category, Level, Store, UserId};
    ///
    /// let store = Store::in_memory()?;
    /// let page = store.user_log(&UserId::new("alice")?).category(Category::Auth).level(Level::Suspicious).page()?;
    /// assert!(page.is_empty() && !page.has_more());
    /// # Ok::<(), usertrail::Error>(())
    /// ```
    pub fn user_log(&self, user: &UserId<'_>) -> UserLogQuery<'_> {
        UserLogQuery {
            core: &self.0.core,
            user_id: user.as_str().into(),
            filter: Filter::default(),
            order: Order::Newest,
            limit: LIMIT_DEFAULT,
            cursor: None,
        }
    }

    /// How many events the user has, in constant time.
    ///
    /// # Errors
    ///
    /// [`Corruption`](ErrorKind::Corruption) if the index is damaged.
    pub fn user_count(&self, user: &UserId<'_>) -> Result<u64> {
        let core = &self.0.core;
        core.check_open()?;
        let shard = core.shard_of(user.as_str().as_bytes());
        core.follow(shard)?;
        shard.reading().user_count(core.key.fingerprint(user.as_str().as_bytes()))
    }

    /// The event with this id, if the store has it. Touches one record.
    ///
    /// # Errors
    ///
    /// [`Corruption`](ErrorKind::Corruption) if the record is damaged.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        let core = &self.0.core;
        core.check_open()?;
        let Some((shard, sequence)) = event_id::locate(&core.key, id.as_u128()) else { return Ok(None) };
        let Some(shard) = core.shards.get(usize::from(shard)) else { return Ok(None) };
        core.follow(shard)?;
        let reading = shard.reading();
        if !reading.sequences().contains(&sequence) {
            return Ok(None);
        }
        core.reads.records.fetch_add(1, Ordering::Relaxed);
        let leaf = reading.view.leaf(sequence)?;
        let damaged = |error: crate::event::LeafError| {
            Error::new(ErrorKind::Corruption, format!("record {sequence} of shard {}: {error}", shard.id))
        };
        let event = EventView::parse(&leaf).map_err(damaged)?;
        if event.id() != id {
            return Ok(None);
        }
        event.to_owned().map(Some).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::{Host, WorkersKind, create_new};
    use super::*;
    use crate::io::memory::MemoryDisk;
    use crate::{Durability, NewEvent, Options};

    /// What every way of reading shows of one event that was stored and not waited for, and then of the same once it was.
    fn seen_before_and_after_the_wait(durability: Durability) -> [[u64; 4]; 2] {
        // Without threads nobody syncs but who waits.
        let host = Host { workers: WorkersKind::Caller, ..Host::machine(MemoryDisk::default()) };
        let options = Options::new().shards(1).durability(durability);
        let store = create_new(&options, &host, "memory".into()).unwrap();
        let alice = UserId::new("alice").unwrap();
        let event = NewEvent::builder(Action::AUTH_LOGIN).user(alice.clone()).build().unwrap();
        let pending = store.append_nowait(&event).unwrap();
        let id = pending.receipt().id;
        let seen = || {
            [
                store.user_log(&alice).page().unwrap().len() as u64,
                store.user_count(&alice).unwrap(),
                u64::from(store.event(id).unwrap().is_some()),
                store.stats().unwrap().events,
            ]
        };
        let before = seen();
        pending.wait().unwrap();
        [before, seen()]
    }

    #[test]
    fn readers_of_a_durable_store_see_what_is_durable() {
        assert_eq!(seen_before_and_after_the_wait(Durability::Durable), [[0; 4], [1; 4]]);
    }

    #[test]
    fn readers_of_a_buffered_store_see_what_is_stored() {
        assert_eq!(seen_before_and_after_the_wait(Durability::Buffered), [[1; 4], [1; 4]]);
    }
}
