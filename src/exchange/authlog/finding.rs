//! Owns the way from what a message says to an event: which fields it fills, and the event's `details`. Must not know
//! how messages look.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::error::ParseError;
use super::header::Header;
use crate::event::limits::MESSAGE_BYTES_MAX;
use crate::event::{
    Action, ActorId, Category, Details, EventError, Level, Message, NewEvent, Resource, ResourceId, Service,
    Status, Timestamp, UserId, lookup,
};

/// What a message says, borrowed from the line.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    action: &'static str,
    /// For actions that the catalogue doesn't have.
    category: Category,
    level: Level,
    status: Status,
    user: Option<Cow<'a, str>>,
    actor: Option<&'a str>,
    address: Option<&'a str>,
    resource: Option<(&'static str, &'a str)>,
    details: Map<String, Value>,
    /// How many times it happened.
    pub(super) times: u32,
}

impl<'a> Finding<'a> {
    /// An action of the catalogue, or else one of our own, with its category.
    pub(super) fn new(action: &'static str, own_category: Category) -> Self {
        Self {
            action,
            category: own_category,
            level: Level::Info,
            status: Status::Success,
            user: None,
            actor: None,
            address: None,
            resource: None,
            details: Map::new(),
            times: 1,
        }
    }

    /// Something that was refused or went wrong.
    pub(super) fn failed(mut self) -> Self {
        self.status = Status::Failure;
        self.level = Level::Warning;
        self
    }

    /// Whose trail it stands on; an empty name is none.
    pub(super) fn user(mut self, user: impl Into<Cow<'a, str>>) -> Self {
        self.user = Some(user.into()).filter(|user| !user.is_empty());
        self
    }

    /// Who did it, if that is someone else than the user.
    pub(super) fn actor(mut self, actor: &'a str) -> Self {
        self.actor = Some(actor).filter(|actor| !actor.is_empty() && self.user.as_deref() != Some(actor));
        self
    }

    /// Where it came from, as the line has it: an address, a host name, or sshd's `UNKNOWN`.
    pub(super) fn address(mut self, address: &'a str) -> Self {
        if !address.is_empty() {
            self.address = Some(address);
            self = self.detail("address", address);
        }
        self
    }

    pub(super) fn port(self, port: Option<u16>) -> Self {
        self.maybe("port", port)
    }

    pub(super) fn resource(mut self, kind: &'static str, id: &'a str) -> Self {
        self.resource = Some((kind, id)).filter(|(_, id)| !id.is_empty());
        self
    }

    pub(super) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.detail(name, value),
            None => self,
        }
    }

    pub(super) fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// The event, once for all its times.
    pub(super) fn into_event(
        self,
        header: &Header<'_>,
        service: &'static str,
        at: Timestamp,
    ) -> Result<NewEvent<'static>, ParseError> {
        Ok(self.build(header, service, at)?)
    }

    fn build(
        self,
        header: &Header<'_>,
        service: &'static str,
        at: Timestamp,
    ) -> Result<NewEvent<'static>, EventError> {
        let found = self.maybe("host", header.host).maybe("pid", header.pid.map(pid_value));
        let mut event = NewEvent::builder(Action::new(found.action)?)
            .service(Service::new(service)?)
            .status(found.status)
            .occurred_at(at)
            .details(Details::from_value(&Value::Object(found.details))?);
        if lookup(found.action).is_none() {
            event = event.category(found.category).level(found.level);
        }
        if let Some(user) = found.user {
            event = event.user(UserId::new(user)?);
        }
        if let Some(actor) = found.actor {
            event = event.actor(ActorId::new(actor)?);
        }
        if let Some(ip) = found.address.and_then(parse_address) {
            event = event.ip(ip);
        }
        if let Some((kind, id)) = found.resource {
            event = event.resource(Resource::new(kind)?).resource_id(ResourceId::new(id)?);
        }
        if !header.message.is_empty() && header.message.len() <= MESSAGE_BYTES_MAX {
            event = event.message(Message::new(header.message.trim_start())?);
        }
        Ok(event.build()?.into_owned())
    }
}

/// The IP address in an address as sshd writes it, which may name an interface: `fe80::1%eth0`.
pub(super) fn parse_address(address: &str) -> Option<IpAddr> {
    address.split('%').next()?.parse().ok()
}

/// A process id is a number, but RFC 5424 allows any text in its place.
fn pid_value(pid: &str) -> Value {
    pid.parse::<u64>().map_or_else(|_| Value::from(pid), Value::from)
}
