//! What the benches share: where their stores lie, how the parts of a store are copied, what is read of an event.
//!
//! Owns nothing that is measured. Must not know which bench uses it.

use std::error::Error;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use usertrail::{Page, Stats, Store};

/// What any bench may fail with; `main` prints it.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The shards of every store that is measured.
pub const SHARDS: u16 = 4;

/// A directory that is removed when it is dropped: inside the one that was named, else beside the built files, so that
/// figures of `Durable` are those of a disk and not of a file system in memory.
pub fn directory(parent: Option<&Path>) -> Outcome<TempDir> {
    let parent = parent.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    fs::create_dir_all(parent)?;
    Ok(tempfile::Builder::new().prefix("usertrail-bench-").tempdir_in(parent)?)
}

/// Reads five fields of every event of a page, lent in place. Returns how many events there were.
pub fn read_page(page: &Page) -> Outcome<usize> {
    for event in page.iter() {
        usertrail::workload::measure::read_five_fields(&event?)?;
    }
    Ok(page.len())
}

/// Copies the directory of a living store: what is left when its process is killed, since whatever it stored is in the
/// files already. Sealed files never change, so they are linked instead of copied.
///
/// The copy isn't made in one moment: if the store went on to another segment meanwhile, it is made again.
pub fn copy_living(store: &Store, from: &Path, to: &Path) -> Outcome<()> {
    for _ in 0..20 {
        let before = files_made(&settled(store)?);
        fs::create_dir(to)?;
        copy_tree(from, to)?;
        if files_made(&store.stats()?) == before {
            return Ok(());
        }
        fs::remove_dir_all(to)?;
    }
    Err("the store was never still while its directory was copied".into())
}

fn files_made(stats: &Stats) -> (u64, u64) {
    (stats.segments, stats.runs)
}

/// Waits until every full segment is sealed.
pub fn settled(store: &Store) -> Outcome<Stats> {
    for _ in 0..6_000 {
        let stats = store.stats()?;
        if stats.unsealed_segments <= u64::from(stats.shards) {
            return Ok(stats);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err("segments are still not sealed after a minute".into())
}

/// Copies a directory; what never changes is linked.
pub fn copy_tree(from: &Path, to: &Path) -> Outcome<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, source, target) = (entry.metadata()?, entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&source, &target)?;
        } else if kind.permissions().readonly() || source.extension().is_some_and(|suffix| suffix == "run") {
            fs::hard_link(&source, &target)?;
        } else if source.extension().is_none_or(|suffix| suffix != "tmp") {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
