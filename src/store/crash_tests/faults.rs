//! Errors of the disk at every operation: typed, told to whoever it concerns, and nothing acknowledged is lost by them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::power::{places, workload};
use super::rig::{LATER, Rig, Step};
use crate::error::{Error, ErrorKind};
use crate::event::{Message, NewEvent, UserId};
use crate::io::faulty::{Damage, Dice, Fault, Kind};
use crate::io::{Disk, Mode};
use crate::store::Durability;
use crate::store::open::WorkersKind;

/// Runs the workload as a service would that goes on after errors; says which errors it met.
pub(super) fn run_on(rig: &mut Rig, steps: &[Step]) -> Vec<ErrorKind> {
    let mut met = Vec::new();
    for step in steps {
        if rig.disk.stopped() {
            return met;
        }
        let poisoned = rig.store().0.core.shards[0].poison().is_some();
        let appends = matches!(step, Step::Append { .. } | Step::Batch { .. } | Step::Atomic { .. });
        let outcome = rig.step(*step);
        match outcome {
            Ok(()) => assert!(!(poisoned && appends), "a poisoned shard took {step:?}"),
            Err(error) => {
                assert!(!poisoned || !appends || error.kind() == ErrorKind::Poisoned, "{step:?}: {error}");
                met.push(error.kind());
                if rig.disk.stopped() {
                    return met;
                }
                if matches!(step, Step::Reopen | Step::KillAndReopen) && !reopen(rig, &mut met) {
                    return met;
                }
            }
        }
    }
    met
}

/// Opens the store again after closing or opening it has failed.
fn reopen(rig: &mut Rig, met: &mut Vec<ErrorKind>) -> bool {
    rig.store = None;
    for _ in 0..2 {
        match rig.open() {
            Ok(()) => {
                rig.verify(true);
                return true;
            }
            Err(error) => met.push(error.kind()),
        }
    }
    false
}

/// Of so many places one is tried. The simulator tries them all, with smaller segments.
const STRIDE: usize = 23;

/// One fault at a place of the workload; then reads go on, and a kill and a power cut find what they must.
pub(super) fn fail_at(make: fn(Durability) -> Rig, fault: Fault, place: usize, dice: &mut Dice) {
    let durability = if dice.below(2) == 0 { LATER } else { Durability::Durable };
    let mut rig = make(durability);
    rig.disk.inject(fault, place);
    for kind in run_on(&mut rig, &workload()) {
        let expected = [ErrorKind::Io, ErrorKind::Poisoned, ErrorKind::OutcomeUnknown];
        assert!(expected.contains(&kind), "{fault:?} at {place}: {kind:?}");
    }
    rig.disk.heal();
    rig.verify_open();
    if dice.below(2) == 0 {
        // The kernel drops what it could not write: readers don't notice.
        rig.disk.evict();
        rig.verify_open();
        let mut killed = rig.on(rig.disk.after_kill());
        killed.open().unwrap();
        killed.verify(false);
    } else {
        let mut killed = rig.on(rig.disk.after_kill());
        killed.open().unwrap();
        killed.verify(true);
        // Opening has made it durable, though no sync would have written the pages that had failed.
        let mut cut = killed.on(killed.disk.after_power_cut(Damage::Nothing, dice.next()));
        killed.store = None;
        cut.open().unwrap();
        cut.verify(true);
    }
    let mut cut = rig.on(rig.disk.after_power_cut(Damage::Random, dice.next()));
    rig.store = None;
    cut.open().unwrap();
    cut.verify(false);
}

#[test]
fn an_error_at_any_operation_is_told_and_nothing_is_lost_by_it() {
    let places = places(&mut Rig::new(Durability::Durable), &workload());
    let mut dice = Dice(7);
    for fault in [Fault::ErrorOnce, Fault::ShortWrite, Fault::Phantom] {
        for place in places.iter().skip(dice.below(STRIDE)).step_by(STRIDE) {
            eprintln!("{fault:?} at {place}");
            fail_at(Rig::new, fault, *place, &mut dice);
        }
    }
}

#[test]
fn a_crash_soon_after_an_error_leaves_a_store_that_opens() {
    let steps = workload();
    let mut counting = Rig::new(LATER);
    places(&mut counting, &steps);
    let trace = counting.disk.trace();
    let names = (0..trace.len()).filter(|place| matches!(trace[*place], Kind::Rename | Kind::SyncDir));
    let mut dice = Dice(8);
    for place in names.step_by(7) {
        let fault = [Fault::ErrorOnce, Fault::Phantom][dice.below(2)];
        let crash = place + 1 + dice.below(14);
        eprintln!("{fault:?} at {place}, crash at {crash}");
        let mut rig = Rig::new(LATER);
        rig.disk.inject(fault, place);
        rig.disk.inject_also(Fault::Crash, crash);
        run_on(&mut rig, &steps);
        let mut cut = rig.on(rig.disk.after_power_cut(Damage::Random, dice.next()));
        rig.store = None;
        cut.open().unwrap_or_else(|error| panic!("a legal state was refused: {error}"));
        cut.verify(false);
    }
}

#[test]
fn a_disk_that_fails_for_ever_still_serves_what_is_in_memory() {
    let places = places(&mut Rig::new(LATER), &workload());
    for place in places.into_iter().step_by(STRIDE) {
        let mut rig = Rig::new(LATER);
        rig.disk.inject(Fault::ErrorsForEver, place);
        run_on(&mut rig, &workload());
        if rig.store.is_some() {
            rig.verify_open();
        }
        let mut killed = rig.on(rig.disk.after_kill());
        killed.open().unwrap();
        killed.verify(true);
    }
}

#[test]
fn a_full_disk_is_told_reads_go_on_and_writing_resumes_when_there_is_room() {
    let places = places(&mut Rig::new(LATER), &workload());
    for place in places.into_iter().step_by(STRIDE) {
        let mut rig = Rig::new(LATER);
        rig.disk.inject(Fault::NoSpace, place);
        let met = run_on(&mut rig, &workload());
        assert!(met.iter().all(|kind| *kind == ErrorKind::StorageFull), "at {place}: {met:?}");
        rig.disk.heal();
        if rig.store.is_some() {
            rig.verify_open();
            rig.verify_no_remains();
        }
        if rig.store.is_none() {
            rig.open().unwrap();
            rig.verify(true);
        }
        for step in [Step::Batch { count: 20, bytes: 50_000 }, Step::Flush, Step::Reopen] {
            rig.step(step).unwrap_or_else(|error| panic!("at {place}, {step:?}: {error}"));
        }
        rig.verify_open();
    }
}

fn login(user: &str) -> NewEvent<'static> {
    let user = UserId::new(user.to_owned()).unwrap();
    NewEvent::login_failed(Some(user), Message::new("wrong password").unwrap()).build().unwrap()
}

/// A store with two shards, and a user in each.
fn two_shards() -> (Rig, [NewEvent<'static>; 2]) {
    let mut rig = Rig::unmade(LATER);
    rig.options = rig.options.clone().shards(2);
    rig.open().unwrap();
    let mut events = [None, None];
    for number in 0.. {
        let event = login(&format!("u{number}"));
        let shard = rig.store().append(&event).unwrap().shard.get();
        events[usize::from(shard)] = Some(event);
        if events.iter().all(Option::is_some) {
            break;
        }
    }
    rig.store().flush().unwrap();
    (rig, events.map(Option::unwrap))
}

#[test]
fn a_shard_that_fails_does_not_keep_the_others_from_being_synced() {
    for place in 0..2 {
        let (rig, events) = two_shards();
        let shards = &rig.store().0.core.shards;
        for event in &events {
            rig.store().append(event).unwrap();
        }
        rig.disk.inject(Fault::ErrorOnce, place);
        assert_eq!(rig.store().flush().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        let failed = shards.iter().position(|shard| shard.poison().is_some()).unwrap();
        let other = 1 - failed;
        // Nobody waits for the other one alone: the store's own flush must reach it.
        rig.store().append(&events[other]).unwrap();
        assert_eq!(rig.store().flush().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(shards[other].durable(), shards[other].published(), "shard {failed} failed");
        assert_eq!(rig.store().append(&events[failed]).unwrap_err().kind(), ErrorKind::Poisoned);
    }
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_that_waits_is_woken_when_its_shard_fails_without_a_commit() {
    let (rig, events) = two_shards();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut pending = rig.store().append_nowait(&events[1]).unwrap();
    assert!(Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)).is_pending());
    rig.store().0.core.shards[1].set_poisoned(&Error::new(ErrorKind::Io, "the sync of pages ahead failed"));
    let _ = rig.store().flush();
    assert!(woken.0.load(Ordering::Relaxed) > 0, "a task waits in vain");
    match Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::OutcomeUnknown),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sync_that_follows_a_failed_one_fails_too() {
    let rig = Rig::new(LATER);
    let view = rig.store().0.core.shards[0].view();
    rig.disk.inject(Fault::ErrorOnce, 0);
    assert!(view.segments[0].sync().is_err());
    assert!(view.segments[0].sync().is_err(), "the kernel tells of an error once");
}

/// A bit of a record that was durable is flipped: the store must refuse, and say where.
pub(super) fn damage_below_the_floor() {
    let mut rig = Rig::unmade(LATER);
    // Nothing speaks for the records but their floors.
    rig.options = rig.options.clone().checkpoint_bytes(u64::MAX);
    rig.open().unwrap();
    for step in [Step::Batch { count: 9, bytes: 2000 }, Step::Flush, Step::Batch { count: 2, bytes: 10 }] {
        rig.step(step).unwrap();
    }
    rig.kill();
    rig.disk.flip_bit(".log", 4096 + 2500);
    let error = rig.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.path().is_some() && error.offset().is_some(), "{error}");
    rig.options = rig.options.clone().repair(true);
    rig.open().unwrap();
    assert!(rig.store().recovery().rolled_back());
}

#[test]
fn damage_below_the_floor_is_refused() {
    damage_below_the_floor();
}

/// A disk that told of a manifest as durable and lost it has the one before, which can't know of a segment that a recovery
/// made since: the store must refuse, and give the rest up only where a person asks for it.
pub(super) fn an_older_manifest() {
    let mut rig = Rig::unmade(LATER).worked_by(WorkersKind::Nobody);
    rig.open().unwrap();
    let events = Step::Batch { count: 9, bytes: 2000 };
    for step in [events, Step::Flush] {
        rig.step(step).unwrap();
    }
    let path = Rig::dir().join("shard-00").join("MANIFEST");
    let older = rig.disk.read(&path, u64::MAX).unwrap();
    for step in [events, Step::KillAndReopen, events, Step::Flush] {
        rig.step(step).unwrap();
    }
    rig.kill();
    rig.disk.write_synced(&path, &older, Mode::Shared).unwrap();
    for error in [rig.reader().map(drop).unwrap_err(), rig.open().unwrap_err()] {
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(&*path)), "{error}");
    }
    rig.options = rig.options.clone().repair(true);
    rig.open().unwrap();
    let report = rig.store().recovery().shards[0].clone();
    assert_eq!((report.rolled_back_from, report.rolled_back_to), (Some(18), Some(27)));
    let names = rig.disk.list(path.parent().unwrap()).unwrap();
    assert!(names.contains(&"0000000000000001.log.damaged-1".to_owned()), "{names:?}");
    // What was given up doesn't come back.
    rig.kill();
    rig.options = rig.options.clone().repair(false);
    rig.open().unwrap();
    assert_eq!(rig.store().0.core.shards[0].view().end(), 18);
}

#[test]
fn a_manifest_older_than_the_store_is_refused() {
    an_older_manifest();
}

#[test]
fn a_store_that_lost_its_own_file_is_not_made_anew() {
    let mut rig = Rig::new(LATER);
    rig.step(Step::Batch { count: 3, bytes: 10 }).unwrap();
    rig.step(Step::Reopen).unwrap();
    rig.kill();
    rig.disk.remove(&Rig::dir().join("STORE")).unwrap();
    assert_eq!(rig.open().unwrap_err().kind(), ErrorKind::Corruption);
}
