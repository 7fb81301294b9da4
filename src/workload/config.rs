//! What a workload is made of, as numbers.
//!
//! Owns the parameters and their defaults (the standard mix). Must not know how events are made from them.

use crate::event::Timestamp;

/// How events are spread over the users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All users are equally frequent.
    Uniform,
    /// The user of rank `r` (from 0) has a share in proportion to `1 / (r + 1)^exponent`.
    ///
    /// With the exponents 1.0 and 0.5 the same seed gives the same events on every platform; with others, the
    /// last bit of the platform's power function might make a difference once in many millions of events.
    Zipf {
        /// 0.0 is uniform, 1.0 is the classic law; more makes the first users hotter.
        exponent: f64,
    },
}

/// The parameters of a [`Workload`](super::Workload). The default is the standard mix, which is what published
/// figures refer to.
///
/// Counts of 0 are taken as 1. Memory is 8 bytes a user with [`Distribution::Zipf`], and nothing with
/// [`Distribution::Uniform`].
///
/// ```
/// use usertrail::workload::{Distribution, WorkloadConfig};
///
/// let config = WorkloadConfig { users: 10_000_000, distribution: Distribution::Uniform, ..WorkloadConfig::default() };
/// assert_eq!(config.tenants, 500);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadConfig {
    /// What all randomness comes from. Another seed gives other users too. Default 1.
    pub seed: u64,
    /// The number of users. Default 100,000.
    pub users: u32,
    /// How events are spread over the users. Default Zipf with an exponent of 1.0.
    pub distribution: Distribution,
    /// The number of tenants, some of which have more users than others. Default 500.
    pub tenants: u32,
    /// The number of distinct user agents. Default 60.
    pub user_agents: u32,
    /// The number of distinct network addresses, at most 4,194,304; seven in ten are IPv4. Default 50,000.
    pub addresses: u32,
    /// The share of events that stand on nobody's trail, in thousandths. Default 20.
    pub without_user_per_mille: u32,
    /// The share of events that carry details, in thousandths. Default 550.
    pub details_per_mille: u32,
    /// When the first event occurs. Default 2026-01-01T00:00:00Z.
    pub start: Timestamp,
    /// The mean time between two events in microseconds, over a whole day: nights are quiet. Default 250,000,
    /// which is 345,600 events a day.
    pub mean_gap_micros: u64,
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            users: 100_000,
            distribution: Distribution::Zipf { exponent: 1.0 },
            tenants: 500,
            user_agents: 60,
            addresses: 50_000,
            without_user_per_mille: 20,
            details_per_mille: 550,
            start: Timestamp::from_micros(1_767_225_600_000_000),
            mean_gap_micros: 250_000,
        }
    }
}
