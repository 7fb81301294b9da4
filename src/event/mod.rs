//! The event: what it consists of, how it is checked, written and read.
//!
//! Owns the fields and their limits, the catalogue of actions, the builder, the JSON form and the stored form. It must
//! not know the store: it imports no other room.
//!
//! | to | use |
//! |---|---|
//! | make an event | [`NewEvent::builder`], the helpers such as [`NewEvent::login`], [`from_json_line`] |
//! | read a stored event in place | [`EventView`] |
//! | keep one | [`Event`] |
//! | name an action | the constants of [`Action`] and [`action`], [`lookup`], [`catalogue()`] |
//!
//! ```
//! use usertrail::event::{NewEvent, SessionId, UserAgent, UserId};
//!
//! let event = NewEvent::login(UserId::new("u-1042")?, SessionId::new("s-77")?)
//!     .ip("203.0.113.7".parse().unwrap())
//!     .user_agent(UserAgent::new("Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0")?)
//!     .build()?;
//! assert_eq!(event.action().as_str(), "auth.login");
//! # Ok::<(), usertrail::event::EventError>(())
//! ```

mod builder;
mod catalogue;
mod details;
mod error;
mod helpers;
mod json;
mod json_text;
mod kinds;
mod layout;
pub mod limits;
mod names;
mod new_event;
mod owned;
#[cfg(test)]
mod tests;
mod time;
mod view;
mod wire;

pub use builder::EventBuilder;
pub use catalogue::{CatalogueEntry, action, action_of_code, catalogue, lookup};
pub use details::Details;
pub use error::{EventError, EventErrorKind, LeafError, LeafErrorKind};
pub use json::{UnknownMembers, from_json_line};
pub use kinds::{Category, Level, Status};
pub use layout::{Assigned, assign, encode_leaf, leaf_bytes};
pub use names::{
    Action, ActorId, IdempotencyKey, Message, RequestId, Resource, ResourceId, Service, SessionId, TenantId,
    UserAgent, UserId,
};
pub use new_event::NewEvent;
pub use owned::Event;
pub use time::{EventId, Timestamp};
pub use view::EventView;
