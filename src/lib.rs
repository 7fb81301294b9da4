//! usertrail: an embedded, tamper-evident store for the security events of every account.

#[cfg(feature = "cli")]
pub mod cli;
pub mod event;
pub mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(feature = "workload")]
pub mod workload;

/// By the name under which the integration tests know it.
#[cfg(test)]
extern crate self as usertrail;

mod error;
/// The integration tests' own, shared.
#[cfg(test)]
#[path = "../tests/suite/figures.rs"]
mod figures;
#[cfg(test)]
#[path = "../tests/suite/fixture.rs"]
mod fixture;
mod format;
mod ids;
mod index;
mod io;
mod query;
mod segment;
mod shard;
mod store;

pub use error::{Error, ErrorKind, Result};
pub use event::{
    Action, ActorId, Category, Details, Event, EventError, EventId, EventView, IdempotencyKey, Level,
    Message, NewEvent, RequestId, Resource, ResourceId, Service, SessionId, Status, TenantId, Timestamp,
    UserAgent, UserId,
};
pub use ids::{Epoch, Sequence, ShardId, UserSequence};
pub use query::{Order, Page};
pub use shard::recovery::ShardRecovery;
#[cfg(feature = "async")]
pub use store::asynchronous::{AsyncStore, OwnedPage};
pub use store::{
    BatchError, Durability, MemoryStats, Options, PackAfter, PackLayout, Packed, Pending, Receipt,
    RecoveryReport, RollbackNote, SegmentLayout, ShardLayout, ShardStats, Stats, Store, UserLogQuery,
};

/// The examples of the README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
