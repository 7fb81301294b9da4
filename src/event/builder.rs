//! [`EventBuilder`]: an event, one field after another.
//!
//! Owns the chain of setters. What makes a whole event valid is `new_event`'s to know.

use std::net::IpAddr;

use serde_json::Value;

use super::details::{Details, Member};
use super::error::EventError;
use super::kinds::{Category, Level, Status};
use super::names::{
    Action, ActorId, IdempotencyKey, Message, RequestId, Resource, ResourceId, Service, SessionId, TenantId,
    UserAgent, UserId,
};
use super::new_event::{Draft, NewEvent};
use super::time::Timestamp;

/// Builds a [`NewEvent`]. Each setter takes a value that has been checked already; the last call of a setter wins.
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// use usertrail::event::{Action, ActorId, NewEvent, Resource, ResourceId, UserId};
///
/// let event = NewEvent::builder(Action::USER_ROLE_CHANGED)
///     .user(UserId::new("u-1042")?)
///     .actor(ActorId::new("admin-7")?)
///     .resource(Resource::new("user")?)
///     .resource_id(ResourceId::new("u-1042")?)
///     .change(&json!("viewer"), &json!("editor"))
///     .build()?;
/// assert_eq!(event.details().unwrap().as_str(), r#"{"before":"viewer","after":"editor"}"#);
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct EventBuilder<'a> {
    draft: Draft<'a>,
    /// The first fault of a setter that can't answer with one.
    fault: Option<EventError>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident => $field:ident: $type:ty;)+) => {
        $(
            $(#[$doc])*
            pub fn $setter(mut self, $setter: $type) -> Self {
                self.draft.$field = Some($setter);
                self
            }
        )+
    };
}

impl<'a> EventBuilder<'a> {
    pub(super) fn new(action: Action<'a>) -> Self {
        Self { draft: Draft { action: Some(action), ..Draft::default() }, fault: None }
    }

    setters! {
        /// The person whose trail it stands on. An event without one is in nobody's log.
        user => user_id: UserId<'a>;
        /// The tenant it belongs to.
        tenant => tenant_id: TenantId<'a>;
        /// Who did it, when that is someone else than the user.
        actor => actor_id: ActorId<'a>;
        /// What it is about; wins over the catalogue.
        category => category: Category;
        /// How much attention it asks for; wins over the catalogue.
        level => level: Level;
        /// How it ended; [`Status::Success`] by default.
        status => status: Status;
        /// The part of the application that writes it.
        service => service: Service<'a>;
        /// The kind of thing that was touched.
        resource => resource: Resource<'a>;
        /// The id of the thing that was touched.
        resource_id => resource_id: ResourceId<'a>;
        /// The session it happened in; never a token.
        session => session_id: SessionId<'a>;
        /// The request that caused it.
        request_id => request_id: RequestId<'a>;
        /// The key by which a repeated append is known.
        idempotency_key => idempotency_key: IdempotencyKey<'a>;
        /// The client's address. An IPv4-mapped IPv6 address becomes the IPv4 address that it stands for.
        ip => ip_address: IpAddr;
        /// What the client called itself.
        user_agent => user_agent: UserAgent<'a>;
        /// A sentence for people.
        message => message: Message<'a>;
        /// What no field covers. [`change`](Self::change) and the helpers' own members are put behind these.
        details => details: Details<'a>;
        /// When it happened; without it, when the store records it.
        occurred_at => occurred_at: Timestamp;
    }

    /// Puts what was and what is into the details, as their members `before` and `after`.
    ///
    /// [`build`](Self::build) fails when the details have a member of one of these names already, or when a value is
    /// nested more than 126 deep.
    pub fn change(mut self, before: &Value, after: &Value) -> Self {
        self.draft.members.retain(|member| !matches!(member.name(), "before" | "after"));
        for (name, value) in [("before", before), ("after", after)] {
            match Member::from_value(name, value) {
                Ok(member) => self.draft.members.push(member),
                Err(fault) => self.fault = self.fault.or(Some(fault)),
            }
        }
        self
    }

    /// Puts a count into the details.
    pub(super) fn count(mut self, name: &'static str, count: u64) -> Self {
        self.draft.members.push(Member::from_count(name, count));
        self
    }

    /// Checks the event as a whole.
    ///
    /// # Errors
    ///
    /// - [`Missing`](super::EventErrorKind::Missing) for `category` or `level` when the action isn't in the catalogue
    ///   and they aren't set.
    /// - [`TooLarge`](super::EventErrorKind::TooLarge) when the encoded event is above
    ///   [60 KiB](super::limits::LEAF_BYTES_MAX).
    /// - [`Duplicate`](super::EventErrorKind::Duplicate) for a member of the details that would be there twice.
    /// - [`Invalid`](super::EventErrorKind::Invalid) for an `occurredAt` outside of the years 0000 to 9999.
    pub fn build(self) -> Result<NewEvent<'a>, EventError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => self.draft.build(),
        }
    }
}
