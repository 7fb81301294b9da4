//! An event through all its forms and back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::super::*;
use super::{event, full_event, stored};

/// The JSON of a stored event without what the store assigned.
fn without_assigned(json: &str) -> String {
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
    for name in ["id", "recordedAt"] {
        assert!(members.remove(name).is_some(), "{name}");
    }
    members.remove("userSequence");
    serde_json::to_string(&members).unwrap()
}

fn check(event: &NewEvent<'_>) {
    let leaf = stored(event);
    assert_eq!(leaf.len(), leaf_bytes(event));
    let view = EventView::parse(&leaf).unwrap();
    let owned = view.to_owned().unwrap();
    let json = serde_json::to_string(&owned).unwrap();
    assert_eq!(serde_json::to_string(&view).unwrap(), json, "the view is written as the event");

    // What the input left open, the store has filled in.
    let mut expected = event.clone();
    expected.occurred_at = Some(event.occurred_at().unwrap_or(view.recorded_at()));
    let back = without_assigned(&json);
    assert_eq!(from_json_line(back.as_bytes(), UnknownMembers::Reject).unwrap(), expected);
    assert_eq!(serde_json::from_str::<NewEvent<'static>>(&back).unwrap(), expected);

    let own = serde_json::to_string(event).unwrap();
    let again = from_json_line(own.as_bytes(), UnknownMembers::ToDetails).unwrap();
    assert_eq!(&again, event);
    assert_eq!(&again.into_owned(), event);
    check_fields(event, &view, &owned);
}

/// The same values by each form's accessors: JSON alone wouldn't tell two accessors that are mixed up alike.
fn check_fields(event: &NewEvent<'_>, view: &EventView<'_>, owned: &Event) {
    macro_rules! same {
        ($($field:ident),+) => { $(
            let text = event.$field().map(|text| text.as_str());
            assert_eq!(view.$field(), Ok(text), stringify!($field));
            assert_eq!(owned.$field(), text, stringify!($field));
        )+ };
    }
    same!(
        user_id,
        tenant_id,
        actor_id,
        service,
        resource,
        resource_id,
        session_id,
        request_id,
        idempotency_key
    );
    same!(user_agent, message, details);
    assert_eq!(view.user_id_bytes(), event.user_id().map(|text| text.as_str().as_bytes()));
    assert_eq!((view.action(), owned.action()), (Ok(event.action().as_str()), event.action().as_str()));
    assert_eq!((view.action_code(), owned.action_code()), (event.action_code(), event.action_code()));
    assert_eq!((view.level(), owned.level()), (event.level(), event.level()));
    assert_eq!((view.category(), owned.category()), (event.category(), event.category()));
    assert_eq!((view.status(), owned.status()), (event.status(), event.status()));
    assert_eq!((view.ip_address(), owned.ip_address()), (Ok(event.ip_address()), event.ip_address()));
    let assigned = super::assigned();
    assert_eq!((view.sequence(), owned.sequence()), (assigned.sequence, assigned.sequence));
    assert_eq!(
        (view.user_sequence(), owned.user_sequence()),
        (assigned.user_sequence, assigned.user_sequence)
    );
    assert_eq!((view.previous(), owned.previous()), (assigned.previous, assigned.previous));
    assert_eq!((view.recorded_at(), owned.recorded_at()), (assigned.recorded_at, assigned.recorded_at));
    assert_eq!((view.id(), owned.id()), (assigned.id, assigned.id));
    assert_eq!(view.occurred_at(), owned.occurred_at());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_event_survives_every_form(event in event()) {
        check(&event);
    }
}

#[test]
fn a_full_event_survives_every_form() {
    check(&full_event("auth.login"));
    check(&full_event("own.action"));
}

#[test]
fn the_members_stand_in_their_order() {
    let leaf = stored(&full_event("own.action"));
    let json = serde_json::to_string(&EventView::parse(&leaf).unwrap()).unwrap();
    let expected = concat!(
        r#"{"id":"019a9f4e-5f00-7000-8000-00000000002a","userSequence":5,"#,
        r#""occurredAt":"2023-11-14T22:13:20.123456Z","recordedAt":"2025-11-20T09:30:00.000001Z","#,
        r#""userId":"user-é","tenantId":"tenant","actorId":"actor","category":"data","level":"error","#,
        r#""action":"own.action","status":"failure","service":"service","resource":"resource","#,
        r#""resourceId":"resource-id","sessionId":"session","requestId":"request","idempotencyKey":"key","#,
        r#""ipAddress":"2001:db8::7","userAgent":"agent","message":"message","details":{"n":1e400,"s":"\u00e9"}}"#,
    );
    assert_eq!(json, expected);
}

#[test]
fn absent_members_are_left_out_and_nulls_are_never_written() {
    let event = NewEvent::builder(Action::AUTH_LOGIN).build().unwrap();
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(json, r#"{"category":"auth","level":"info","action":"auth.login","status":"success"}"#);
}

#[test]
fn json_is_read_from_every_source_that_serde_json_has() {
    let event = full_event("own.action");
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_slice::<NewEvent<'static>>(json.as_bytes()).unwrap(), event);
    assert_eq!(serde_json::from_reader::<_, NewEvent<'static>>(json.as_bytes()).unwrap(), event);
    let value = serde_json::json!({"action": "auth.login", "details": {"a": [1, null]}});
    let event: NewEvent<'static> = serde_json::from_value(value).unwrap();
    assert_eq!(event.details().unwrap().as_str(), r#"{"a":[1,null]}"#);
    let error = serde_json::from_str::<NewEvent<'static>>(r#"{"action":"auth.login","id":"x"}"#).unwrap_err();
    assert!(error.to_string().starts_with("id: is assigned by the store"), "{error}");
}
