//! The rows of the mix made ready: every text that is not unique to an event, checked and kept.
//!
//! Owns the pools that events borrow from. Must not know when a row is due, nor for whom.

use crate::event::{Action, Details, EventError, Message, Resource, Service, Status, TenantId, UserAgent};

use super::agents::user_agent;
use super::alias::AliasTable;
use super::facts::VARIANTS;
use super::mix::{By, Row};
use super::rng::{Rng, scale};

/// A row of the mix, ready to be borrowed from.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) action: Action<'static>,
    pub(super) status: Status,
    pub(super) service: Service<'static>,
    pub(super) resource: Option<Resource<'static>>,
    /// Whether the resource is the user.
    pub(super) on_user: bool,
    pub(super) by: By,
    messages: Vec<Message<'static>>,
    details: Vec<Details<'static>>,
}

impl Kind {
    fn new(row: &Row, rng: &mut Rng) -> Result<Self, EventError> {
        Ok(Self {
            action: Action::new(row.action)?,
            status: row.status,
            service: Service::new(row.service)?,
            resource: row.resource.map(Resource::new).transpose()?,
            on_user: row.resource == Some("user"),
            by: row.by,
            messages: row.messages.iter().map(|&text| Message::new(text)).collect::<Result<_, _>>()?,
            details: (0..VARIANTS)
                .map(|_| Details::from_json(&row.facts.variant(rng)).map(Details::into_owned))
                .collect::<Result<_, _>>()?,
        })
    }

    /// One of the messages.
    #[inline]
    pub(super) fn message(&self, random: u64) -> Option<&Message<'static>> {
        pick(&self.messages, random)
    }

    /// One of the variants of details.
    #[inline]
    pub(super) fn details(&self, random: u64) -> Option<&Details<'static>> {
        pick(&self.details, random)
    }
}

/// Rows with their frequencies.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    table: AliasTable,
    kinds: Vec<Kind>,
}

impl Kinds {
    pub(super) fn new(rows: &[Row], rng: &mut Rng) -> Result<Self, EventError> {
        let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.weight)).collect();
        let kinds = rows.iter().map(|row| Kind::new(row, rng)).collect::<Result<_, _>>()?;
        Ok(Self { table: AliasTable::new(&weights), kinds })
    }

    /// The number of the row that is due.
    #[inline]
    pub(super) fn pick(&self, random: u64) -> u32 {
        self.table.pick(random)
    }

    /// The row of a number that [`pick`](Self::pick) gave.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Kind {
        // The table has as many indices as there are rows, and the lists of these are constant and not empty.
        &self.kinds[usize::try_from(number).unwrap_or_default()]
    }
}

/// The tenants, by number.
pub(super) fn tenants(count: u32) -> Result<Vec<TenantId<'static>>, EventError> {
    (0..count.max(1)).map(|number| TenantId::new(format!("tenant-{number:06}"))).collect()
}

/// The user agents, by number.
pub(super) fn agents(count: u32) -> Result<Vec<UserAgent<'static>>, EventError> {
    (0..count.max(1)).map(|number| UserAgent::new(user_agent(number))).collect()
}

/// The element of an index, if there is one.
#[inline]
pub(super) fn at<T>(pool: &[T], index: u32) -> Option<&T> {
    usize::try_from(index).ok().and_then(|index| pool.get(index))
}

#[inline]
fn pick<T>(pool: &[T], random: u64) -> Option<&T> {
    at(pool, scale(random, u32::try_from(pool.len()).unwrap_or(u32::MAX)))
}
