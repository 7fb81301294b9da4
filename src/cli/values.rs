//! What arguments say: sizes, counts of shards, times, lists. Must not know which argument it is.

use crate::{Action, Category, Level, Service, Status, Timestamp};

const SEGMENT_RULE: &str = "must be from 1MiB to 1GiB, such as 64MiB, 64M or 67108864";

/// A size in bytes: a number with `K`, `M`, `G` (or `KiB`, `MiB`, `GiB`) behind it, or nothing.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

pub(super) fn segment_size(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).ok_or(SEGMENT_RULE)?;
    if (1 << 20..=1 << 30).contains(&bytes) { Ok(bytes) } else { Err(SEGMENT_RULE.to_owned()) }
}

const COUNT_RULE: &str = "must be a whole number from 1 on, such as 200000, 200_000, 200k or 10M";

/// A count from 1 on: a number with `k` or `M` behind it, or nothing.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1_000,
        "m" | "M" => 1_000_000,
        _ => return Err(COUNT_RULE.to_owned()),
    };
    let plain = digits.replace('_', "");
    let number = plain.bytes().all(|byte| byte.is_ascii_digit()).then(|| plain.parse::<u64>().ok()).flatten();
    number.and_then(|number| number.checked_mul(unit)).filter(|&n| n > 0).ok_or_else(|| COUNT_RULE.to_owned())
}

/// As [`count`], and less than 2^32.
pub(super) fn count_32(text: &str) -> Result<u32, String> {
    u32::try_from(count(text)?).map_err(|_| "must be less than 4294967296".to_owned())
}

pub(super) fn shards(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(shards) if shards.is_power_of_two() && shards <= 1 << 14 => Ok(shards),
        _ => Err("must be a power of two from 1 to 16384".to_owned()),
    }
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .map_err(|error| format!("{}; such as 2026-01-31T18:00:00Z", error.reason()))
}

pub(super) fn user(text: &str) -> Result<String, String> {
    crate::UserId::new(text).map(|user| user.as_str().to_owned()).map_err(|error| error.to_string())
}

/// A user id as a JSON string, for what an argument can't hold.
pub(super) fn user_json(text: &str) -> Result<String, String> {
    let text: String = serde_json::from_str(text)
        .map_err(|_| "must be a JSON string, such as '\"a\\u0000b\"'".to_owned())?;
    user(&text)
}

/// Several values given at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Several<T>(pub(super) Vec<T>);

/// Values between commas; `\,` is a comma and `\\` a backslash within one.
fn several<T>(text: &str, parse: impl Fn(String) -> Result<T, String>) -> Result<Several<T>, String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let part = match (c, characters.peek()) {
            ('\\', Some(escaped @ (',' | '\\'))) => {
                let escaped = *escaped;
                characters.next();
                Some(escaped)
            }
            (',', _) => None,
            _ => Some(c),
        };
        match (part, parts.last_mut()) {
            (Some(c), Some(last)) => last.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.into_iter().map(parse).collect::<Result<_, _>>().map(Several)
}

pub(super) fn levels(text: &str) -> Result<Several<Level>, String> {
    several(text, |part| part.parse().map_err(|error: crate::EventError| error.reason().to_string()))
}

pub(super) fn categories(text: &str) -> Result<Several<Category>, String> {
    several(text, |part| part.parse().map_err(|error: crate::EventError| error.reason().to_string()))
}

pub(super) fn statuses(text: &str) -> Result<Several<Status>, String> {
    several(text, |part| part.parse().map_err(|error: crate::EventError| error.reason().to_string()))
}

pub(super) fn actions(text: &str) -> Result<Several<Action<'static>>, String> {
    several(text, |part| Action::new(part).map_err(|error| error.reason().to_string()))
}

pub(super) fn services(text: &str) -> Result<Several<Service<'static>>, String> {
    several(text, |part| Service::new(part).map_err(|error| error.reason().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_none() {
        for text in ["64MiB", "64M", "64mib", "67108864", "67108864B", "65536K", "65536KiB"] {
            assert_eq!(segment_size(text), Ok(64 << 20), "{text}");
        }
        assert_eq!((segment_size("1G"), segment_size("1048576")), (Ok(1 << 30), Ok(1 << 20)));
        for text in ["", "M", "64MB", "-1M", "1.5M", "1048575", "1025M", "0", "99999999999999999999", "64 M"]
        {
            assert_eq!(segment_size(text), Err(SEGMENT_RULE.to_owned()), "{text}");
        }
    }

    #[test]
    fn counts_have_units_or_none() {
        for (text, number) in [("1", 1), ("200_000", 200_000), ("200k", 200_000), ("10M", 10_000_000)] {
            assert_eq!(count(text), Ok(number), "{text}");
        }
        for text in ["", "0", "0k", "-1", "+1", "1.5M", "1kk", "1G", "k", "_", "18446744073709551615k"] {
            assert_eq!(count(text), Err(COUNT_RULE.to_owned()), "{text}");
        }
        assert_eq!((count_32("4294967295").is_ok(), count_32("4294967296").is_ok()), (true, false));
    }

    #[test]
    fn shards_are_powers_of_two() {
        assert_eq!((shards("1"), shards("4"), shards("16384")), (Ok(1), Ok(4), Ok(16_384)));
        for text in ["0", "3", "32768", "-4", "", "four"] {
            assert!(shards(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_split_at_commas_that_are_not_escaped() {
        let names = |text: &str| -> Result<Vec<String>, String> {
            Ok(services(text)?.0.iter().map(|service| service.as_str().to_owned()).collect())
        };
        assert_eq!(names("a,b").unwrap(), ["a", "b"]);
        assert_eq!(names(r"a\,b,c\\,d\e").unwrap(), ["a,b", r"c\", r"d\e"]);
        assert_eq!(names(r"a\").unwrap(), [r"a\"]);
        assert!(names("").is_err() && names("a,").is_err() && names("a,,b").is_err());
        assert_eq!(levels("info,error"), Ok(Several(vec![Level::Info, Level::Error])));
        assert!(levels("info,nothing").is_err());
    }

    #[test]
    fn user_ids_that_no_argument_holds_are_json() {
        assert_eq!(user_json(r#""a\u0000b""#), Ok("a\0b".to_owned()));
        assert!(user_json("a").is_err() && user_json("\"\"").is_err() && user("").is_err());
    }
}
