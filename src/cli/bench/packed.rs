//! The same store in its packed form: how long that takes, and what it takes of the disk.

use std::path::Path;
use std::time::Instant;

use super::{Failure, Progress, Run, number, rate, reopen, settled};
use crate::Store;

/// Packs everything that is sealed. From here on figures are those of the packed store.
pub(super) fn pack(run: &mut Run<'_>, dir: &Path) -> Result<Store, Failure> {
    run.packed = true;
    let (store, _) = reopen(&run.args.load, dir)?;
    settled(&store)?;
    let progress = Progress::phase("packing", None);
    let begun = Instant::now();
    let packed = store.pack()?;
    let spent = begun.elapsed();
    drop(progress);
    let stats = store.stats()?;
    if stats.events != run.events {
        return Err(Failure::Other(format!("{} events were packed from {}", stats.events, run.events)));
    }
    let share = number(packed.events) / number(stats.events) * 100.0;
    run.add("bytes.event", "bytes on disk an event", stats.bytes_per_event, "B");
    run.add("bytes.index", "  of which the user index", number(stats.run_bytes) / number(stats.events), "B");
    run.add("share", "  events in packs", share, "%");
    run.add("rate", "  packing and comparing", rate(packed.events, spent), "events/s");
    Ok(store)
}
