//! JSON in: names, types, what is refused and how it is named.

use proptest::prelude::*;

use super::super::EventErrorKind as Kind;
use super::super::*;

fn read(line: &str) -> Result<NewEvent<'_>, EventError> {
    from_json_line(line.as_bytes(), UnknownMembers::Reject)
}

fn keep(line: &str) -> Result<NewEvent<'_>, EventError> {
    from_json_line(line.as_bytes(), UnknownMembers::ToDetails)
}

/// A line with an action and these members.
fn with(members: &str) -> String {
    format!(r#"{{"action":"auth.login",{members}}}"#)
}

fn fault(line: &str) -> (String, Kind) {
    let error = read(line).expect_err(line);
    (error.field().to_owned(), error.reason().clone())
}

/// Each member that may be given: both spellings, a value, and how the event shows it.
const MEMBERS: [(&str, &str, &str); 18] = [
    ("action", "action", "own.action"),
    ("occurredAt", "occurred_at", "2026-11-20T09:30:00Z"),
    ("userId", "user_id", "u"),
    ("tenantId", "tenant_id", "t"),
    ("actorId", "actor_id", "a"),
    ("category", "category", "data"),
    ("level", "level", "error"),
    ("status", "status", "failure"),
    ("service", "service", "s"),
    ("resource", "resource", "r"),
    ("resourceId", "resource_id", "ri"),
    ("sessionId", "session_id", "si"),
    ("requestId", "request_id", "rq"),
    ("idempotencyKey", "idempotency_key", "k"),
    ("ipAddress", "ip_address", "203.0.113.7"),
    ("userAgent", "user_agent", "ua"),
    ("message", "message", "m"),
    ("details", "details", "{}"),
];

/// A member as JSON, with what else the line needs.
fn line_with(name: &str, value: &str) -> String {
    let value = if name == "details" { value.to_owned() } else { format!("{value:?}") };
    match name {
        "action" => format!(r#"{{"category":"data","level":"error","{name}":{value}}}"#),
        _ => with(&format!(r#""{name}":{value}"#)),
    }
}

#[test]
fn every_member_is_read_by_both_its_names() {
    for (camel, snake, value) in MEMBERS {
        for name in [camel, snake] {
            let line = line_with(name, value);
            let event = read(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let written: serde_json::Value =
                serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
            let shown = if camel == "details" {
                written[camel].to_string()
            } else {
                written[camel].as_str().unwrap().to_owned()
            };
            assert_eq!(shown, value, "{line}");
        }
    }
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    for (camel, snake, value) in MEMBERS {
        for (first, second) in [(camel, camel), (camel, snake), (snake, camel), (snake, snake)] {
            let value = if camel == "details" { value.to_owned() } else { format!("{value:?}") };
            let twice = format!(r#""{first}":{value},"{second}":{value}"#);
            let line = if camel == "action" { format!("{{{twice}}}") } else { with(&twice) };
            assert_eq!(fault(&line), (camel.to_owned(), Kind::Duplicate), "{line}");
            assert_eq!(keep(&line).unwrap_err().field(), camel);
        }
    }
    // A null is a member as well, and an escaped name the same name.
    assert_eq!(fault(&with(r#""userId":null,"user_id":"u""#)), ("userId".to_owned(), Kind::Duplicate));
    assert_eq!(fault(&with(r#""userId":"u","user\u0049d":"u""#)), ("userId".to_owned(), Kind::Duplicate));
}

#[test]
fn null_is_absent() {
    for (camel, snake, _) in MEMBERS.iter().skip(1) {
        for name in [camel, snake] {
            let line = with(&format!(r#""{name}": null"#));
            assert_eq!(read(&line).unwrap(), read(r#"{"action":"auth.login"}"#).unwrap(), "{line}");
        }
    }
    assert_eq!(fault(r#"{"action":null}"#), ("action".to_owned(), Kind::Missing));
    assert_eq!(
        fault(r#"{"action":"own.action","category":null,"level":"info"}"#),
        ("category".to_owned(), Kind::Missing)
    );
}

#[test]
fn what_is_required_is_named() {
    assert_eq!(fault("{}"), ("action".to_owned(), Kind::Missing));
    assert_eq!(fault(r#"{"userId":"u"}"#), ("action".to_owned(), Kind::Missing));
    assert_eq!(fault(r#"{"action":"own.action"}"#), ("category".to_owned(), Kind::Missing));
    assert_eq!(fault(r#"{"action":"own.action","category":"data"}"#), ("level".to_owned(), Kind::Missing));
}

#[test]
fn values_of_other_types_are_refused() {
    for (camel, snake, _) in MEMBERS {
        let wrong = if camel == "details" {
            ["1", "true", "[]", "\"{}\"", "1.5"]
        } else {
            ["1", "true", "[]", "{}", "1e400"]
        };
        for name in [camel, snake] {
            for value in wrong {
                let line = if camel == "action" {
                    format!(r#"{{"{name}":{value}}}"#)
                } else {
                    with(&format!(r#""{name}":{value}"#))
                };
                let (field, reason) = fault(&line);
                assert_eq!(field, camel, "{line}");
                assert!(matches!(reason, Kind::WrongType { .. }), "{line}: {reason}");
                assert_eq!(keep(&line).unwrap_err().field(), camel);
            }
        }
    }
}

#[test]
fn values_that_are_none_are_refused() {
    let bad = [
        ("action", "login"),
        ("occurredAt", "2026-02-30T00:00:00Z"),
        ("occurredAt", ""),
        ("category", "Auth"),
        ("category", ""),
        ("level", "critical"),
        ("status", "ok"),
        ("ipAddress", "1.2.3"),
        ("ipAddress", "1.2.3.4:80"),
        ("ipAddress", "01.2.3.4"),
        ("ipAddress", "fe80::1%eth0"),
        ("ipAddress", ""),
        ("ipAddress", " 1.2.3.4"),
    ];
    for (name, value) in bad {
        let (field, reason) = fault(&line_with(name, value));
        assert_eq!(field, name, "{value}");
        assert!(matches!(reason, Kind::Invalid { .. }), "{name} {value}: {reason}");
    }
}

#[test]
fn unknown_members_are_named() {
    for name in
        ["colour", "UserId", "USER_ID", "userid", "user-id", "", "userId ", "shard", "sequence", "recordedat"]
    {
        assert_eq!(fault(&with(&format!(r#""{name}":null"#))), (name.to_owned(), Kind::Unknown));
    }
    let (field, _) = fault(&with(r#""a\u001b[31m\nb":1"#));
    assert_eq!(field, "a\\u{1b}[31m\\nb", "made printable");
    let (field, _) = fault(&with(&format!(r#""{}":1"#, "é".repeat(100_000))));
    assert!(field.len() < 130 && field.ends_with('…'), "bounded: {}", field.len());
}

#[test]
fn what_the_store_assigns_is_refused() {
    for (name, camel) in [
        ("id", "id"),
        ("recordedAt", "recordedAt"),
        ("recorded_at", "recordedAt"),
        ("userSequence", "userSequence"),
        ("user_sequence", "userSequence"),
    ] {
        for value in ["1", "null", r#""2026-11-20T09:30:00Z""#] {
            assert_eq!(
                fault(&with(&format!(r#""{name}":{value}"#))),
                (camel.to_owned(), Kind::StoreAssigned),
                "{name}"
            );
        }
    }
}

#[test]
fn what_is_no_input_can_be_kept_in_the_details() {
    let details = |members: &str| keep(&with(members)).unwrap().details().unwrap().as_str().to_owned();
    assert_eq!(
        details(r#""id":"x","colour": 1.0,"recorded_at":null, "userSequence" : 12345678901234567890"#),
        r#"{"id":"x","colour":1.0,"recorded_at":null,"userSequence":12345678901234567890}"#
    );
    assert_eq!(
        details(r#""colour":{ "a" : [ 1e400 ] },"details":{"z": 1}"#),
        r#"{"z":1,"colour":{"a":[1e400]}}"#
    );
    assert_eq!(details(r#""colour":"red","details":null"#), r#"{"colour":"red"}"#);
    assert_eq!(details(r#""\"\\\n":"\u00e9","":0"#), r#"{"\"\\\n":"\u00e9","":0}"#);
    assert_eq!(details(r#""details":{"colour":1}"#), r#"{"colour":1}"#, "the control");

    for twice in [
        r#""colour":1,"details":{"colour":2}"#,
        r#""details":{"colour":2},"colour":1"#,
        r#""colour":1,"colour":1"#,
        r#""colour":1,"col\u006fur":1"#,
        r#""details":{"c\u006flour":2},"colour":1"#,
    ] {
        assert_eq!(keep(&with(twice)).unwrap_err(), EventError::new("colour", Kind::Duplicate), "{twice}");
    }
    let error = keep(&with(r#""recordedAt":1,"recorded_at":2"#)).unwrap_err();
    assert_eq!(error, EventError::new("recordedAt", Kind::Duplicate));
}

#[test]
fn a_kept_member_must_be_good_json() {
    for (value, what) in [(r#""\ud800""#, "surrogate"), (r#"["\udfff"]"#, "surrogate"), (r#""\x""#, "escape")]
    {
        let line = with(&format!(r#""colour":{value}"#));
        let error = keep(&line).unwrap_err();
        assert_eq!(error.field(), "colour", "{value}");
        assert!(error.to_string().contains(what), "{value}: {error}");
    }
    let deep = |depth: usize| with(&format!(r#""colour":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    assert!(keep(&deep(126)).is_ok());
    assert_eq!(keep(&deep(127)).unwrap_err().field(), "colour");
    assert_eq!(keep(&deep(1_000_000)).unwrap_err().field(), "colour");
    let large = with(&format!(r#""colour":"{}""#, "x".repeat(70_000)));
    let error = keep(&large).unwrap_err();
    assert_eq!(error.field(), "details");
    assert!(matches!(error.reason(), Kind::TooLarge { .. }));
}

#[test]
fn lone_surrogates_are_refused_everywhere() {
    for (camel, _, _) in MEMBERS {
        let value = if camel == "details" { r#"{"a":"\ud800"}"# } else { r#""a.\udc00""# };
        let line = if camel == "action" {
            format!(r#"{{"action":{value}}}"#)
        } else {
            with(&format!(r#""{camel}":{value}"#))
        };
        let (field, reason) = fault(&line);
        assert_eq!(field, camel, "{line}");
        assert!(matches!(reason, Kind::Syntax { .. }), "{line}: {reason}");
    }
    let (field, reason) = fault(&with(r#""\ud800":1"#));
    assert!(field == "event" && matches!(reason, Kind::Syntax { .. }), "{field}: {reason}");
    // A pair is one character.
    assert_eq!(read(&with(r#""userId":"\ud83d\ude00""#)).unwrap().user_id().unwrap().as_str(), "😀");
}

#[test]
fn control_characters_come_escaped_or_not_at_all() {
    let line = with(r#""userId":"\u0000\t\u001f""#);
    assert_eq!(read(&line).unwrap().user_id().unwrap().as_str(), "\0\t\u{1f}");
    for byte in 0..0x20_u8 {
        let line = with(&format!("\"userId\":\"a{}b\"", char::from(byte)));
        let (field, reason) = fault(&line);
        assert!(field == "userId" && matches!(reason, Kind::Syntax { .. }), "{byte}: {field}: {reason}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for line in [
        "",
        " ",
        "{",
        "}",
        "{} {}",
        "{}x",
        r#"{"action":"auth.login"}{"#,
        r#"{"action":"auth.login",}"#,
        "{1:2}",
        "nul",
        "\u{feff}{}",
    ] {
        let (field, reason) = fault(line);
        assert!(field == "event" && matches!(reason, Kind::Syntax { .. }), "{line:?}: {field}: {reason}");
    }
    for line in ["[]", "1", "null", "true", r#""auth.login""#, "1.5"] {
        assert_eq!(
            fault(line),
            ("event".to_owned(), Kind::WrongType { expected: "a JSON object" }),
            "{line}"
        );
    }
    for (line, name) in
        [(r#"{"action":"auth.log"#, "action"), (r#"{"action":auth}"#, "action"), (r#"{"userId":"#, "userId")]
    {
        let (field, reason) = fault(line);
        assert!(field == name && matches!(reason, Kind::Syntax { .. }), "{line:?}: {field}: {reason}");
    }
    // White space around it is none of its business.
    assert!(read("  {\"action\" : \"auth.login\"}\r\n").is_ok());
}

#[test]
fn bytes_that_are_not_utf8_are_refused_and_named() {
    for unknown in [UnknownMembers::Reject, UnknownMembers::ToDetails] {
        for bytes in [b"\xff".as_slice(), b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"] {
            for (camel, _, _) in MEMBERS {
                let (open, close) = if camel == "details" { ("{\"a\":\"", "\"}") } else { ("\"", "\"") };
                let line = [b"{\"", camel.as_bytes(), b"\":", open.as_bytes(), bytes, close.as_bytes(), b"}"]
                    .concat();
                let error = from_json_line(&line, unknown).unwrap_err();
                assert_eq!(error, EventError::new(camel, Kind::NotUtf8), "{bytes:?}");
            }
            let line = [b"{\"a", bytes, b"\":1}"].concat();
            let error = from_json_line(&line, unknown).unwrap_err();
            assert_eq!(error, EventError::new("event", Kind::NotUtf8));
        }
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = "[".repeat(1_000_000);
    assert!(read(&deep).is_err());
    assert_eq!(fault(&with(&format!(r#""userId":{deep}"#))).0, "userId");
    let closed = format!("{deep}{}", "]".repeat(1_000_000));
    assert_eq!(fault(&with(&format!(r#""userId":{closed}"#))).0, "userId");
    assert_eq!(fault(&with(&format!(r#""details":{{"a":{closed}}}"#))).0, "details");
    assert_eq!(fault(&with(&format!(r#""colour":{closed}"#))).0, "colour");
}

#[test]
fn texts_are_borrowed_where_they_can_be() {
    let line = with(r#""userId":"u-1","details":{"a":1}"#);
    let event = read(&line).unwrap();
    let within = |text: &str| line.as_bytes().as_ptr_range().contains(&text.as_ptr());
    assert!(within(event.user_id().unwrap().as_str()) && within(event.details().unwrap().as_str()));
    assert!(within(event.action().as_str()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_json_line(&bytes, UnknownMembers::Reject);
        let _ = from_json_line(&bytes, UnknownMembers::ToDetails);
    }

    /// A good line with a bad byte: an event or an error, and the same from both readers.
    #[test]
    fn a_damaged_line_is_survived(event in super::event(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut line = serde_json::to_vec(&event).unwrap();
        let at = at.index(line.len());
        line[at] = byte;
        let one = from_json_line(&line, UnknownMembers::Reject);
        let other = serde_json::from_slice::<NewEvent<'static>>(&line);
        prop_assert_eq!(one.as_ref().ok(), other.as_ref().ok());
        let _ = from_json_line(&line, UnknownMembers::ToDetails);
    }
}
