//! A record that is damaged before its segment is sealed: it is told where it is asked for, and stops nothing else.
//!
//! Owns a store of one segment that is nearly full, closed so that its next opening reads no log, and a flipped bit in it.

use std::path::PathBuf;

use super::open::{Host, WorkersKind, create_new, open};
use super::{Options, PackAfter, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Action, Details, Event, NewEvent, Timestamp, UserId};
use crate::figures::{Controls, figure};
use crate::format::seeded::{Bug, seed};
use crate::format::segment::Footer;
use crate::io::Disk;
use crate::io::memory::MemoryDisk;
use crate::query::Order;

const SEGMENT_BYTES: u64 = 1 << 20;
/// The text of events that come later: none of them fits the first file any more.
const LATER_BYTES: usize = 30_000;
/// How many of those.
const LATER: u64 = 3;

fn options() -> Options {
    Options::new().shards(1).segment_bytes_max(SEGMENT_BYTES).pack_after(PackAfter::Never)
}

fn host(disk: &MemoryDisk) -> Host {
    Host { workers: WorkersKind::Caller, ..Host::machine(disk.clone()) }
}

fn alice() -> UserId<'static> {
    UserId::new("alice").unwrap()
}

/// Of all events no two occur at the same time, and they don't come in the order of their times.
fn occurred(number: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000 + i64::try_from(number * 7919 % 10_007).unwrap())
}

fn text(number: u64, length: usize) -> String {
    format!("{number:06}{}", "x".repeat(length))
}

fn append(store: &Store, number: u64, length: usize) {
    let details = Details::from_value(&serde_json::json!({ "text": text(number, length) })).unwrap();
    let event = NewEvent::builder(Action::AUTH_LOGIN).user(alice()).occurred_at(occurred(number));
    store.append(&event.details(details).build().unwrap()).unwrap();
}

/// A closed store, and where each record lies in the one file that has any.
struct Closed {
    disk: MemoryDisk,
    path: PathBuf,
    offsets: Vec<usize>,
}

fn closed() -> Closed {
    let disk = MemoryDisk::default();
    let store = create_new(&options(), &host(&disk), "memory".into()).unwrap();
    let segment = || store.0.core.shards[0].view().segments[0].clone();
    let mut count = 0;
    while segment().record_bytes() + 20_000 < SEGMENT_BYTES {
        append(&store, count, 900);
        count += 1;
    }
    let segment = segment();
    let offsets = (0..count).map(|ordinal| segment.offset_of(ordinal).unwrap()).collect();
    store.close().unwrap();
    // A checkpoint up to the last record: it is not read at the next opening.
    open(&options().checkpoint_bytes(1), &host(&disk), "memory".into()).unwrap().close().unwrap();
    Closed { disk, path: segment.path().to_owned(), offsets }
}

fn texts(events: &[Event]) -> Vec<String> {
    let details =
        |event: &Event| serde_json::from_str::<serde_json::Value>(event.details().unwrap()).unwrap();
    events.iter().map(|event| details(event)["text"].as_str().unwrap().to_owned()).collect()
}

/// An event by its time alone, so that the index must say where it may be.
fn at(store: &Store, number: u64) -> Result<Vec<String>> {
    let (since, until) = (occurred(number), Timestamp::from_micros(occurred(number).as_micros() + 1));
    let page = store.user_log(&alice()).since(since).until(until).page()?;
    Ok(texts(&page.to_events()?))
}

/// Page by page, one event each, up to the end or to an error.
fn walk(store: &Store, order: Order) -> (Vec<String>, Option<Error>) {
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let user = alice();
        let mut log = store.user_log(&user).order(order).limit(1);
        if let Some(cursor) = cursor {
            log = log.cursor(cursor);
        }
        let page = log.page().and_then(|page| Ok((page.to_events()?, page.next_cursor())));
        match page {
            Ok((events, next)) => {
                seen.extend(texts(&events));
                cursor = next;
            }
            Err(error) => return (seen, Some(error)),
        }
        if cursor.is_none() {
            return (seen, None);
        }
    }
}

/// Whether the damaged event is told with its place where it is asked for, and every other one is as it was.
fn is_told(store: &Store, closed: &Closed, damaged: Option<u64>) -> std::result::Result<(), String> {
    let offset = damaged.map(|number| closed.offsets[usize::try_from(number).unwrap()] as u64);
    let is_named = |error: &Error| {
        (error.kind(), error.path(), error.offset()) == (ErrorKind::Corruption, Some(&*closed.path), offset)
    };
    let count = closed.offsets.len() as u64;
    let all: Vec<String> =
        (0..count + LATER).map(|n| text(n, if n < count { 900 } else { LATER_BYTES })).collect();
    let split = damaged.map_or(all.len(), |number| usize::try_from(number).unwrap());
    let (forward, error) = walk(store, Order::Oldest);
    if forward != all[..split] || error.is_some() != damaged.is_some() || !error.iter().all(is_named) {
        return Err(format!("{} events forward, then {error:?}", forward.len()));
    }
    let (mut backward, error) = walk(store, Order::Newest);
    backward.reverse();
    let behind = damaged.map_or(0, |_| split + 1);
    if backward != all[behind..] || error.is_some() != damaged.is_some() || !error.iter().all(is_named) {
        return Err(format!("{} events backward, then {error:?}", backward.len()));
    }
    for (number, text) in (0..).zip(&all) {
        match at(store, number) {
            Ok(found) if found == [&**text] && Some(number) != damaged => {}
            // It may be among those whose times must be looked at.
            Err(error) if damaged.is_some() && is_named(&error) => {}
            other => return Err(format!("event {number}, {damaged:?} damaged: {other:?}")),
        }
    }
    match (store.check(), damaged) {
        (Ok(()), None) => Ok(()),
        (Err(error), Some(_)) if is_named(&error) => Ok(()),
        (other, _) => Err(format!("a check found {other:?}")),
    }
}

/// Seals the segment with this event damaged, and looks at it before and after the next opening.
fn seal_over(closed: &Closed, damaged: Option<u64>) -> std::result::Result<Footer, String> {
    let disk = closed.disk.image();
    let count = closed.offsets.len() as u64;
    if let Some(number) = damaged {
        let mut bytes = disk.read(&closed.path, u64::MAX).unwrap();
        // In the text: what can be read of it without its checksum is a sound event.
        bytes[closed.offsets[usize::try_from(number).unwrap()] + 600] ^= 1;
        disk.put(&closed.path, &bytes).unwrap();
    }
    let store = open(&options(), &host(&disk), "memory".into()).unwrap();
    for later in 0..LATER {
        append(&store, count + later, LATER_BYTES);
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.segments, stats.unsealed_segments), (2, 1), "nothing was sealed");
    assert_eq!(stats.damaged_records, u64::from(damaged.is_some()));
    let footer = *store.0.core.shards[0].view().segments[0].footer().unwrap();
    is_told(&store, closed, damaged)?;
    store.close().unwrap();
    let store = open(&options(), &host(&disk), "memory".into()).unwrap();
    is_told(&store, closed, damaged)?;
    let packed = store.pack().map_err(|error| error.kind());
    // What can't be read can't be packed.
    assert_eq!(packed.err(), damaged.map(|_| ErrorKind::Corruption));
    Ok(footer)
}

#[test]
fn a_record_that_is_damaged_before_its_segment_is_sealed_stops_nothing() {
    let closed = closed();
    let count = closed.offsets.len() as u64;
    let intact = seal_over(&closed, None).unwrap();
    // No other one tells the index of so late a time.
    let latest = (0..count).max_by_key(|number| occurred(*number)).unwrap();
    // Not the last one, which every opening looks at.
    let places = [0, 1, latest, count - 2];
    for damaged in places {
        let footer = seal_over(&closed, Some(damaged)).unwrap();
        // But for the earliest time of recording, which nobody needs.
        assert_eq!(Footer { recorded_min_micros: intact.recorded_min_micros, ..footer }, intact, "{damaged}");
    }
    let mut controls = Controls::default();
    for bug in [Bug::DamageTakenForChecked, Bug::DamageAtOneTime] {
        seed(Some(bug));
        controls.add(seal_over(&closed, Some(latest)).is_err());
        seed(None);
    }
    assert_eq!(controls.caught, controls.seeded);
    figure(
        "damage is told, or changes nothing",
        "store::sealing_tests::a_record_that_is_damaged_before_its_segment_is_sealed_stops_nothing",
        format!("{} of {count} records, before sealing and after: 0 others touched", places.len()),
        controls,
    );
}
