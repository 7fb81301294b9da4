//! The leaf's bytes, against the layout as it is written down: values read here by their offsets, not by the view.

use super::super::*;
use super::{assigned, full_event, stored};

fn u16_at(leaf: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(leaf[at..at + 2].try_into().unwrap())
}

fn u64_at(leaf: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(leaf[at..at + 8].try_into().unwrap())
}

#[test]
fn each_value_stands_where_the_layout_says() {
    let leaf = stored(&full_event("own.action"));
    assert_eq!(u64_at(&leaf, 0), assigned().sequence);
    assert_eq!(u64_at(&leaf, 8), 5);
    assert_eq!(u64_at(&leaf, 16), assigned().previous.unwrap());
    assert_eq!(u64_at(&leaf, 24), 1_763_631_000_000_001);
    assert_eq!(leaf[32..36], [2, 5, 1, 14]);
    assert_eq!((u16_at(&leaf, 36), u16_at(&leaf, 38)), (0, 0));
    assert_eq!(leaf[40..56], assigned().id.as_u128().to_be_bytes());
    assert_eq!(u64_at(&leaf, 56), 1_700_000_000_123_456);
    assert_eq!(u32::from_le_bytes(leaf[64..68].try_into().unwrap()), 0b11_1111_1111_1111);
    let address = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let fields: [&[u8]; 14] = [
        "user-é".as_bytes(),
        b"tenant",
        b"actor",
        b"own.action",
        b"service",
        b"resource",
        b"resource-id",
        b"session",
        b"request",
        b"key",
        &address,
        b"agent",
        b"message",
        br#"{"n":1e400,"s":"\u00e9"}"#,
    ];
    let mut end = 0;
    for (i, field) in fields.iter().enumerate() {
        let start = end;
        end += field.len();
        assert_eq!(usize::from(u16_at(&leaf, 68 + 2 * i)), end, "field {i}");
        assert_eq!(&leaf[96 + start..96 + end], *field, "field {i}");
    }
    assert_eq!(leaf.len(), 96 + end);
}

#[test]
fn the_smallest_event_is_its_head() {
    let mut leaf = vec![0xaa];
    encode_leaf(&NewEvent::builder(Action::SESSION_CREATED).build().unwrap(), &mut leaf);
    let mut expected = vec![0xaa];
    expected.extend([0; 8]);
    expected.extend([0xff; 16]);
    expected.extend([0; 8]);
    expected.extend([0, 2, 0, 14, 1, 0, 0, 0]);
    expected.extend([0; 16]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0x80]);
    expected.extend([0; 4 + 28]);
    assert_eq!(leaf, expected, "it appends, and leaves what was there");
}

#[test]
fn an_ipv4_address_takes_four_bytes() {
    for text in ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:cb00:7107"] {
        let event = NewEvent::builder(Action::AUTH_LOGIN).ip(text.parse().unwrap()).build().unwrap();
        assert_eq!(event.ip_address(), Some("203.0.113.7".parse().unwrap()));
        assert_eq!(stored(&event)[96..], [203, 0, 113, 7]);
    }
    let event = NewEvent::builder(Action::AUTH_LOGIN).ip("::203.0.113.7".parse().unwrap()).build().unwrap();
    assert_eq!(stored(&event).len(), 96 + 16, "IPv4-compatible addresses are IPv6 addresses");
}

#[test]
fn present_and_empty_is_not_absent() {
    let event = NewEvent::builder(Action::AUTH_LOGIN).message(Message::new("").unwrap()).build().unwrap();
    let leaf = stored(&event);
    let view = EventView::parse(&leaf).unwrap();
    assert_eq!((view.message(), view.user_agent()), (Ok(Some("")), Ok(None)));
    assert_eq!(view.to_owned().unwrap().message(), Some(""));
}

#[test]
fn assigning_fills_in_the_time_only_where_none_was_given() {
    let given = full_event("auth.login");
    let leaf = stored(&given);
    assert_eq!(EventView::parse(&leaf).unwrap().occurred_at(), given.occurred_at().unwrap());

    let mut leaf = stored(&NewEvent::builder(Action::AUTH_LOGIN).build().unwrap());
    let view = EventView::parse(&leaf).unwrap();
    assert_eq!(view.occurred_at(), view.recorded_at());
    // The second time is another record's: its own time must not stay.
    let none = Assigned { user_sequence: None, previous: None, ..assigned() };
    assign(&mut leaf, &none);
    let view = EventView::parse(&leaf).unwrap();
    assert_eq!((view.user_sequence(), view.previous()), (None, None));
}

#[test]
fn assigning_to_too_few_bytes_leaves_them_alone() {
    let mut short = [7; 67];
    assign(&mut short, &assigned());
    assert_eq!(short, [7; 67]);
}

/// A leaf with another number of fields, as a later or an earlier version would write it.
fn with_field_count(event: &NewEvent<'_>, field_count: u8) -> Vec<u8> {
    let leaf = stored(event);
    let mut other = leaf[..68].to_vec();
    other[35] = field_count;
    let last = u16_at(&leaf, 94);
    let mut extra = Vec::new();
    for i in 0..usize::from(field_count) {
        let end = if i < 14 {
            u16_at(&leaf, 68 + 2 * i)
        } else {
            extra.extend_from_slice(b"new");
            last + u16::try_from(extra.len()).unwrap()
        };
        other.extend_from_slice(&end.to_le_bytes());
    }
    other[64..68].copy_from_slice(&u32::MAX.to_le_bytes());
    let kept = if field_count < 14 { u16_at(&leaf, 66 + 2 * usize::from(field_count)) } else { last };
    other.extend_from_slice(&leaf[96..96 + usize::from(kept)]);
    other.extend_from_slice(&extra);
    other
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let event = full_event("own.action");
    let usual = stored(&event);
    let expected = EventView::parse(&usual).unwrap().to_owned().unwrap();
    for field_count in [15, 16, 31, 32] {
        let leaf = with_field_count(&event, field_count);
        let view = EventView::parse(&leaf).unwrap();
        assert_eq!(view.to_owned().unwrap(), expected, "{field_count} fields");
    }
    let leaf = with_field_count(&event, 33);
    assert_eq!(EventView::parse(&leaf).unwrap_err().reason(), LeafErrorKind::TooManyFields);
}

#[test]
fn fields_that_an_earlier_version_did_not_have_are_absent() {
    let leaf = with_field_count(&full_event("own.action"), 5);
    let view = EventView::parse(&leaf).unwrap();
    assert_eq!((view.action(), view.service()), (Ok("own.action"), Ok(Some("service"))));
    assert_eq!((view.resource(), view.details(), view.ip_address()), (Ok(None), Ok(None), Ok(None)));
    let event = view.to_owned().unwrap();
    assert_eq!((event.service(), event.message()), (Some("service"), None));
}

#[test]
fn encoding_into_room_that_is_there_does_not_move_it() {
    let event = full_event("auth.login");
    let mut out = Vec::with_capacity(10 * leaf_bytes(&event));
    let start = out.as_ptr();
    for n in 1..=10 {
        encode_leaf(&event, &mut out);
        assert_eq!((out.as_ptr(), out.len()), (start, n * leaf_bytes(&event)));
    }
}

#[test]
fn an_id_that_was_compared_is_lent_by_who_compared_it() {
    let leaf = stored(&full_event("own.action"));
    let parsed = EventView::parse(&leaf).unwrap();
    for other in ["", "user-", "user-e", "user-éé", "usér-é"] {
        assert_eq!(parsed.of_user(other), None, "{other}");
    }
    let asked = String::from("user-é");
    let own = parsed.of_user(&asked).unwrap();
    assert_eq!(own.user_id().unwrap().map(str::as_ptr), Some(asked.as_ptr()));
    assert_eq!(own.user_id_bytes(), parsed.user_id_bytes());
    assert_ne!(
        parsed.user_id().unwrap().map(str::as_ptr),
        Some(asked.as_ptr()),
        "not compared: the leaf's own"
    );
    assert_eq!(own, parsed);
    assert_eq!(own.to_owned().unwrap(), parsed.to_owned().unwrap());
    let mut other = leaf.clone();
    *other.last_mut().unwrap() ^= 1;
    assert_ne!(own, EventView::parse(&other).unwrap());
    // Presence says that there is no user: nobody's, not even the empty one's.
    let mut without = leaf.clone();
    without[64] &= !1;
    let nobody = EventView::parse(&without).unwrap();
    assert_eq!((nobody.of_user(""), nobody.of_user("user-é")), (None, None));
}
