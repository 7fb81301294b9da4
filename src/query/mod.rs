//! From a filter to a page: which records, in which order, and where the next page begins.
//!
//! Takes published views of shards; must not know how they are written.

mod cold;
pub(crate) mod filter;
mod packed;
pub(crate) mod page;
pub(crate) mod user_log;

pub use filter::Order;
pub use page::Page;
