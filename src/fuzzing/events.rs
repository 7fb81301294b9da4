//! Targets for events, their JSON, and what is imported: everything that comes from outside of the store.
#![expect(clippy::missing_panics_doc, reason = "a panic is what a target tells with")]

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;

use crate::event::{
    Action, ActorId, Assigned, Details, EventId, EventView, IdempotencyKey, Message, NewEvent, RequestId,
    Resource, ResourceId, Service, SessionId, TenantId, Timestamp, UnknownMembers, UserAgent, UserId, assign,
    encode_leaf, from_json_line, leaf_bytes,
};
use crate::exchange::authlog::Parser;
use crate::exchange::{Importer, JsonLines, LineError, Observer, Parsed, Sink, Taken};

use super::Input;

/// What the store assigns, for leaves that no store has taken.
fn assigned(number: u64) -> Assigned {
    Assigned {
        sequence: number >> 8,
        user_sequence: (number & 1 == 1).then_some(number >> 40),
        previous: (number & 2 == 2).then_some(number >> 50),
        recorded_at: Timestamp::MIN,
        id: EventId::from_u128(u128::from(number) << 3),
    }
}

/// An event in JSON, and back: what is in the leaf is in the text.
fn round_trip(event: &NewEvent<'_>) {
    let mut leaf = Vec::new();
    encode_leaf(event, &mut leaf);
    assert_eq!(leaf.len(), leaf_bytes(event));
    let number = leaf.len() as u64 * 0x0101_0101_0101;
    assign(&mut leaf, &assigned(number));
    let Ok(view) = EventView::parse(&leaf) else { unreachable!("what was encoded is sound") };
    let Ok(owned) = view.to_owned() else { unreachable!("what was built has sound texts") };
    assert_eq!(view.user_id().ok().flatten(), event.user_id().map(crate::UserId::as_str));
    let (Ok(text), Ok(same)) = (serde_json::to_string(&owned), serde_json::to_string(&view)) else {
        unreachable!("an event has a text")
    };
    assert_eq!(text, same, "the view and the copy have one text");
    // Without what the store assigns it is an event that can be handed in.
    let stripped = without_assigned(&text);
    match from_json_line(stripped.as_bytes(), UnknownMembers::Reject) {
        Ok(again) => {
            let mut leaf_again = Vec::new();
            encode_leaf(&again, &mut leaf_again);
            assign(&mut leaf_again, &assigned(number));
            assert_eq!(leaf_again, leaf, "{stripped}");
        }
        Err(error) => unreachable!("{error}: {stripped}"),
    }
}

/// An event's text without id, user sequence and time of recording. They are among the first four members, whose values have
/// no comma; what the caller wrote stands behind these.
fn without_assigned(text: &str) -> String {
    let mut rest = text.strip_prefix('{').unwrap_or(text);
    let mut kept = String::from("{");
    for name in ["\"id\":", "\"userSequence\":", "\"occurredAt\":", "\"recordedAt\":"] {
        if rest.starts_with(name)
            && let Some((member, behind)) = rest.split_once(',')
        {
            if name == "\"occurredAt\":" {
                kept.extend([member, ","]);
            }
            rest = behind;
        }
    }
    kept + rest
}

/// Any bytes as a leaf.
pub fn event_view(data: &[u8]) {
    let Ok(view) = EventView::parse(data) else { return };
    let _ = (view.sequence(), view.user_sequence(), view.previous(), view.recorded_at(), view.id());
    let _ = (view.action(), view.ip_address(), view.user_id(), view.details(), view.message());
    let _ = format!("{view:?}");
    let text = serde_json::to_string(&view);
    match view.to_owned() {
        Ok(owned) => {
            let same = serde_json::to_string(&owned);
            // A time that no store writes has no text.
            let timely = |time| (Timestamp::MIN..=Timestamp::MAX).contains(&time);
            assert_eq!(text.is_ok(), timely(view.occurred_at()) && timely(view.recorded_at()), "{text:?}");
            assert_eq!(text.ok(), same.ok());
            assert_eq!(owned.id(), view.id());
            let _ = format!("{owned:?}");
        }
        Err(_) => assert!(text.is_err(), "what can't be copied can't be written either"),
    }
    let mut leaf = data.to_vec();
    assign(&mut leaf, &assigned(data.len() as u64));
    assert!(EventView::parse(&leaf).is_ok(), "what the store assigns makes no leaf unsound");
}

/// Any bytes as a line of JSON.
pub fn event_json(data: &[u8]) {
    let strict = from_json_line(data, UnknownMembers::Reject);
    let loose = from_json_line(data, UnknownMembers::ToDetails);
    if let Ok(event) = &strict {
        round_trip(event);
        let loose = loose.as_ref().ok();
        assert_eq!(loose, Some(event), "what has no unknown members is read in one way");
        let owned = serde_json::from_slice::<NewEvent<'static>>(data);
        assert!(owned.is_ok_and(|owned| owned == *event), "by serde it is the same");
    }
    if let Ok(event) = &loose {
        round_trip(event);
    }
    for error in [strict.err(), loose.err()].into_iter().flatten() {
        // The name of a member may be empty.
        assert!(!error.to_string().is_empty() && !error.reason().to_string().is_empty());
    }
}

/// Any text as details.
pub fn details(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(details) = Details::from_json(text) {
        let again = Details::from_json(details.as_str());
        assert_eq!(again.as_ref().map(Details::as_str), Ok(details.as_str()), "compact text stays as it is");
        // Not as a value: its numbers have bounds, those of details don't.
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(details.as_str()).is_ok());
        assert!(details.as_str().starts_with('{') && details.as_str().ends_with('}'));
    }
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text)
        && let Ok(details) = Details::from_value(&value)
    {
        assert!(Details::from_json(details.as_str()).is_ok());
    }
}

/// Any text as each of the names that an event has.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    macro_rules! each {
        ($($name:ident)+) => {
            $(if let Ok(name) = $name::new(text) {
                assert_eq!(name.as_str(), text);
                assert!($name::new(name.into_owned().as_str().to_owned()).is_ok());
            })+
        };
    }
    each!(UserId TenantId ActorId Action Service Resource ResourceId SessionId RequestId IdempotencyKey UserAgent Message);
}

/// Any text as a time, and any time as a text.
pub fn time(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(time) = Timestamp::parse_rfc3339(text)
    {
        assert!((Timestamp::MIN..=Timestamp::MAX).contains(&time));
        assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(time), "{text}");
    }
    let time = Timestamp::from_micros(Input(data).word().cast_signed());
    let text = time.to_string();
    if (Timestamp::MIN..=Timestamp::MAX).contains(&time) {
        assert_eq!(Timestamp::parse_rfc3339(&text), Ok(time), "{text}");
    }
}

/// Any bytes as an `auth.log`, a line at a time.
pub fn authlog(data: &[u8]) {
    let Ok(now) = Timestamp::parse_rfc3339("2026-11-20T00:00:00Z") else { unreachable!("it is a time") };
    let mut input = Input(data);
    let year = input.byte();
    let mut parser = Parser::new((year & 1 == 1).then(|| 1970 + u16::from(year)), now);
    for line in input.rest().split(|byte| *byte == b'\n') {
        match parser.parse(line) {
            Ok(Parsed::Event { event, times }) => {
                assert!(times >= 1);
                round_trip(&event);
            }
            Ok(Parsed::Ignored) => {}
            Err(error) => assert!(!error.field().is_empty() && !error.reason().to_string().is_empty()),
        }
    }
}

/// Counts what it is handed.
#[derive(Default)]
struct Count {
    events: u64,
    rejected: Vec<u8>,
}

impl Sink for Count {
    type Ack = ();
    type Error = Infallible;

    fn append_batch(&mut self, events: &[NewEvent<'static>]) -> Taken<(), Infallible> {
        assert!(!events.is_empty());
        self.events += events.len() as u64;
        Ok(vec![(); events.len()])
    }
}

impl Observer<()> for Count {
    fn rejected(&mut self, line: u64, error: &LineError) -> io::Result<()> {
        assert!(line > 0 && !error.to_string().is_empty() && !error.reason().is_empty());
        Ok(())
    }

    fn rejected_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rejected.extend_from_slice(bytes);
        Ok(())
    }
}

/// Gives the input in small pieces.
struct Pieces<'a>(&'a [u8], usize);

impl io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(self.1).min(buffer.len());
        let (now, later) = self.0.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

/// Any bytes as a file of JSON lines, read in pieces of any length.
pub fn import(data: &[u8]) {
    let mut input = Input(data);
    let piece = usize::from(input.byte()) + 1;
    let line_max = usize::from(input.byte()) * 4;
    let unknown = if piece & 1 == 0 { UnknownMembers::Reject } else { UnknownMembers::ToDetails };
    let bytes = input.rest();
    let batch = NonZeroUsize::MIN.saturating_add(piece % 3);
    let mut importer = Importer::new().line_bytes_max(line_max).batch_events_max(batch);
    let (mut sink, mut observer) = (Count::default(), Count::default());
    let done = importer.run(Pieces(bytes, piece), &mut JsonLines::new(unknown), &mut sink, &mut observer);
    assert!(done.is_ok());
    let summary = importer.summary();
    let ends = (bytes.split(|byte| *byte == b'\n').count() - 1) as u64;
    let lines = ends + u64::from(bytes.last().is_some_and(|byte| *byte != b'\n'));
    assert_eq!((summary.lines, summary.bytes), (lines, bytes.len() as u64));
    assert_eq!(summary.lines, summary.blank + summary.ignored + summary.rejected + summary.event_lines);
    assert_eq!((summary.accepted, sink.events), (summary.event_lines, summary.event_lines));
    let rejected = (observer.rejected.split(|byte| *byte == b'\n').count() - 1) as u64;
    assert_eq!(rejected, summary.rejected, "rejected lines are told whole");
}
