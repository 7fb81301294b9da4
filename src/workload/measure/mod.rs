//! How the standard workload is measured: the same clocks, users and percentiles for every store that is compared.
//!
//! Owns the loops between two looks at the clock, and what is asked of the machine (its page cache, memory and disk). Must
//! not know which store is measured: that is a closure.

mod callers;
mod disk;
mod killed;
mod latencies;
mod load;
mod machine;
mod pages;
mod report;
#[cfg(test)]
mod tests;

pub use callers::{Acknowledged, Together, callers, together};
pub use disk::{BareSync, CacheDrop, drop_page_cache, is_in_memory, sync_disks};
pub use killed::{Writer, killed_after_its_line};
pub use latencies::Latencies;
pub use load::{Paced, append_each, load, load_paced};
pub use machine::anonymous_bytes;
pub use pages::{Asked, Pages, distinct, pages, read_five_fields};
pub use report::{Figure, Report, shown};
