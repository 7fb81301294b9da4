//! usertrail itself, by its public API, as the others are used by theirs.

use std::path::Path;

use usertrail::{Durability, NewEvent, Options, Store};

use crate::engine::{Body, Engine, Fields, Kind, LIMIT, Outcome, Question, Sync};
use crate::reads_by_visit;

pub const KIND: Kind = Kind {
    name: "usertrail",
    settings: "4 shards, segments of 64 MiB; Buffered, or Durable; batches by append_batch; pages lend events in place",
    with: |dir, sync, body| with(dir, sync, body, false),
};

pub const PACKED: Kind = Kind {
    name: "usertrail-packed",
    settings: "the same, and all that is sealed packed after the load",
    with: |dir, sync, body| with(dir, sync, body, true),
};

struct Trail {
    store: Store,
    packed: bool,
}

fn with(dir: &Path, sync: Sync, body: Body<'_>, packed: bool) -> Outcome<()> {
    let durability = match sync {
        Sync::Buffered => Durability::Buffered,
        Sync::Durable => Durability::Durable,
    };
    // The directory is there already, and empty when the store is new.
    let store = Options::new().shards(4).durability(durability).create_if_missing(true).open(dir)?;
    let trail = Trail { store, packed };
    body(&trail)?;
    trail.store.close()?;
    Ok(())
}

impl Trail {
    fn visit(&self, question: Question<'_>, mut visit: impl FnMut(Fields<'_>)) -> Outcome<usize> {
        let mut query = self.store.user_log(question.user).limit(LIMIT);
        if let Some((category, level)) = question.filter {
            query = query.category(category).level(level);
        }
        let page = query.page()?;
        for event in page.iter() {
            let event = event?;
            visit(Fields {
                user: event.user_id()?.unwrap_or_default(),
                action: event.action()?,
                address: event.ip_address()?,
                agent: event.user_agent()?,
                occurred_at: event.occurred_at().as_micros(),
            });
        }
        Ok(page.len())
    }
}

impl Engine for Trail {
    fn append(&self, _first: u64, events: &[NewEvent<'static>]) -> Outcome<()> {
        if let [event] = events {
            self.store.append(event)?;
        } else {
            self.store.append_batch(events).map_err(usertrail::Error::from)?;
        }
        Ok(())
    }

    fn groups_commits(&self) -> bool {
        true
    }

    reads_by_visit!();

    fn bytes_ahead(&self) -> Outcome<u64> {
        Ok(self.store.stats()?.bytes_ahead)
    }

    fn settle(&self) -> Outcome<()> {
        self.store.maintain()?;
        if self.packed {
            self.store.pack()?;
        }
        Ok(())
    }
}
