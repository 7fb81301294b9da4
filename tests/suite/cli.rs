//! The command line: the real binary, run as people and scripts run it, beside a plain list.
//!
//! Must not know the store's insides beyond the names of its files.

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/crash.rs"]
mod crash;
#[path = "cli/disk.rs"]
mod disk;
#[path = "cli/ingest.rs"]
mod ingest;
#[path = "cli/inject.rs"]
mod inject;
#[path = "cli/oracle.rs"]
mod oracle;
#[path = "cli/shell.rs"]
mod shell;
#[path = "cli/support.rs"]
mod support;
