//! Opens a store for commands that read: beside a running writer, or with the recovery that a killed one left to do.
//!
//! Must not know what is read.

use std::path::Path;
use std::time::{Duration, Instant};

use super::failure::{Failure, complain};
use super::text::counted;
use crate::{ErrorKind, Options, RecoveryReport, Store};

/// How long a writer that is just opening the store is waited for.
const WRITER_PATIENCE: Duration = Duration::from_secs(5);
const WRITER_POLL: Duration = Duration::from_millis(20);

/// Opens the store so that everything that was acknowledged can be read.
///
/// Where no writer runs and the last one didn't close the store, that takes a recovery, which writes. Where writing isn't
/// possible, what is known to be durable is shown, and standard error says so.
pub(super) fn open(dir: &Path) -> Result<Store, Failure> {
    let deadline = Instant::now() + WRITER_PATIENCE;
    loop {
        let reader = Options::new().read_only(true).open(dir)?;
        if !reader.recovery().needs_recovery {
            return Ok(reader);
        }
        let refused = match Options::new().open(dir) {
            Ok(writer) => {
                tell_recovery(writer.recovery());
                writer.close()?;
                return Ok(Options::new().read_only(true).open(dir)?);
            }
            Err(error) if error.kind() == ErrorKind::Corruption => return Err(error.into()),
            Err(error) => error,
        };
        // Somebody else recovers the store at this moment, and tells its readers as soon as that is done.
        if refused.kind() == ErrorKind::Locked && Instant::now() < deadline {
            std::thread::sleep(WRITER_POLL);
            continue;
        }
        complain(&format!(
            "events above the durable floor are not shown, since the store can't be recovered: {refused}"
        ));
        return Ok(reader);
    }
}

/// Tells what opening a store for writing had to do, a line for each shard.
pub(super) fn tell_recovery(report: &RecoveryReport) {
    for shard in &report.shards {
        if shard.rescued > 0 {
            let events = counted(shard.rescued, "event");
            complain(&format!(
                "recovery: shard {}: {events} that were not known to be durable are there and durable now",
                shard.shard
            ));
        }
        if let (Some(from), Some(to)) = (shard.rolled_back_from, shard.rolled_back_to) {
            complain(&format!("recovery: shard {}: {}", shard.shard, lost(from, to, shard.epoch)));
        }
    }
}

/// What was lost, in words.
pub(super) fn lost(from: u64, to: u64, epoch: u32) -> String {
    if to > from {
        let last = to - 1;
        format!("records {from} to {last} are lost (recovery epoch {epoch})")
    } else {
        format!("records from {from} on may be lost (recovery epoch {epoch})")
    }
}
