//! Bytes that no event ever was, through every accessor: an answer or an error, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::layout::{FIELD_COUNT, FIXED_BYTES};
use super::super::*;
use super::{event, full_event, stored};

/// Calls all there is. Answers whether the bytes passed as a whole event.
fn poke(leaf: &[u8]) -> bool {
    let Ok(view) = EventView::parse(leaf) else { return false };
    let texts = [
        view.user_id(),
        view.tenant_id(),
        view.actor_id(),
        view.service(),
        view.resource(),
        view.resource_id(),
        view.session_id(),
        view.request_id(),
        view.idempotency_key(),
        view.user_agent(),
        view.message(),
        view.details(),
        view.action().map(Some),
    ];
    let bytes = [
        view.user_id_bytes(),
        view.tenant_id_bytes(),
        view.actor_id_bytes(),
        view.service_bytes(),
        view.resource_bytes(),
        view.resource_id_bytes(),
        view.session_id_bytes(),
        view.request_id_bytes(),
        view.idempotency_key_bytes(),
        view.user_agent_bytes(),
        view.message_bytes(),
        view.details_bytes(),
    ];
    for (text, bytes) in texts.iter().zip(bytes) {
        // Whichever way a text was looked at, the answer is the standard library's.
        assert_eq!(text.ok(), bytes.map(std::str::from_utf8).transpose().ok());
        match text {
            Ok(text) => assert_eq!(text.map(str::as_bytes), bytes),
            Err(error) => assert_eq!(error.reason(), LeafErrorKind::NotUtf8),
        }
    }
    let numbers = (view.sequence(), view.user_sequence(), view.previous(), view.action_code());
    let rest = (view.id(), view.level(), view.category(), view.status(), view.ip_address());
    let times = format!("{} {}", view.recorded_at(), view.occurred_at());
    assert!(!format!("{view:?}{numbers:?}{rest:?}{times}").is_empty());
    assert_eq!(view.leaf(), leaf);
    let all_texts_are_good = texts.iter().all(Result::is_ok) && view.ip_address().is_ok();
    let written = serde_json::to_string(&view);
    match view.to_owned() {
        Ok(owned) => {
            assert!(all_texts_are_good);
            assert!(!format!("{owned:?}").is_empty());
            assert_eq!(serde_json::to_string(&owned).ok(), written.as_ref().ok().cloned());
            assert_eq!(written.is_ok(), view.recorded_at().is_rfc3339() && view.occurred_at().is_rfc3339());
            true
        }
        Err(error) => {
            assert!(written.unwrap_err().to_string().contains(error.field()), "{error}");
            assert!(!all_texts_are_good || error.reason() == LeafErrorKind::NotJson);
            false
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for action in ["auth.login", "own.action"] {
        let leaf = stored(&full_event(action));
        assert!(poke(&leaf), "the control");
        for len in 0..leaf.len() {
            assert!(EventView::parse(&leaf[..len]).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn every_flipped_bit_is_survived() {
    for action in ["auth.login", "own.action"] {
        let mut leaf = stored(&full_event(action));
        let (mut passed, mut refused) = (0, 0);
        for bit in 0..leaf.len() * 8 {
            leaf[bit / 8] ^= 1 << (bit % 8);
            *if poke(&leaf) { &mut passed } else { &mut refused } += 1;
            leaf[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(passed > 1_000 && refused > 100, "{passed} passed, {refused} refused: both are exercised");
    }
}

#[test]
fn every_value_of_every_structural_byte_is_survived() {
    let mut leaf = stored(&full_event("own.action"));
    for at in 32..FIXED_BYTES + 2 * FIELD_COUNT {
        let good = leaf[at];
        for byte in 0..=u8::MAX {
            leaf[at] = byte;
            poke(&leaf);
        }
        leaf[at] = good;
    }
}

#[test]
fn faults_name_their_field() {
    let fault_at = |at: usize, byte: u8| {
        let mut leaf = stored(&full_event("auth.login"));
        leaf[at] = byte;
        match EventView::parse(&leaf).map(|view| view.to_owned()) {
            Ok(Ok(_)) => panic!("byte {at} = {byte} passed"),
            Ok(Err(error)) | Err(error) => (error.field(), error.reason()),
        }
    };
    let texts_at = FIXED_BYTES + 2 * FIELD_COUNT;
    assert_eq!(fault_at(32, 4), ("level", LeafErrorKind::UnknownCode));
    assert_eq!(fault_at(33, 7), ("category", LeafErrorKind::UnknownCode));
    assert_eq!(fault_at(34, 3), ("status", LeafErrorKind::UnknownCode));
    assert_eq!(fault_at(35, 33), ("leaf", LeafErrorKind::TooManyFields));
    assert_eq!(fault_at(37, 1), ("action", LeafErrorKind::UnknownCode));
    assert_eq!(fault_at(36, 0), ("action", LeafErrorKind::Missing));
    assert_eq!(fault_at(69, 0xff), ("leaf", LeafErrorKind::BadOffset));
    assert_eq!(fault_at(FIXED_BYTES + 2 * 13 + 1, 0xff), ("leaf", LeafErrorKind::BadOffset));
    assert_eq!(fault_at(texts_at, 0xff), ("userId", LeafErrorKind::NotUtf8));
    let user_bytes = u8::try_from("user-é".len()).unwrap();
    assert_eq!(fault_at(texts_at + usize::from(user_bytes), 0xff), ("tenantId", LeafErrorKind::NotUtf8));
    let leaf_len = stored(&full_event("auth.login")).len();
    assert_eq!(fault_at(leaf_len - 1, b' '), ("details", LeafErrorKind::NotJson));
    // The address one byte longer, the agent one shorter.
    let ip_end = usize::from(stored(&full_event("auth.login"))[FIXED_BYTES + 20]);
    let fault = fault_at(FIXED_BYTES + 20, u8::try_from(ip_end + 1).unwrap());
    assert_eq!(fault, ("ipAddress", LeafErrorKind::WrongLength));
}

#[test]
fn stored_details_with_white_space_or_no_object_are_no_json_we_wrote() {
    for text in ["[1,2]", "{\"a\": 1}", "{\"a\":1", "{\"a\":\"\\ud800\"}", "", "7"] {
        let mut leaf = stored(
            &NewEvent::builder(Action::AUTH_LOGIN)
                .details(Details::from_json("{}").unwrap())
                .build()
                .unwrap(),
        );
        leaf.truncate(leaf.len() - 2);
        leaf.extend_from_slice(text.as_bytes());
        let len = u16::try_from(text.len()).unwrap();
        leaf[FIXED_BYTES + 26..FIXED_BYTES + 28].copy_from_slice(&len.to_le_bytes());
        let view = EventView::parse(&leaf).unwrap();
        assert_eq!(view.details(), Ok(Some(text)));
        assert_eq!(view.to_owned().unwrap_err().reason(), LeafErrorKind::NotJson, "{text}");
        assert!(serde_json::to_string(&view).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..400)) {
        poke(&bytes);
    }

    /// Bytes that get past the first checks: the codes are right, all else is not.
    #[test]
    fn any_table_is_survived(
        mut bytes in vec(any::<u8>(), FIXED_BYTES..400),
        field_count in 0_u8..40,
        mut ends in vec(0_u16..300, 40),
        in_order in any::<bool>(),
    ) {
        bytes[32] %= 4;
        bytes[33] %= 7;
        bytes[34] %= 3;
        bytes[35] = field_count;
        if in_order {
            ends.sort_unstable();
        }
        for (place, end) in bytes[FIXED_BYTES..].as_chunks_mut::<2>().0.iter_mut().zip(&ends).take(field_count.into()) {
            *place = end.to_le_bytes();
        }
        poke(&bytes);
    }

    #[test]
    fn a_damaged_event_is_survived(event in event(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut leaf = stored(&event);
        let at = at.index(leaf.len());
        leaf[at] = byte;
        poke(&leaf);
    }
}
