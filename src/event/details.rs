//! [`Details`]: the free part of an event, a JSON object kept as compact text.
//!
//! Owns its check, and how members are put into it. It must not know what the members mean.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{EventError, EventErrorKind};
use super::json_text::{self, TextFault};
use super::limits::{DETAILS_NESTING_MAX, LEAF_BYTES_MAX};

const FIELD: &str = "details";

/// What no field covers: before and after values, counts, device, place, risk. A JSON object, kept as compact text.
///
/// - White space between tokens is removed, so the text is one line. Nothing else is changed: the order of members,
///   the escapes, and **each number as it was written** (`1.0`, `1e400`, `12345678901234567890`).
/// - Each string must stand for valid Unicode: half a surrogate pair (`"\ud800"`) is refused.
/// - Objects and arrays may stand in each other [127](super::limits::DETAILS_NESTING_MAX) deep, its own braces
///   counted.
/// - Names that occur twice in one object are kept as they are: their meaning is the reader's.
/// - The whole encoded event is at most [60 KiB](super::limits::LEAF_BYTES_MAX).
///
/// # Examples
///
/// ```
/// use usertrail::event::Details;
///
/// let details = Details::from_json(r#"{ "attempt": 3, "risk": 1.0 }"#)?;
/// assert_eq!(details.as_str(), r#"{"attempt":3,"risk":1.0}"#);
/// assert!(Details::from_json("[1, 2]").is_err());
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Details<'a>(Cow<'a, str>);

impl<'a> Details<'a> {
    /// Checks JSON text and takes it; borrows it when it is compact already.
    ///
    /// # Errors
    ///
    /// On the field `details`: [`Syntax`](EventErrorKind::Syntax) for what is no JSON,
    /// [`WrongType`](EventErrorKind::WrongType) for JSON that is no object, [`Invalid`](EventErrorKind::Invalid) for
    /// one nested too deeply, [`TooLarge`](EventErrorKind::TooLarge) for one that can't fit an event.
    pub fn from_json(text: &'a str) -> Result<Self, EventError> {
        Self::from_raw(text).map_err(|reason| EventError::new(FIELD, reason))
    }

    /// As [`from_json`](Self::from_json), for a value in memory.
    ///
    /// Its numbers are written as `serde_json` writes them; [`from_json`](Self::from_json) keeps a text's own.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json).
    ///
    /// ```
    /// use serde_json::json;
    /// use usertrail::event::Details;
    ///
    /// let details = Details::from_value(&json!({"attempts": 3}))?;
    /// assert_eq!(details.as_str(), r#"{"attempts":3}"#);
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    pub fn from_value(value: &Value) -> Result<Details<'static>, EventError> {
        let reason = match value {
            Value::Object(_) => match value_text(value, DETAILS_NESTING_MAX).and_then(bounded) {
                Ok(text) => return Ok(Details(Cow::Owned(text))),
                Err(reason) => reason,
            },
            _ => EXPECTED,
        };
        Err(EventError::new(FIELD, reason))
    }

    fn from_raw(text: &'a str) -> Result<Self, EventErrorKind> {
        let compact = json_text::compact(text, DETAILS_NESTING_MAX).map_err(TextFault::into_kind)?;
        if !compact.starts_with('{') {
            return Err(EXPECTED);
        }
        bounded(compact).map(Self)
    }

    /// The compact JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, owning its text: copies it if it is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Details<'static> {
        Details(Cow::Owned(self.0.into_owned()))
    }

    /// The same, borrowing its text from this one.
    #[must_use]
    pub fn as_borrowed(&self) -> Details<'_> {
        Details(Cow::Borrowed(&self.0))
    }
}

const EXPECTED: EventErrorKind = EventErrorKind::WrongType { expected: "a JSON object" };

const TOO_DEEP: &str = "is nested too deeply: at most 127 objects and arrays in each other";

impl TextFault {
    pub(super) fn into_kind(self) -> EventErrorKind {
        if self.what == json_text::TOO_DEEP {
            return EventErrorKind::Invalid { what: TOO_DEEP.into() };
        }
        EventErrorKind::Syntax { what: format!("{} at byte {}", self.what, self.at) }
    }
}

/// Refuses early what no event can hold; the event's own check is exact.
fn bounded<T: AsRef<str>>(text: T) -> Result<T, EventErrorKind> {
    let actual = text.as_ref().len();
    if actual > LEAF_BYTES_MAX {
        return Err(EventErrorKind::TooLarge { max: LEAF_BYTES_MAX, actual });
    }
    Ok(text)
}

/// A value's compact text. Looks at the depth first: writing it recurses, and the stack must not be the limit.
fn value_text(value: &Value, nesting_max: u32) -> Result<String, EventErrorKind> {
    if !within_nesting(value, nesting_max) {
        return Err(EventErrorKind::Invalid { what: TOO_DEEP.into() });
    }
    serde_json::to_string(value).map_err(|error| EventErrorKind::Syntax { what: error.to_string() })
}

fn within_nesting(value: &Value, left: u32) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| within_nesting(item, left - 1)),
        Value::Object(members) => left > 0 && members.values().all(|member| within_nesting(member, left - 1)),
        _ => true,
    }
}

/// A member on its way into the details: its name, and its value as compact JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl<'a> Member<'a> {
    /// From JSON text as it came in.
    pub(super) fn from_raw(name: Cow<'a, str>, raw: &'a str) -> Result<Self, EventError> {
        // The details' own braces are the first level.
        match json_text::compact(raw, DETAILS_NESTING_MAX - 1) {
            Ok(value) => Ok(Self { name, value }),
            Err(fault) => Err(EventError::named(&name, fault.into_kind())),
        }
    }

    /// From a value in memory.
    pub(super) fn from_value(name: &'static str, value: &Value) -> Result<Self, EventError> {
        let value =
            value_text(value, DETAILS_NESTING_MAX - 1).map_err(|reason| EventError::new(FIELD, reason))?;
        Ok(Self { name: Cow::Borrowed(name), value: Cow::Owned(value) })
    }

    /// From a count.
    pub(super) fn from_count(name: &'static str, count: u64) -> Self {
        Self { name: Cow::Borrowed(name), value: Cow::Owned(count.to_string()) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The details with `members` behind its own. A name that is there already is an error that names it.
pub(super) fn with_members<'a>(
    details: Option<&Details<'_>>,
    members: &[Member<'_>],
) -> Result<Details<'a>, EventError> {
    let own = details.map_or("{}", Details::as_str);
    let mut names =
        json_text::member_names(own).map_err(|fault| EventError::new(FIELD, fault.into_kind()))?;
    let mut text = String::with_capacity(
        own.len() + members.iter().map(|m| m.name.len() + m.value.len() + 4).sum::<usize>(),
    );
    text.push_str(own.strip_suffix('}').unwrap_or(own));
    for member in members {
        if names.contains(&member.name) {
            return Err(EventError::named(&member.name, EventErrorKind::Duplicate));
        }
        if !names.is_empty() {
            text.push(',');
        }
        let name = serde_json::to_string(member.name.as_ref())
            .map_err(|error| EventError::new(FIELD, EventErrorKind::Syntax { what: error.to_string() }))?;
        text.push_str(&name);
        text.push(':');
        text.push_str(&member.value);
        names.push(Cow::Borrowed(member.name.as_ref()));
    }
    text.push('}');
    bounded(text).map(|text| Details(Cow::Owned(text))).map_err(|reason| EventError::new(FIELD, reason))
}

/// Stored details as what serialises into the object itself; none if the text isn't what [`Details`] would hold.
pub(super) fn stored_object(text: &str) -> Option<&RawValue> {
    let compact = json_text::compact(text, DETAILS_NESTING_MAX).ok()?;
    let as_stored = matches!(compact, Cow::Borrowed(_)) && text.starts_with('{');
    if as_stored { serde_json::from_str(text).ok() } else { None }
}

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Details({})", self.0)
    }
}

impl AsRef<str> for Details<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Details<'static> {
    type Err = EventError;

    /// As [`from_json`](Details::from_json).
    fn from_str(text: &str) -> Result<Self, EventError> {
        Details::from_json(text).map(Details::into_owned)
    }
}

impl Serialize for Details<'_> {
    /// As the object itself, by `serde_json` alone: other formats have no place for JSON text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        stored_object(&self.0)
            .ok_or_else(|| serde::ser::Error::custom("details are no JSON object"))?
            .serialize(serializer)
    }
}
