//! Histories that failed once, shrunk.

use super::ground::Kind;
use super::list::{Question, Spec};
use super::world::{Setting, World};
use crate::fixture::user;
use crate::{Action, Durability, NewEvent, Options, Status};

/// Row 10: at most two blocks more, wherever the bounds lie among a user's events in memory. The first blocks of a user
/// in a segment have no times of their own; they were asked one by one, beside the two in which the bounds lie.
#[test]
fn a_time_range_touches_no_more_than_two_blocks_in_vain() {
    let setting = Setting {
        kind: Kind::Memory,
        shards: 1,
        segment_bytes: 1 << 20,
        durability: Durability::Buffered,
        in_order: true,
        pack_after: None,
        seed: 0,
    };
    let mut world = World::new(setting);
    let spec = Spec {
        user: Some(0),
        action: 0,
        level: None,
        category: None,
        status: Status::Success,
        service: None,
        at: None,
        padding: 0,
    };
    world.append_batch(&vec![spec; 800]);
    for since in (300..500).step_by(5) {
        for until in (since..800).step_by(5) {
            let plain = Question::plain(0, 500);
            world.walk(&Question { since: Some(since), until: Some(until), ..plain.clone() });
            world.walk(&Question { since: Some(since), until: Some(until), oldest_first: true, ..plain });
        }
    }
}

/// A power cut may take the file through which readers follow the writer, or its length. Who opened the store for reading
/// before a writer made it again stood still for ever.
#[test]
fn a_reader_follows_a_writer_that_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let event = NewEvent::builder(Action::AUTH_LOGIN).user(user("alice")).build().unwrap();
    let store = Options::new().shards(1).create_new(&path).unwrap();
    store.append(&event).unwrap();
    store.close().unwrap();
    let live = path.join("LIVE");
    for cut in [
        |live: &std::path::Path| std::fs::remove_file(live),
        |live: &std::path::Path| std::fs::OpenOptions::new().write(true).open(live)?.set_len(3),
    ] {
        cut(&live).unwrap();
        let reader = Options::new().read_only(true).open(&path).unwrap();
        let before = reader.user_count(&user("alice")).unwrap();
        let store = Options::new().open(&path).unwrap();
        store.append(&event).unwrap();
        assert_eq!(reader.user_count(&user("alice")).unwrap(), before + 1);
        store.close().unwrap();
    }
}
