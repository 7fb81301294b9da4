//! `usertrail pack`: packs what is sealed, or undoes it. Must not know how.

use super::args::PackArgs;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::text::{bytes, counted};
use crate::{Options, PackAfter};

pub(super) fn run(args: &PackArgs) -> Result<Exit, Failure> {
    // What is asked for happens here, and nothing else meanwhile.
    let store = Options::new().pack_after(PackAfter::Never).open(&args.data)?;
    let done = if args.undo { store.unpack() } else { store.pack() }?;
    store.close()?;
    let mut output = Output::new();
    if args.json {
        output.json(&done)?;
    } else {
        output.line(&format!(
            "{} {}: {} on disk before, {} now",
            if args.undo { "unpacked" } else { "packed" },
            counted(done.events, "event"),
            bytes(done.bytes_before),
            bytes(done.bytes_after)
        ))?;
    }
    output.finish()?;
    Ok(Exit::Fine)
}
