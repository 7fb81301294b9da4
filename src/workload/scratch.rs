//! The identifiers that events borrow until the next event is made: those of which there are too many for a pool.
//!
//! Owns one buffer and its places. Must not know whose identifiers they are.

use std::ops::Range;

use super::ident::{HexText, UuidText};

const USER: Range<usize> = 0..36;
const REQUEST: Range<usize> = 36..68;
const SESSION: Range<usize> = 68..104;
const ACTOR: Range<usize> = 104..140;

/// One buffer for all, and aligned: it is checked to be UTF-8 once an event, in words. Checked one by one, the texts
/// took a tenth of the time of an event.
#[derive(Clone, Debug)]
#[repr(align(16))]
pub(super) struct Scratch([u8; 140]);

/// The identifiers as texts. Those which the event doesn't have are left from an earlier one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a>(&'a str);

impl Scratch {
    pub(super) fn new() -> Self {
        Self([b'0'; 140])
    }

    #[inline]
    pub(super) fn put_user(&mut self, text: &UuidText) {
        self.0[USER].copy_from_slice(text);
    }

    #[inline]
    pub(super) fn put_request(&mut self, text: &HexText) {
        self.0[REQUEST].copy_from_slice(text);
    }

    #[inline]
    pub(super) fn put_session(&mut self, text: &UuidText) {
        self.0[SESSION].copy_from_slice(text);
    }

    #[inline]
    pub(super) fn put_actor(&mut self, text: &UuidText) {
        self.0[ACTOR].copy_from_slice(text);
    }

    #[inline]
    pub(super) fn texts(&self) -> Texts<'_> {
        Texts(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl<'a> Texts<'a> {
    #[inline]
    pub(super) fn user(self) -> &'a str {
        self.0.get(USER).unwrap_or_default()
    }

    #[inline]
    pub(super) fn request(self) -> &'a str {
        self.0.get(REQUEST).unwrap_or_default()
    }

    #[inline]
    pub(super) fn session(self) -> &'a str {
        self.0.get(SESSION).unwrap_or_default()
    }

    #[inline]
    pub(super) fn actor(self) -> &'a str {
        self.0.get(ACTOR).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_its_place() {
        let mut scratch = Scratch::new();
        scratch.put_user(&[b'u'; 36]);
        scratch.put_request(&[b'r'; 32]);
        scratch.put_session(&[b's'; 36]);
        scratch.put_actor(&[b'a'; 36]);
        let texts = scratch.texts();
        assert_eq!(texts.user(), "u".repeat(36));
        assert_eq!(texts.request(), "r".repeat(32));
        assert_eq!(texts.session(), "s".repeat(36));
        assert_eq!(texts.actor(), "a".repeat(36));
    }
}
