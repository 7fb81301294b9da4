//! LMDB through heed: a B+tree in a mapped file, key (user, sequence), one transaction for each append; once alone, once
//! with a second index (user, category, level, sequence) for filters.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};
use usertrail::NewEvent;

use crate::engine::{Body, Engine, Fields, Kind, LIMIT, Outcome, Question, Sync};
use crate::reads_by_visit;
use crate::stored::{KEY_BYTES, Key, Reader, encode, key, range, tags};

pub const KIND: Kind = Kind {
    name: "lmdb",
    settings: "NO_READ_AHEAD; NO_SYNC without WRITE_MAP (whole after a kill, not after a power cut), or synced commits; \
               rkyv, checked, in place in its map",
    with: |dir, sync, body| with(dir, sync, false, body),
};

pub const INDEXED: Kind = Kind {
    name: "lmdb-indexed",
    settings: "as lmdb, with a second index (user, category, level, sequence) in the same transaction",
    with: |dir, sync, body| with(dir, sync, true, body),
};

/// Of the address space, not of the disk.
const MAP_BYTES: usize = 256 << 30;

type Table<'e> = Database<'e, Bytes, Bytes>;

struct Lmdb<'e> {
    env: &'e Env,
    events: Table<'e>,
    index: Option<Table<'e>>,
}

fn with(dir: &Path, sync: Sync, indexed: bool, body: Body<'_>) -> Outcome<()> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_dbs(2);
    let flags = match sync {
        Sync::Buffered => EnvFlags::NO_READ_AHEAD | EnvFlags::NO_SYNC,
        Sync::Durable => EnvFlags::NO_READ_AHEAD,
    };
    // SAFETY: NO_SYNC gives up what a power cut takes, nothing else; the directory is this run's own, and nobody but
    // this process opens it or touches its files while it is mapped.
    let env = unsafe { options.flags(flags).open(dir)? };
    {
        let events = table(&env, "events")?;
        let index = if indexed { Some(table(&env, "index")?) } else { None };
        body(&Lmdb { env: &env, events, index })?;
    }
    env.force_sync()?;
    // Waits until the map is gone, so that its pages can leave the cache.
    env.prepare_for_closing().wait();
    Ok(())
}

fn table<'e>(env: &'e Env, name: &str) -> Outcome<Table<'e>> {
    let committed = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        opener.create_database::<Bytes, Bytes>(txn, Some(name)).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    Ok(committed.unwrap_commit())
}

/// The key in the second index: as that of the event, with the tags in the padding behind the user.
fn tagged(mut key: Key, tags: [u8; 2]) -> Key {
    let at = KEY_BYTES - 12;
    key[at..at + 2].copy_from_slice(&tags);
    key
}

/// From one key to another, both included.
fn between<'k>(low: &'k Key, high: &'k Key) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    (Bound::Included(low.as_slice()), Bound::Included(high.as_slice()))
}

impl Lmdb<'_> {
    fn visit(&self, question: Question<'_>, mut visit: impl FnMut(Fields<'_>)) -> Outcome<usize> {
        let txn = self.env.read_txn()?;
        let (low, high) = range(question.user)?;
        let (filter, mut reader, mut found) = (question.filter.map(tags), Reader::default(), 0);
        if let (Some(index), Some(tags)) = (&self.index, filter) {
            let (low, high) = (tagged(low, tags), tagged(high, tags));
            for entry in index.rev_range(&txn, &between(&low, &high))?.take(LIMIT) {
                let (_, key) = entry?;
                let value = self.events.get(&txn, key)?.ok_or("the index has what the table has not")?;
                found += usize::from(reader.visit(value, filter, &mut visit)?);
            }
            return Ok(found);
        }
        for entry in self.events.rev_range(&txn, &between(&low, &high))? {
            found += usize::from(reader.visit(entry?.1, filter, &mut visit)?);
            if found == LIMIT {
                break;
            }
        }
        Ok(found)
    }
}

impl Engine for Lmdb<'_> {
    fn append(&self, first: u64, events: &[NewEvent<'static>]) -> Outcome<()> {
        let mut txn = self.env.write_txn()?;
        for (event, sequence) in events.iter().zip(first..) {
            let key = key(event.user_id().map(|user| user.as_str()), sequence)?;
            self.events.put(&mut txn, &key, &encode(event)?)?;
            if let Some(index) = &self.index {
                let tags = tags((event.category(), event.level()));
                index.put(&mut txn, &tagged(key, tags), &key)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn groups_commits(&self) -> bool {
        false
    }

    reads_by_visit!();
}
