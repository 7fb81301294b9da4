//! What several suites share: whole logs, and the directory that a killed writer leaves. Knows the public API and file
//! names alone.

use std::fs;
use std::io;
use std::path::Path;

use proptest::prelude::ProptestConfig;
use usertrail::{Event, Order, Result, Store, UserId};

pub fn user(id: &str) -> UserId<'static> {
    UserId::new(id.to_owned()).unwrap()
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

/// Every name in a store's directory, and what the manifests say.
fn outline(dir: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut outline = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            outline.extend(
                self::outline(&entry.path())?
                    .into_iter()
                    .map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            );
        } else if name == "MANIFEST" {
            outline.push((name, fs::read(entry.path())?));
        } else {
            outline.push((name, Vec::new()));
        }
    }
    outline.sort();
    Ok(outline)
}

/// Copies the directory of a store that is open: what a writer that is killed now would leave.
///
/// A kill stops everything at one moment, a copy takes a while: if the background has made, sealed or listed a segment
/// meanwhile, the copy is made again. Nobody may append meanwhile.
pub fn copy_of_killed(from: &Path, to: &Path) {
    for _ in 0..1000 {
        let attempt = || -> io::Result<bool> {
            let before = outline(from)?;
            copy_tree(from, to)?;
            Ok(before == outline(from)?)
        };
        // A file that was there a moment ago may have got its proper name.
        if attempt().unwrap_or(false) {
            return;
        }
        let _ = fs::remove_dir_all(to);
    }
    panic!("the store's directory never rests");
}
