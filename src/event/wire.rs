//! How an event is written as JSON, from whichever form it has.
//!
//! Owns the members' names and their order: one place, so that all forms are written the same. Reading is `json`'s.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::value::RawValue;

use super::details::stored_object;
use super::error::{LeafError, LeafErrorKind};
use super::kinds::{Category, Level, Status};
use super::new_event::NewEvent;
use super::time::{EventId, Timestamp};
use super::view::EventView;

/// The members of an event's JSON object, in their order. Absent ones are left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<&'a str>,
    pub category: Category,
    pub level: Level,
    pub action: &'a str,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<&'a RawValue>,
}

/// Stored details as the object that is written.
pub(super) fn details_object(text: Option<&str>) -> Result<Option<&RawValue>, LeafError> {
    let Some(text) = text else { return Ok(None) };
    stored_object(text).map(Some).ok_or(LeafError::new("details", LeafErrorKind::NotJson))
}

impl<'a> Wire<'a> {
    /// With every field checked.
    pub(super) fn from_view(view: &EventView<'a>) -> Result<Self, LeafError> {
        Ok(Self {
            id: Some(view.id()),
            user_sequence: view.user_sequence(),
            occurred_at: Some(view.occurred_at()),
            recorded_at: Some(view.recorded_at()),
            user_id: view.user_id()?,
            tenant_id: view.tenant_id()?,
            actor_id: view.actor_id()?,
            category: view.category(),
            level: view.level(),
            action: view.action()?,
            status: view.status(),
            service: view.service()?,
            resource: view.resource()?,
            resource_id: view.resource_id()?,
            session_id: view.session_id()?,
            request_id: view.request_id()?,
            idempotency_key: view.idempotency_key()?,
            ip_address: view.ip_address()?,
            user_agent: view.user_agent()?,
            message: view.message()?,
            details: details_object(view.details()?)?,
        })
    }

    /// Without what the store assigns.
    pub(super) fn from_new(event: &'a NewEvent<'_>) -> Self {
        Self {
            id: None,
            user_sequence: None,
            occurred_at: event.occurred_at,
            recorded_at: None,
            user_id: event.user_id.as_ref().map(AsRef::as_ref),
            tenant_id: event.tenant_id.as_ref().map(AsRef::as_ref),
            actor_id: event.actor_id.as_ref().map(AsRef::as_ref),
            category: event.category,
            level: event.level,
            action: event.action.as_str(),
            status: event.status,
            service: event.service.as_ref().map(AsRef::as_ref),
            resource: event.resource.as_ref().map(AsRef::as_ref),
            resource_id: event.resource_id.as_ref().map(AsRef::as_ref),
            session_id: event.session_id.as_ref().map(AsRef::as_ref),
            request_id: event.request_id.as_ref().map(AsRef::as_ref),
            idempotency_key: event.idempotency_key.as_ref().map(AsRef::as_ref),
            ip_address: event.ip_address,
            user_agent: event.user_agent.as_ref().map(AsRef::as_ref),
            message: event.message.as_ref().map(AsRef::as_ref),
            details: event.details.as_ref().and_then(|details| stored_object(details.as_str())),
        }
    }
}

impl Serialize for NewEvent<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::from_new(self).serialize(serializer)
    }
}
