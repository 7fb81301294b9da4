//! [`Event`]: a stored event as a value of its own.
//!
//! Owns its compact form, one allocation for all texts. It must not know the leaf's bytes.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::error::LeafError;
use super::kinds::{Category, Level, Status};
use super::time::{EventId, Timestamp};
use super::view::EventView;
use super::wire::{Wire, details_object};

/// A stored event that owns its data: what [`EventView::to_owned`] makes.
///
/// All texts share one allocation. With serde it is written as one JSON object: members in camelCase, absent ones left
/// out, times as RFC 3339 in UTC, `details` as the object itself (by `serde_json` alone: other formats have no place
/// for JSON text).
///
/// # Examples
///
/// ```
/// use usertrail::event::{Action, Assigned, EventId, EventView, NewEvent, Timestamp, UserId, assign, encode_leaf};
///
/// let event = NewEvent::builder(Action::AUTH_LOGIN).user(UserId::new("u-1042")?).build()?;
/// let mut leaf = Vec::new();
/// encode_leaf(&event, &mut leaf);
/// let recorded_at = Timestamp::parse_rfc3339("2026-11-20T09:30:00Z")?;
/// let id = EventId::from_u128(0x019a_9f4e_5f00_7000_8000_0000_0000_002a);
/// assign(&mut leaf, &Assigned { sequence: 7, user_sequence: Some(0), previous: None, recorded_at, id });
///
/// let event = EventView::parse(&leaf).unwrap().to_owned().unwrap();
/// assert_eq!(event.user_id(), Some("u-1042"));
/// assert_eq!(
///     serde_json::to_string(&event).unwrap(),
///     r#"{"id":"019a9f4e-5f00-7000-8000-00000000002a","userSequence":0,"occurredAt":"2026-11-20T09:30:00Z","#.to_owned()
///         + r#""recordedAt":"2026-11-20T09:30:00Z","userId":"u-1042","category":"auth","level":"info","#
///         + r#""action":"auth.login","status":"success"}"#,
/// );
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    id: EventId,
    sequence: u64,
    user_sequence: Option<u64>,
    previous: Option<u64>,
    occurred_at: Timestamp,
    recorded_at: Timestamp,
    category: Category,
    level: Level,
    status: Status,
    action_code: u16,
    ip_address: Option<IpAddr>,
    /// Bit i: text i is present.
    presence: u16,
    /// Where text i ends in `texts`; it starts where the one before ends.
    ends: [u32; TEXTS],
    texts: Box<str>,
}

const TEXTS: usize = 13;

macro_rules! texts {
    ($($(#[$doc:meta])* $index:literal $name:ident;)+) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> Option<&str> {
                self.text($index)
            }
        )+
    };
}

impl Event {
    /// Copies a view, with every field checked.
    pub(super) fn from_view(view: &EventView<'_>) -> Result<Self, LeafError> {
        let wire = Wire::from_view(view)?;
        let texts: [Option<&str>; TEXTS] = [
            Some(wire.action),
            wire.user_id,
            wire.tenant_id,
            wire.actor_id,
            wire.service,
            wire.resource,
            wire.resource_id,
            wire.session_id,
            wire.request_id,
            wire.idempotency_key,
            wire.user_agent,
            wire.message,
            wire.details.map(serde_json::value::RawValue::get),
        ];
        let mut all = String::with_capacity(texts.iter().flatten().map(|text| text.len()).sum());
        let (mut presence, mut ends) = (0, [0; TEXTS]);
        for (i, (text, end)) in texts.iter().zip(&mut ends).enumerate() {
            if let Some(text) = text {
                presence |= 1 << i;
                all.push_str(text);
            }
            // Fits: a leaf's ends are 16 bits wide.
            *end = u32::try_from(all.len()).unwrap_or(u32::MAX);
        }
        Ok(Self {
            id: view.id(),
            sequence: view.sequence(),
            user_sequence: wire.user_sequence,
            previous: view.previous(),
            occurred_at: view.occurred_at(),
            recorded_at: view.recorded_at(),
            category: wire.category,
            level: wire.level,
            status: wire.status,
            action_code: view.action_code(),
            ip_address: wire.ip_address,
            presence,
            ends,
            texts: all.into_boxed_str(),
        })
    }

    fn text(&self, index: usize) -> Option<&str> {
        if self.presence & (1 << index) == 0 {
            return None;
        }
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = *self.ends.get(index)?;
        self.texts.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// The record's sequence number in its shard.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The event's sequence number in its user's log: 0, 1, 2, ... None without a user.
    pub fn user_sequence(&self) -> Option<u64> {
        self.user_sequence
    }

    /// The shard sequence of the same user's event before.
    pub fn previous(&self) -> Option<u64> {
        self.previous
    }

    /// When it happened; as [`recorded_at`](Self::recorded_at) if that wasn't said.
    pub fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }

    /// When the store took the event.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// What it is about.
    pub fn category(&self) -> Category {
        self.category
    }

    /// How much attention it asks for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// How it ended.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What happened.
    pub fn action(&self) -> &str {
        self.text(0).unwrap_or_default()
    }

    /// The action's number in the catalogue; 0 when it isn't in it.
    pub fn action_code(&self) -> u16 {
        self.action_code
    }

    /// The client's address.
    pub fn ip_address(&self) -> Option<IpAddr> {
        self.ip_address
    }

    texts! {
        /// The person whose trail it stands on.
        1 user_id;
        /// The tenant it belongs to.
        2 tenant_id;
        /// Who did it, when that is someone else than the user.
        3 actor_id;
        /// The part of the application that wrote it.
        4 service;
        /// The kind of thing that was touched.
        5 resource;
        /// The id of the thing that was touched.
        6 resource_id;
        /// The session it happened in.
        7 session_id;
        /// The request that caused it.
        8 request_id;
        /// The key by which a repeated append is known.
        9 idempotency_key;
        /// What the client called itself.
        10 user_agent;
        /// The sentence for people.
        11 message;
        /// What no field covers: the compact text of a JSON object.
        12 details;
    }

    fn wire(&self) -> Result<Wire<'_>, LeafError> {
        Ok(Wire {
            id: Some(self.id),
            user_sequence: self.user_sequence,
            occurred_at: Some(self.occurred_at),
            recorded_at: Some(self.recorded_at),
            user_id: self.user_id(),
            tenant_id: self.tenant_id(),
            actor_id: self.actor_id(),
            category: self.category,
            level: self.level,
            action: self.action(),
            status: self.status,
            service: self.service(),
            resource: self.resource(),
            resource_id: self.resource_id(),
            session_id: self.session_id(),
            request_id: self.request_id(),
            idempotency_key: self.idempotency_key(),
            ip_address: self.ip_address,
            user_agent: self.user_agent(),
            message: self.message(),
            details: details_object(self.details())?,
        })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Event");
        debug.field("id", &self.id).field("sequence", &self.sequence);
        debug.field("user_sequence", &self.user_sequence).field("previous", &self.previous);
        debug.field("occurred_at", &self.occurred_at).field("recorded_at", &self.recorded_at);
        debug.field("category", &self.category).field("level", &self.level);
        debug.field("action", &self.action()).field("status", &self.status);
        debug.field("ip_address", &self.ip_address);
        let texts = [
            ("user_id", self.user_id()),
            ("tenant_id", self.tenant_id()),
            ("actor_id", self.actor_id()),
            ("service", self.service()),
            ("resource", self.resource()),
            ("resource_id", self.resource_id()),
            ("session_id", self.session_id()),
            ("request_id", self.request_id()),
            ("idempotency_key", self.idempotency_key()),
            ("user_agent", self.user_agent()),
            ("message", self.message()),
            ("details", self.details()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                debug.field(name, &text);
            }
        }
        debug.finish_non_exhaustive()
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.wire().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}
