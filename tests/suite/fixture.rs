//! What several suites share: whole logs, copies of directories. Knows the public API alone. The library's own tests include
//! this file too.

use std::fs;
use std::io;
use std::path::Path;

use proptest::prelude::ProptestConfig;
use usertrail::{Event, Order, Result, Store, UserId};

pub fn user(id: &str) -> UserId<'static> {
    UserId::new(id.to_owned()).unwrap()
}

/// One of several users.
pub fn numbered(number: usize) -> UserId<'static> {
    user(&format!("user-{number}"))
}

/// So many cases, or what `PROPTEST_CASES` says. A failure that was shrunk is kept as a test of its own, not in a file.
pub fn cases(cases: u32) -> ProptestConfig {
    let defaults = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { defaults.cases } else { cases };
    ProptestConfig { cases, max_shrink_iters: 400, failure_persistence: None, ..defaults }
}

/// All of a user's log, page by page.
pub fn whole_log(store: &Store, user: &UserId<'_>, order: Order, limit: usize) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = store.user_log(user).order(order).limit(limit);
        if let Some(cursor) = cursor.take() {
            query = query.cursor(cursor);
        }
        let page = query.page()?;
        events.extend(page.to_events()?);
        cursor = page.next_cursor();
        if cursor.is_none() {
            assert!(!page.has_more());
            return Ok(events);
        }
        assert!(page.has_more() && page.len() == limit, "only the last page may be short");
    }
}

/// Copies a directory with all that is in it.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
