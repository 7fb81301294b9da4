//! How much a thread allocates at once: a damaged length must not decide it.
//!
//! The allocator of the library's tests: the system's, and a note of the largest request of each thread. Unsafe code, because
//! an allocator is.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its own contract; every call is handed on as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Needs no allocation and no destructor: an allocator may touch it at any time.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// Begins to look.
pub(super) fn begin() {
    LARGEST.set(0);
}

/// The largest request since, bytes.
pub(super) fn largest() -> usize {
    LARGEST.get()
}

struct Noting;

fn note(bytes: usize) {
    // At a thread's very end it may be gone: then nobody asks either.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments, and what that returns is returned; so
// it keeps the contract as far as that does. The note allocates nothing.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: as above; `memory` came from the system's allocator, as all of this one's does.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

#[test]
fn the_largest_allocation_of_this_thread_is_known() {
    begin();
    drop(std::hint::black_box(vec![1_u8; 300_000]));
    drop(std::hint::black_box(vec![0_u8; 200]));
    assert_eq!(largest(), 300_000);
    begin();
    assert!(largest() < 300_000);
}
