//! Whose pages are asked for, and how long each took. Must not know how a page is made.

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use super::Latencies;
use crate::event::{EventView, LeafError, UserId};
use crate::workload::{Workload, WorkloadConfig};

/// How many users without events are asked for.
const UNKNOWN: u64 = 1_000;
/// How many calls warm up at least.
const WARM_UP_MIN: usize = 2_000;

/// The users that pages are asked for, the same for the same workload.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The one with the most events.
    pub hot: Vec<UserId<'static>>,
    /// Drawn as events are: the first ones often.
    pub zipf: Vec<UserId<'static>>,
    /// All alike, each once before any comes again.
    pub uniform: Vec<UserId<'static>>,
    /// Ids in the form of a user's that no user has.
    pub without_events: Vec<UserId<'static>>,
}

impl Asked {
    /// This many draws of each kind.
    pub fn new(config: &WorkloadConfig, draws: u32) -> Self {
        let mut workload = Workload::new(config);
        let users = u64::from(workload.users());
        // In no order: a step that is prime, and so has no factor in common with most counts of users.
        let scattered = (0..draws).map(|draw| u64::from(draw) * 48_271 % users);
        let uniform = scattered.map(|rank| workload.user(u32::try_from(rank).unwrap_or_default())).collect();
        let ranks: Vec<u32> = (0..draws).map(|_| workload.next_rank()).collect();
        Self {
            hot: vec![workload.user(0)],
            zipf: ranks.into_iter().map(|rank| workload.user(rank)).collect(),
            uniform,
            without_events: (0..UNKNOWN).map(|index| workload.unknown_user(index)).collect(),
        }
    }
}

/// The first `count` different ones: in a cold cache only a first page is cold.
pub fn distinct(users: &[UserId<'static>], count: usize) -> Vec<UserId<'static>> {
    let mut seen = HashSet::new();
    users.iter().filter(|user| seen.insert(user.as_str())).take(count).cloned().collect()
}

/// Reads what a page figure reads of each event: user, action, address, user agent and time, lent in place.
///
/// # Errors
///
/// When the stored bytes are not what they must be.
#[inline]
pub fn read_five_fields(event: &EventView<'_>) -> Result<(), LeafError> {
    black_box(event.user_id()?);
    black_box(event.action()?);
    black_box(event.ip_address()?);
    black_box(event.user_agent()?);
    black_box(event.occurred_at());
    Ok(())
}

/// What asking for pages came to.
#[derive(Clone, Debug)]
pub struct Pages {
    /// How long each took.
    pub latencies: Latencies,
    /// The mean of events on a page.
    pub events: f64,
}

/// Asks for a page `calls` times, each user in turn, one call at a time; `page` reads it and says how many events it had.
///
/// `warm` asks everyone once before, so that memory and processor know them.
///
/// # Errors
///
/// The first of the closure's.
pub fn pages<E>(
    users: &[UserId<'static>],
    calls: usize,
    warm: bool,
    mut page: impl FnMut(&UserId<'static>) -> Result<usize, E>,
) -> Result<Pages, E> {
    if warm {
        for user in users.iter().cycle().take(users.len().max(WARM_UP_MIN)) {
            page(user)?;
        }
    }
    let mut latencies = Latencies::with_capacity(calls);
    let mut events = 0;
    for user in users.iter().cycle().take(calls) {
        let begun = Instant::now();
        events += page(black_box(user))?;
        latencies.push(begun.elapsed());
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    let events = events as f64 / latencies.calls().max(1) as f64;
    Ok(Pages { latencies, events })
}
