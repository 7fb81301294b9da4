//! Index checkpoints: believed where they may be, passed over where they are damaged or of another segment, and never what
//! hides that something is missing.

use std::path::PathBuf;

use super::rig::{LATER, Rig, Step};
use crate::error::ErrorKind;
use crate::io::Disk;
use crate::io::faulty::Damage;
use crate::shard::Job;

fn checkpoint_path(segment: u64) -> PathBuf {
    Rig::dir().join(format!("shard-00/{segment:016}.ckpt"))
}

/// A store that was killed: a checkpoint of three records, three more behind it that are durable, and two that aren't.
fn killed() -> Rig {
    let mut rig = Rig::new(LATER);
    let three = Step::Batch { count: 3, bytes: 1000 };
    for step in [three, Step::Flush, three] {
        rig.step(step).unwrap();
    }
    // Nobody runs the background behind this one.
    rig.store().flush().unwrap();
    rig.durable = rig.log.len();
    rig.step(Step::Append { user: Some(1), bytes: 30, durability: LATER }).unwrap();
    rig.kill();
    assert!(rig.disk.exists(&checkpoint_path(0)).unwrap(), "there is a checkpoint");
    rig
}

fn opens_with_everything(killed: &Rig) -> Rig {
    let mut image = killed.on(killed.disk.after_kill());
    image.open().unwrap();
    image.verify(true);
    image
}

#[test]
fn a_checkpoint_that_is_damaged_in_any_byte_is_passed_over() {
    let killed = killed();
    let path = checkpoint_path(0);
    let bytes = killed.disk.read(&path, 1 << 20).unwrap();
    for offset in 0..bytes.len() {
        let image = killed.on(killed.disk.after_kill());
        image.disk.flip_bit(".ckpt", offset);
        opens_with_everything(&image);
    }
    for length in (0..bytes.len()).step_by(41) {
        let image = killed.on(killed.disk.after_kill());
        image.disk.write_unsynced(&path, &bytes[..length]).unwrap();
        opens_with_everything(&image);
    }
    let image = killed.on(killed.disk.after_kill());
    image.disk.remove(&path).unwrap();
    opens_with_everything(&image);
}

#[test]
fn a_checkpoint_of_another_store_is_passed_over() {
    let (killed, other) = (self::killed(), self::killed());
    let foreign = other.disk.read(&checkpoint_path(0), 1 << 20).unwrap();
    killed.disk.write_unsynced(&checkpoint_path(0), &foreign).unwrap();
    opens_with_everything(&killed);
}

/// Where the first byte of record `sequence` stands in the first segment.
fn offset_of(rig: &Rig, sequence: u64) -> usize {
    rig.store().0.core.shards[0].view().segments[0].offset_of(sequence).unwrap()
}

#[test]
fn only_what_lies_behind_the_checkpoint_is_read_and_the_rest_when_it_is_asked_for() {
    let mut rig = Rig::new(LATER);
    for step in [Step::Batch { count: 4, bytes: 1000 }, Step::Flush] {
        rig.step(step).unwrap();
    }
    let second = offset_of(&rig, 1);
    rig.step(Step::Batch { count: 1, bytes: 10 }).unwrap();
    rig.kill();
    rig.disk.flip_bit(".log", second + 100);
    let without = rig.on(rig.disk.after_kill());
    rig.open().unwrap();
    let view = rig.store().0.core.shards[0].view();
    assert!(view.leaf(0).is_ok() && view.leaf(2).is_ok());
    let error = view.leaf(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.path().is_some() && error.offset() == Some(second as u64), "{error}");
    assert_eq!(rig.store().check().unwrap_err().kind(), ErrorKind::Corruption);
    drop(view);
    let mut without = without;
    without.disk.remove(&checkpoint_path(0)).unwrap();
    let error = without.open().unwrap_err();
    assert_eq!(error.offset(), Some(second as u64), "all of it is read: {error}");
}

#[test]
fn a_log_that_is_older_than_its_checkpoint_is_refused() {
    let mut rig = Rig::new(LATER);
    for step in [Step::Batch { count: 4, bytes: 1000 }, Step::Flush] {
        rig.step(step).unwrap();
    }
    let last = offset_of(&rig, 3);
    rig.kill();
    rig.disk.flip_bit(".log", last + 30);
    let error = rig.open().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(last as u64)), "{error}");
    rig.options = rig.options.clone().repair(true);
    rig.open().unwrap();
    assert_eq!(rig.store().recovery().shards[0].rolled_back_from, Some(3));
}

#[test]
fn a_store_that_was_closed_is_opened_without_its_log() {
    let mut rig = Rig::new(LATER);
    rig.step(Step::Batch { count: 40, bytes: 1000 }).unwrap();
    rig.store().close().unwrap();
    rig.store = None;
    // Damage that reading would find.
    rig.disk.flip_bit(".log", 4096 + 3000);
    rig.open().unwrap();
    assert_eq!(rig.store().0.core.shards[0].view().end(), 40);
    assert!(rig.store().check().is_err());
}

#[test]
fn what_lies_above_the_floor_moves_to_a_segment_of_its_own() {
    let mut image = opens_with_everything(&killed());
    let layout = image.store().layout().unwrap().remove(0);
    let ends: Vec<(u64, u64)> =
        layout.segments.iter().map(|segment| (segment.first.get(), segment.end.get())).collect();
    assert_eq!(ends, [(0, 6), (6, 7)], "six were durable");
    assert_eq!(layout.segments[0].generation, 0, "the durable part was not written anew");
    assert!(layout.segments[0].sealed, "and is sealed behind what it was used for");
    // The power goes before anything else is synced: what the opening has shown is there.
    let cut = image.disk.after_power_cut(Damage::Nothing, 1);
    image.store = None;
    let mut image = image.on(cut);
    image.open().unwrap();
    image.verify(true);
    image.step(Step::Batch { count: 9, bytes: 2000 }).unwrap();
    image.step(Step::Reopen).unwrap();
    image.verify_open();
    image.store().check().unwrap();
}

#[test]
fn a_closed_segment_that_is_not_sealed_yet_ends_where_it_was_closed() {
    let killed = killed();
    let mut opened = killed.on(killed.disk.after_kill());
    opened.open().unwrap();
    let places = opened.disk.trace().len();
    opened.kill();
    for place in 0..places {
        let mut first = killed.on(killed.disk.after_kill());
        first.disk.inject(crate::io::faulty::Fault::Crash, place);
        let _ = first.open();
        let again = first.disk.after_kill();
        first.store = None;
        let mut second = first.on(again);
        second.open().unwrap_or_else(|error| panic!("at {place}: {error}"));
        second.verify(true);
        let reader = second.options.clone().read_only(true);
        second.step(Step::Append { user: Some(0), bytes: 10, durability: LATER }).unwrap();
        second.store().flush().unwrap();
        second.durable = second.log.len();
        second.kill();
        second.options = reader;
        second.open().unwrap();
        assert!(second.store().0.core.shards[0].view().end() >= killed.durable as u64);
        second.store().check().unwrap();
    }
}

#[test]
fn checkpoints_go_when_their_segment_is_sealed() {
    let mut rig = Rig::new(LATER);
    for step in [Step::Batch { count: 4, bytes: 1000 }, Step::Flush, Step::Batch { count: 24, bytes: 50_000 }]
    {
        rig.step(step).unwrap();
    }
    rig.store().0.core.shards[0].run(Job::Seal).unwrap();
    assert!(!rig.disk.exists(&checkpoint_path(0)).unwrap());
    let stray = checkpoint_path(77);
    rig.disk.write_unsynced(&stray, b"of no segment").unwrap();
    rig.step(Step::Reopen).unwrap();
    assert!(!rig.disk.exists(&stray).unwrap());
}
