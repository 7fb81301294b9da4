//! Owns the reasons for which a syslog line is rejected. Must not know how lines are read or counted.

use crate::event::EventError;

/// Why a syslog line is not imported: the part of the line at fault, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {kind}")]
pub struct ParseError {
    field: String,
    kind: ParseErrorKind,
}

impl ParseError {
    pub(super) fn new(field: &str, kind: ParseErrorKind) -> Self {
        Self { field: field.to_owned(), kind }
    }

    /// The part of the line (`timestamp`, `host`, `message`, ...) or the field of the event (`userId`, ...) at fault.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    pub fn reason(&self) -> &ParseErrorKind {
        &self.kind
    }
}

impl From<EventError> for ParseError {
    fn from(error: EventError) -> Self {
        Self { field: error.field().to_owned(), kind: ParseErrorKind::Event(error) }
    }
}

/// What is wrong with a syslog line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The line is not UTF-8.
    #[error("not UTF-8 from byte {valid_bytes} on")]
    NotUtf8 {
        /// How many bytes from the start of the line are good.
        valid_bytes: usize,
    },
    /// The line doesn't begin with a time stamp.
    #[error("no time stamp such as `Mar 27 13:06:56` or `2024-03-27T13:06:56Z` at the start of the line")]
    NoTimestamp,
    /// 29 February in a year that has none.
    #[error("{year} has no 29 February")]
    NoLeapDay {
        /// The year that the line is in.
        year: u16,
    },
    /// Something that every line has is missing.
    #[error("missing")]
    Missing,
    /// Something is there, but not as RFC 3164 or RFC 5424 say.
    #[error("not as syslog has it")]
    Malformed,
    /// The message is that of an authentication, but cut off or changed.
    #[error("`{shape}` was expected")]
    Unfinished {
        /// What such a message looks like.
        shape: &'static str,
    },
    /// A repeat count that is no number or over the bound.
    #[error("a repeat count must be 1 to {max}")]
    RepeatCount {
        /// The highest count that is accepted.
        max: u32,
    },
    /// What the line says makes no valid event.
    #[error("{}", .0.reason())]
    Event(EventError),
}
