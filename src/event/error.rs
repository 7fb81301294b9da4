//! The errors of the event's room: [`EventError`] for what came in, [`LeafError`] for what was read back.
//!
//! Owns how a fault is named and worded. It must not know where the fault was found: no file, no line number.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The longest member name that an error repeats, in bytes; what is longer ends in `…`.
const FIELD_BYTES_MAX: usize = 120;

/// The name that stands for an event as a whole where no single field is at fault.
pub(super) const WHOLE: &str = "event";

/// A value that can't be, or be part of, an event. It names the field and says why.
///
/// The field is named as in JSON, in camelCase: `userId`, also when it was set through the builder. For a member
/// that isn't known it is that member's own name (made printable, and cut if it is very long). `event` stands for
/// the event as a whole.
///
/// # Examples
///
/// ```
/// use usertrail::event::{EventErrorKind, UserId};
///
/// let error = UserId::new("").unwrap_err();
/// assert_eq!(error.field(), "userId");
/// assert_eq!(error.reason(), &EventErrorKind::Empty);
/// assert_eq!(error.to_string(), "userId: is empty");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct EventError {
    field: Cow<'static, str>,
    reason: EventErrorKind,
}

impl EventError {
    /// An error about `field`, for code that makes events out of another format.
    ///
    /// ```
    /// use usertrail::event::{EventError, EventErrorKind};
    ///
    /// let error = EventError::new("occurredAt", EventErrorKind::Missing);
    /// assert_eq!(error.to_string(), "occurredAt: is missing");
    /// ```
    pub fn new(field: impl Into<Cow<'static, str>>, reason: EventErrorKind) -> Self {
        Self { field: field.into(), reason }
    }

    /// An error about a member whose name came from outside.
    pub(super) fn named(name: &str, reason: EventErrorKind) -> Self {
        Self { field: Cow::Owned(printable(name)), reason }
    }

    pub(super) fn invalid(field: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(field, EventErrorKind::Invalid { what: what.into() })
    }

    /// The field at fault, as it is called in JSON.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with the field.
    pub fn reason(&self) -> &EventErrorKind {
        &self.reason
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventErrorKind {
    /// A text is longer than its limit. Nothing is ever cut.
    TooLong {
        /// The limit, in bytes.
        max_bytes: usize,
        /// The length that was given, in bytes.
        actual_bytes: usize,
    },
    /// A text that must not be empty is.
    Empty,
    /// A required field isn't there.
    Missing,
    /// No event has a member of this name.
    Unknown,
    /// The JSON value is of another type.
    WrongType {
        /// The type that the field has.
        expected: &'static str,
    },
    /// The value is of the right type, and no valid value.
    Invalid {
        /// Why not.
        what: Cow<'static, str>,
    },
    /// The store gives this field its value; it can't be given.
    StoreAssigned,
    /// The member is there twice, perhaps in its two spellings.
    Duplicate,
    /// The encoded event would be larger than its limit.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
        /// The size that it would have, in bytes.
        actual: usize,
    },
    /// The input is no JSON.
    Syntax {
        /// What the parser met, and where.
        what: String,
    },
    /// The input is not UTF-8.
    NotUtf8,
}

impl fmt::Display for EventErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max_bytes, actual_bytes } => {
                write!(f, "is {actual_bytes} bytes long, at most {max_bytes} are allowed")
            }
            Self::Empty => f.write_str("is empty"),
            Self::Missing => f.write_str("is missing"),
            Self::Unknown => f.write_str("is not a member of an event"),
            Self::WrongType { expected } => write!(f, "must be {expected}"),
            Self::Invalid { what } => f.write_str(what),
            Self::StoreAssigned => f.write_str("is assigned by the store and can't be given"),
            Self::Duplicate => f.write_str("is given more than once"),
            Self::TooLarge { max, actual } => {
                write!(f, "makes the encoded event {actual} bytes, at most {max} are allowed")
            }
            Self::Syntax { what } => write!(f, "is not valid JSON: {what}"),
            Self::NotUtf8 => f.write_str("is not valid UTF-8"),
        }
    }
}

/// A name from outside as it can be printed on one line: control characters escaped, length bounded.
fn printable(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if text.len() >= FIELD_BYTES_MAX {
            text.push('…');
            break;
        }
        if c.is_control() {
            // Writing to a String can't fail.
            let _ = write!(text, "{}", c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

/// Stored bytes that are no event, or that have a field which can't be read.
///
/// It means damage (or a writer newer than this reader), never a fault of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored event, {field}: {reason}")]
pub struct LeafError {
    field: &'static str,
    reason: LeafErrorKind,
}

impl LeafError {
    pub(super) fn new(field: &'static str, reason: LeafErrorKind) -> Self {
        Self { field, reason }
    }

    /// The field at fault as it is called in JSON; `leaf` for the record's frame.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it.
    pub fn reason(&self) -> LeafErrorKind {
        self.reason
    }
}

/// What is wrong with a field of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeafErrorKind {
    /// There are fewer bytes than the fixed part and the table of fields take.
    TooShort,
    /// The table claims more fields than any version has.
    TooManyFields,
    /// An entry of the table points backwards, or behind the bytes.
    BadOffset,
    /// A number stands for nothing that this version knows.
    UnknownCode,
    /// A field that each event has is absent.
    Missing,
    /// A text field is not UTF-8.
    NotUtf8,
    /// A field's bytes have the wrong length for its type.
    WrongLength,
    /// The details are no compact JSON object.
    NotJson,
}

impl fmt::Display for LeafErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "too few bytes",
            Self::TooManyFields => "more fields than any version has",
            Self::BadOffset => "an offset points backwards or behind the end",
            Self::UnknownCode => "a code that this version doesn't know",
            Self::Missing => "missing",
            Self::NotUtf8 => "not UTF-8",
            Self::WrongLength => "wrong number of bytes",
            Self::NotJson => "not a compact JSON object",
        })
    }
}
