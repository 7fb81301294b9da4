//! The locks and tails of the protocols that loom explores: `parking_lot`'s and the standard library's, or loom's own in
//! its tests. Owns no protocol.

#[cfg(not(all(test, loom)))]
mod primitives {
    pub(crate) use parking_lot::MutexGuard;
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, fence};
    pub(crate) use std::thread::yield_now;

    use std::sync::atomic::Ordering;

    use rustix::thread::futex;

    /// A lock that no panic poisons.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock()
        }
    }

    /// A word that threads sleep on until it changes: a futex.
    #[derive(Debug, Default)]
    pub(crate) struct Word(AtomicU32);

    impl Word {
        #[inline]
        pub(crate) fn get(&self) -> u32 {
            self.0.load(Ordering::Acquire)
        }

        pub(crate) fn add(&self, value: u32) {
            self.0.fetch_add(value, Ordering::AcqRel);
        }

        /// Sleeps while the word has this value; may return early.
        pub(crate) fn sleep(&self, value: u32) {
            // Any error means that there is nothing to wait for, or that it is to be looked at again.
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, value, None);
        }

        pub(crate) fn wake(&self, count: u32) {
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, count);
        }
    }
}

#[cfg(all(test, loom))]
mod primitives {
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, fence};
    pub(crate) use loom::thread::yield_now;

    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    /// What a model leaves out or weakens on purpose, to see that it would be noticed.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Weakened {
        /// An end is published with nothing ordered before it.
        Publication,
        /// A user's new count in a tail is seen without what was stored before it.
        Count,
        /// Who comes to wait sleeps without looking whether there is still something to wait for.
        Sleep,
        /// A leader that ends calls nobody of those who came too late for it.
        Call,
        /// An end that is told to other processes is what one's own tail says, stored.
        Telling,
    }

    std::thread_local! {
        // All threads of a model run in the one that explores it.
        static WEAKENED: Cell<Option<Weakened>> = const { Cell::new(None) };
    }

    pub(crate) fn is_weakened(what: Weakened) -> bool {
        WEAKENED.get() == Some(what)
    }

    /// Explores a model that must fail with this.
    pub(crate) fn must_notice(what: Weakened, explore: impl FnOnce()) {
        WEAKENED.set(Some(what));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(explore));
        WEAKENED.set(None);
        assert!(outcome.is_err(), "{what:?} was not noticed");
    }

    /// The environment variable that makes a process of this binary one that may deadlock.
    const DEADLOCK: &str = "USERTRAIL_LOOM_DEADLOCK";

    /// The same where loom finds a deadlock: that ends the program, so this one runs the test of this name again as another.
    pub(crate) fn must_deadlock(what: Weakened, test: &str, explore: impl FnOnce()) {
        let name = format!("{what:?}");
        if let Some(asked) = std::env::var_os(DEADLOCK) {
            if asked == *name {
                WEAKENED.set(Some(what));
                explore();
                WEAKENED.set(None);
            }
            return;
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(DEADLOCK, &name)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("deadlock; threads"), "{name} was not noticed: {}\n{told}", output.status);
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Word {
        value: AtomicU32,
        lock: loom::sync::Mutex<()>,
        changed: loom::sync::Condvar,
    }

    impl Word {
        pub(crate) fn get(&self) -> u32 {
            self.value.load(Ordering::Acquire)
        }

        pub(crate) fn add(&self, value: u32) {
            self.value.fetch_add(value, Ordering::AcqRel);
        }

        pub(crate) fn sleep(&self, value: u32) {
            let guard = self.lock.lock().unwrap();
            if self.get() == value || is_weakened(Weakened::Sleep) {
                drop(self.changed.wait(guard).unwrap());
            }
        }

        pub(crate) fn wake(&self, count: u32) {
            let _guard = self.lock.lock().unwrap();
            if count == 1 {
                self.changed.notify_one();
            } else {
                self.changed.notify_all();
            }
        }
    }
}

pub(crate) use primitives::{AtomicI64, AtomicU32, AtomicU64, Mutex, MutexGuard, fence, yield_now};
#[cfg(all(test, loom))]
pub(crate) use primitives::{Weakened, is_weakened, must_deadlock, must_notice};
use std::sync::atomic::Ordering;

/// Where threads wait for a commit to end, or to be called.
///
/// Those who wait wake and leave without a lock: handed one after the other through a lock, 64 threads take longer to wake
/// than the commit took.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How often the gate has ended (upper half) and called (lower half).
    word: primitives::Word,
}

const ENDED_ONCE: u32 = 1 << 16;

impl Gate {
    /// What the gate is like now, for [`Self::wait`]. Taken under the lock that `end` and `call` are called under.
    pub(crate) fn ticket(&self) -> u32 {
        self.word.get()
    }

    /// Waits until the gate has ended or called since the ticket was taken. May return for nothing.
    pub(crate) fn wait(&self, ticket: u32) {
        if self.ticket() == ticket {
            self.word.sleep(ticket);
        }
    }

    /// Whether the gate has ended since the ticket was taken.
    pub(crate) fn has_ended_since(&self, ticket: u32) -> bool {
        self.ticket() / ENDED_ONCE != ticket / ENDED_ONCE
    }

    /// Lets all go who wait now; [`Self::wake_all`] must follow, which needs no lock.
    pub(crate) fn end(&self) {
        self.word.add(ENDED_ONCE);
    }

    /// Calls one of those who wait; [`Self::wake_one`] must follow, which needs no lock.
    pub(crate) fn call(&self) {
        self.word.add(1);
    }

    pub(crate) fn wake_all(&self) {
        self.word.wake(u32::MAX >> 1);
    }

    pub(crate) fn wake_one(&self) {
        self.word.wake(1);
    }
}

macro_rules! tail {
    ($(#[$doc:meta])* $name:ident($atomic:ty), $value:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name($atomic);

        impl $name {
            pub(crate) fn new(end: $value) -> Self {
                Self(<$atomic>::new(end))
            }

            /// The end; what was stored below it before it was published is visible from now on.
            #[inline]
            pub(crate) fn get(&self) -> $value {
                self.0.load(Ordering::Acquire)
            }

            /// Publishes what was stored below `end`.
            #[inline]
            pub(crate) fn publish(&self, end: $value) {
                #[cfg(all(test, loom))]
                if is_weakened(Weakened::Publication) {
                    return self.0.store(end, Ordering::Relaxed);
                }
                self.0.store(end, Ordering::Release);
            }

            /// The same where several publish: never goes back.
            #[inline]
            pub(crate) fn raise(&self, end: $value) {
                self.0.fetch_max(end, Ordering::AcqRel);
            }
        }
    };
}

tail! {
    /// The end of the bytes of a mapping that readers may see.
    ByteTail(primitives::AtomicUsize), usize
}
tail! {
    /// The end of the records that readers may see, or that are durable.
    CountTail(primitives::AtomicU64), u64
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Two records of one word, its loads and stores ordered by nothing but the tails: bytes, then the mapping's tail, then
    /// the count, as the writer of a shard does it.
    struct Log {
        bytes: [AtomicU64; 2],
        published: ByteTail,
        count: CountTail,
        durable: CountTail,
    }

    fn explore() {
        loom::model(|| {
            let log = Arc::new(Log {
                bytes: [AtomicU64::new(0), AtomicU64::new(0)],
                published: ByteTail::new(0),
                count: CountTail::new(0),
                durable: CountTail::new(0),
            });
            let writer = Arc::clone(&log);
            let writing = thread::spawn(move || {
                for (record, end) in [(0, 1), (1, 2)] {
                    writer.bytes[record].store(7, Ordering::Relaxed);
                    writer.published.publish(end);
                    writer.count.publish(end as u64);
                }
                writer.durable.raise(2);
            });
            let durable = log.durable.get();
            let count = log.count.get();
            assert!(durable <= count, "what is durable is visible");
            let published = log.published.get();
            assert!(published as u64 >= count, "the bytes are published before they are counted");
            for record in 0..usize::try_from(count).unwrap() {
                assert_eq!(log.bytes[record].load(Ordering::Relaxed), 7);
            }
            writing.join().unwrap();
        });
    }

    /// A commit and the sealing of a segment tell what is durable: this process by one tail, others by another. The order is that
    /// of `Shard::tell_durable`, whose second word is a mapped one that loom doesn't know.
    fn tell_twice() {
        loom::model(|| {
            let tails = Arc::new((CountTail::new(0), CountTail::new(0)));
            let tell = |tails: &(CountTail, CountTail), end| {
                tails.0.raise(end);
                if is_weakened(Weakened::Telling) {
                    tails.1.publish(tails.0.get());
                } else {
                    tails.1.raise(end);
                }
            };
            let sealing = Arc::clone(&tails);
            let told = thread::spawn(move || tell(&sealing, 1));
            tell(&tails, 2);
            let seen = tails.1.get();
            told.join().unwrap();
            assert!(seen == 2 && tails.1.get() == 2, "what was told is taken back");
        });
    }

    #[test]
    fn loom_what_was_told_to_be_durable_is_not_taken_back() {
        tell_twice();
        must_notice(Weakened::Telling, tell_twice);
    }

    #[test]
    fn loom_a_reader_sees_whole_records_alone() {
        explore();
        must_notice(Weakened::Publication, explore);
    }
}
