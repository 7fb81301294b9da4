//! Owns the time stamps of syslog lines: the classic one without a year, the ISO 8601 one, and how the missing year is
//! found. Must not know what stands behind the stamp in the line, and never looks at a clock: `now` is given.

use super::error::{ParseError, ParseErrorKind};
use crate::event::Timestamp;

/// A classic stamp that lies this many days of the year or fewer behind the line before it is a late line; one that
/// lies further back is the next year.
const BACK_DAYS_MAX: i32 = 183;
/// Over New Year, a December stamp after a January one is a late line from the old year when it is no more than this many
/// days behind; else the log has simply had nothing to say for months.
const LATE_DAYS_MAX: i32 = 31;
/// How far back a year is looked for: 29 February comes at least this often, also over a century without a leap year.
const LEAP_YEARS_APART_MAX: u16 = 8;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Days of a leap year before each month: 29 February has a place in every year's count.
const DAYS_BEFORE: [i32; 12] = [0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335];

/// The time stamp as the line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp<'a> {
    /// `Mar 27 13:06:56`: month from 1, day of the month, time of day. UTC, and without a year.
    Classic { month: u8, day: u8, time: &'a str },
    /// A stamp that says everything.
    Full(Timestamp),
}

impl<'a> Stamp<'a> {
    /// Takes the stamp off the start of `text` and gives the rest, behind the blank.
    pub(super) fn split(text: &'a str) -> Result<(Self, &'a str), ParseError> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            split_iso(text)
        } else {
            split_classic(text).ok_or_else(|| ParseError::new("timestamp", ParseErrorKind::NoTimestamp))
        }
    }
}

fn split_classic(text: &str) -> Option<(Stamp<'_>, &str)> {
    let (name, rest) = text.split_once(' ')?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    if day.len() > 2 || !is_digits(day) {
        return None;
    }
    let (time, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let month = u8::try_from(month + 1).ok()?;
    is_time_of_day(time).then_some((Stamp::Classic { month, day: day.parse().ok()?, time }, rest))
}

fn split_iso(text: &str) -> Result<(Stamp<'_>, &str), ParseError> {
    let token_end = |from: usize| text[from..].find(' ').map_or(text.len(), |blank| from + blank);
    let mut end = token_end(0);
    // `2024-03-27 13:06:56`: the time is a word of its own.
    if end == "2024-03-27".len() && text[end..].starts_with(' ') {
        let time_end = token_end(end + 1);
        if text[end + 1..time_end].starts_with(|first: char| first.is_ascii_digit()) {
            end = time_end;
        }
    }
    let time = parse_iso(&text[..end])?;
    let rest = &text[end..];
    Ok((Stamp::Full(time), rest.strip_prefix(' ').unwrap_or(rest)))
}

/// An ISO 8601 / RFC 3339 time stamp. One without a zone is UTC; the zone may lack its colon (`journalctl -o short-iso`).
pub(super) fn parse_iso(stamp: &str) -> Result<Timestamp, ParseError> {
    let invalid = || ParseError::new("timestamp", ParseErrorKind::NoTimestamp);
    let date = stamp.get(..10).ok_or_else(invalid)?;
    let separator = stamp.as_bytes().get(10).copied();
    if !matches!(separator, Some(b'T' | b't' | b' ')) {
        return Err(invalid());
    }
    let time = &stamp[11..];
    let zone_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone_at);
    let zone = match zone.len() {
        0 => "Z".to_owned(),
        5 if zone.is_char_boundary(3) => format!("{}:{}", &zone[..3], &zone[3..]),
        _ => zone.to_owned(),
    };
    parse_strict(&format!("{date}T{time}{zone}"))
}

fn parse_strict(stamp: &str) -> Result<Timestamp, ParseError> {
    Timestamp::parse_rfc3339(stamp)
        .map_err(|error| ParseError::new("timestamp", ParseErrorKind::Event(error)))
}

/// Finds the year of classic stamps. The rule, line by line:
///
/// 1. The first stamp gets the year that was given, or else the latest year in which it isn't after `now`
///    (29 February: the latest leap year).
/// 2. Each later one gets the year of the stamp before it, unless
///    - it then lies more than 183 days back: that is New Year, and it gets the next year;
///    - it then lies ahead, and in the year before would be at most 31 days back: a late line from before New Year.
///
/// So a step back of minutes, days or some months (lines out of order, files joined in the wrong order) is no New Year.
/// A stream can't be looked at to its end, so a log without years that is older than a year needs the year to be given.
#[derive(Debug)]
pub(super) struct Calendar {
    given: Option<u16>,
    now: Timestamp,
    /// Year and day of the year of the last stamp that was good.
    last: Option<(u16, i32)>,
}

impl Calendar {
    pub(super) fn new(given: Option<u16>, now: Timestamp) -> Self {
        Self { given, now, last: None }
    }

    /// The point in time of a stamp; one that is no date changes nothing for the lines after it.
    pub(super) fn resolve(&mut self, stamp: Stamp<'_>) -> Result<Timestamp, ParseError> {
        let (month, day, time) = match stamp {
            Stamp::Full(time) => {
                if let Some((year, month, day)) = civil_date(time) {
                    self.last = Some((year, day_of_year(month, day)));
                }
                return Ok(time);
            }
            Stamp::Classic { month, day, time } => (month, day, time),
        };
        let day_number = day_of_year(month, day);
        let (year, at) = match (self.last, self.given) {
            (Some(last), _) => {
                let year = year_after(last, day_number);
                (year, at(year, month, day, time)?)
            }
            (None, Some(given)) => (given, at(given, month, day, time)?),
            (None, None) => self.latest_not_in_future(month, day, time)?,
        };
        self.last = Some((year, day_number));
        Ok(at)
    }

    fn latest_not_in_future(&self, month: u8, day: u8, time: &str) -> Result<(u16, Timestamp), ParseError> {
        let (this_year, _, _) = civil_date(self.now).unwrap_or((1970, 1, 1));
        let mut found = at(this_year, month, day, time);
        for year in (this_year.saturating_sub(LEAP_YEARS_APART_MAX)..=this_year).rev() {
            match at(year, month, day, time) {
                Ok(time) if time <= self.now => return Ok((year, time)),
                // Keeps the reason why a stamp is no date in any year.
                other => found = other,
            }
        }
        found.map(|time| (this_year, time))
    }
}

fn year_after((year, last_day): (u16, i32), day: i32) -> u16 {
    let step = day - last_day;
    if step < -BACK_DAYS_MAX {
        year.saturating_add(1)
    } else if step >= 366 - LATE_DAYS_MAX {
        year.saturating_sub(1)
    } else {
        year
    }
}

fn at(year: u16, month: u8, day: u8, time: &str) -> Result<Timestamp, ParseError> {
    if (month, day) == (2, 29) && !is_leap(year) {
        return Err(ParseError::new("timestamp", ParseErrorKind::NoLeapDay { year }));
    }
    parse_strict(&format!("{year:04}-{month:02}-{day:02}T{time}Z"))
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn day_of_year(month: u8, day: u8) -> i32 {
    let before = usize::from(month).checked_sub(1).and_then(|index| DAYS_BEFORE.get(index));
    before.copied().unwrap_or_default() + i32::from(day)
}

fn civil_date(time: Timestamp) -> Option<(u16, u8, u8)> {
    let time = jiff::Timestamp::from_microsecond(time.as_micros()).ok()?;
    let date = jiff::tz::TimeZone::UTC.to_datetime(time).date();
    Some((u16::try_from(date.year()).ok()?, u8::try_from(date.month()).ok()?, u8::try_from(date.day()).ok()?))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `HH:MM:SS` with an optional fraction: the shape alone, whether it is a time is decided with the date.
fn is_time_of_day(text: &str) -> bool {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let shaped = clock.bytes().enumerate().all(|(index, byte)| match index {
        2 | 5 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    clock.len() == 8 && shaped && is_digits(fraction)
}
