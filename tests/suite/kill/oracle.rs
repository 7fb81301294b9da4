//! What was acknowledged, beside what the store shows.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use usertrail::{Durability, Order, Store, UserId};

use super::events::{Ack, Key, users};
use super::writer::options;

/// A directory, and what was said of it.
pub(super) struct Yard {
    temporary: tempfile::TempDir,
    acks: HashMap<Key, Ack>,
    /// By user: the ids that an earlier look has shown, oldest first.
    shown: HashMap<String, Vec<u128>>,
}

impl Yard {
    pub(super) fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap(), acks: HashMap::new(), shown: HashMap::new() }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.temporary.path().join("store")
    }

    pub(super) fn acknowledged(&mut self, acks: Vec<Ack>) {
        self.acks.extend(acks.into_iter().map(|ack| (ack.key, ack)));
    }

    pub(super) fn count(&self) -> usize {
        self.acks.len()
    }

    /// Opens the store, and compares all of it with what was acknowledged. Gives how many events it showed.
    pub(super) fn look(&mut self, thorough: bool) -> Result<u64, String> {
        let store = options(Durability::Buffered).open(self.dir()).map_err(|error| error.to_string())?;
        let mut seen = HashSet::new();
        for user in users() {
            let before = self.shown.remove(&user).unwrap_or_default();
            let ids = self.look_at(&store, &user, &mut seen)?;
            if !ids.starts_with(&before) {
                return Err(format!("{user}: {} events were shown before, and some are gone", before.len()));
            }
            self.shown.insert(user, ids);
        }
        let mut lost: Vec<&Key> = self.acks.keys().filter(|key| !seen.contains(*key)).collect();
        lost.sort();
        if let Some(first) = lost.first() {
            return Err(format!("{} acknowledged events are lost: {first:?} and on", lost.len()));
        }
        if thorough {
            store.check().map_err(|error| error.to_string())?;
        }
        store.close().map_err(|error| error.to_string())?;
        Ok(seen.len() as u64)
    }

    fn look_at(&self, store: &Store, user: &str, seen: &mut HashSet<Key>) -> Result<Vec<u128>, String> {
        let mut ids = Vec::new();
        let mut last: Option<Key> = None;
        // How many of an atomic group are still to come.
        let mut rest = 0;
        for shown in pages(store, user, Order::Oldest)? {
            let Shown { key, id, user_sequence, sequence, message } = shown;
            let wrong = |what: &str| Err(format!("{user}, event {} ({key:?}): {what}", ids.len()));
            if user_sequence != Some(ids.len() as u64) {
                return wrong(&format!("user sequence {user_sequence:?}"));
            }
            if key.user() != user || message != key.message() {
                return wrong("other bytes than were appended");
            }
            if last.is_some_and(|last| (last.life, last.number) >= (key.life, key.number)) {
                return wrong(&format!("twice, or not in the order of the appends: {last:?} came before"));
            }
            if rest > 0 && last.is_some_and(|last| last.first != key.first || last.life != key.life) {
                return wrong("an atomic group was cut");
            }
            if rest == 0 && key.number != key.first {
                return wrong("an atomic group without its beginning");
            }
            rest = key.first + u64::from(key.length) - key.number - 1;
            if let Some(ack) = self.acks.get(&key)
                && (ack.id, Some(ack.user_sequence), ack.sequence) != (id, user_sequence, sequence)
                && ack.id != 0
            {
                return wrong(&format!("{id:x} at {sequence}, but acknowledged as {ack:?}"));
            }
            seen.insert(key);
            last = Some(key);
            ids.push(id);
        }
        if rest > 0 {
            return Err(format!("{user}: {last:?}: an atomic group was cut"));
        }
        let mut newest: Vec<u128> = pages(store, user, Order::Newest)?.iter().map(|shown| shown.id).collect();
        newest.reverse();
        if newest != ids {
            return Err(format!("{user}: {} events newest first, {} oldest first", newest.len(), ids.len()));
        }
        Ok(ids)
    }
}

struct Shown {
    key: Key,
    id: u128,
    user_sequence: Option<u64>,
    sequence: u64,
    message: String,
}

/// All of a user's events, page by page.
fn pages(store: &Store, user: &str, order: Order) -> Result<Vec<Shown>, String> {
    let user = UserId::new(user.to_owned()).unwrap();
    let text = |error: usertrail::Error| error.to_string();
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let query = store.user_log(&user).order(order).limit(487);
        let page =
            if let Some(cursor) = cursor { query.cursor(cursor) } else { query }.page().map_err(text)?;
        for event in page.iter() {
            let event = event.map_err(text)?;
            let session = event.session_id().ok().flatten().unwrap_or_default();
            let key = Key::parse(session).ok_or_else(|| format!("what is {session:?}?"))?;
            all.push(Shown {
                key,
                id: event.id().as_u128(),
                user_sequence: event.user_sequence(),
                sequence: event.sequence(),
                message: event.message().ok().flatten().unwrap_or_default().to_owned(),
            });
        }
        cursor = page.next_cursor();
        if cursor.is_none() {
            return Ok(all);
        }
    }
}
