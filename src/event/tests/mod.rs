//! Tests of the room as a whole, by its public functions; what they share.

mod catalogue;
mod hostile;
mod json_in;
mod layout;
mod limits;
mod round_trip;
mod texts;
mod time;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Numbers that a parser into floats would change or refuse.
const ODD_NUMBERS: [&str; 9] = [
    "1e400",
    "1.0",
    "0.10",
    "-0",
    "12345678901234567890",
    "1E+2",
    "-0.0e-0",
    "0",
    "3.14159265358979323846264338",
];

/// Any text of the length that an id may have; control characters, NUL and all planes included.
fn id(bytes_max: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 1..40).prop_map(move |chars| cut(&chars, bytes_max))
}

fn free(bytes_max: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..60).prop_map(move |chars| cut(&chars, bytes_max))
}

fn cut(chars: &[char], bytes_max: usize) -> String {
    let mut text = String::new();
    for c in chars {
        if text.len() + c.len_utf8() <= bytes_max {
            text.push(*c);
        }
    }
    text
}

/// JSON text with white space in odd places and numbers as people write them.
fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(ODD_NUMBERS.as_slice()).prop_map(str::to_owned),
        select(["true", "false", "null", r#""\ud83d\ude00""#, r#""\u0000\/""#].as_slice())
            .prop_map(str::to_owned),
        free(50).prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(" ,\t"))),
            json_object(inner),
        ]
    })
}

fn json_object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec((free(20), value), 0..5).prop_map(|members| {
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| format!("{} :\r\n{value}", serde_json::to_string(name).unwrap()))
            .collect();
        format!(" {{ {} }} ", members.join(" , "))
    })
}

fn details() -> impl Strategy<Value = Details<'static>> {
    json_object(json_value()).prop_map(|text| text.parse().unwrap())
}

fn any_action() -> impl Strategy<Value = Action<'static>> {
    prop_oneof![
        select(catalogue()).prop_map(|entry| entry.to_action()),
        "[a-zé_0-9]{1,10}(\\.[a-z\\-]{1,8}){1,3}".prop_map(|text| Action::new(text).unwrap()),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        any::<u32>().prop_map(|bits| IpAddr::V6(Ipv4Addr::from_bits(bits).to_ipv6_mapped())),
    ]
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_micros()..=Timestamp::MAX.as_micros(), select([1, 1_000, 1_000_000].as_slice()))
        .prop_map(|(micros, unit)| Timestamp::from_micros(micros / unit * unit))
}

/// An event with any selection of fields.
fn event() -> impl Strategy<Value = NewEvent<'static>> {
    let kinds = (select(&Category::ALL), select(&Level::ALL), select(&Status::ALL), any_action());
    let who = (option::of(id(256)), option::of(id(256)), option::of(id(256)), option::of(id(128)));
    let what = (option::of(id(100)), option::of(id(100)), option::of(id(256)), option::of(id(128)));
    let rest = (
        option::of(id(128)),
        option::of(address()),
        option::of(free(2_048)),
        option::of(free(2_048)),
        option::of(details()),
    );
    (kinds, who, what, rest, option::of(moment())).prop_map(|(kinds, who, what, rest, occurred_at)| {
        let mut b = NewEvent::builder(kinds.3).category(kinds.0).level(kinds.1).status(kinds.2);
        macro_rules! set {
            ($($setter:ident = $value:expr;)+) => { $(if let Some(value) = $value { b = b.$setter(value); })+ };
        }
        set! {
            user = who.0.map(|text| UserId::new(text).unwrap());
            tenant = who.1.map(|text| TenantId::new(text).unwrap());
            actor = who.2.map(|text| ActorId::new(text).unwrap());
            session = who.3.map(|text| SessionId::new(text).unwrap());
            service = what.0.map(|text| Service::new(text).unwrap());
            resource = what.1.map(|text| Resource::new(text).unwrap());
            resource_id = what.2.map(|text| ResourceId::new(text).unwrap());
            request_id = what.3.map(|text| RequestId::new(text).unwrap());
            idempotency_key = rest.0.map(|text| IdempotencyKey::new(text).unwrap());
            ip = rest.1;
            user_agent = rest.2.map(|text| UserAgent::new(text).unwrap());
            message = rest.3.map(|text| Message::new(text).unwrap());
            details = rest.4;
            occurred_at = occurred_at;
        }
        b.build().unwrap()
    })
}

/// An event with every field, its action in the catalogue or not.
fn full_event(action: &'static str) -> NewEvent<'static> {
    NewEvent::builder(Action::new(action).unwrap())
        .user(UserId::new("user-é").unwrap())
        .tenant(TenantId::new("tenant").unwrap())
        .actor(ActorId::new("actor").unwrap())
        .category(Category::Data)
        .level(Level::Error)
        .status(Status::Failure)
        .service(Service::new("service").unwrap())
        .resource(Resource::new("resource").unwrap())
        .resource_id(ResourceId::new("resource-id").unwrap())
        .session(SessionId::new("session").unwrap())
        .request_id(RequestId::new("request").unwrap())
        .idempotency_key(IdempotencyKey::new("key").unwrap())
        .ip("2001:db8::7".parse().unwrap())
        .user_agent(UserAgent::new("agent").unwrap())
        .message(Message::new("message").unwrap())
        .details(Details::from_json(r#"{"n":1e400,"s":"\u00e9"}"#).unwrap())
        .occurred_at(Timestamp::from_micros(1_700_000_000_123_456))
        .build()
        .unwrap()
}

fn assigned() -> Assigned {
    Assigned {
        sequence: 0x0102_0304_0506_0708,
        user_sequence: Some(5),
        previous: Some(0x0102_0304_0506_0700),
        recorded_at: Timestamp::from_micros(1_763_631_000_000_001),
        id: EventId::from_u128(0x019a_9f4e_5f00_7000_8000_0000_0000_002a),
    }
}

/// The event's leaf as the store would keep it.
fn stored(event: &NewEvent<'_>) -> Vec<u8> {
    let mut leaf = Vec::new();
    encode_leaf(event, &mut leaf);
    assign(&mut leaf, &assigned());
    leaf
}
