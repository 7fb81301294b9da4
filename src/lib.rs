//! usertrail: an embedded, tamper-evident store for the security events of every account.

pub mod event;

mod error;
mod format;
mod ids;
mod index;
mod io;
mod segment;

pub use error::{Error, ErrorKind, Result};
