//! A month in the life of a service: a story with a cast, told amid background traffic.
//!
//! Owns the merging of both by time. Must not know who reads the events, nor the store.
//!
//! The cast ([`cast`]) works at one tenant. Alice's log is the one to look at: an invitation, ordinary days, ten failed
//! logins at night, a lockout that the help desk lifts, a new password, prompts on her phone that she denies, a lost
//! phone, a stolen session. Around her passwords are sprayed, a contractor alters his cookie, an administrator
//! changes roles, branches and settings.

mod alice;
mod attacks;
/// The persons of the story, and the addresses of the attackers.
pub mod cast;
mod office;
mod posts;
mod script;

use std::iter::FusedIterator;
use std::vec;

use crate::event::{NewEvent, Timestamp};

pub use cast::Member;

use super::config::{Distribution, WorkloadConfig};
use super::generator::Workload;
use script::{DAY_MICROS, Script};

/// The parameters of a [`Scenario`].
///
/// ```
/// use usertrail::workload::ScenarioConfig;
///
/// let config = ScenarioConfig { events: 5_000, ..ScenarioConfig::default() };
/// assert_eq!(config.days, 30);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioConfig {
    /// What all randomness comes from. Default 1.
    pub seed: u64,
    /// How many events there are in all. The story alone has some hundreds, which are always there. Default 1,000,000.
    pub events: u64,
    /// How many users there are besides the cast. Default 20,000.
    pub users: u32,
    /// When it all ends; the story ends the day before. Default 2026-01-31T18:00:00Z.
    pub until: Timestamp,
    /// How many days the traffic lasts, at least the 30 that the story needs. Default 30.
    pub days: u32,
}

impl Default for ScenarioConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            events: 1_000_000,
            users: 20_000,
            until: Timestamp::from_micros(1_769_882_400_000_000),
            days: 30,
        }
    }
}

/// The story amid background traffic, in the order of `occurred_at`: an iterator over events, the same for the same
/// [`ScenarioConfig`].
///
/// Background users are less unequal than in the standard mix, as no person signs in a thousand times a day.
///
/// ```
/// use usertrail::workload::{Scenario, ScenarioConfig, cast};
///
/// let scenario = Scenario::new(&ScenarioConfig { events: 5_000, ..ScenarioConfig::default() });
/// let of_alice = scenario.filter(|event| event.user_id().is_some_and(|user| user.as_str() == cast::ALICE));
/// assert!(of_alice.count() > 100);
/// ```
#[derive(Debug)]
pub struct Scenario {
    story: vec::IntoIter<(Timestamp, NewEvent<'static>)>,
    /// The next event of the story.
    due: Option<(Timestamp, NewEvent<'static>)>,
    background: Workload,
    background_left: u64,
    /// The next event of the background.
    waiting: Option<(Timestamp, NewEvent<'static>)>,
}

impl Scenario {
    /// The shortest time that the story fits into, in days.
    pub const DAYS_MIN: u32 = 30;

    /// A scenario from its beginning. Takes some milliseconds.
    pub fn new(config: &ScenarioConfig) -> Self {
        let days = i64::from(config.days.max(Self::DAYS_MIN));
        let span_micros = days.saturating_mul(DAY_MICROS);
        let start_micros =
            config.until.as_micros().saturating_sub(span_micros).max(Timestamp::MIN.as_micros());
        let mut workload_config = WorkloadConfig {
            seed: config.seed,
            users: config.users,
            distribution: Distribution::Zipf { exponent: 0.5 },
            start: Timestamp::from_micros(start_micros),
            mean_gap_micros: 0,
            details_per_mille: 500,
            ..WorkloadConfig::default()
        };
        let mut script = Script::new(config.seed, config.until);
        alice::tell(&mut script);
        office::tell(&mut script);
        attacks::tell(&mut script, &Workload::new(&workload_config));
        let planned = script.into_planned();

        let story_count = u64::try_from(planned.len()).unwrap_or(u64::MAX);
        let background_left = config.events.saturating_sub(story_count);
        workload_config.mean_gap_micros = span_micros.unsigned_abs() / background_left.max(1);
        let mut story = planned.into_iter();
        let due = story.next();
        let background = Workload::new(&workload_config);
        Self { story, due, background, background_left, waiting: None }
    }

    /// The persons of the story; the first is the one whose log is worth showing.
    pub fn members() -> &'static [Member] {
        &cast::MEMBERS
    }

    /// The traffic in the background, to ask it for its users.
    pub fn background(&self) -> &Workload {
        &self.background
    }
}

impl Iterator for Scenario {
    type Item = NewEvent<'static>;

    fn next(&mut self) -> Option<NewEvent<'static>> {
        if self.waiting.is_none() && self.background_left > 0 {
            self.background_left -= 1;
            let event = self.background.next_event().into_owned();
            self.waiting = event.occurred_at().map(|at| (at, event));
        }
        let story_is_due = match (&self.due, &self.waiting) {
            (Some((due_at, _)), Some((waiting_at, _))) => due_at <= waiting_at,
            (due, _) => due.is_some(),
        };
        let next = if story_is_due {
            std::mem::replace(&mut self.due, self.story.next())
        } else {
            self.waiting.take()
        };
        next.map(|(_, event)| event)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let ready = self.story.len() + usize::from(self.due.is_some()) + usize::from(self.waiting.is_some());
        let left = usize::try_from(self.background_left).ok().and_then(|left| left.checked_add(ready));
        (left.unwrap_or(usize::MAX), left)
    }
}

impl FusedIterator for Scenario {}
