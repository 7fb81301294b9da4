//! The leaf: an event as it is stored. Writing it, and filling in what the store assigns.
//!
//! Owns the byte layout, version 1. It must not know where leaves are kept (their envelope, their checksum), and it
//! reads nothing back: that is the view's.
//!
//! All integers little-endian; a leaf is at most 61,440 bytes.
//!
//! ```text
//!   0 u64 sequence         the shard's sequence number             assigned by the store
//!   8 u64 user_sequence    all ones: the event has no user         assigned
//!  16 u64 previous         the user's previous shard sequence,     assigned
//!                          all ones: none
//!  24 i64 recorded_at      microseconds since 1970 UTC             assigned
//!  32 u8  level            } codes of the enums
//!  33 u8  category         }
//!  34 u8  status           }
//!  35 u8  field_count      14; a reader takes up to 32, ignores those it doesn't know, and takes missing ones as absent
//!  36 u16 action_code      the catalogue's; 0: the text is in field 3
//!  38 u16 zero
//!  40 [16] id              a UUID's bytes, the most significant first, assigned
//!  56 i64 occurred_at      microseconds since 1970 UTC; the lowest i64 until it is assigned: not given
//!  64 u32 presence         bit i: field i is present (it may be empty)
//!  68 u16 end[field_count] where field i ends, counted from the end of this table; it starts where the one before
//!                          ends; an absent field ends where it starts
//!     the fields' bytes, one after the other
//!
//!  fields: 0 user_id     1 tenant_id   2 actor_id    3 action (only with code 0)  4 service
//!          5 resource    6 resource_id 7 session_id  8 request_id                 9 idempotency_key
//!         10 ip_address (4 or 16 bytes, network order)
//!         11 user_agent 12 message    13 details (compact JSON)
//! ```

use std::net::IpAddr;

use super::new_event::NewEvent;
use super::time::{EventId, Timestamp};

/// The length of the fixed part: where the table of field ends starts.
pub(super) const FIXED_BYTES: usize = 68;
/// How many fields this version writes.
pub(super) const FIELD_COUNT: usize = 14;
/// How many fields a reader puts up with; what presence has bits for.
pub(super) const FIELD_COUNT_MAX: usize = 32;
/// What precedes the fields' bytes in a leaf of this version.
const HEAD_BYTES: usize = FIXED_BYTES + 2 * FIELD_COUNT;

/// Where the fixed part's values stand.
pub(super) mod at {
    pub const SEQUENCE: usize = 0;
    pub const USER_SEQUENCE: usize = 8;
    pub const PREVIOUS: usize = 16;
    pub const RECORDED_AT: usize = 24;
    pub const LEVEL: usize = 32;
    pub const CATEGORY: usize = 33;
    pub const STATUS: usize = 34;
    pub const FIELD_COUNT: usize = 35;
    pub const ACTION_CODE: usize = 36;
    pub const ID: usize = 40;
    pub const OCCURRED_AT: usize = 56;
    pub const PRESENCE: usize = 64;
}

/// A field's number, and its name in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    UserId,
    TenantId,
    ActorId,
    Action,
    Service,
    Resource,
    ResourceId,
    SessionId,
    RequestId,
    IdempotencyKey,
    IpAddress,
    UserAgent,
    Message,
    Details,
}

const _: () = assert!(Field::Details as usize + 1 == FIELD_COUNT);
const _: () = assert!(at::PRESENCE + 4 == FIXED_BYTES);

impl Field {
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::UserId => "userId",
            Self::TenantId => "tenantId",
            Self::ActorId => "actorId",
            Self::Action => "action",
            Self::Service => "service",
            Self::Resource => "resource",
            Self::ResourceId => "resourceId",
            Self::SessionId => "sessionId",
            Self::RequestId => "requestId",
            Self::IdempotencyKey => "idempotencyKey",
            Self::IpAddress => "ipAddress",
            Self::UserAgent => "userAgent",
            Self::Message => "message",
            Self::Details => "details",
        }
    }
}

/// What stands for "none" in `user_sequence` and `previous`.
pub(super) const NO_SEQUENCE: u64 = u64::MAX;
/// What stands for "not given" in `occurred_at` until it is assigned. No event's time is so early.
const NO_TIME: i64 = i64::MIN;

/// The address's bytes: only the first `usize` of them are its own.
fn address_bytes(address: Option<IpAddr>) -> ([u8; 16], usize) {
    match address {
        None => ([0; 16], 0),
        Some(IpAddr::V4(v4)) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (bytes, 4)
        }
        Some(IpAddr::V6(v6)) => (v6.octets(), 16),
    }
}

fn fields<'e>(event: &'e NewEvent<'_>, address: Option<&'e [u8]>) -> [Option<&'e [u8]>; FIELD_COUNT] {
    let action = if event.action_code == 0 { Some(event.action.as_str().as_bytes()) } else { None };
    [
        event.user_id.as_ref().map(|text| text.as_str().as_bytes()),
        event.tenant_id.as_ref().map(|text| text.as_str().as_bytes()),
        event.actor_id.as_ref().map(|text| text.as_str().as_bytes()),
        action,
        event.service.as_ref().map(|text| text.as_str().as_bytes()),
        event.resource.as_ref().map(|text| text.as_str().as_bytes()),
        event.resource_id.as_ref().map(|text| text.as_str().as_bytes()),
        event.session_id.as_ref().map(|text| text.as_str().as_bytes()),
        event.request_id.as_ref().map(|text| text.as_str().as_bytes()),
        event.idempotency_key.as_ref().map(|text| text.as_str().as_bytes()),
        address,
        event.user_agent.as_ref().map(|text| text.as_str().as_bytes()),
        event.message.as_ref().map(|text| text.as_str().as_bytes()),
        event.details.as_ref().map(|text| text.as_str().as_bytes()),
    ]
}

/// How many bytes [`encode_leaf`] appends for this event: 96 to 61,440.
///
/// ```
/// use usertrail::event::{Action, NewEvent, UserId, leaf_bytes};
///
/// let event = NewEvent::builder(Action::AUTH_LOGIN).user(UserId::new("u-1042")?).build()?;
/// assert_eq!(leaf_bytes(&event), 96 + 6);
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
pub fn leaf_bytes(event: &NewEvent<'_>) -> usize {
    let (address, address_len) = address_bytes(event.ip_address);
    let present = event.ip_address.and(address.get(..address_len));
    HEAD_BYTES + fields(event, present).iter().flatten().map(|bytes| bytes.len()).sum::<usize>()
}

fn put<const N: usize>(head: &mut [u8; HEAD_BYTES], at: usize, bytes: [u8; N]) {
    head[at..at + N].copy_from_slice(&bytes);
}

/// Appends the event's leaf to `out`. What the store assigns is zero, or all ones where there may be none.
///
/// Reserves once and copies each field once; no allocation when `out` has room.
///
/// ```
/// use usertrail::event::{Action, EventView, NewEvent, UserId, encode_leaf};
///
/// let event = NewEvent::builder(Action::AUTH_LOGIN).user(UserId::new("u-1042")?).build()?;
/// let mut leaf = Vec::new();
/// encode_leaf(&event, &mut leaf);
/// let view = EventView::parse(&leaf).unwrap();
/// assert_eq!(view.user_id(), Ok(Some("u-1042")));
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
pub fn encode_leaf(event: &NewEvent<'_>, out: &mut Vec<u8>) {
    let (address, address_len) = address_bytes(event.ip_address);
    let fields = fields(event, event.ip_address.and(address.get(..address_len)));
    let mut head = [0; HEAD_BYTES];
    put(&mut head, at::USER_SEQUENCE, NO_SEQUENCE.to_le_bytes());
    put(&mut head, at::PREVIOUS, NO_SEQUENCE.to_le_bytes());
    head[at::LEVEL] = event.level.code();
    head[at::CATEGORY] = event.category.code();
    head[at::STATUS] = event.status.code();
    head[at::FIELD_COUNT] = FIELD_COUNT_CODE;
    put(&mut head, at::ACTION_CODE, event.action_code.to_le_bytes());
    let occurred_at = event.occurred_at.map_or(NO_TIME, Timestamp::as_micros);
    put(&mut head, at::OCCURRED_AT, occurred_at.to_le_bytes());
    let (mut presence, mut end) = (0_u32, 0_usize);
    for (i, field) in fields.iter().enumerate() {
        if let Some(bytes) = field {
            presence |= 1 << i;
            end += bytes.len();
        }
        // An event that was built is within LEAF_BYTES_MAX, far below 2^16.
        let end = u16::try_from(end).unwrap_or(u16::MAX);
        put(&mut head, FIXED_BYTES + 2 * i, end.to_le_bytes());
    }
    put(&mut head, at::PRESENCE, presence.to_le_bytes());
    out.reserve(HEAD_BYTES + end);
    out.extend_from_slice(&head);
    for bytes in fields.iter().flatten() {
        out.extend_from_slice(bytes);
    }
}

/// [`FIELD_COUNT`] as it is stored.
const FIELD_COUNT_CODE: u8 = 14;
const _: () = assert!(FIELD_COUNT_CODE as usize == FIELD_COUNT);

/// What the store assigns to an event when it takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The record's sequence number in its shard.
    pub sequence: u64,
    /// The event's sequence number in its user's log; none without a user.
    pub user_sequence: Option<u64>,
    /// The shard sequence of the same user's event before; none for the first, and without a user.
    pub previous: Option<u64>,
    /// When the store took the event.
    pub recorded_at: Timestamp,
    /// The event's id.
    pub id: EventId,
}

/// Fills in what the store assigns. An event that doesn't say when it happened happened when it was recorded.
///
/// `leaf` is what [`encode_leaf`] appended, or a copy of it; one shorter than a leaf's fixed part is left as it is.
///
/// ```
/// use usertrail::event::{Action, Assigned, EventId, EventView, NewEvent, Timestamp, assign, encode_leaf};
///
/// let mut leaf = Vec::new();
/// encode_leaf(&NewEvent::builder(Action::MAINTENANCE_PERFORMED).build()?, &mut leaf);
/// let recorded_at = Timestamp::parse_rfc3339("2026-11-20T09:30:00Z")?;
/// let id = EventId::from_u128(42);
/// assign(&mut leaf, &Assigned { sequence: 7, user_sequence: None, previous: None, recorded_at, id });
/// let view = EventView::parse(&leaf).unwrap();
/// assert_eq!((view.sequence(), view.occurred_at()), (7, recorded_at));
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
pub fn assign(leaf: &mut [u8], assigned: &Assigned) {
    let Some(head) = leaf.first_chunk_mut::<FIXED_BYTES>() else { return };
    let recorded_at = assigned.recorded_at.as_micros().to_le_bytes();
    let mut put = |at: usize, bytes: [u8; 8]| head[at..at + 8].copy_from_slice(&bytes);
    put(at::SEQUENCE, assigned.sequence.to_le_bytes());
    put(at::USER_SEQUENCE, assigned.user_sequence.unwrap_or(NO_SEQUENCE).to_le_bytes());
    put(at::PREVIOUS, assigned.previous.unwrap_or(NO_SEQUENCE).to_le_bytes());
    put(at::RECORDED_AT, recorded_at);
    head[at::ID..at::ID + 16].copy_from_slice(&assigned.id.to_bytes());
    let occurred_at = &mut head[at::OCCURRED_AT..at::OCCURRED_AT + 8];
    if *occurred_at == NO_TIME.to_le_bytes() {
        occurred_at.copy_from_slice(&recorded_at);
    }
}
