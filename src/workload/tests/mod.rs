//! What the workload promises: determinism, distributions, sizes, validity, a cast that is there.

mod background;
mod cost;
mod story;

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{NewEvent, encode_leaf};

/// A number that changes with any byte of any event.
fn digest(previous: u64, event: &NewEvent<'_>, leaf: &mut Vec<u8>) -> u64 {
    leaf.clear();
    leaf.extend_from_slice(&previous.to_le_bytes());
    encode_leaf(event, leaf);
    xxh3_64(leaf)
}
