//! The language that the story is written in: who, when, from where, in few words.
//!
//! Owns the making of the story's events and their order. Must not know the plot.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::event::{
    Action, ActorId, Details, EventBuilder, Level, Message, NewEvent, RequestId, Resource, ResourceId,
};
use crate::event::{Service, SessionId, Status, TenantId, Timestamp, UserAgent, UserId};

use super::cast;
use crate::workload::ident::{as_str, hex_text, uuid_text};
use crate::workload::own::own;
use crate::workload::rng::{Rng, mix};

pub(super) const SECOND_MICROS: i64 = 1_000_000;
pub(super) const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;

/// A device at a place. Addresses are from the ranges for documentation (RFC 5737, RFC 3849).
#[derive(Debug)]
pub(super) struct Post {
    pub(super) address: &'static str,
    pub(super) device: &'static str,
    pub(super) user_agent: &'static str,
    pub(super) city: &'static str,
    pub(super) country: &'static str,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

/// The story as it is written: events with their times, in any order.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) rng: Rng,
    midnight_micros: i64,
    identifiers: u64,
    seed: u64,
    planned: Vec<(Timestamp, NewEvent<'static>)>,
}

/// An event of the story that is being described.
#[must_use = "it is in the story after `done`"]
pub(super) struct Line<'s> {
    script: &'s mut Script,
    at: Timestamp,
    builder: EventBuilder<'static>,
    details: Map<String, Value>,
}

impl Script {
    /// A story that ends before the day of `until` (UTC) begins.
    pub(super) fn new(seed: u64, until: Timestamp) -> Self {
        let midnight_micros = until.as_micros().div_euclid(DAY_MICROS).saturating_mul(DAY_MICROS);
        Self { rng: Rng::new(mix(seed, 2)), midnight_micros, identifiers: 0, seed, planned: Vec::new() }
    }

    /// The events in the order of their times.
    pub(super) fn into_planned(mut self) -> Vec<(Timestamp, NewEvent<'static>)> {
        self.planned.sort_by_key(|(at, _)| *at);
        self.planned
    }

    /// A time of day, so many days before the day of `until`, with a fraction of a second as real ones have.
    pub(super) fn at(&mut self, days_before: i64, hour: i64, minute: i64, second: i64) -> Timestamp {
        let seconds = hour * 3_600 + minute * 60 + second;
        let fraction = i64::from(self.rng.below(1_000)) * 1_000;
        let before = days_before.saturating_mul(DAY_MICROS);
        let micros =
            self.midnight_micros.saturating_sub(before).saturating_add(seconds * SECOND_MICROS + fraction);
        within_time(micros)
    }

    /// Whether people work on that day.
    pub(super) fn is_working_day(&self, days_before: i64) -> bool {
        // 1 January 1970 was a Thursday.
        (self.midnight_micros / DAY_MICROS - days_before + 3).rem_euclid(7) < 5
    }

    /// The id of a new session.
    pub(super) fn session(&mut self) -> String {
        let bits = self.identifier();
        as_str(&uuid_text(bits, mix(bits, 1))).to_owned()
    }

    /// Something that happens to somebody of the cast's tenant.
    pub(super) fn line(&mut self, at: Timestamp, action: Action<'static>) -> Line<'_> {
        let bits = self.identifier();
        let service = match action.as_str().split('.').next() {
            Some("auth") => "auth",
            Some("session") => "gateway",
            Some("security") => "detection",
            Some("maintenance") => "janitor",
            _ => "admin",
        };
        let builder = NewEvent::builder(action)
            .occurred_at(at)
            .service(own(Service::new(service)))
            .request_id(own(RequestId::new(as_str(&hex_text(bits, mix(bits, 1))).to_owned())));
        Line { script: self, at, builder, details: Map::new() }.in_tenant(cast::TENANT)
    }

    /// A login, and the session that it opens.
    pub(super) fn login(&mut self, at: Timestamp, user: &'static str, from: &Post, method: &str) -> String {
        let session = self.session();
        let says = format!("Signed in with {method} from {}, {}", from.city, from.country);
        let login = self.line(at, Action::AUTH_LOGIN).of(user).from(from).located(from).in_session(&session);
        login.with(&json!({"method": method})).says(says).done();
        let opened =
            self.line(later(at, 40), Action::SESSION_CREATED).of(user).from(from).in_session(&session);
        opened
            .with(&json!({"idle_seconds_max": 1800, "age_seconds_max": 43_200}))
            .says("Session created")
            .done();
        session
    }

    /// A login that is refused.
    pub(super) fn login_failed(
        &mut self,
        at: Timestamp,
        user: &'static str,
        from: &Post,
        attempt: u32,
        why: &str,
    ) {
        let line = self.line(at, Action::AUTH_LOGIN_FAILED).of(user).from(from).located(from).failed();
        let says = format!("Sign-in refused: {}", why.replace('_', " "));
        line.with(&json!({"attempt": attempt, "reason": why})).says(says).done();
    }

    fn identifier(&mut self) -> u64 {
        self.identifiers += 1;
        mix(self.seed ^ 0x7374_6F72, self.identifiers)
    }
}

impl Line<'_> {
    /// On whose trail it stands.
    pub(super) fn of(self, user: &str) -> Self {
        self.build(|builder| builder.user(own(UserId::new(user.to_owned()))))
    }

    /// In which tenant it happens, when that is not the cast's.
    pub(super) fn in_tenant(self, tenant: &str) -> Self {
        self.build(|builder| builder.tenant(own(TenantId::new(tenant.to_owned()))))
    }

    /// Who did it, when that is not the user.
    pub(super) fn by(self, actor: &'static str) -> Self {
        self.build(|builder| builder.actor(own(ActorId::new(actor))))
    }

    /// With which device, from which address.
    pub(super) fn from(self, post: &Post) -> Self {
        let address: Option<IpAddr> = post.address.parse().ok();
        let user_agent = own(UserAgent::new(post.user_agent));
        self.build(|builder| match address {
            Some(address) => builder.ip(address).user_agent(user_agent),
            None => builder.user_agent(user_agent),
        })
    }

    /// Tells the device and the place in the details.
    pub(super) fn located(self, post: &Post) -> Self {
        let Post { city, country, latitude, longitude, .. } = post;
        let place = json!({"city": city, "country": country, "latitude": latitude, "longitude": longitude});
        self.with(&json!({"device": post.device, "location": place}))
    }

    /// In which session it happens.
    pub(super) fn in_session(self, session: &str) -> Self {
        self.build(|builder| builder.session(own(SessionId::new(session.to_owned()))))
    }

    /// What it is about.
    pub(super) fn on(self, resource: &'static str, id: &str) -> Self {
        let id = own(ResourceId::new(id.to_owned()));
        self.build(|builder| builder.resource(own(Resource::new(resource))).resource_id(id))
    }

    /// It was refused.
    pub(super) fn failed(self) -> Self {
        self.build(|builder| builder.status(Status::Failure))
    }

    /// How serious it is, when that is not what the catalogue says.
    pub(super) fn level(self, level: Level) -> Self {
        self.build(|builder| builder.level(level))
    }

    /// A sentence for people.
    pub(super) fn says(self, message: impl Into<String>) -> Self {
        let message = own(Message::new(message.into()));
        self.build(|builder| builder.message(message))
    }

    /// Adds the members of an object to the details.
    pub(super) fn with(mut self, members: &Value) -> Self {
        if let Some(members) = members.as_object() {
            self.details.extend(members.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        self
    }

    /// Tells what it was before, and what it is now.
    pub(super) fn changed(self, before: &Value, after: &Value) -> Self {
        self.build(|builder| builder.change(before, after))
    }

    /// Puts the event into the story.
    pub(super) fn done(self) {
        let Self { script, at, mut builder, details } = self;
        if !details.is_empty() {
            builder = builder.details(own(Details::from_value(&Value::Object(details))));
        }
        script.planned.push((at, own(builder.build()).into_owned()));
    }

    fn build(mut self, change: impl FnOnce(EventBuilder<'static>) -> EventBuilder<'static>) -> Self {
        self.builder = change(self.builder);
        self
    }
}

/// So many milliseconds after a time.
pub(super) fn later(at: Timestamp, millis: i64) -> Timestamp {
    within_time(at.as_micros().saturating_add(millis * 1_000))
}

/// The years that RFC 3339 can write.
fn within_time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros.clamp(Timestamp::MIN.as_micros(), Timestamp::MAX.as_micros()))
}
