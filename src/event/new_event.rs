//! [`NewEvent`]: an event that has been checked and is ready to be appended.
//!
//! Owns the check of the event as a whole: what is required, what the catalogue fills in, how large it may be.
//! It must not know JSON, nor the store.

use std::net::IpAddr;

use super::builder::EventBuilder;
use super::catalogue::lookup;
use super::details::{self, Details, Member};
use super::error::{EventError, EventErrorKind, WHOLE};
use super::kinds::{Category, Level, Status};
use super::layout;
use super::limits::LEAF_BYTES_MAX;
use super::names::{
    Action, ActorId, IdempotencyKey, Message, RequestId, Resource, ResourceId, Service, SessionId, TenantId,
    UserAgent, UserId,
};
use super::time::Timestamp;

/// An event that has been checked whole and is ready to be appended.
///
/// Made by [`NewEvent::builder`], by a helper such as [`NewEvent::login`], or from JSON with
/// [`from_json_line`](super::from_json_line) or serde. Its texts are borrowed or owned, each as it was given;
/// [`into_owned`](Self::into_owned) frees it from what it borrows.
///
/// With serde it is read and written as one JSON object, by `serde_json` alone; unknown members are refused.
///
/// # Examples
///
/// ```
/// use usertrail::event::{Action, Category, Level, NewEvent, Status, UserId};
///
/// let event = NewEvent::builder(Action::AUTH_LOGIN_FAILED)
///     .user(UserId::new("u-1042")?)
///     .status(Status::Failure)
///     .ip("203.0.113.7".parse().unwrap())
///     .build()?;
/// assert_eq!(event.category(), Category::Auth); // as the catalogue says
/// assert_eq!(event.level(), Level::Warning);
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent<'a> {
    pub(super) action: Action<'a>,
    pub(super) action_code: u16,
    pub(super) category: Category,
    pub(super) level: Level,
    pub(super) status: Status,
    pub(super) occurred_at: Option<Timestamp>,
    pub(super) user_id: Option<UserId<'a>>,
    pub(super) tenant_id: Option<TenantId<'a>>,
    pub(super) actor_id: Option<ActorId<'a>>,
    pub(super) service: Option<Service<'a>>,
    pub(super) resource: Option<Resource<'a>>,
    pub(super) resource_id: Option<ResourceId<'a>>,
    pub(super) session_id: Option<SessionId<'a>>,
    pub(super) request_id: Option<RequestId<'a>>,
    pub(super) idempotency_key: Option<IdempotencyKey<'a>>,
    pub(super) ip_address: Option<IpAddr>,
    pub(super) user_agent: Option<UserAgent<'a>>,
    pub(super) message: Option<Message<'a>>,
    pub(super) details: Option<Details<'a>>,
}

/// What may become an event: the fields as they were given, so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft<'a> {
    pub action: Option<Action<'a>>,
    pub category: Option<Category>,
    pub level: Option<Level>,
    pub status: Option<Status>,
    pub occurred_at: Option<Timestamp>,
    pub user_id: Option<UserId<'a>>,
    pub tenant_id: Option<TenantId<'a>>,
    pub actor_id: Option<ActorId<'a>>,
    pub service: Option<Service<'a>>,
    pub resource: Option<Resource<'a>>,
    pub resource_id: Option<ResourceId<'a>>,
    pub session_id: Option<SessionId<'a>>,
    pub request_id: Option<RequestId<'a>>,
    pub idempotency_key: Option<IdempotencyKey<'a>>,
    pub ip_address: Option<IpAddr>,
    pub user_agent: Option<UserAgent<'a>>,
    pub message: Option<Message<'a>>,
    pub details: Option<Details<'a>>,
    /// Members to put into the details.
    pub members: Vec<Member<'a>>,
}

impl<'a> Draft<'a> {
    pub(super) fn build(self) -> Result<NewEvent<'a>, EventError> {
        let missing = |field: &'static str| EventError::new(field, EventErrorKind::Missing);
        let action = self.action.ok_or_else(|| missing("action"))?;
        let entry = lookup(action.as_str());
        let details = if self.members.is_empty() {
            self.details
        } else {
            Some(details::with_members(self.details.as_ref(), &self.members)?)
        };
        if self.occurred_at.is_some_and(|at| !at.is_rfc3339()) {
            return Err(EventError::invalid("occurredAt", "is outside of the years 0000 to 9999 in UTC"));
        }
        let event = NewEvent {
            action_code: entry.map_or(0, |entry| entry.code),
            category: self
                .category
                .or(entry.map(|entry| entry.category))
                .ok_or_else(|| missing("category"))?,
            level: self.level.or(entry.map(|entry| entry.level)).ok_or_else(|| missing("level"))?,
            action,
            status: self.status.unwrap_or_default(),
            occurred_at: self.occurred_at,
            user_id: self.user_id,
            tenant_id: self.tenant_id,
            actor_id: self.actor_id,
            service: self.service,
            resource: self.resource,
            resource_id: self.resource_id,
            session_id: self.session_id,
            request_id: self.request_id,
            idempotency_key: self.idempotency_key,
            ip_address: self.ip_address.map(|ip| ip.to_canonical()),
            user_agent: self.user_agent,
            message: self.message,
            details,
        };
        let actual = layout::leaf_bytes(&event);
        if actual > LEAF_BYTES_MAX {
            let field = if event.details.is_some() { "details" } else { WHOLE };
            return Err(EventError::new(field, EventErrorKind::TooLarge { max: LEAF_BYTES_MAX, actual }));
        }
        Ok(event)
    }
}

impl<'a> NewEvent<'a> {
    /// Starts an event with this action, the one field that is always required.
    ///
    /// For an action of the catalogue all else may be left out; any other needs a category and a level.
    pub fn builder(action: Action<'a>) -> EventBuilder<'a> {
        EventBuilder::new(action)
    }

    /// The same, owning its texts: copies those that are borrowed.
    #[must_use]
    pub fn into_owned(self) -> NewEvent<'static> {
        NewEvent {
            action: self.action.into_owned(),
            action_code: self.action_code,
            category: self.category,
            level: self.level,
            status: self.status,
            occurred_at: self.occurred_at,
            user_id: self.user_id.map(UserId::into_owned),
            tenant_id: self.tenant_id.map(TenantId::into_owned),
            actor_id: self.actor_id.map(ActorId::into_owned),
            service: self.service.map(Service::into_owned),
            resource: self.resource.map(Resource::into_owned),
            resource_id: self.resource_id.map(ResourceId::into_owned),
            session_id: self.session_id.map(SessionId::into_owned),
            request_id: self.request_id.map(RequestId::into_owned),
            idempotency_key: self.idempotency_key.map(IdempotencyKey::into_owned),
            ip_address: self.ip_address,
            user_agent: self.user_agent.map(UserAgent::into_owned),
            message: self.message.map(Message::into_owned),
            details: self.details.map(Details::into_owned),
        }
    }

    /// What happened.
    pub fn action(&self) -> &Action<'a> {
        &self.action
    }

    /// The action's number in the catalogue, 0 when it isn't in it.
    pub fn action_code(&self) -> u16 {
        self.action_code
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

    /// When it happened, if that was said; otherwise it is when the store records it.
    pub fn occurred_at(&self) -> Option<Timestamp> {
        self.occurred_at
    }

    /// The person whose trail it stands on.
    pub fn user_id(&self) -> Option<&UserId<'a>> {
        self.user_id.as_ref()
    }

    /// The tenant it belongs to.
    pub fn tenant_id(&self) -> Option<&TenantId<'a>> {
        self.tenant_id.as_ref()
    }

    /// Who did it, when that is someone else than the user.
    pub fn actor_id(&self) -> Option<&ActorId<'a>> {
        self.actor_id.as_ref()
    }

    /// The part of the application that wrote it.
    pub fn service(&self) -> Option<&Service<'a>> {
        self.service.as_ref()
    }

    /// The kind of thing that was touched.
    pub fn resource(&self) -> Option<&Resource<'a>> {
        self.resource.as_ref()
    }

    /// The id of the thing that was touched.
    pub fn resource_id(&self) -> Option<&ResourceId<'a>> {
        self.resource_id.as_ref()
    }

    /// The session it happened in.
    pub fn session_id(&self) -> Option<&SessionId<'a>> {
        self.session_id.as_ref()
    }

    /// The request that caused it.
    pub fn request_id(&self) -> Option<&RequestId<'a>> {
        self.request_id.as_ref()
    }

    /// The key by which a repeated append is known.
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey<'a>> {
        self.idempotency_key.as_ref()
    }

    /// The client's address. Never an IPv4-mapped IPv6 one: that is kept as the IPv4 address it stands for.
    pub fn ip_address(&self) -> Option<IpAddr> {
        self.ip_address
    }

    /// What the client called itself.
    pub fn user_agent(&self) -> Option<&UserAgent<'a>> {
        self.user_agent.as_ref()
    }

    /// The sentence for people.
    pub fn message(&self) -> Option<&Message<'a>> {
        self.message.as_ref()
    }

    /// What no field covers.
    pub fn details(&self) -> Option<&Details<'a>> {
        self.details.as_ref()
    }
}
