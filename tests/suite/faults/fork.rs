//! A process that forks while it has a store open: what its child may do, and what it leaves to its parent.
#![expect(unsafe_code, reason = "the standard library starts programs, and doesn't fork")]

use usertrail::{ErrorKind, Store};

use super::{append, assert_holds_reopened, event, options};
use crate::fixture::user;

unsafe extern "C" {
    safe fn fork() -> i32;
    safe fn _exit(code: i32) -> !;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

/// That the child is told that the store isn't its own.
fn is_closed_to_a_child(store: Store) -> bool {
    let closed =
        |outcome: usertrail::Result<()>| outcome.is_err_and(|error| error.kind() == ErrorKind::Closed);
    let told = closed(store.append(&event(0)).map(drop))
        && closed(store.flush())
        && closed(store.maintain())
        && closed(store.user_log(&user("alice")).page().map(drop))
        && store.close().is_ok();
    drop(store);
    told
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
            // Whatever it tries, and the end of the store itself, must reach nothing that its parent has.
            _exit(i32::from(!is_closed_to_a_child(store)));
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
