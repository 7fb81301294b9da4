//! [`Timestamp`] and [`EventId`]: when, and which.
//!
//! Owns the strict reading and the writing of RFC 3339 and of UUID text. It must not know the clock.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::EventError;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A moment: whole microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Read from and written as RFC 3339 text. What is text has a year from 0000 to 9999 in UTC
/// ([`MIN`](Self::MIN) to [`MAX`](Self::MAX)), and so has each time in an event.
///
/// # Examples
///
/// ```
/// use usertrail::event::Timestamp;
///
/// let at = Timestamp::parse_rfc3339("2026-11-20T11:30:00.25+02:00")?;
/// assert_eq!(at.to_string(), "2026-11-20T09:30:00.250Z");
/// assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00Z");
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0000-01-01T00:00:00Z, the earliest that RFC 3339 can write.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// 9999-12-31T23:59:59.999999Z, the latest that RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The moment `micros` microseconds after 1970-01-01T00:00:00Z, or before it when negative.
    ///
    /// Takes any number, so that a damaged record can be shown; an event takes only what
    /// [`is_rfc3339`](Self::is_rfc3339).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whether RFC 3339 can write it: [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    #[must_use]
    pub const fn is_rfc3339(self) -> bool {
        Self::MIN.0 <= self.0 && self.0 <= Self::MAX.0
    }

    /// Reads RFC 3339 text, strictly.
    ///
    /// - The date, `T` or `t`, the time with seconds, and `Z`, `z` or an offset `±hh:mm` are all required. A space
    ///   instead of the `T` is refused. `-00:00` is read as UTC.
    /// - Any number of fraction digits, as long as those after the sixth are zeros: no precision is lost silently.
    /// - A leap second (`:60`) only at the end of a month in UTC. It is the first second of the next day,
    ///   as in POSIX, since the count of microseconds has no place for it.
    /// - The moment in UTC must be from [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    ///
    /// # Errors
    ///
    /// [`Invalid`](super::EventErrorKind::Invalid), naming the field `timestamp`, for anything else.
    pub fn parse_rfc3339(text: &str) -> Result<Self, EventError> {
        Self::parse_field(text, "timestamp")
    }

    /// As [`parse_rfc3339`](Self::parse_rfc3339), with errors that name `field`.
    pub(super) fn parse_field(text: &str, field: &'static str) -> Result<Self, EventError> {
        parse(text.as_bytes()).map_err(|what| EventError::invalid(field, what))
    }
}

/// The text being read, and what is left of it.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    fn eat(&mut self, wanted: &[u8]) -> bool {
        match self.0.split_first() {
            Some((byte, rest)) if wanted.contains(byte) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn digit(&mut self) -> Option<i64> {
        let (byte, rest) = self.0.split_first()?;
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        self.0 = rest;
        Some(digit)
    }

    /// Exactly `count` digits.
    fn number(&mut self, count: u32) -> Option<i64> {
        let mut number = 0;
        for _ in 0..count {
            number = number * 10 + self.digit()?;
        }
        Some(number)
    }
}

const FORM: &str = "must be RFC 3339 with an offset, as in 2026-11-20T09:30:00Z";

fn parse(text: &[u8]) -> Result<Timestamp, &'static str> {
    let mut rest = Rest(text);
    let (year, month, day) = parse_date(&mut rest).ok_or(FORM)?;
    if !rest.eat(b"Tt") {
        return Err(FORM);
    }
    let (hour, minute, second) = parse_clock(&mut rest).ok_or(FORM)?;
    let micros = if rest.eat(b".") { parse_fraction(&mut rest)? } else { 0 };
    let offset = parse_offset(&mut rest)?;
    if !rest.0.is_empty() {
        return Err(FORM);
    }
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return Err("is not a date of the calendar");
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err("is not a time of day");
    }
    let seconds =
        days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second - offset;
    if second == 60 && !is_start_of_month(seconds) {
        return Err("has a leap second that isn't at the end of a month in UTC");
    }
    let moment = Timestamp(seconds * MICROS_PER_SECOND + micros);
    if moment.is_rfc3339() { Ok(moment) } else { Err("is outside of the years 0000 to 9999 in UTC") }
}

fn parse_date(rest: &mut Rest<'_>) -> Option<(i64, i64, i64)> {
    let year = rest.number(4)?;
    let month = rest.eat(b"-").then(|| rest.number(2))??;
    let day = rest.eat(b"-").then(|| rest.number(2))??;
    Some((year, month, day))
}

fn parse_clock(rest: &mut Rest<'_>) -> Option<(i64, i64, i64)> {
    let hour = rest.number(2)?;
    let minute = rest.eat(b":").then(|| rest.number(2))??;
    let second = rest.eat(b":").then(|| rest.number(2))??;
    Some((hour, minute, second))
}

/// Microseconds.
fn parse_fraction(rest: &mut Rest<'_>) -> Result<i64, &'static str> {
    let mut micros = rest.digit().ok_or(FORM)? * 100_000;
    let mut unit = 10_000;
    while let Some(digit) = rest.digit() {
        if unit == 0 && digit != 0 {
            return Err("is finer than a microsecond");
        }
        micros += digit * unit;
        unit /= 10;
    }
    Ok(micros)
}

/// Seconds to the east of UTC.
fn parse_offset(rest: &mut Rest<'_>) -> Result<i64, &'static str> {
    if rest.eat(b"Zz") {
        return Ok(0);
    }
    let sign = match (rest.eat(b"+"), rest.eat(b"-")) {
        (true, false) => 1,
        (false, true) => -1,
        _ => return Err(FORM),
    };
    let hours = rest.number(2).ok_or(FORM)?;
    let minutes = rest.eat(b":").then(|| rest.number(2)).flatten().ok_or(FORM)?;
    if hours > 23 || minutes > 59 {
        return Err("has an offset of more than 23:59");
    }
    Ok(sign * (hours * 3_600 + minutes * 60))
}

fn is_start_of_month(seconds: i64) -> bool {
    let (_, _, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    day == 1 && seconds.rem_euclid(SECONDS_PER_DAY) == 0
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar; see Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms". Years are counted from March, so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Writes a number's last digits, as many as there is room for.
fn put_digits(room: &mut [u8], number: i64) {
    let mut left = number;
    for place in room.iter_mut().rev() {
        *place = b'0' + u8::try_from(left.rem_euclid(10)).unwrap_or(0);
        left = left.div_euclid(10);
    }
}

/// The text of a moment that RFC 3339 can write: all bytes, of which the first `usize` are it. Written by hand because
/// every event of a page has two.
fn rfc3339_text(moment: Timestamp) -> ([u8; 27], usize) {
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let seconds = moment.0.div_euclid(MICROS_PER_SECOND);
    let micros = moment.0.rem_euclid(MICROS_PER_SECOND);
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    put_digits(&mut text[..4], year);
    put_digits(&mut text[5..7], month);
    put_digits(&mut text[8..10], day);
    put_digits(&mut text[11..13], second / 3_600);
    put_digits(&mut text[14..16], second / 60 % 60);
    put_digits(&mut text[17..19], second % 60);
    put_digits(&mut text[20..26], micros);
    let end = match (micros, micros % 1_000) {
        (0, _) => 19,
        (_, 0) => 23,
        _ => 26,
    };
    text[end] = b'Z';
    (text, end + 1)
}

/// Runs `f` on the text of a moment that RFC 3339 can write.
fn with_rfc3339<T>(moment: Timestamp, f: impl FnOnce(&str) -> T) -> T {
    let (text, len) = rfc3339_text(moment);
    // All of it is ASCII.
    f(text.get(..len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default())
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with `Z`; the fraction only when it isn't zero, with three or six digits.
    ///
    /// A moment that RFC 3339 can't write gets a sign and at least six digits of year, as in ISO 8601.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_rfc3339() {
            return with_rfc3339(*self, |text| f.pad(text));
        }
        let (year, ..) = civil_from_days(self.0.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY));
        write!(f, "{year:+07}")?;
        // All but the year is as in any other.
        with_rfc3339(*self, |text| f.write_str(text.get(4..).unwrap_or_default()))
    }
}

impl FromStr for Timestamp {
    type Err = EventError;

    /// As [`parse_rfc3339`](Timestamp::parse_rfc3339).
    fn from_str(text: &str) -> Result<Self, EventError> {
        Self::parse_rfc3339(text)
    }
}

impl Serialize for Timestamp {
    /// As RFC 3339 text.
    ///
    /// # Errors
    ///
    /// A moment that RFC 3339 can't write is an error, since no reader would take it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_rfc3339() {
            return Err(serde::ser::Error::custom("a time outside of the years 0000 to 9999"));
        }
        with_rfc3339(*self, |text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("RFC 3339 text", Self::parse_rfc3339))
    }
}

/// The id of a stored event: 128 bits, a UUID of version 7, given by the store.
///
/// # Examples
///
/// ```
/// use usertrail::event::EventId;
///
/// let id: EventId = "019a9f4e-5f00-7000-8000-00000000002a".parse()?;
/// assert_eq!(id.as_u128() & 0xff, 42);
/// assert_eq!(EventId::from_bytes(id.to_bytes()), id);
/// assert_eq!(id.to_string(), "019a9f4e-5f00-7000-8000-00000000002a");
/// # Ok::<(), usertrail::event::EventError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(u128);

impl EventId {
    /// The id with these 128 bits.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// Its 128 bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// Its 16 bytes, the most significant first, as UUIDs are stored and sorted.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id with these 16 bytes, the most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    /// Hyphenated, in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        f.pad(uuid::Uuid::from_u128(self.0).as_hyphenated().encode_lower(&mut text))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

impl FromStr for EventId {
    type Err = EventError;

    /// Reads the hyphenated form, 36 characters, in either case.
    ///
    /// # Errors
    ///
    /// [`Invalid`](super::EventErrorKind::Invalid) on `id` for any other text: braces, a URN prefix, no hyphens.
    fn from_str(text: &str) -> Result<Self, EventError> {
        let form = || EventError::invalid("id", "must be a hyphenated UUID");
        // The crate reads other forms as well; they have other lengths.
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return Err(form());
        }
        uuid::Uuid::try_parse(text).map(|id| Self(id.as_u128())).map_err(|_| form())
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        serializer.serialize_str(uuid::Uuid::from_u128(self.0).as_hyphenated().encode_lower(&mut text))
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a hyphenated UUID", Self::from_str))
    }
}

/// Reads a text by a function: what it expects, and the function.
struct Text<T>(&'static str, fn(&str) -> Result<T, EventError>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}
