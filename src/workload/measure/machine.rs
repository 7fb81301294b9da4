//! What the kernel says of this process. Must not know what it does.

use std::io;

/// The process's memory that no file backs, in bytes: `RssAnon` of `/proc/self/status`. Mapped files are the kernel's to
/// drop, and not in it.
///
/// # Errors
///
/// What the operating system says; also where it doesn't say this.
pub fn anonymous_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("/proc/self/status has no RssAnon"))
}
