//! Whether this thread waited for the disk. Must not know for what.

use std::cell::Cell;

/// The kernel's account of the calling thread.
const ACCOUNT: &str = "/proc/thread-self/stat";
/// Which of the account's numbers counts pages that had to be read, behind the name's closing bracket.
const MAJOR_FAULTS: usize = 9;

thread_local! {
    /// What the account said when it was looked at last.
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

/// Whether this thread had to read pages of mapped files from the disk since it asked this last.
///
/// Something slow may have been that, or another thread's turn on this processor, or a page that only had to be mapped.
/// Costs some microseconds. True where the kernel doesn't say.
pub(crate) fn waited_for_disk() -> bool {
    let account = std::fs::read_to_string(ACCOUNT).ok();
    account.as_deref().and_then(major_faults).is_none_or(|faults| SEEN.replace(faults) != faults)
}

/// How many pages of mapped files this thread has touched that were not in memory, and that nobody had asked the disk for.
#[cfg(test)]
pub(crate) fn unasked_reads() -> Option<u64> {
    major_faults(&std::fs::read_to_string(ACCOUNT).ok()?)
}

fn major_faults(account: &str) -> Option<u64> {
    // The name, in brackets, may have anything in it.
    let (_, numbers) = account.rsplit_once(')')?;
    numbers.split_ascii_whitespace().nth(MAJOR_FAULTS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_whatever_the_name() {
        let account = "17 (a ) b) R 1 2 3 4 5 4194304 801 802 903 804 15 16";
        assert_eq!(major_faults(account), Some(903));
        assert_eq!(major_faults("17 (a) R 1"), None);
        assert_eq!(major_faults(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_says_it() {
        let account = std::fs::read_to_string(ACCOUNT).unwrap();
        assert!(major_faults(&account).is_some(), "{account}");
    }
}
