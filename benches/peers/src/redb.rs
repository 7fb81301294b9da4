//! redb: a B+tree with copy on write, key (user, sequence), one transaction for each append.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use usertrail::NewEvent;

use crate::engine::{Body, Engine, Fields, Kind, LIMIT, Outcome, Question, Sync};
use crate::reads_by_visit;
use crate::stored::{Key, Reader, encode, key, range, tags};

pub const KIND: Kind = Kind {
    name: "redb",
    settings: "cache 1 GiB (its default); Durability::None with an Immediate commit after each 100,000 events (a kill loses \
               what is younger), or Immediate; rkyv, checked, from its cache, in place where aligned",
    with,
};

const EVENTS: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("events");
/// How many events a commit that isn't synced may stand behind.
const UNSYNCED_MAX: u64 = 100_000;

struct Redb {
    database: Database,
    sync: Sync,
    unsynced: AtomicU64,
}

fn with(dir: &Path, sync: Sync, body: Body<'_>) -> Outcome<()> {
    let database = Database::create(dir.join("events.redb"))?;
    let txn = database.begin_write()?;
    txn.open_table(EVENTS)?;
    txn.commit()?;
    let redb = Redb { database, sync, unsynced: AtomicU64::new(0) };
    body(&redb)?;
    // What was not synced is, with an empty transaction behind it.
    redb.database.begin_write()?.commit()?;
    Ok(())
}

impl Redb {
    fn visit(&self, question: Question<'_>, mut visit: impl FnMut(Fields<'_>)) -> Outcome<usize> {
        let table = self.database.begin_read()?.open_table(EVENTS)?;
        let (low, high) = range(question.user)?;
        let (filter, mut reader, mut found) = (question.filter.map(tags), Reader::default(), 0);
        for entry in table.range::<&Key>(&low..=&high)?.rev() {
            found += usize::from(reader.visit(entry?.1.value(), filter, &mut visit)?);
            if found == LIMIT {
                break;
            }
        }
        Ok(found)
    }
}

impl Engine for Redb {
    fn append(&self, first: u64, events: &[NewEvent<'static>]) -> Outcome<()> {
        let mut txn = self.database.begin_write()?;
        let unsynced = self.unsynced.fetch_add(events.len() as u64, Ordering::Relaxed) + events.len() as u64;
        if self.sync == Sync::Buffered && unsynced < UNSYNCED_MAX {
            txn.set_durability(Durability::None)?;
        } else {
            self.unsynced.store(0, Ordering::Relaxed);
        }
        {
            let mut table = txn.open_table(EVENTS)?;
            for (event, sequence) in events.iter().zip(first..) {
                let key = key(event.user_id().map(|user| user.as_str()), sequence)?;
                table.insert(&key, encode(event)?.as_slice())?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn groups_commits(&self) -> bool {
        false
    }

    reads_by_visit!();

    fn survives_kill(&self) -> bool {
        false
    }
}
