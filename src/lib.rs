//! usertrail: an embedded, tamper-evident store for the security events of every account.

pub mod event;
#[cfg(feature = "workload")]
pub mod workload;
