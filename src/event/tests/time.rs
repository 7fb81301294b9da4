//! Times and ids as text.

use proptest::prelude::*;

use super::super::*;
use super::moment;

fn micros(text: &str) -> i64 {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).as_micros()
}

#[test]
fn what_rfc_3339_allows_is_read() {
    let second = 1_000_000;
    let good = [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T00:00:00+00:00", 0),
        ("1970-01-01T14:00:00+14:00", 0),
        ("1969-12-31T00:01:00-23:59", 0),
        ("1970-01-01T23:59:00+23:59", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00.123456000000000000000000Z", 123_456),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2000-02-29T00:00:00Z", 951_782_400 * second),
        ("2024-02-29T12:00:00Z", 1_709_208_000 * second),
        // RFC 3339, section 5.8
        ("1985-04-12T23:20:50.52Z", 482_196_050_520_000),
        ("1996-12-19T16:39:57-08:00", 851_042_397 * second),
        ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130_000),
        ("0000-01-01T00:00:00Z", Timestamp::MIN.as_micros()),
        ("9999-12-31T23:59:59.999999Z", Timestamp::MAX.as_micros()),
    ];
    for (text, expected) in good {
        assert_eq!(micros(text), expected, "{text}");
    }
}

#[test]
fn a_leap_second_is_the_start_of_the_next_day() {
    let next = micros("1991-01-01T00:00:00Z");
    assert_eq!(micros("1990-12-31T23:59:60Z"), next);
    assert_eq!(micros("1990-12-31T15:59:60-08:00"), next);
    assert_eq!(micros("1991-01-01T05:29:60+05:30"), next);
    assert_eq!(micros("1990-12-31T23:59:60.25Z"), next + 250_000);
    assert_eq!(micros("2016-06-30T23:59:60Z"), micros("2016-07-01T00:00:00Z"));
    for text in [
        "1990-12-30T23:59:60Z",
        "1990-12-31T23:58:60Z",
        "1990-12-31T22:59:60Z",
        "1990-12-31T23:59:60-08:00",
        "1990-12-31T23:59:61Z",
        "9999-12-31T23:59:60Z",
    ] {
        assert!(Timestamp::parse_rfc3339(text).is_err(), "{text}");
    }
}

#[test]
fn what_rfc_3339_does_not_allow_is_refused() {
    let bad = [
        "",
        "Z",
        "2026",
        "2026-11-20",
        "2026-11-20T09:30Z",
        "2026-11-20T09:30:00",
        "2026-11-20 09:30:00Z",
        "20261120T093000Z",
        "2026-11-20T09:30:00.Z",
        "2026-11-20T09:30:00,5Z",
        "2026-11-20T09:30:00+02",
        "2026-11-20T09:30:00+0200",
        "2026-11-20T09:30:00+2:00",
        "2026-11-20T09:30:00+02:0",
        "2026-11-20T09:30:00+24:00",
        "2026-11-20T09:30:00+02:60",
        "2026-11-20T09:30:00 Z",
        "2026-11-20T09:30:00ZZ",
        "2026-11-20T09:30:00Z ",
        " 2026-11-20T09:30:00Z",
        "2026-11-20T09:30:00+-2:00",
        "2026-11-20T09:30:00\u{2212}02:00",
        "2026-11-20T09:30:00Z[UTC]",
        "2026-11-20T09:30:00UTC",
        "+002026-11-20T09:30:00Z",
        "-001-11-20T09:30:00Z",
        "12026-11-20T09:30:00Z",
        "226-11-20T09:30:00Z",
        "2026-1-20T09:30:00Z",
        "2026-11-2T09:30:00Z",
        "2026-11-20T9:30:00Z",
        "2026-13-20T09:30:00Z",
        "2026-00-20T09:30:00Z",
        "2026-11-00T09:30:00Z",
        "2026-11-31T09:30:00Z",
        "2026-02-29T09:30:00Z",
        "2024-02-30T09:30:00Z",
        "1900-02-29T00:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T09:60:00Z",
        "2026-11-20T09:30:61Z",
        "2026-11-20T09:30:60Z",
        "2026-W47-5T09:30:00Z",
        "2026-324T09:30:00Z",
        "٢٠٢٦-11-20T09:30:00Z",
        "2026-11-20T09:30:00.1234567Z",
        "2026-11-20T09:30:00.0000001Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ];
    for text in bad {
        let error = Timestamp::parse_rfc3339(text).expect_err(text);
        assert!(matches!(error.reason(), EventErrorKind::Invalid { .. }), "{text}");
        let line = format!(r#"{{"action":"auth.login","occurredAt":"{text}"}}"#);
        assert_eq!(
            from_json_line(line.as_bytes(), UnknownMembers::Reject).unwrap_err().field(),
            "occurredAt"
        );
    }
    assert_eq!(micros("2026-11-20T09:30:00.1234560Z") % 1_000_000, 123_456, "seven digits, and nothing lost");
}

#[test]
fn fractions_are_written_when_there_are_any() {
    let shown = |micros| Timestamp::from_micros(micros).to_string();
    assert_eq!(shown(0), "1970-01-01T00:00:00Z");
    assert_eq!(shown(1), "1970-01-01T00:00:00.000001Z");
    assert_eq!(shown(1_000), "1970-01-01T00:00:00.001Z");
    assert_eq!(shown(500_000), "1970-01-01T00:00:00.500Z");
    assert_eq!(shown(-1), "1969-12-31T23:59:59.999999Z");
    assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00Z");
    assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
}

#[test]
fn moments_beyond_rfc_3339_are_shown_and_not_written() {
    for (micros, shown) in [
        (Timestamp::MAX.as_micros() + 1, "+010000-01-01T00:00:00Z"),
        (Timestamp::MIN.as_micros() - 1, "-000001-12-31T23:59:59.999999Z"),
        (i64::MAX, "+294247-01-10T04:00:54.775807Z"),
        (i64::MIN, "-290308-12-21T19:59:05.224192Z"),
    ] {
        let moment = Timestamp::from_micros(micros);
        assert_eq!(moment.to_string(), shown);
        assert!(serde_json::to_string(&moment).is_err());
        assert!(shown.parse::<Timestamp>().is_err());
    }
}

#[test]
fn ids_are_hyphenated_uuids() {
    let id = EventId::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(id.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    assert_eq!("01234567-89AB-CDEF-0123-456789ABCDEF".parse(), Ok(id));
    assert_eq!(id.to_bytes()[..2], [0x01, 0x23]);
    assert_eq!(serde_json::from_str::<EventId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    for bad in [
        "",
        "0123456789abcdef0123456789abcdef",
        "{01234567-89ab-cdef-0123-456789abcdef}",
        "urn:uuid:01234567-89ab-cdef-0123-456789abcdef",
        "01234567-89ab-cdef-0123-456789abcdeg",
        "0123456-789ab-cdef-0123-456789abcdef",
        "01234567-89ab-cdef-0123-456789abcde",
        "01234567-89ab-cdef-0123-456789abcdef ",
        "01234567-89ab-cdef-0123-456789abcd\u{e9}",
    ] {
        assert_eq!(bad.parse::<EventId>().expect_err(bad).field(), "id");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(moment in moment()) {
        let text = moment.to_string();
        prop_assert_eq!(Timestamp::parse_rfc3339(&text).unwrap(), moment);
        let json = serde_json::to_string(&moment).unwrap();
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
    }

    /// Another implementation of the calendar agrees.
    #[test]
    fn agrees_with_jiff(moment in moment()) {
        let theirs = jiff::Timestamp::from_microsecond(moment.as_micros()).unwrap();
        let text = moment.to_string();
        prop_assert_eq!(text.parse::<jiff::Timestamp>().unwrap(), theirs);
        prop_assert_eq!(Timestamp::parse_rfc3339(&theirs.to_string()).unwrap(), moment);
    }

    #[test]
    fn offsets_agree_with_jiff(
        moment in -60_000_000_000_000_000..250_000_000_000_000_000_i64,
        minutes in -1_439..=1_439_i32,
    ) {
        let offset = jiff::tz::Offset::from_seconds(minutes * 60).unwrap();
        let text = jiff::Timestamp::from_microsecond(moment).unwrap().display_with_offset(offset).to_string();
        prop_assert_eq!(Timestamp::parse_rfc3339(&text).unwrap().as_micros(), moment, "{}", text);
    }

    #[test]
    fn any_number_can_be_shown(micros in any::<i64>()) {
        let moment = Timestamp::from_micros(micros);
        prop_assert_eq!(moment.is_rfc3339(), moment.to_string().parse() == Ok(moment));
    }

    #[test]
    fn any_text_is_survived(text in "[0-9TtZz:.+ -]{0,40}|\\PC{0,40}") {
        let _ = Timestamp::parse_rfc3339(&text);
        let _ = text.parse::<EventId>();
    }
}
