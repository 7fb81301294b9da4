//! The plain list's parts: the events that a history appends, the questions that it asks, and which event passes which.

use crate::event::EventBuilder;
use crate::fixture::user;
use crate::{
    Action, Category, Details, Event, Level, Message, NewEvent, Order, Receipt, RequestId, Service, Status,
    Store, TenantId, Timestamp, UserId, UserLogQuery, UserSequence,
};

/// Ids that a careless key, path or comparison would trip over.
pub(super) const USERS: [&str; 10] = [
    "alice",
    "Alice",
    "alice ",
    " ",
    "0",
    "../../etc/passwd",
    "日本語ユーザー",
    "a\u{0}b",
    "👩‍👩‍👧‍👦",
    "%00%ff;drop",
];
/// Nobody ever appends for this one.
pub(super) const STRANGER: &str = "mallory";
/// Actions with the kind that they need, if the catalogue doesn't have them.
pub(super) const ACTIONS: [(&str, Option<(Category, Level)>); 7] = [
    ("auth.login", None),
    ("auth.login_failed", None),
    ("session.created", None),
    ("auth.lockout", None),
    ("billing.refund.made", Some((Category::Data, Level::Info))),
    ("x.y", Some((Category::Admin, Level::Warning))),
    ("ärger.größe", Some((Category::Account, Level::Error))),
];
pub(super) const SERVICES: [&str; 4] = ["gateway", "Gateway", "bïlling", " "];
pub(super) const SECOND: i64 = 1_000_000;
pub(super) const START: i64 = 1_700_000_000 * SECOND;

/// An event to be.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) user: Option<usize>,
    pub(super) action: usize,
    pub(super) level: Option<Level>,
    pub(super) category: Option<Category>,
    pub(super) status: Status,
    pub(super) service: Option<usize>,
    /// Seconds from the start; `None`: when it is recorded.
    pub(super) at: Option<i64>,
    pub(super) padding: usize,
}

/// A question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) user: usize,
    pub(super) levels: Vec<Level>,
    pub(super) categories: Vec<Category>,
    pub(super) statuses: Vec<Status>,
    pub(super) actions: Vec<usize>,
    pub(super) services: Vec<usize>,
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    pub(super) oldest_first: bool,
    pub(super) limit: usize,
}

impl Question {
    pub(super) fn plain(user: usize, limit: usize) -> Self {
        Self {
            user,
            levels: Vec::new(),
            categories: Vec::new(),
            statuses: Vec::new(),
            actions: Vec::new(),
            services: Vec::new(),
            since: None,
            until: None,
            oldest_first: false,
            limit,
        }
    }

    /// Questions with one filter more, or one less: for each kind of filter one.
    pub(super) fn others(&self) -> [Self; 7] {
        fn toggled<T: Copy + PartialEq>(list: &[T], value: T) -> Vec<T> {
            let mut list = list.to_vec();
            if list.contains(&value) {
                list.retain(|other| *other != value);
            } else {
                list.push(value);
            }
            list
        }
        let later = |bound: Option<i64>| Some(bound.map_or(1, |bound| bound + 1));
        let own = || self.clone();
        [
            Self { levels: toggled(&self.levels, Level::Suspicious), ..own() },
            Self { categories: toggled(&self.categories, Category::Data), ..own() },
            Self { statuses: toggled(&self.statuses, Status::Failure), ..own() },
            Self { actions: toggled(&self.actions, 4), ..own() },
            Self { services: toggled(&self.services, 2), ..own() },
            Self { since: later(self.since), ..own() },
            Self { until: later(self.until), ..own() },
        ]
    }

    pub(super) fn lets_through(&self, known: &Known) -> bool {
        let event = &known.event;
        let service = event.service().map(Service::as_str);
        let at = known.at();
        let bound = |seconds: i64| START + seconds * SECOND;
        (self.levels.is_empty() || self.levels.contains(&event.level()))
            && (self.categories.is_empty() || self.categories.contains(&event.category()))
            && (self.statuses.is_empty() || self.statuses.contains(&event.status()))
            && (self.actions.is_empty()
                || self.actions.iter().any(|i| ACTIONS[*i].0 == event.action().as_str()))
            && (self.services.is_empty() || self.services.iter().any(|i| Some(SERVICES[*i]) == service))
            && self.since.is_none_or(|since| at >= bound(since))
            && self.until.is_none_or(|until| at < bound(until))
    }

    pub(super) fn ask<'s>(&self, store: &'s Store) -> UserLogQuery<'s> {
        let mut query = store.user_log(&user(USERS[self.user])).limit(self.limit);
        query = query.order(if self.oldest_first { Order::Oldest } else { Order::Newest });
        query = self.levels.iter().fold(query, |query, level| query.level(*level));
        query = self.categories.iter().fold(query, |query, category| query.category(*category));
        query = self.statuses.iter().fold(query, |query, status| query.status(*status));
        query =
            self.actions.iter().fold(query, |query, i| query.action(&Action::new(ACTIONS[*i].0).unwrap()));
        query =
            self.services.iter().fold(query, |query, i| query.service(&Service::new(SERVICES[*i]).unwrap()));
        let time = |seconds: i64| Timestamp::from_micros(START + seconds * SECOND);
        query = self.since.into_iter().fold(query, |query, since| query.since(time(since)));
        self.until.into_iter().fold(query, |query, until| query.until(time(until)))
    }
}

/// An event that the store has taken.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) user: Option<usize>,
    pub(super) event: NewEvent<'static>,
    pub(super) receipt: Receipt,
    /// Its atomic group: the first one's place in the shard, and how many there are.
    pub(super) group: Option<(u64, u64)>,
}

impl Known {
    fn at(&self) -> i64 {
        self.event.occurred_at().unwrap_or(self.receipt.recorded_at).as_micros()
    }

    pub(super) fn is(&self, found: &Event) {
        let (event, receipt) = (&self.event, &self.receipt);
        assert_eq!(found.id(), receipt.id);
        assert_eq!(found.sequence(), receipt.sequence.get());
        assert_eq!(found.user_sequence(), receipt.user_sequence.map(UserSequence::get));
        assert_eq!(found.recorded_at(), receipt.recorded_at);
        assert_eq!(found.occurred_at().as_micros(), self.at());
        assert_eq!(found.user_id(), event.user_id().map(UserId::as_str));
        assert_eq!(found.tenant_id(), event.tenant_id().map(TenantId::as_str));
        assert_eq!(found.action(), event.action().as_str());
        assert_eq!((found.level(), found.category()), (event.level(), event.category()));
        assert_eq!(found.status(), event.status());
        assert_eq!(found.service(), event.service().map(Service::as_str));
        assert_eq!(found.request_id(), event.request_id().map(RequestId::as_str));
        assert_eq!(found.message(), event.message().map(Message::as_str));
        assert_eq!(found.details(), event.details().map(Details::as_str));
    }
}

/// Where a page goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The user sequence that it stands behind.
    pub(super) after: u64,
    /// That event was lost, and so were all of the user's from here on.
    pub(super) lost_from: Option<u64>,
}

impl Position {
    /// Whether the user's event of this number comes behind it.
    pub(super) fn is_before(self, sequence: u64, oldest_first: bool) -> bool {
        match (self.lost_from, oldest_first) {
            (None, true) => sequence > self.after,
            (None, false) => sequence < self.after,
            (Some(lost_from), true) => sequence >= lost_from,
            (Some(lost_from), false) => sequence < lost_from,
        }
    }

    /// Only so many of the user's events have survived.
    pub(super) fn cut(&mut self, survived: u64) {
        if self.lost_from.is_some() || self.after >= survived {
            self.lost_from = Some(self.lost_from.map_or(survived, |from| from.min(survived)));
        }
    }
}

/// A cursor that somebody keeps.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) question: Question,
    pub(super) cursor: String,
    pub(super) position: Position,
}

impl Spec {
    /// The event. `serial` tells it from all others, `at` is when it occurred, unless its kind says that.
    pub(super) fn build(&self, serial: usize, at: Option<i64>) -> NewEvent<'static> {
        let (action, kind) = ACTIONS[self.action];
        let mut builder = NewEvent::builder(Action::new(action).unwrap())
            .status(self.status)
            .request_id(RequestId::new(format!("request-{serial}")).unwrap());
        if let Some(name) = self.user {
            builder = builder.user(user(USERS[name]));
        } else {
            builder = builder.tenant(TenantId::new(format!("tenant-{}", serial % 3)).unwrap());
        }
        let category = self.category.or(kind.map(|(category, _)| category));
        builder = category.into_iter().fold(builder, EventBuilder::category);
        let level = self.level.or(kind.map(|(_, level)| level));
        builder = level.into_iter().fold(builder, EventBuilder::level);
        if let Some(service) = self.service {
            builder = builder.service(Service::new(SERVICES[service]).unwrap());
        }
        if let Some(at) = at.or(self.at) {
            builder = builder.occurred_at(Timestamp::from_micros(START + at * SECOND));
        }
        if self.padding > 0 {
            let padding = serde_json::json!({ "serial": serial, "padding": "p".repeat(self.padding) });
            builder = builder.details(Details::from_value(&padding).unwrap());
        } else {
            builder = builder.message(Message::new(format!("event {serial}")).unwrap());
        }
        builder.build().unwrap()
    }
}
