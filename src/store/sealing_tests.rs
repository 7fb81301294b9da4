//! A record that is damaged before its segment is sealed: it is told where it is asked for, and stops nothing else.
//!
//! Owns a store whose newest segment is nearly full, closed so that its next opening reads no log, and a flipped bit in it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::open::{Host, WorkersKind, create_new, open};
use super::{Options, PackAfter, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Action, Details, Event, EventId, NewEvent, Timestamp, UserId};
use crate::figures::{Controls, figure};
use crate::format::seeded::{Bug, seed};
use crate::format::segment::Footer;
use crate::io::Disk;
use crate::io::memory::MemoryDisk;
use crate::query::Order;
use crate::segment::Segment;

const SEGMENT_BYTES: u64 = 1 << 20;
/// The text of events that come later: none of them fits the first file any more.
const LATER_BYTES: usize = 30_000;

fn options() -> Options {
    Options::new().shards(1).segment_bytes_max(SEGMENT_BYTES).merge_fan_out(2).pack_after(PackAfter::Never)
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

fn append(store: &Store, user: Option<&UserId<'static>>, number: u64, length: usize) -> EventId {
    let details = Details::from_value(&serde_json::json!({ "text": text(number, length) })).unwrap();
    let mut event = NewEvent::builder(Action::AUTH_LOGIN).occurred_at(occurred(number)).details(details);
    if let Some(user) = user {
        event = event.user(user.clone());
    }
    store.append(&event.build().unwrap()).unwrap().id
}

fn append_later(store: &Store, user: Option<&UserId<'static>>, numbers: Range<u64>) {
    for number in numbers {
        append(store, user, number, LATER_BYTES);
    }
}

fn newest(store: &Store) -> Arc<Segment> {
    Arc::clone(store.0.core.shards[0].view().segments.last().unwrap())
}

/// Appends events until the newest segment is nearly full.
fn fill(store: &Store, user: Option<&UserId<'static>>, numbers: Range<u64>) -> Vec<EventId> {
    let room = |_: &u64| newest(store).record_bytes() + 20_000 < SEGMENT_BYTES;
    numbers.take_while(room).map(|number| append(store, user, number, 900)).collect()
}

/// A closed store, and where each record lies in its newest file.
struct Closed {
    disk: MemoryDisk,
    path: PathBuf,
    offsets: Vec<usize>,
}

fn close(store: &Store, disk: MemoryDisk) -> Closed {
    let segment = newest(store);
    let offsets = (0..segment.published()).map(|ordinal| segment.offset_of(ordinal).unwrap()).collect();
    store.close().unwrap();
    // A checkpoint up to the last record: it is not read at the next opening.
    open(&options().checkpoint_bytes(1), &host(&disk), "memory".into()).unwrap().close().unwrap();
    Closed { disk, path: segment.path().to_owned(), offsets }
}

/// A store of alice's events alone.
fn closed() -> Closed {
    let disk = MemoryDisk::default();
    let store = create_new(&options(), &host(&disk), "memory".into()).unwrap();
    fill(&store, Some(&alice()), 0..2_000);
    close(&store, disk)
}

/// Flips a bit in the text of a record: what can be read of it without its checksum is a sound event.
fn damage(disk: &MemoryDisk, closed: &Closed, ordinal: u64) {
    let mut bytes = disk.read(&closed.path, u64::MAX).unwrap();
    bytes[closed.offsets[usize::try_from(ordinal).unwrap()] + 600] ^= 1;
    disk.put(&closed.path, &bytes).unwrap();
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
    let stored = store.user_count(&alice()).unwrap();
    let all: Vec<String> = (0..stored).map(|n| text(n, if n < count { 900 } else { LATER_BYTES })).collect();
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
            // It may have occurred at any time of its segment, so it is asked, too.
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
        damage(&disk, closed, number);
    }
    let store = open(&options(), &host(&disk), "memory".into()).unwrap();
    append_later(&store, Some(&alice()), count..count + 3);
    let stats = store.stats().unwrap();
    assert_eq!((stats.segments, stats.unsealed_segments), (2, 1), "nothing was sealed");
    assert_eq!(stats.damaged_records, u64::from(damaged.is_some()));
    let footer = *store.0.core.shards[0].view().segments[0].footer().unwrap();
    is_told(&store, closed, damaged)?;
    append_later(&store, Some(&alice()), count + 3..count + 80);
    assert!(store.stats().unwrap().merges > 0, "nothing was merged");
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
        format!("{} of {count} records before sealing: told, 0 others wrong or missing", places.len()),
        controls,
    );
}

/// Where nothing is to be indexed, records are asked for by their ids alone.
#[test]
fn a_segment_without_users_opens_whatever_is_damaged_in_it() {
    let disk = MemoryDisk::default();
    let store = create_new(&options(), &host(&disk), "memory".into()).unwrap();
    let of_alice = append(&store, Some(&alice()), 0, 900);
    append_later(&store, None, 1..40);
    let ids = fill(&store, None, 40..2_000);
    let closed = close(&store, disk);
    drop(store);
    let ordinal = closed.offsets.len() as u64 - ids.len() as u64 + 7;
    let offset = Some(closed.offsets[usize::try_from(ordinal).unwrap()] as u64);
    let is_told = |store: &Store| {
        assert_eq!(store.event(ids[7]).unwrap_err().offset(), offset);
        assert!(store.event(ids[6]).unwrap().is_some() && store.event(of_alice).unwrap().is_some());
        assert_eq!(store.user_log(&alice()).page().unwrap().len(), 1);
        assert_eq!(store.check().unwrap_err().offset(), offset);
    };
    for before_sealing in [true, false] {
        let disk = closed.disk.image();
        if before_sealing {
            damage(&disk, &closed, ordinal);
        }
        let store = open(&options(), &host(&disk), "memory".into()).unwrap();
        append_later(&store, None, 2_000..2_003);
        let stats = store.stats().unwrap();
        assert_eq!((stats.segments, stats.unsealed_segments), (3, 1), "nothing was sealed");
        assert_eq!(stats.damaged_records, u64::from(before_sealing));
        store.close().unwrap();
        drop(store);
        if !before_sealing {
            damage(&disk, &closed, ordinal);
        }
        is_told(&open(&options(), &host(&disk), "memory".into()).unwrap());
        is_told(&open(&options().repair(true), &host(&disk), "memory".into()).unwrap());
        // Without its run only its records can say that they have no users.
        disk.remove(&closed.path.with_extension("run")).unwrap();
        let error = open(&options(), &host(&disk), "memory".into()).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, offset));
    }
}

#[test]
fn an_empty_run_is_checked_and_goes_when_its_neighbours_are_merged() {
    let disk = MemoryDisk::default();
    let store = create_new(&options(), &host(&disk), "memory".into()).unwrap();
    let runs = || {
        let own = |path: &PathBuf| {
            path.extension().is_some_and(|end| end == "run") && !path.to_string_lossy().contains("-0000")
        };
        disk.paths().into_iter().filter(own).collect::<Vec<PathBuf>>()
    };
    // Nobody is known yet.
    append_later(&store, None, 0..40);
    assert_eq!((store.stats().unwrap().unsealed_segments, runs().len()), (1, 0));
    append(&store, Some(&alice()), 40, 900);
    append_later(&store, None, 41..120);
    let stats = store.stats().unwrap();
    assert_eq!((stats.segments, stats.runs, runs().len()), (4, 1, 2), "alice's run and an empty one");
    store.check().unwrap();
    let empty = runs().pop().unwrap();
    let page = 4096 + 7;
    let byte = disk.read(&empty, u64::MAX).unwrap()[page];
    disk.forget(&empty, page, &[byte ^ 1]);
    let error = store.check().unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(&*empty)));
    disk.forget(&empty, page, &[byte]);
    append(&store, Some(&alice()), 120, 900);
    append_later(&store, None, 121..150);
    assert_eq!(store.stats().unwrap().merges, 1);
    assert!(runs().is_empty(), "{:?}", runs());
    store.check().unwrap();
    assert_eq!(store.user_log(&alice()).page().unwrap().len(), 2);
}
