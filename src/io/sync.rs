//! The locks and tails of the protocols that loom explores: `parking_lot`'s and the standard library's, or loom's own in
//! its tests. Owns no protocol.

#[cfg(not(all(test, loom)))]
mod primitives {
    pub(crate) use parking_lot::MutexGuard;
    pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize};

    /// A lock that no panic poisons.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock()
        }
    }

    /// Where threads wait.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn wait<'m, T>(&self, mut guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

#[cfg(all(test, loom))]
mod primitives {
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize};

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn wait<'m, T>(&self, guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
            self.0.wait(guard).unwrap()
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

pub(crate) use primitives::{Condvar, Mutex, MutexGuard};
use std::sync::atomic::Ordering;

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
    use super::primitives::AtomicU64;
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Two records of one word, its loads and stores ordered by nothing but the tails: bytes, then the mapping's tail, then the count, as the writer of a shard does it.
    struct Log {
        bytes: [AtomicU64; 2],
        published: ByteTail,
        count: CountTail,
        durable: CountTail,
    }

    #[test]
    fn loom_a_reader_sees_whole_records_alone() {
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
}
