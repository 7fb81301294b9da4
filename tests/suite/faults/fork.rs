//! A process that forks while it has a store open, and whose child ends without a word to it.
//!
//! A child that goes on to use the store is beyond what can be made safe: it shares the mapping, and nothing else (README).
#![expect(unsafe_code, reason = "the standard library starts programs, and doesn't fork")]

use usertrail::{ErrorKind, Store};

use super::{append, assert_holds_reopened, options};

unsafe extern "C" {
    safe fn fork() -> i32;
    safe fn _exit(code: i32) -> !;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

#[test]
fn a_child_that_forks_and_ends_leaves_the_store_to_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let store = options().create_new(&dir).unwrap();
    let mut count = append(&store, 0, 100);
    for _ in 0..20 {
        let child = fork();
        if child == 0 {
            // Other threads' locks may be held for ever here: nothing but the end is safe.
            _exit(0);
        }
        count = append(&store, count, 100);
        let mut status = -1;
        // SAFETY: `status` lives through the call, which writes one integer there.
        let ended = unsafe { waitpid(child, &raw mut status, 0) };
        assert_eq!((ended, status), (child, 0));
        // The child's copy of the descriptor was closed with it; the lock is this process's.
        assert_eq!(Store::open(&dir).unwrap_err().kind(), ErrorKind::Locked);
    }
    assert_holds_reopened(store, &dir, count);
}
