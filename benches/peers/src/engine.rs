//! What every store that is compared must do. Must not know which there are, but for the list.

use std::error::Error;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;

use usertrail::{Category, Level, NewEvent, UserId};

/// What may go wrong here is told to a person and ends the run.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + std::marker::Sync>>;

/// When an append counts as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    /// When the engine has it in a form that survives the process being killed, or comes nearest to that.
    Buffered,
    /// When it is on stable storage.
    Durable,
}

/// Whose newest 100, and which of them.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub user: &'a UserId<'static>,
    pub filter: Option<(Category, Level)>,
}

/// A page's length.
pub const LIMIT: usize = 100;

/// The five fields that are read of every event.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    pub user: &'a str,
    pub action: &'a str,
    pub address: Option<IpAddr>,
    pub agent: Option<&'a str>,
    pub occurred_at: i64,
}

/// The same, kept: to compare what stores return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub user: String,
    pub action: String,
    pub address: Option<IpAddr>,
    pub agent: Option<String>,
    pub occurred_at: i64,
}

impl From<Fields<'_>> for Row {
    fn from(fields: Fields<'_>) -> Self {
        Self {
            user: fields.user.to_owned(),
            action: fields.action.to_owned(),
            address: fields.address,
            agent: fields.agent.map(str::to_owned),
            occurred_at: fields.occurred_at,
        }
    }
}

/// An open store.
pub trait Engine: std::marker::Sync {
    /// Appends events as one batch, or transaction. Their sequences go up from `first`, over all users.
    fn append(&self, first: u64, events: &[NewEvent<'static>]) -> Outcome<()>;

    /// Whether callers of a durable append share syncs without help.
    fn groups_commits(&self) -> bool;

    /// Reads the five fields of each event of a page, newest first. Says how many there were.
    fn read(&self, question: Question<'_>) -> Outcome<usize>;

    /// The same, kept.
    fn rows(&self, question: Question<'_>) -> Outcome<Vec<Row>>;

    /// Whether every acknowledged event must be there after the process was killed.
    fn survives_kill(&self) -> bool {
        true
    }

    /// How much of its files the engine has allocated for events to come.
    fn bytes_ahead(&self) -> Outcome<u64> {
        Ok(0)
    }

    /// Waits until what the engine does in the background is done, as far as it can be waited for.
    fn settle(&self) -> Outcome<()> {
        Ok(())
    }
}

/// Lets the compiler keep what is read.
pub fn touch(fields: Fields<'_>) {
    black_box(fields);
}

/// Writes `read` and `rows` by a method `visit` that is generic over what is done with each event.
#[macro_export]
macro_rules! reads_by_visit {
    () => {
        fn read(&self, question: $crate::engine::Question<'_>) -> $crate::engine::Outcome<usize> {
            self.visit(question, $crate::engine::touch)
        }

        fn rows(
            &self,
            question: $crate::engine::Question<'_>,
        ) -> $crate::engine::Outcome<Vec<$crate::engine::Row>> {
            let mut rows = Vec::new();
            self.visit(question, |fields| rows.push(fields.into()))?;
            Ok(rows)
        }
    };
}

/// What is done with an open store.
pub type Body<'a> = &'a mut dyn FnMut(&dyn Engine) -> Outcome<()>;

/// A store that can be opened.
pub struct Kind {
    pub name: &'static str,
    /// How it is used here, for people.
    pub settings: &'static str,
    /// Opens or makes the store in a directory that exists, runs the body, and closes it.
    pub with: fn(&Path, Sync, Body<'_>) -> Outcome<()>,
}

/// All of them; the first is what the others are compared with.
pub const ENGINES: &[Kind] = &[
    crate::trail::KIND,
    crate::trail::PACKED,
    crate::fjall::KIND,
    #[cfg(feature = "rocksdb")]
    crate::rocks::KIND,
    crate::lmdb::KIND,
    crate::lmdb::INDEXED,
    crate::redb::KIND,
    crate::sqlite::KIND,
];
