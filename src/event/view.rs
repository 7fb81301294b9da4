//! [`EventView`]: a stored event, read in place.
//!
//! Owns reading the leaf, whatever its bytes: each access is checked, text is checked as UTF-8 when it is read. It
//! must not know where the bytes come from, nor whether their checksum has been looked at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

use super::catalogue::action_of_code;
use super::error::{LeafError, LeafErrorKind};
use super::kinds::{Category, Level, Status};
use super::layout::{FIELD_COUNT, FIELD_COUNT_MAX, FIXED_BYTES, Field, NO_SEQUENCE, at};
use super::owned::Event;
use super::time::{EventId, Timestamp};
use super::wire::Wire;
use crate::io::mmap::ascii;

/// A stored event, borrowed from the store and read in place: nothing is copied, nothing decoded ahead.
///
/// [`parse`](Self::parse) checks what all accesses rest on; a text is checked as UTF-8 when it is asked for. On any
/// bytes at all each method answers with a value or an error that names the field: it never panics.
///
/// With serde it is written exactly as the [`Event`] that [`to_owned`](Self::to_owned) makes; damaged fields become
/// errors of the serializer.
///
/// # Examples
///
/// ```
/// use usertrail::event::{Action, EventView, Level, NewEvent, UserId, encode_leaf};
///
/// let event = NewEvent::builder(Action::AUTH_LOCKOUT).user(UserId::new("u-1042")?).build()?;
/// let mut leaf = Vec::new();
/// encode_leaf(&event, &mut leaf);
///
/// let view = EventView::parse(&leaf).unwrap();
/// assert_eq!(view.level(), Level::Warning);
/// assert_eq!(view.action(), Ok("auth.lockout"));
/// assert_eq!(view.user_id(), Ok(Some("u-1042")));
/// assert_eq!(view.tenant_id(), Ok(None));
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
#[derive(Clone, Copy)]
pub struct EventView<'a> {
    leaf: &'a [u8],
    head: &'a [u8; FIXED_BYTES],
    /// Where each field ends in `bytes`.
    ends: &'a [[u8; 2]],
    /// The fields, one behind the other.
    bytes: &'a [u8],
    /// The user id, where whoever reads has compared it with one that is text already.
    user_id: Option<&'a str>,
}

/// Equal are events whose leaves are: all else follows from these.
impl PartialEq for EventView<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.leaf == other.leaf
    }
}

impl Eq for EventView<'_> {}

macro_rules! text_fields {
    ($($(#[$doc:meta])* $name:ident, $bytes:ident, $field:ident;)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When the stored bytes are not UTF-8.
            #[inline]
            pub fn $name(&self) -> Result<Option<&'a str>, LeafError> {
                self.text(Field::$field)
            }

            #[doc = concat!("The bytes of [`", stringify!($name), "`](Self::", stringify!($name), "), unchecked.")]
            #[inline]
            pub fn $bytes(&self) -> Option<&'a [u8]> {
                self.field(Field::$field)
            }
        )+
    };
}

/// The last of a table's ends (0 without any), if none of them points backwards.
#[inline]
fn last_end(table: &[[u8; 2]]) -> Option<u16> {
    // The usual table has a known length, for which the comparisons become a few vector instructions.
    let ordered = match <&[[u8; 2]; FIELD_COUNT]>::try_from(table) {
        Ok(table) => {
            let ends = table.map(u16::from_le_bytes);
            let mut ordered = true;
            for at in 1..FIELD_COUNT {
                ordered &= ends[at - 1] <= ends[at];
            }
            ordered
        }
        Err(_) => table.is_sorted_by_key(|end| u16::from_le_bytes(*end)),
    };
    let last = table.last().map_or(0, |end| u16::from_le_bytes(*end));
    ordered.then_some(last)
}

impl<'a> EventView<'a> {
    /// Looks at a leaf's bytes.
    ///
    /// Checks the lengths, the order of the field table, and the codes of level, category and status. Costs a few
    /// nanoseconds, whatever the event's size.
    ///
    /// # Errors
    ///
    /// When one of these checks fails.
    #[expect(
        clippy::inline_always,
        reason = "called, it answers in memory, in smaller parts than what it answers is then copied in: the processor waits"
    )]
    #[inline(always)]
    pub fn parse(leaf: &'a [u8]) -> Result<Self, LeafError> {
        let bad = |reason| Err(LeafError::new("leaf", reason));
        let Some((head, rest)) = leaf.split_first_chunk::<FIXED_BYTES>() else {
            return bad(LeafErrorKind::TooShort);
        };
        let field_count = usize::from(head[at::FIELD_COUNT]);
        if field_count > FIELD_COUNT_MAX {
            return bad(LeafErrorKind::TooManyFields);
        }
        let Some((table, bytes)) = rest.split_at_checked(2 * field_count) else {
            return bad(LeafErrorKind::TooShort);
        };
        let (ends, _) = table.as_chunks::<2>();
        let last = last_end(ends);
        if last.is_none_or(|last| usize::from(last) > bytes.len()) {
            return bad(LeafErrorKind::BadOffset);
        }
        let unknown = |field| Err(LeafError::new(field, LeafErrorKind::UnknownCode));
        if Level::from_code(head[at::LEVEL]).is_none() {
            return unknown("level");
        }
        if Category::from_code(head[at::CATEGORY]).is_none() {
            return unknown("category");
        }
        if Status::from_code(head[at::STATUS]).is_none() {
            return unknown("status");
        }
        Ok(Self { leaf, head, ends, bytes, user_id: None })
    }

    /// The event, if it is this user's: from now on it lends the id that it was compared with, which needs no look at its
    /// text.
    #[inline]
    pub(crate) fn of_user(self, user_id: &'a str) -> Option<Self> {
        (self.user_id_bytes() == Some(user_id.as_bytes())).then_some(Self { user_id: Some(user_id), ..self })
    }

    /// All bytes of the leaf.
    pub fn leaf(&self) -> &'a [u8] {
        self.leaf
    }

    #[inline]
    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.head[at..at + N]);
        bytes
    }

    #[inline]
    fn sequence_at(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.number(at))).filter(|sequence| *sequence != NO_SEQUENCE)
    }

    /// The bytes of a field, if it is present.
    #[inline]
    fn field(&self, field: Field) -> Option<&'a [u8]> {
        let index = field.index();
        let presence = u32::from_le_bytes(self.number(at::PRESENCE));
        // A bit behind the table is no field: the look-up of its end finds nothing.
        if presence & (1 << index) == 0 {
            return None;
        }
        // One comparison for both ends.
        let (start, end) = match self.ends.get(..=index)? {
            [.., start, end] => (u16::from_le_bytes(*start), u16::from_le_bytes(*end)),
            [end] => (0, u16::from_le_bytes(*end)),
            [] => return None,
        };
        self.bytes.get(usize::from(start)..usize::from(end))
    }

    #[inline]
    fn text(&self, field: Field) -> Result<Option<&'a str>, LeafError> {
        let Some(bytes) = self.field(field) else { return Ok(None) };
        // Nearly all texts are ASCII. The general check goes byte by byte up to an aligned address, and again behind the
        // last whole block: a third of a page's instructions.
        match ascii(bytes).or_else(|| std::str::from_utf8(bytes).ok()) {
            Some(text) => Ok(Some(text)),
            None => Err(LeafError::new(field.name(), LeafErrorKind::NotUtf8)),
        }
    }

    /// The record's sequence number in its shard.
    pub fn sequence(&self) -> u64 {
        u64::from_le_bytes(self.number(at::SEQUENCE))
    }

    /// The event's sequence number in its user's log: 0, 1, 2, ... None without a user.
    #[inline]
    pub fn user_sequence(&self) -> Option<u64> {
        self.sequence_at(at::USER_SEQUENCE)
    }

    /// The shard sequence of the same user's event before.
    pub fn previous(&self) -> Option<u64> {
        self.sequence_at(at::PREVIOUS)
    }

    /// When the store took the event.
    pub fn recorded_at(&self) -> Timestamp {
        Timestamp::from_micros(i64::from_le_bytes(self.number(at::RECORDED_AT)))
    }

    /// When it happened; as [`recorded_at`](Self::recorded_at) if that wasn't said.
    #[inline]
    pub fn occurred_at(&self) -> Timestamp {
        Timestamp::from_micros(i64::from_le_bytes(self.number(at::OCCURRED_AT)))
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        EventId::from_bytes(self.number(at::ID))
    }

    /// How much attention it asks for.
    pub fn level(&self) -> Level {
        // `parse` has checked this code and the next two.
        Level::from_code(self.head[at::LEVEL]).unwrap_or(Level::Info)
    }

    /// What it is about.
    pub fn category(&self) -> Category {
        Category::from_code(self.head[at::CATEGORY]).unwrap_or(Category::System)
    }

    /// How it ended.
    pub fn status(&self) -> Status {
        Status::from_code(self.head[at::STATUS]).unwrap_or_default()
    }

    /// The action's number in the catalogue; 0 when it isn't in it.
    #[inline]
    pub fn action_code(&self) -> u16 {
        u16::from_le_bytes(self.number(at::ACTION_CODE))
    }

    /// What happened.
    ///
    /// # Errors
    ///
    /// When the code stands for nothing that this version knows, or there is neither code nor text, or the text isn't
    /// UTF-8.
    #[inline]
    pub fn action(&self) -> Result<&'a str, LeafError> {
        let error = |reason| LeafError::new(Field::Action.name(), reason);
        match self.action_code() {
            0 => self.text(Field::Action)?.ok_or(error(LeafErrorKind::Missing)),
            code => action_of_code(code).ok_or(error(LeafErrorKind::UnknownCode)),
        }
    }

    /// The person whose trail it stands on.
    ///
    /// # Errors
    ///
    /// When the stored bytes are not UTF-8.
    #[inline]
    pub fn user_id(&self) -> Result<Option<&'a str>, LeafError> {
        if self.user_id.is_some() {
            return Ok(self.user_id);
        }
        self.text(Field::UserId)
    }

    /// The bytes of [`user_id`](Self::user_id), unchecked.
    #[inline]
    pub fn user_id_bytes(&self) -> Option<&'a [u8]> {
        self.field(Field::UserId)
    }

    text_fields! {
        /// The tenant it belongs to.
        tenant_id, tenant_id_bytes, TenantId;
        /// Who did it, when that is someone else than the user.
        actor_id, actor_id_bytes, ActorId;
        /// The part of the application that wrote it.
        service, service_bytes, Service;
        /// The kind of thing that was touched.
        resource, resource_bytes, Resource;
        /// The id of the thing that was touched.
        resource_id, resource_id_bytes, ResourceId;
        /// The session it happened in.
        session_id, session_id_bytes, SessionId;
        /// The request that caused it.
        request_id, request_id_bytes, RequestId;
        /// The key by which a repeated append is known.
        idempotency_key, idempotency_key_bytes, IdempotencyKey;
        /// What the client called itself.
        user_agent, user_agent_bytes, UserAgent;
        /// The sentence for people.
        message, message_bytes, Message;
        /// What no field covers: the text of a JSON object. That it is one is not checked here.
        details, details_bytes, Details;
    }

    /// The client's address.
    ///
    /// # Errors
    ///
    /// When it isn't stored in 4 or 16 bytes.
    #[inline]
    pub fn ip_address(&self) -> Result<Option<IpAddr>, LeafError> {
        let Some(bytes) = self.field(Field::IpAddress) else { return Ok(None) };
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            Ok(Some(Ipv4Addr::from(v4).into()))
        } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
            Ok(Some(Ipv6Addr::from(v6).into()))
        } else {
            Err(LeafError::new(Field::IpAddress.name(), LeafErrorKind::WrongLength))
        }
    }

    /// The event as a value of its own, with every field checked. Allocates once.
    ///
    /// # Errors
    ///
    /// When any field can't be read.
    pub fn to_owned(&self) -> Result<Event, LeafError> {
        Event::from_view(self)
    }
}

impl fmt::Debug for EventView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventView")
            .field("id", &self.id())
            .field("sequence", &self.sequence())
            .field("user_sequence", &self.user_sequence())
            .field("user_id", &self.user_id())
            .field("action", &self.action())
            .field("leaf_bytes", &self.leaf.len())
            .finish_non_exhaustive()
    }
}

impl Serialize for EventView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::from_view(self).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}
