//! The limits of an event, each in bytes of UTF-8 unless its name says otherwise.
//!
//! Owns the numbers alone. The checks stand where the values are made, so that a value that exists is
//! known to be within its limit.

/// A user's id: the person whose trail the event stands on.
pub const USER_ID_BYTES_MAX: usize = 256;
/// A tenant's id.
pub const TENANT_ID_BYTES_MAX: usize = 256;
/// An actor's id: who did it, when that is someone else than the user.
pub const ACTOR_ID_BYTES_MAX: usize = 256;
/// An action such as `auth.login`.
pub const ACTION_BYTES_MAX: usize = 100;
/// The name of the part of the application that wrote the event.
pub const SERVICE_BYTES_MAX: usize = 100;
/// The kind of thing that was touched, such as `tenant`.
pub const RESOURCE_BYTES_MAX: usize = 100;
/// The id of the thing that was touched.
pub const RESOURCE_ID_BYTES_MAX: usize = 256;
/// A session's id.
pub const SESSION_ID_BYTES_MAX: usize = 128;
/// A request's id.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// An idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// The client's `User-Agent`: 2 KiB.
pub const USER_AGENT_BYTES_MAX: usize = 2_048;
/// The message for people: 2 KiB.
pub const MESSAGE_BYTES_MAX: usize = 2_048;
/// The whole encoded event, its fixed part and its table included: 60 KiB.
pub const LEAF_BYTES_MAX: usize = 61_440;
/// How deep objects and arrays may stand in each other in `details`; its own braces are the first level.
pub const DETAILS_NESTING_MAX: u32 = 127;
