//! usertrail: an embedded, tamper-evident store for the security events of every account.
mod error;
mod format;
mod ids;
mod io;
pub use error::{Error, ErrorKind, Result};
