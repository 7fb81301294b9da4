//! fjall: an LSM tree, key (user, sequence), one write batch for each append.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use usertrail::NewEvent;

use crate::engine::{Body, Engine, Fields, Kind, LIMIT, Outcome, Question, Sync};
use crate::reads_by_visit;
use crate::stored::{Reader, encode, key, range, tags};

pub const KIND: Kind = Kind {
    name: "fjall",
    settings: "cache 1 GiB; default durability (to the system's buffers), or SyncAll with each batch; rkyv, checked, \
               in place in its blocks where aligned",
    with,
};

const CACHE_BYTES: u64 = 1 << 30;

struct Fjall {
    database: Database,
    events: Keyspace,
    mode: Option<PersistMode>,
}

fn with(dir: &Path, sync: Sync, body: Body<'_>) -> Outcome<()> {
    let database = Database::builder(dir).cache_size(CACHE_BYTES).open()?;
    let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
    let mode = (sync == Sync::Durable).then_some(PersistMode::SyncAll);
    let fjall = Fjall { database, events, mode };
    body(&fjall)?;
    fjall.database.persist(PersistMode::SyncAll)?;
    Ok(())
}

impl Fjall {
    fn visit(&self, question: Question<'_>, mut visit: impl FnMut(Fields<'_>)) -> Outcome<usize> {
        let (low, high) = range(question.user)?;
        let (filter, mut reader, mut found) = (question.filter.map(tags), Reader::default(), 0);
        for entry in self.events.range(low..=high).rev() {
            let value = entry.value()?;
            found += usize::from(reader.visit(&value, filter, &mut visit)?);
            if found == LIMIT {
                break;
            }
        }
        Ok(found)
    }
}

impl Engine for Fjall {
    fn append(&self, first: u64, events: &[NewEvent<'static>]) -> Outcome<()> {
        if let ([event], None) = (events, self.mode) {
            let key = key(event.user_id().map(|user| user.as_str()), first)?;
            self.events.insert(key, encode(event)?.as_slice())?;
            return Ok(());
        }
        let mut batch = self.database.batch().durability(self.mode);
        for (event, sequence) in events.iter().zip(first..) {
            let key = key(event.user_id().map(|user| user.as_str()), sequence)?;
            batch.insert(&self.events, key, encode(event)?.as_slice());
        }
        batch.commit()?;
        Ok(())
    }

    fn groups_commits(&self) -> bool {
        false
    }

    reads_by_visit!();
}
