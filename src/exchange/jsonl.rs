//! Owns the decoder for lines of JSON. Must not know the members of an event: that is the event room's.

use super::{Decoder, LineError, Parsed};
use crate::event::{UnknownMembers, from_json_line};

/// One JSON object a line, one event an object.
#[derive(Debug)]
pub struct JsonLines {
    unknown: UnknownMembers,
}

impl JsonLines {
    /// `unknown` says what becomes of members that an event doesn't have.
    pub fn new(unknown: UnknownMembers) -> Self {
        Self { unknown }
    }
}

impl Decoder for JsonLines {
    fn decode(&mut self, line: &[u8]) -> Result<Parsed, LineError> {
        let event = from_json_line(line, self.unknown)?.into_owned();
        Ok(Parsed::Event { event: Box::new(event), times: 1 })
    }
}
