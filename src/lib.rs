//! usertrail: an embedded, tamper-evident store for the security events of every account.

pub mod event;
pub mod exchange;
