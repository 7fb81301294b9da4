//! Owns what comes into the store from elsewhere: lines of JSON and of `auth.log`, read as a stream and turned into events.
//! Must not know the store: events go to a [`Sink`], and what became of each line to an [`Observer`].
//!
//! ```
//! use usertrail::event::UnknownMembers;
//! use usertrail::exchange::{Importer, JsonLines, Observer, Sink, Taken};
//! use usertrail::event::NewEvent;
//!
//! struct Count(usize);
//! impl Sink for Count {
//!     type Ack = ();
//!     type Error = std::convert::Infallible;
//!     fn append_batch(&mut self, events: &[NewEvent<'static>]) -> Taken<(), Self::Error> {
//!         self.0 += events.len();
//!         Ok(vec![(); events.len()])
//!     }
//! }
//! struct Quiet;
//! impl Observer<()> for Quiet {}
//!
//! let input = br#"{"action":"auth.login","userId":"alice"}
//!
//! {"action":"auth.login","userId":7}
//! "#;
//! let mut importer = Importer::new();
//! let mut sink = Count(0);
//! let mut decoder = JsonLines::new(UnknownMembers::Reject);
//! importer.run(&input[..], &mut decoder, &mut sink, &mut Quiet)?;
//! let summary = importer.summary();
//! assert_eq!((summary.accepted, summary.rejected, summary.blank, sink.0), (1, 1, 1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod authlog;
mod import;
mod jsonl;
mod lines;
#[cfg(test)]
mod tests;

pub use import::{ImportError, Importer, Observer, Refused, Sink, Summary, Taken};
pub use jsonl::JsonLines;

use crate::event::{EventError, NewEvent};

/// What a line is.
#[derive(Debug)]
pub enum Parsed {
    /// Something that happened, once or several times over.
    Event {
        /// The event.
        event: Box<NewEvent<'static>>,
        /// How many times it happened, at least once.
        times: u32,
    },
    /// A good line that is no security event.
    Ignored,
}

/// Makes events of lines. It is handed each line in the order of the input, without its line end, never a blank one.
pub trait Decoder {
    /// Reads one line.
    ///
    /// # Errors
    /// Why the line is rejected; the lines after it are read all the same.
    fn decode(&mut self, line: &[u8]) -> Result<Parsed, LineError>;
}

impl Decoder for authlog::Parser {
    fn decode(&mut self, line: &[u8]) -> Result<Parsed, LineError> {
        Ok(self.parse(line)?)
    }
}

/// Why a line is rejected; `Display` is `field: reason`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is longer than the importer's bound.
    #[error("line: over {bytes_max} bytes")]
    TooLong {
        /// The bound, without the line end.
        bytes_max: usize,
    },
    /// It is no valid event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// It is no line of `auth.log`.
    #[error(transparent)]
    Authlog(#[from] authlog::ParseError),
}

impl LineError {
    /// The field at fault.
    pub fn field(&self) -> &str {
        match self {
            Self::TooLong { .. } => "line",
            Self::Event(error) => error.field(),
            Self::Authlog(error) => error.field(),
        }
    }

    /// What is wrong with it.
    pub fn reason(&self) -> String {
        match self {
            Self::TooLong { bytes_max } => format!("over {bytes_max} bytes"),
            Self::Event(error) => error.reason().to_string(),
            Self::Authlog(error) => error.reason().to_string(),
        }
    }
}
