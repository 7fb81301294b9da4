//! Events from JSON: one object, strictly read.
//!
//! Owns the members' names in both spellings, their types, and what happens to members that no event has. It must not
//! know files or lines: whoever reads those adds the line's number.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::details::{Details, Member};
use super::error::{EventError, EventErrorKind, WHOLE};
use super::json_text::{TextFault, decode_string};
use super::names::Action;
use super::new_event::{Draft, NewEvent};
use super::time::Timestamp;

/// What to do with members that aren't an event's input: unknown ones, and those that the store assigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnknownMembers {
    /// They are an error that names the member.
    #[default]
    Reject,
    /// They are kept under `details`, by their own names.
    ToDetails,
}

/// Reads one event from one JSON object, as it stands on one line of a JSON lines file.
///
/// - Members are named in camelCase (`userId`) or in `snake_case` (`user_id`); one that is there twice, perhaps in both
///   spellings, is an error. Only `action` is required; `category` and `level` as well for an action that isn't in the
///   catalogue.
/// - `null` for an optional member means that it is absent.
/// - Unknown members are an error, and so are `id`, `recordedAt` and `userSequence`, which the store assigns; with
///   [`UnknownMembers::ToDetails`] both are kept under `details`.
/// - Numbers in `details` are kept as they are written.
/// - Texts without escapes are borrowed from `line`; [`NewEvent::into_owned`] frees the event from it.
///
/// # Errors
///
/// An [`EventError`] that names the member, or `event` where there is none to name: for bytes that aren't UTF-8, for what
/// is no JSON or no object, and for bytes behind the object.
///
/// # Examples
///
/// ```
/// use usertrail::event::{EventErrorKind, UnknownMembers, from_json_line};
///
/// let line = br#"{"action": "auth.login", "userId": "u-1042", "ipAddress": "::ffff:203.0.113.7"}"#;
/// let event = from_json_line(line, UnknownMembers::Reject)?;
/// assert_eq!(event.ip_address().unwrap().to_string(), "203.0.113.7");
///
/// let line = br#"{"action": "auth.login", "colour": "red"}"#;
/// let error = from_json_line(line, UnknownMembers::Reject).unwrap_err();
/// assert_eq!((error.field(), error.reason()), ("colour", &EventErrorKind::Unknown));
/// let event = from_json_line(line, UnknownMembers::ToDetails)?;
/// assert_eq!(event.details().unwrap().as_str(), r#"{"colour":"red"}"#);
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
pub fn from_json_line(line: &[u8], unknown: UnknownMembers) -> Result<NewEvent<'_>, EventError> {
    let mut reader = Reader::new(unknown);
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let read = Object(&mut reader).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match read {
        Ok(()) => reader.finish(),
        Err(error) => Err(reader.fault.take().unwrap_or_else(|| reader.syntax_fault(line, &error))),
    }
}

impl<'de> Deserialize<'de> for NewEvent<'static> {
    /// As [`from_json_line`] with [`UnknownMembers::Reject`]; from `serde_json` alone, since `details` are JSON text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = deserializer.deserialize_map(Members)?;
        let mut reader = Reader::new(UnknownMembers::Reject);
        let read = members.iter().try_for_each(|(name, value)| {
            let name = reader.name(Cow::Borrowed(name))?;
            reader.value(name, value.get())
        });
        read.and_then(|()| reader.finish()).map(NewEvent::into_owned).map_err(de::Error::custom)
    }
}

/// The members as they come, for deserializers that can't lend their text.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AN_OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

const AN_OBJECT: &str = "a JSON object";

macro_rules! members {
    ($($name:ident $camel:literal $(, $snake:literal)?;)+) => {
        /// A member that has a meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Known {
            $($name,)+
        }

        impl Known {
            fn of(name: &str) -> Option<Self> {
                match name {
                    $($camel $(| $snake)? => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// As errors call it.
            fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $camel,)+
                }
            }
        }
    };
}

members! {
    Id "id";
    RecordedAt "recordedAt", "recorded_at";
    UserSequence "userSequence", "user_sequence";
    OccurredAt "occurredAt", "occurred_at";
    UserId "userId", "user_id";
    TenantId "tenantId", "tenant_id";
    ActorId "actorId", "actor_id";
    Category "category";
    Level "level";
    Action "action";
    Status "status";
    Service "service";
    Resource "resource";
    ResourceId "resourceId", "resource_id";
    SessionId "sessionId", "session_id";
    RequestId "requestId", "request_id";
    IdempotencyKey "idempotencyKey", "idempotency_key";
    IpAddress "ipAddress", "ip_address";
    UserAgent "userAgent", "user_agent";
    Message "message";
    Details "details";
}

impl Known {
    fn is_assigned(self) -> bool {
        matches!(self, Self::Id | Self::RecordedAt | Self::UserSequence)
    }

    fn wrong_type(self, expected: &'static str) -> EventError {
        EventError::new(self.name(), EventErrorKind::WrongType { expected })
    }
}

/// A member whose value comes next.
enum Next<'a> {
    Field(Known),
    ToDetails(Cow<'a, str>),
}

/// An event that is being read.
struct Reader<'a> {
    unknown: UnknownMembers,
    draft: Draft<'a>,
    /// Bit i: the member with that number was there.
    seen: u32,
    /// The member being read, to name when its value is no JSON.
    current: Option<Cow<'a, str>>,
    /// The fault that stopped the reading.
    fault: Option<EventError>,
}

impl<'a> Reader<'a> {
    fn new(unknown: UnknownMembers) -> Self {
        Self { unknown, draft: Draft::default(), seen: 0, current: None, fault: None }
    }

    /// Decides what a member is.
    fn name(&mut self, name: Cow<'a, str>) -> Result<Next<'a>, EventError> {
        let known = Known::of(&name);
        if let Some(known) = known {
            let bit = 1 << known as u32;
            if self.seen & bit != 0 {
                return Err(EventError::new(known.name(), EventErrorKind::Duplicate));
            }
            self.seen |= bit;
        }
        match (known, self.unknown) {
            (Some(known), _) if !known.is_assigned() => {
                self.current = Some(Cow::Borrowed(known.name()));
                Ok(Next::Field(known))
            }
            (_, UnknownMembers::ToDetails) => {
                self.current = Some(name.clone());
                Ok(Next::ToDetails(name))
            }
            (Some(known), _) => Err(EventError::new(known.name(), EventErrorKind::StoreAssigned)),
            (None, _) => Err(EventError::named(&name, EventErrorKind::Unknown)),
        }
    }

    fn value(&mut self, next: Next<'a>, raw: &'a str) -> Result<(), EventError> {
        match next {
            Next::Field(_) if raw == "null" => {}
            Next::Field(known) => self.field(known, raw)?,
            Next::ToDetails(name) => self.draft.members.push(Member::from_raw(name, raw)?),
        }
        self.current = None;
        Ok(())
    }

    fn field(&mut self, known: Known, raw: &'a str) -> Result<(), EventError> {
        if known == Known::Details {
            if !raw.starts_with('{') {
                return Err(known.wrong_type(AN_OBJECT));
            }
            self.draft.details = Some(Details::from_json(raw)?);
            return Ok(());
        }
        if !raw.starts_with('"') {
            return Err(known.wrong_type("a string"));
        }
        let text = decode_string(raw, 0)
            .map_err(|fault| EventError::new(known.name(), TextFault::into_kind(fault)))?;
        self.text_field(known, text)
    }

    fn text_field(&mut self, known: Known, text: Cow<'a, str>) -> Result<(), EventError> {
        let draft = &mut self.draft;
        match known {
            Known::OccurredAt => draft.occurred_at = Some(Timestamp::parse_field(&text, known.name())?),
            Known::UserId => draft.user_id = Some(super::UserId::new(text)?),
            Known::TenantId => draft.tenant_id = Some(super::TenantId::new(text)?),
            Known::ActorId => draft.actor_id = Some(super::ActorId::new(text)?),
            Known::Category => draft.category = Some(text.parse()?),
            Known::Level => draft.level = Some(text.parse()?),
            Known::Action => draft.action = Some(Action::new(text)?),
            Known::Status => draft.status = Some(text.parse()?),
            Known::Service => draft.service = Some(super::Service::new(text)?),
            Known::Resource => draft.resource = Some(super::Resource::new(text)?),
            Known::ResourceId => draft.resource_id = Some(super::ResourceId::new(text)?),
            Known::SessionId => draft.session_id = Some(super::SessionId::new(text)?),
            Known::RequestId => draft.request_id = Some(super::RequestId::new(text)?),
            Known::IdempotencyKey => draft.idempotency_key = Some(super::IdempotencyKey::new(text)?),
            Known::IpAddress => {
                let address = text.parse();
                draft.ip_address = Some(
                    address
                        .map_err(|_| EventError::invalid(known.name(), "must be an IPv4 or IPv6 address"))?,
                );
            }
            Known::UserAgent => draft.user_agent = Some(super::UserAgent::new(text)?),
            Known::Message => draft.message = Some(super::Message::new(text)?),
            // These never come here: see `name` and `field`.
            Known::Id | Known::RecordedAt | Known::UserSequence | Known::Details => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<NewEvent<'a>, EventError> {
        self.draft.build()
    }

    /// Names the member in which the text stopped being JSON.
    fn syntax_fault(&self, line: &[u8], error: &serde_json::Error) -> EventError {
        let field = self.current.as_deref().unwrap_or(WHOLE);
        let reason = if error.is_data() {
            EventErrorKind::WrongType { expected: AN_OBJECT }
        } else if std::str::from_utf8(line).is_err() {
            EventErrorKind::NotUtf8
        } else {
            EventErrorKind::Syntax { what: error.to_string() }
        };
        EventError::named(field, reason)
    }
}

/// The object itself: reads its members into the reader.
struct Object<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AN_OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reader = self.0;
        while let Some(name) = map.next_key_seed(Name)? {
            let next = reader.name(name);
            let next = reader.keep(next)?;
            let raw: &'de RawValue = map.next_value()?;
            let done = reader.value(next, raw.get());
            reader.keep(done)?;
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// Puts a fault by, to come back whole: serde's error would keep its text alone.
    fn keep<T, E: de::Error>(&mut self, result: Result<T, EventError>) -> Result<T, E> {
        result.map_err(|fault| {
            let error = E::custom(&fault);
            self.fault = Some(fault);
            error
        })
    }
}

/// A member's name, borrowed if it can be.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
