//! Recovery epochs: a place in the log that was given twice, before a crash and after it, is told apart by its epoch.
//!
//! Owns the crashes that leave nothing to be seen of what was lost. Must not know the format.

use usertrail::{Action, Durability, NewEvent, Options, Order, Store, UserId};

fn event(n: u32) -> NewEvent<'static> {
    let session = usertrail::SessionId::new(format!("s-{n}")).unwrap();
    NewEvent::builder(Action::AUTH_LOGIN).user(alice()).session(session).build().unwrap()
}

fn alice() -> UserId<'static> {
    UserId::new("alice").unwrap()
}

#[test]
fn a_second_crash_that_loses_all_since_the_first_begins_an_epoch_of_its_own() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = |name: &str| temporary.path().join(name);
    let options = Options::new().shards(1).durability(Durability::Buffered);
    let store = options.create_new(dir("first")).unwrap();
    store.append(&event(0)).unwrap();
    store.flush().unwrap();
    crate::fixture::copy_tree(&dir("first"), &dir("second")).unwrap();

    // The first crash lost nothing; the next opening begins an epoch nevertheless.
    let store = Store::open(dir("second")).unwrap();
    // What is appended from here on never reaches the disk.
    crate::fixture::copy_tree(&dir("second"), &dir("third")).unwrap();
    let lost = store.append(&event(1)).unwrap();
    store.append(&event(2)).unwrap();
    let page = store.user_log(&alice()).order(Order::Oldest).limit(2).page().unwrap();
    let cursor = page.next_cursor().unwrap();

    let store = Store::open(dir("third")).unwrap();
    let kept = store.append(&event(11)).unwrap();
    assert_eq!((kept.shard, kept.sequence), (lost.shard, lost.sequence), "the place is given again");
    assert!(kept.epoch > lost.epoch, "{kept:?} can't be told from {lost:?}");
    store.append(&event(12)).unwrap();
    // The cursor stood behind the first event that was lost: nothing that came in its place is passed over.
    let page = store.user_log(&alice()).order(Order::Oldest).cursor(cursor).page().unwrap();
    let sessions: Vec<String> =
        page.iter().map(|event| event.unwrap().session_id().unwrap().unwrap().to_owned()).collect();
    assert_eq!(sessions, ["s-11", "s-12"]);
}
