//! What a repair gives up stays for people, whole, under a name that no store opens; also where the repair is cut off.

use std::path::PathBuf;

use super::controls::is_noticed;
use super::rig::{LATER, Rig, Step};
use crate::error::ErrorKind;
use crate::format::seeded::{Bug, seed};
use crate::io::faulty::{Damage, Dice, Fault, Kind, Lies};
use crate::io::{Disk, Mode};
use crate::segment::create::log_path;
use crate::store::open::WorkersKind;

/// Large enough that twenty fill a segment.
const BYTES: usize = 50_000;

fn shard_dir() -> PathBuf {
    Rig::dir().join("shard-00")
}

fn kept_path(segment: u64) -> PathBuf {
    let mut name = log_path(&shard_dir(), segment).into_os_string();
    name.push(".damaged-0");
    name.into()
}

/// A killed store with three segments that aren't sealed, all of it durable, and a bit flipped in one record; and what the
/// files hold.
struct Damaged {
    rig: Rig,
    logs: Vec<Vec<u8>>,
    first_lost: u64,
}

/// The first record that is damaged: one in the middle of the first segment, its last one, or the first of the second.
#[derive(Clone, Copy, Debug)]
enum Place {
    Middle,
    Last,
    NextFirst,
}

fn damaged(place: Place) -> Damaged {
    let mut rig = Rig::unmade(LATER).worked_by(WorkersKind::Nobody);
    rig.open().unwrap();
    for step in [Step::Batch { count: 50, bytes: BYTES }, Step::Flush, Step::NoteFloor] {
        rig.step(step).unwrap();
    }
    let view = rig.store().0.core.shards[0].view();
    assert_eq!(view.segments.len(), 3);
    let (segment, ordinal) = match place {
        Place::Middle => (0, 3),
        Place::Last => (0, view.segments[0].published() - 1),
        Place::NextFirst => (1, 0),
    };
    let offset = view.segments[segment].offset_of(ordinal).unwrap();
    let first_lost = view.segments[segment].base() + ordinal;
    drop(view);
    rig.kill();
    rig.disk.flip_bit(&format!("{segment:016}.log"), offset + 100);
    let read = |segment| rig.disk.read(&log_path(&shard_dir(), segment), u64::MAX).unwrap();
    let logs = (0..3).map(read).collect();
    rig.options = rig.options.clone().repair(true);
    Damaged { rig, logs, first_lost }
}

/// Which segments have records from the first lost one on.
fn given_up(place: Place) -> std::ops::Range<u64> {
    match place {
        Place::Middle | Place::Last => 0..3,
        Place::NextFirst => 1..3,
    }
}

fn everything_is_kept(rig: &Rig, logs: &[Vec<u8>], place: Place, when: &str) {
    for segment in given_up(place) {
        let kept = rig.disk.read(&kept_path(segment), u64::MAX);
        let kept = kept.unwrap_or_else(|error| panic!("{place:?}, {when}: segment {segment}: {error}"));
        assert!(kept == logs[usize::try_from(segment).unwrap()], "{place:?}, {when}: segment {segment}");
    }
}

#[test]
fn a_repair_keeps_every_segment_that_it_gives_up() {
    for place in [Place::Middle, Place::Last, Place::NextFirst] {
        let Damaged { mut rig, logs, first_lost } = damaged(place);
        rig.open().unwrap();
        let report = rig.store().recovery().shards[0].clone();
        assert_eq!(
            (report.rolled_back_from, report.rolled_back_to),
            (Some(first_lost), Some(50)),
            "{place:?}"
        );
        everything_is_kept(&rig, &logs, place, "repaired");
        // What was given up doesn't come back, and what is kept stays.
        rig.kill();
        rig.options = rig.options.clone().repair(false);
        rig.open().unwrap();
        assert_eq!(rig.store().0.core.shards[0].view().end(), first_lost);
        everything_is_kept(&rig, &logs, place, "opened again");
    }
}

/// The power goes at an operation of the repair: the next opening refuses, or finds a log of which the manifest says that
/// it was rolled back; and nothing that was given up is gone.
fn cut_off(damaged: &Damaged, place: Place, operation: usize, damage: Damage, seed: u64) {
    let Damaged { rig, logs, first_lost } = damaged;
    let mut first = rig.on(rig.disk.after_kill());
    first.disk.inject(Fault::Crash, operation);
    let _ = first.open();
    let cut = first.disk.after_power_cut(damage, seed);
    first.store = None;
    let mut second = rig.on(cut);
    second.options = second.options.clone().repair(false);
    if let Err(error) = second.open() {
        assert_eq!(error.kind(), ErrorKind::Corruption, "at {operation}, {damage:?}: {error}");
        second.options = second.options.clone().repair(true);
        second.open().unwrap_or_else(|error| panic!("at {operation}, {damage:?}: {error}"));
    }
    let view = second.store().0.core.shards[0].view();
    assert_eq!(view.end(), *first_lost);
    assert!(view.rollbacks.iter().any(|told| told.first_lost == *first_lost), "without a word: {operation}");
    everything_is_kept(&second, logs, place, &format!("at {operation}, {damage:?}"));
}

#[test]
fn a_repair_that_is_cut_off_keeps_every_segment_too() {
    let mut dice = Dice(9);
    for place in [Place::Middle, Place::Last, Place::NextFirst] {
        let damaged = damaged(place);
        let mut counting = damaged.rig.on(damaged.rig.disk.after_kill());
        counting.open().unwrap();
        for operation in 0..counting.disk.trace().len() {
            for damage in [Damage::Nothing, Damage::Everything, Damage::Random, Damage::Random] {
                cut_off(&damaged, place, operation, damage, dice.next());
            }
        }
    }
}

#[test]
fn a_kept_file_whose_name_is_not_durable_is_noticed() {
    let damaged = damaged(Place::Middle);
    let mut counting = damaged.rig.on(damaged.rig.disk.after_kill());
    // There are fewer operations with the bug.
    seed(Some(Bug::DamagedNameNotSynced));
    counting.open().unwrap();
    seed(None);
    let trace = counting.disk.trace();
    // Where the new generation has its name already, and the directory isn't synced.
    let renamed = |place: &usize| trace[place - 2..=*place] == [Kind::SyncData, Kind::Rename, Kind::SyncDir];
    let places: Vec<usize> = (2..trace.len()).filter(renamed).collect();
    assert!(is_noticed(Some(Bug::DamagedNameNotSynced), Lies::default(), |_, dice| {
        cut_off(&damaged, Place::Middle, places[dice.below(places.len())], Damage::Random, dice.next());
    }));
}

/// A manifest that names a merged run which was merged further, and removed, since; and beyond what it lists a segment that
/// a recovery has made.
fn older_than_a_merge() -> (Rig, u64) {
    let mut rig = Rig::unmade(LATER);
    rig.open().unwrap();
    let fill = Step::Batch { count: 45, bytes: BYTES };
    for step in [fill, Step::Flush, Step::Maintain] {
        rig.step(step).unwrap();
    }
    let path = shard_dir().join("MANIFEST");
    let older = rig.disk.read(&path, u64::MAX).unwrap();
    let few = Step::Batch { count: 9, bytes: 2000 };
    for step in [fill, fill, Step::Flush, Step::Maintain, few, Step::Flush, few, Step::KillAndReopen, few] {
        rig.step(step).unwrap();
    }
    rig.step(Step::Flush).unwrap();
    let end = rig.store().0.core.shards[0].view().end();
    rig.kill();
    let names = rig.disk.list(&shard_dir()).unwrap();
    assert!(!names.contains(&format!("{:016}-{:016}.run", 0, 1)), "it was merged further: {names:?}");
    rig.disk.write_synced(&path, &older, Mode::Shared).unwrap();
    (rig, end)
}

#[test]
fn a_manifest_older_than_a_merge_is_told_as_such() {
    let (mut rig, _) = older_than_a_merge();
    for error in [rig.reader().map(drop).unwrap_err(), rig.open().unwrap_err()] {
        let manifest = shard_dir().join("MANIFEST");
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(&*manifest)), "{error}");
        assert!(error.to_string().contains("older than the store"), "{error}");
    }
}

#[test]
fn a_repair_under_a_manifest_older_than_a_merge_keeps_what_it_gives_up() {
    let (mut rig, all) = older_than_a_merge();
    // The one that recovery has made.
    let mut logs = rig.disk.list(&shard_dir()).unwrap();
    logs.retain(|name| name.strip_suffix(".log").is_some());
    let read = |name: String| (rig.disk.read(&shard_dir().join(&name), u64::MAX).unwrap(), name);
    let (bytes, newest) = logs.into_iter().map(read).find(|(bytes, _)| bytes[36] == 1).unwrap();
    rig.options = rig.options.clone().repair(true);
    rig.open().unwrap();
    let end = rig.store().0.core.shards[0].view().end();
    let report = rig.store().recovery().shards[0].clone();
    assert!(end < all, "{report:?}");
    assert_eq!((report.rolled_back_from, report.rolled_back_to), (Some(end), Some(all)), "{report:?}");
    let kept = rig.disk.read(&shard_dir().join(format!("{newest}.damaged-1")), u64::MAX).unwrap();
    assert!(kept == bytes);
}
