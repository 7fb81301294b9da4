//! Strict JSON text: is it valid, and what is its compact form?
//!
//! Owns a scanner after RFC 8259 that keeps every number and every string as it was written. Why not a parser:
//! one that makes values rounds `0.10` and refuses `1e400`, and one that skips values takes lone surrogates.
//! It must not know events.

use std::borrow::Cow;
use std::ops::Range;

/// A fault in a text: the byte at which it was met, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextFault {
    pub at: usize,
    pub what: &'static str,
}

/// What [`TextFault::what`] says of a text that is valid but for its depth.
pub(super) const TOO_DEEP: &str = "nested too deeply";

/// The text without the white space between its tokens: borrowed when there is none.
///
/// `nesting_max`: how many arrays and objects may stand in each other; at most 127.
pub(super) fn compact(text: &str, nesting_max: u32) -> Result<Cow<'_, str>, TextFault> {
    let mut scanner = Scanner::new(text, nesting_max);
    scanner.run()?;
    Ok(match scanner.compact {
        None => Cow::Borrowed(text),
        Some(mut compact) => {
            compact.push_str(text.get(scanner.copied..).unwrap_or_default());
            Cow::Owned(compact)
        }
    })
}

/// The names of an object's own members, decoded. The text must have passed [`compact`].
pub(super) fn member_names(object: &str) -> Result<Vec<Cow<'_, str>>, TextFault> {
    let mut scanner = Scanner::new(object, NESTING_MAX);
    scanner.names = Some(Vec::new());
    scanner.run()?;
    let ranges = scanner.names.unwrap_or_default();
    ranges
        .into_iter()
        .map(|range| decode_string(object.get(range.clone()).unwrap_or_default(), range.start))
        .collect()
}

/// The text that a JSON string stands for, quotes included in `raw`.
pub(super) fn decode_string(raw: &str, at: usize) -> Result<Cow<'_, str>, TextFault> {
    let fault = TextFault { at, what: "a string with an invalid escape or half a surrogate pair" };
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(fault)?;
    if inner.contains('\\') {
        serde_json::from_str(raw).map(Cow::Owned).map_err(|_| fault)
    } else {
        Ok(Cow::Borrowed(inner))
    }
}

/// The scanner's own bound: it keeps the kinds of the open arrays and objects in the bits of a `u128`.
const NESTING_MAX: u32 = 127;

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    /// The output up to `copied`, once the first white space has been met.
    compact: Option<String>,
    copied: usize,
    nesting: u32,
    nesting_max: u32,
    /// A bit for each open container, the innermost lowest: set for an object.
    objects: u128,
    /// Where the names of the outermost object are, when asked for.
    names: Option<Vec<Range<usize>>>,
}

type Scan<T = ()> = Result<T, TextFault>;

impl<'t> Scanner<'t> {
    fn new(text: &'t str, nesting_max: u32) -> Self {
        let nesting_max = nesting_max.min(NESTING_MAX);
        Self { text, at: 0, compact: None, copied: 0, nesting: 0, nesting_max, objects: 0, names: None }
    }

    fn fault<T>(&self, what: &'static str) -> Scan<T> {
        Err(TextFault { at: self.at, what })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, wanted: u8) -> bool {
        let met = self.peek() == Some(wanted);
        self.at += usize::from(met);
        met
    }

    fn space(&mut self) {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        if self.at > start {
            let run = self.text.get(self.copied..start).unwrap_or_default();
            self.compact.get_or_insert_with(|| String::with_capacity(self.text.len())).push_str(run);
            self.copied = self.at;
        }
    }

    fn run(&mut self) -> Scan {
        self.space();
        loop {
            let ended = match self.peek() {
                Some(b'{') => self.open(true)?,
                Some(b'[') => self.open(false)?,
                Some(b'"') => self.string().map(|()| true)?,
                Some(b'-' | b'0'..=b'9') => self.number().map(|()| true)?,
                Some(b't') => self.literal("true").map(|()| true)?,
                Some(b'f') => self.literal("false").map(|()| true)?,
                Some(b'n') => self.literal("null").map(|()| true)?,
                _ => return self.fault("a value was expected"),
            };
            if ended && self.after_value()? {
                return Ok(());
            }
        }
    }

    /// Whether the container has ended at once, being empty.
    fn open(&mut self, object: bool) -> Scan<bool> {
        if self.nesting >= self.nesting_max {
            return self.fault(TOO_DEEP);
        }
        self.at += 1;
        self.nesting += 1;
        self.objects = self.objects << 1 | u128::from(object);
        self.space();
        if self.eat(if object { b'}' } else { b']' }) {
            self.close();
            return Ok(true);
        }
        if object {
            self.name()?;
        }
        Ok(false)
    }

    fn close(&mut self) {
        self.nesting -= 1;
        self.objects >>= 1;
    }

    /// Goes on to the next value; true when the outermost has ended and nothing follows.
    fn after_value(&mut self) -> Scan<bool> {
        loop {
            self.space();
            if self.nesting == 0 {
                return if self.peek().is_none() {
                    Ok(true)
                } else {
                    self.fault("nothing more was expected")
                };
            }
            let object = self.objects & 1 == 1;
            if self.eat(b',') {
                self.space();
                if object {
                    self.name()?;
                }
                return Ok(false);
            }
            if !self.eat(if object { b'}' } else { b']' }) {
                return self.fault("a comma or the end of the array or object was expected");
            }
            self.close();
        }
    }

    fn name(&mut self) -> Scan {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.fault("a member's name was expected");
        }
        self.string()?;
        let end = self.at;
        if self.nesting == 1
            && let Some(names) = &mut self.names
        {
            names.push(start..end);
        }
        self.space();
        if !self.eat(b':') {
            return self.fault("a colon was expected");
        }
        self.space();
        Ok(())
    }

    fn string(&mut self) -> Scan {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return self.fault("a control character in a string"),
                Some(_) => self.at += 1,
                None => return self.fault("a string without an end"),
            }
        }
    }

    fn escape(&mut self) -> Scan {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.hex4()? {
                    0xd800..0xdc00 => {
                        let paired =
                            self.eat(b'\\') && self.eat(b'u') && (0xdc00..0xe000).contains(&self.hex4()?);
                        if paired { Ok(()) } else { self.fault("half a surrogate pair") }
                    }
                    0xdc00..0xe000 => self.fault("half a surrogate pair"),
                    _ => Ok(()),
                }
            }
            _ => self.fault("an invalid escape"),
        }
    }

    fn hex4(&mut self) -> Scan<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.fault("an invalid escape");
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Scan {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// One digit at least.
    fn digits(&mut self) -> Scan {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.fault("a digit was expected") } else { Ok(()) }
    }

    fn literal(&mut self, literal: &'static str) -> Scan {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(literal)) {
            self.at += literal.len();
            return Ok(());
        }
        self.fault("a value was expected")
    }
}
