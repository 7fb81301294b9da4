//! The checked texts, the closed sets, the details.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::json_text::compact;
use super::super::*;
use super::{ODD_NUMBERS, json_value};

#[test]
fn actions_have_parts_and_no_space() {
    for good in ["a.b", "auth.login", "a.b.c", "é.ü", "a-b.c_d", "A.B", "1.2", "own:x.y"] {
        assert_eq!(Action::new(good).unwrap().as_str(), good);
    }
    for bad in [
        ".",
        "a",
        "a.",
        ".a",
        "a..b",
        "a.b.",
        "a. b",
        "a.b\t",
        "a.\u{a0}b",
        "a.\u{2003}b",
        "a.\u{85}",
        "a.\0",
        "a.\u{7f}",
    ] {
        let error = Action::new(bad).unwrap_err();
        assert_eq!(error.field(), "action", "{bad:?}");
        assert!(matches!(error.reason(), EventErrorKind::Invalid { .. }), "{bad:?}");
    }
    assert_eq!(Action::new("").unwrap_err().reason(), &EventErrorKind::Empty);
}

#[test]
fn texts_are_taken_as_they_are() {
    for text in [" x ", "\0", "\u{feff}", "e\u{301}", "\u{202e}", "a\nb"] {
        assert_eq!(UserId::new(text).unwrap().as_str(), text);
        assert_eq!(text.parse::<UserId<'static>>().unwrap().to_string(), text);
    }
    let id = UserId::new("u").unwrap();
    assert_eq!((format!("{id:?}"), format!("{id:>3}|")), (r#"UserId("u")"#.to_owned(), "  u|".to_owned()));
    assert_eq!(serde_json::to_string(&id).unwrap(), r#""u""#);
    assert_eq!(id.as_borrowed().into_owned(), id);
    assert_eq!((UserId::try_from("u").unwrap(), UserId::try_from("u".to_owned()).unwrap()), (id.clone(), id));
}

#[test]
fn kinds_are_lower_case_text_with_fixed_codes() {
    macro_rules! check {
        ($($type:ident $field:literal $texts:literal;)+) => { $(
            let texts: Vec<_> = $type::ALL.iter().map(|kind| kind.as_str()).collect();
            assert_eq!(texts.join(" "), $texts);
            for (i, kind) in $type::ALL.into_iter().enumerate() {
                assert_eq!((usize::from(kind.code()), $type::from_code(kind.code())), (i, Some(kind)));
                assert_eq!(kind.to_string().parse::<$type>().unwrap(), kind);
                let json = format!("\"{kind}\"");
                assert_eq!(serde_json::to_string(&kind).unwrap(), json);
                assert_eq!(serde_json::from_str::<$type>(&json).unwrap(), kind);
                for bad in [kind.as_str().to_uppercase(), format!("{kind} "), String::new(), i.to_string()] {
                    assert_eq!(bad.parse::<$type>().unwrap_err().field(), $field);
                }
            }
            for code in $type::ALL.len()..=255 {
                assert_eq!($type::from_code(u8::try_from(code).unwrap()), None);
            }
            assert!(serde_json::from_str::<$type>("0").is_err());
            assert!(serde_json::from_value::<$type>(json!("x")).is_err());
        )+ };
    }
    check! {
        Category "category" "auth security session account admin data system";
        Level "level" "info warning error suspicious";
        Status "status" "success failure error";
    }
    assert_eq!(Status::default(), Status::Success);
}

#[test]
fn numbers_are_kept_as_written() {
    for number in ODD_NUMBERS {
        let text = format!(r#"{{"n":{number},"a":[{number}]}}"#);
        assert_eq!(Details::from_json(&text).unwrap().as_str(), text);
    }
}

#[test]
fn only_white_space_outside_of_strings_goes() {
    let text = " \t{ \"a b\\n\\\" \" :\r\n[ 1 , 2 ,{ } , [ ] ],\"c\" : \" { } \" }\n ";
    assert_eq!(Details::from_json(text).unwrap().as_str(), r#"{"a b\n\" ":[1,2,{},[]],"c":" { } "}"#);
    assert_eq!(Details::from_json("{}").unwrap().as_str(), "{}");
    assert_eq!(Details::from_json(" { } ").unwrap().as_str(), "{}");
}

#[test]
fn bad_details_are_refused() {
    let syntax = [
        "",
        " ",
        "{",
        "}",
        "{}}",
        "{} {}",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        r"{a:1}",
        r#"{"a":[1,]}"#,
        r#"{"a":[1 2]}"#,
        r#"{"a":[}"#,
        r#"{"a":[1}"#,
        r#"{"a":{]}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":+1}"#,
        r#"{"a":-}"#,
        r#"{"a":1e}"#,
        r#"{"a":1e+}"#,
        r#"{"a":0x1}"#,
        r#"{"a":NaN}"#,
        r#"{"a":Infinity}"#,
        r#"{"a":tru}"#,
        r#"{"a":True}"#,
        r#"{"a":'b'}"#,
        r#"{"a":"b}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud800\ud800"}"#,
        r#"{"a":"\ud800x"}"#,
        r#"{"a":"\ud800\n"}"#,
        r#"{"\udfff":1}"#,
        r#"{"a":["\ud800"]}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{0}\"}",
        "{\"a\":\"\u{1f}\"}",
        "{\u{a0}}",
        "\u{feff}{}",
        r#"{"a":1}// b"#,
        r#"{"a":1/**/}"#,
    ];
    for text in syntax {
        let error = Details::from_json(text).unwrap_err();
        assert_eq!(error.field(), "details");
        assert!(matches!(error.reason(), EventErrorKind::Syntax { .. }), "{text:?}: {error}");
    }
    for text in ["[]", "null", "1", "\"a\"", " true "] {
        let reason = EventErrorKind::WrongType { expected: "a JSON object" };
        assert_eq!(Details::from_json(text).unwrap_err(), EventError::new("details", reason.clone()));
        assert_eq!(
            Details::from_value(&text.parse().unwrap()).unwrap_err(),
            EventError::new("details", reason)
        );
    }
}

/// `depth` objects and arrays in each other, the outermost an object.
fn nested(depth: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
}

fn nested_value(depth: usize) -> Value {
    let inner = (1..depth).fold(Value::Null, |value, i| if i == 1 { json!([]) } else { json!([value]) });
    json!({ "a": inner })
}

#[test]
fn nesting_is_bounded() {
    let depth_error = |error: EventError| {
        assert_eq!(error.field(), "details");
        assert!(
            matches!(error.reason(), EventErrorKind::Invalid { what } if what.contains("127")),
            "{error}"
        );
    };
    assert_eq!(Details::from_json(&nested(127)).unwrap().as_str(), nested(127));
    depth_error(Details::from_json(&nested(128)).unwrap_err());
    depth_error(Details::from_json(&nested(1_000_000)).unwrap_err());
    depth_error(Details::from_json(&"{\"a\":".repeat(200)).unwrap_err());
    assert_eq!(nested_value(127).to_string(), nested(127));
    assert!(Details::from_value(&nested_value(127)).is_ok());
    depth_error(Details::from_value(&nested_value(128)).unwrap_err());
    // Wide is not deep.
    let wide = format!("{{\"a\":[{}{{}}]}}", "[],{},".repeat(1_000));
    assert!(Details::from_json(&wide).is_ok());

    let change =
        |depth| NewEvent::changed(Action::SETTINGS_UPDATED, &Value::Null, &nested_value(depth)).build();
    assert!(change(126).is_ok());
    depth_error(change(127).unwrap_err());
}

#[test]
fn a_change_stands_behind_the_details() {
    let details = |text: &'static str| Details::from_json(text).unwrap();
    let builder = || NewEvent::changed(Action::USER_UPDATED, &json!(1), &json!({"a": [2]}));
    let text = |builder: EventBuilder<'_>| builder.build().unwrap().details().unwrap().as_str().to_owned();
    assert_eq!(text(builder()), r#"{"before":1,"after":{"a":[2]}}"#);
    assert_eq!(text(builder().details(details("{}"))), r#"{"before":1,"after":{"a":[2]}}"#);
    assert_eq!(text(builder().details(details(r#"{"x":1.0}"#))), r#"{"x":1.0,"before":1,"after":{"a":[2]}}"#);
    assert_eq!(
        text(builder().change(&json!(3), &json!(4))),
        r#"{"before":3,"after":4}"#,
        "the last call wins"
    );
    // Inner members of that name are no matter; the object's own are, however they are spelled.
    assert!(builder().details(details(r#"{"x":{"before":1}}"#)).build().is_ok());
    for taken in [r#"{"before":1}"#, r#"{"\u0062efore":1}"#, r#"{"a":1,"before":null}"#] {
        let error = builder().details(details(taken)).build().unwrap_err();
        assert_eq!(error, EventError::new("before", EventErrorKind::Duplicate));
    }
}

proptest! {
    /// The scanner takes what `serde_json` takes (but for depth and surrogates), and means the same by it.
    #[test]
    fn compact_text_means_the_same(text in json_value()) {
        let compacted = compact(&text, 127).unwrap();
        let again = compact(&compacted, 127).unwrap();
        prop_assert!(matches!(again, std::borrow::Cow::Borrowed(_)), "compact text is borrowed");
        // Numbers out of range are the scanner's alone.
        if !text.contains("1e400") {
            prop_assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                serde_json::from_str::<Value>(&compacted).unwrap()
            );
        }
    }

    /// Texts near JSON: the two must agree on which are JSON.
    #[test]
    fn agrees_with_serde_json(text in "[\\[\\]{},:\"\\\\0-9.eE+ \ntruefalsnldbc-]{0,14}") {
        let theirs = serde_json::from_str::<Value>(&text);
        match compact(&text, 127) {
            Ok(compacted) => match theirs {
                Ok(theirs) => prop_assert_eq!(theirs, serde_json::from_str::<Value>(&compacted).unwrap()),
                Err(error) => prop_assert!(error.to_string().contains("number out of range"), "{}: {}", text, error),
            },
            Err(fault) => {
                prop_assert!(theirs.is_err(), "{}: {:?}", text, fault);
                prop_assert!(fault.at <= text.len());
            }
        }
    }

    #[test]
    fn a_value_is_kept(text in json_value()) {
        prop_assume!(!text.contains("1e400"));
        let value = json!({ "v": serde_json::from_str::<Value>(&text).unwrap() });
        let details = Details::from_value(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(details.as_str()).unwrap(), value);
        prop_assert_eq!(&Details::from_json(details.as_str()).unwrap(), &details);
    }
}
