//! A seeded generator of realistic events, a story to look at, and how both are measured: what benches, tests and
//! `quickstart` share.
//!
//! Owns the background traffic ([`Workload`]), the story ([`Scenario`]), and [`measure`]. Must not know the store.
//!
//! The same seed and configuration give the same events on every platform and in every version, so that figures
//! can be compared. A test holds the digest of the standard mix.

mod agents;
mod alias;
mod clock;
mod config;
mod facts;
mod generator;
mod ident;
mod kinds;
pub mod measure;
mod mix;
mod own;
mod people;
mod pool;
mod rng;
mod scenario;
mod scratch;
#[cfg(test)]
mod tests;

pub use config::{Distribution, WorkloadConfig};
pub use generator::Workload;
pub use pool::Pool;
pub use rng::Rng;
pub use scenario::{Member, Scenario, ScenarioConfig, cast};
