//! Every limit: at it, and one byte above.

use super::super::limits::*;
use super::super::*;
use super::stored;

fn too_long(field: &str, result: Result<(), EventError>, max_bytes: usize) {
    let error = result.expect_err(field);
    assert_eq!(error.field(), field);
    assert_eq!(error.reason(), &EventErrorKind::TooLong { max_bytes, actual_bytes: max_bytes + 1 });
    let text = error.to_string();
    assert!(text.contains(field) && text.contains(&max_bytes.to_string()), "{text}");
}

/// Checks a type at its limit in one-byte and in two-byte characters, above it, and empty; and the same from JSON.
macro_rules! check_limit {
    ($type:ident, $field:literal, $max:expr, empty: $empty:literal) => {{
        assert!($type::new("x".repeat($max)).is_ok(), $field);
        too_long($field, $type::new("x".repeat($max + 1)).map(drop), $max);
        let wide = "é".repeat($max / 2);
        assert_eq!($type::new(wide.clone()).unwrap().as_str(), wide);
        too_long($field, $type::new(format!("{wide}x")).map(drop), $max);
        assert_eq!($type::new("").is_ok(), $empty, $field);
        if !$empty {
            assert_eq!($type::new("").unwrap_err(), EventError::new($field, EventErrorKind::Empty));
        }
        let json = |text: &str| format!(r#"{{"action":"auth.login","{}":"{text}"}}"#, $field);
        let read = |text: &str| from_json_line(json(text).as_bytes(), UnknownMembers::Reject).map(drop);
        assert_eq!(read(&"x".repeat($max)), Ok(()));
        too_long($field, read(&"x".repeat($max + 1)), $max);
        assert_eq!(read("").is_ok(), $empty, $field);
        // Six bytes of JSON, two of text.
        assert_eq!(read(&"\\u00e9".repeat($max / 2)), Ok(()));
    }};
}

#[test]
fn texts_at_their_limits() {
    check_limit!(UserId, "userId", 256, empty: false);
    check_limit!(TenantId, "tenantId", 256, empty: false);
    check_limit!(ActorId, "actorId", 256, empty: false);
    check_limit!(Service, "service", 100, empty: false);
    check_limit!(Resource, "resource", 100, empty: false);
    check_limit!(ResourceId, "resourceId", 256, empty: false);
    check_limit!(SessionId, "sessionId", 128, empty: false);
    check_limit!(RequestId, "requestId", 128, empty: false);
    check_limit!(IdempotencyKey, "idempotencyKey", 128, empty: false);
    check_limit!(UserAgent, "userAgent", 2_048, empty: true);
    check_limit!(Message, "message", 2_048, empty: true);
}

#[test]
fn an_action_at_its_limit() {
    let action = |len: usize| format!("a.{}", "b".repeat(len - 2));
    assert!(Action::new(action(ACTION_BYTES_MAX)).is_ok());
    too_long("action", Action::new(action(ACTION_BYTES_MAX + 1)).map(drop), 100);
}

/// Details of exactly this many bytes.
fn details_of(bytes: usize) -> Details<'static> {
    format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8)).parse().unwrap()
}

#[test]
fn the_whole_event_at_its_limit() {
    let builder = |bytes| {
        NewEvent::builder(Action::AUTH_LOGIN).user(UserId::new("u").unwrap()).details(details_of(bytes))
    };
    let event = builder(LEAF_BYTES_MAX - 97).build().unwrap();
    assert_eq!(leaf_bytes(&event), LEAF_BYTES_MAX);
    let leaf = stored(&event);
    assert_eq!(leaf.len(), 61_440);
    let view = EventView::parse(&leaf).unwrap();
    assert_eq!(view.details().unwrap().unwrap(), event.details().unwrap().as_str());
    assert_eq!(view.to_owned().unwrap().details(), view.details().unwrap());

    let error = builder(LEAF_BYTES_MAX - 96).build().unwrap_err();
    assert_eq!(error.field(), "details");
    assert_eq!(error.reason(), &EventErrorKind::TooLarge { max: 61_440, actual: 61_441 });
}

#[test]
fn details_that_no_event_can_hold_are_refused_at_once() {
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(LEAF_BYTES_MAX));
    let reason = EventErrorKind::TooLarge { max: LEAF_BYTES_MAX, actual: text.len() };
    assert_eq!(Details::from_json(&text).unwrap_err(), EventError::new("details", reason.clone()));
    let value = serde_json::from_str(&text).unwrap();
    assert_eq!(Details::from_value(&value).unwrap_err(), EventError::new("details", reason));
    // White space doesn't count.
    let text = format!(r#"{{{}"a":1}}"#, " ".repeat(LEAF_BYTES_MAX));
    assert_eq!(Details::from_json(&text).unwrap().as_str(), r#"{"a":1}"#);
}

#[test]
fn members_put_into_the_details_count() {
    let big = serde_json::Value::String("x".repeat(LEAF_BYTES_MAX));
    let error = NewEvent::changed(Action::SETTINGS_UPDATED, &big, &big).build().unwrap_err();
    assert_eq!(error.field(), "details");
    assert!(matches!(error.reason(), EventErrorKind::TooLarge { .. }), "{error}");
}

#[test]
fn everything_at_its_limit_fits_together() {
    let x = |len| "x".repeat(len);
    let event = NewEvent::builder(Action::new(format!("a.{}", x(98))).unwrap())
        .category(Category::Data)
        .level(Level::Info)
        .user(UserId::new(x(256)).unwrap())
        .tenant(TenantId::new(x(256)).unwrap())
        .actor(ActorId::new(x(256)).unwrap())
        .service(Service::new(x(100)).unwrap())
        .resource(Resource::new(x(100)).unwrap())
        .resource_id(ResourceId::new(x(256)).unwrap())
        .session(SessionId::new(x(128)).unwrap())
        .request_id(RequestId::new(x(128)).unwrap())
        .idempotency_key(IdempotencyKey::new(x(128)).unwrap())
        .user_agent(UserAgent::new(x(2_048)).unwrap())
        .message(Message::new(x(2_048)).unwrap())
        .ip("2001:db8::1".parse().unwrap())
        .details(details_of(50_000))
        .build()
        .unwrap();
    let leaf = stored(&event);
    let owned = EventView::parse(&leaf).unwrap().to_owned().unwrap();
    assert_eq!(owned.details().map(str::len), Some(50_000));
    assert_eq!(owned.user_agent().map(str::len), Some(2_048));
}

#[test]
fn times_that_can_not_be_written_are_refused() {
    for micros in [i64::MIN, Timestamp::MIN.as_micros() - 1, Timestamp::MAX.as_micros() + 1, i64::MAX] {
        let error = NewEvent::builder(Action::AUTH_LOGIN)
            .occurred_at(Timestamp::from_micros(micros))
            .build()
            .unwrap_err();
        assert_eq!(error.field(), "occurredAt");
    }
    for moment in [Timestamp::MIN, Timestamp::MAX] {
        assert!(NewEvent::builder(Action::AUTH_LOGIN).occurred_at(moment).build().is_ok());
    }
}
