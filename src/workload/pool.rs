//! Events made before a bench's clock starts.
//!
//! Owns them. Must not know what is measured.

use crate::event::NewEvent;

use super::config::WorkloadConfig;
use super::generator::Workload;

/// The first events of a workload, made once, to be lent any number of times for the price of a look at memory.
///
/// For measuring what is nearly as fast as [`Workload::next_event`] itself. The repetition shows: with fewer events in
/// the pool than in the measurement, request ids and times come again. About 1 KiB of memory an event.
///
/// ```
/// use usertrail::workload::{Pool, WorkloadConfig};
///
/// let pool = Pool::new(&WorkloadConfig::default(), 1_000);
/// assert_eq!(pool.event(3), pool.event(1_003));
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    events: Box<[NewEvent<'static>]>,
}

impl Pool {
    /// A pool of the first `count` events, at least one. Takes about a third of a microsecond each.
    pub fn new(config: &WorkloadConfig, count: usize) -> Self {
        Self { events: Workload::new(config).take_owned(count.max(1)).into_boxed_slice() }
    }

    /// The event of an index; after the last one comes the first again.
    #[inline]
    pub fn event(&self, index: usize) -> &NewEvent<'static> {
        &self.events[index % self.events.len()]
    }

    /// All of them in order.
    pub fn events(&self) -> &[NewEvent<'static>] {
        &self.events
    }
}
