//! SQLite: a table of columns without row id, clustered by (user, sequence), write-ahead log, one transaction an append.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use usertrail::NewEvent;

use crate::engine::{Body, Engine, Fields, Kind, LIMIT, Outcome, Question, Sync};
use crate::reads_by_visit;

pub const KIND: Kind = Kind {
    name: "sqlite",
    settings: "journal_mode=WAL, synchronous=NORMAL, or FULL; cache 1 GiB, mmap 256 GiB; cached statements; one connection \
               that writes, one that reads; columns lent by the statement",
    with,
};

const PRAGMAS: &str = "PRAGMA journal_mode=WAL; PRAGMA cache_size=-1048576; PRAGMA mmap_size=274877906944;";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS events (
    user TEXT NOT NULL, sequence INTEGER NOT NULL, occurred_at INTEGER NOT NULL,
    category INTEGER NOT NULL, level INTEGER NOT NULL, status INTEGER NOT NULL, action TEXT NOT NULL,
    address TEXT, agent TEXT, tenant TEXT, actor TEXT, service TEXT, resource TEXT, resource_id TEXT,
    session TEXT, request TEXT, message TEXT, details TEXT,
    PRIMARY KEY (user, sequence)) WITHOUT ROWID";
const INSERT: &str =
    "INSERT INTO events VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)";
const NEWEST: &str = "SELECT user, action, address, agent, occurred_at FROM events WHERE user=?1 ORDER BY sequence DESC LIMIT ?2";
const FILTERED: &str = "SELECT user, action, address, agent, occurred_at FROM events
    WHERE user=?1 AND category=?3 AND level=?4 ORDER BY sequence DESC LIMIT ?2";

struct Sqlite {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

fn with(dir: &Path, sync: Sync, body: Body<'_>) -> Outcome<()> {
    let open = || -> Outcome<Mutex<Connection>> {
        let connection = Connection::open(dir.join("events.sqlite"))?;
        connection.execute_batch(PRAGMAS)?;
        connection.pragma_update(
            None,
            "synchronous",
            if sync == Sync::Durable { "FULL" } else { "NORMAL" },
        )?;
        connection.execute(TABLE, [])?;
        Ok(Mutex::new(connection))
    };
    let sqlite = Sqlite { writer: open()?, reader: open()? };
    body(&sqlite)
}

fn locked(connection: &Mutex<Connection>) -> Outcome<MutexGuard<'_, Connection>> {
    connection.lock().map_err(|_| "another thread has panicked".into())
}

/// A column's text, lent by the statement.
fn text<'r>(row: &'r Row<'_>, column: usize) -> Outcome<Option<&'r str>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => Ok(Some(value.as_str()?)),
    }
}

impl Sqlite {
    fn visit(&self, question: Question<'_>, mut visit: impl FnMut(Fields<'_>)) -> Outcome<usize> {
        let connection = locked(&self.reader)?;
        let mut statement = connection.prepare_cached(match question.filter {
            None => NEWEST,
            Some(_) => FILTERED,
        })?;
        let user = question.user.as_str();
        let mut rows = match question.filter {
            None => statement.query(params![user, LIMIT as i64])?,
            Some((category, level)) => {
                statement.query(params![user, LIMIT as i64, category as i64, level as i64])?
            }
        };
        let mut found = 0;
        while let Some(row) = rows.next()? {
            visit(Fields {
                user: text(row, 0)?.unwrap_or_default(),
                action: text(row, 1)?.unwrap_or_default(),
                address: text(row, 2)?.map(str::parse).transpose()?,
                agent: text(row, 3)?,
                occurred_at: row.get(4)?,
            });
            found += 1;
        }
        Ok(found)
    }
}

impl Engine for Sqlite {
    fn append(&self, first: u64, events: &[NewEvent<'static>]) -> Outcome<()> {
        let mut connection = locked(&self.writer)?;
        let txn = connection.transaction()?;
        {
            let mut insert = txn.prepare_cached(INSERT)?;
            for (event, sequence) in events.iter().zip(first..) {
                insert.execute(params![
                    event.user_id().map_or("-", |user| user.as_str()),
                    i64::try_from(sequence)?,
                    event.occurred_at().map_or(0, |time| time.as_micros()),
                    event.category() as i64,
                    event.level() as i64,
                    event.status() as i64,
                    event.action().as_str(),
                    event.ip_address().map(|address| address.to_string()),
                    event.user_agent().map(|agent| agent.as_str()),
                    event.tenant_id().map(|tenant| tenant.as_str()),
                    event.actor_id().map(|actor| actor.as_str()),
                    event.service().map(|service| service.as_str()),
                    event.resource().map(|resource| resource.as_str()),
                    event.resource_id().map(|resource| resource.as_str()),
                    event.session_id().map(|session| session.as_str()),
                    event.request_id().map(|request| request.as_str()),
                    event.message().map(|message| message.as_str()),
                    event.details().map(|details| details.as_str()),
                ])?;
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
