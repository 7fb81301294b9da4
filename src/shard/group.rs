//! Who commits, and who waits: whoever waits and finds nobody committing commits for all who wait.
//!
//! Owns the protocol alone. Must not know what a commit is, nor of whom an outcome is asked.
//!
//! Commits are numbered. One who comes while a commit runs waits for the next one, since the running one may have begun
//! before its record was published. When a commit ends, all who waited for it wake and leave without the lock, and one of
//! those who wait for the next is called to lead that. Whoever was called and need not lead calls another: so somebody is
//! awake as long as anybody waits.

use std::task::Waker;

use crate::io::sync::{Gate, Mutex, MutexGuard, yield_now};
#[cfg(all(test, loom))]
use crate::io::sync::{Weakened, is_weakened, must_deadlock};

/// The threads and tasks that wait for commits.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    /// For those who wait for a commit of even number, and of odd number.
    gates: [Gate; 2],
}

#[derive(Debug, Default)]
struct State {
    /// Somebody commits now.
    leading: bool,
    /// How many commits have begun.
    begun: u64,
    /// How many threads wait for a commit of even number, and of odd number.
    waiting: [usize; 2],
    /// The last commit served more than its leader.
    crowded: bool,
    /// Tasks that wait for any commit to end.
    wakers: Vec<Waker>,
}

impl State {
    /// The side on which threads wait for the commit after the last that has begun.
    fn next(&self) -> usize {
        usize::from((self.begun + 1) % 2 == 1)
    }
}

impl Group {
    /// Waits until `outcome` says something, and returns it. Calls `commit` for all who wait, unless another thread does.
    ///
    /// A commit settles every outcome that was asked for before it began.
    pub(crate) fn wait<T>(&self, outcome: impl Fn() -> Option<T>, commit: impl Fn()) -> T {
        let mut state = self.state.lock();
        let mut was_called = false;
        loop {
            if let Some(outcome) = outcome() {
                if was_called && !state.leading {
                    self.call_next_leader(state);
                }
                return outcome;
            }
            if !state.leading {
                state = self.lead(state, &commit);
                continue;
            }
            let side = state.next();
            state.waiting[side] += 1;
            let ticket = self.gates[side].ticket();
            drop(state);
            self.gates[side].wait(ticket);
            if self.gates[side].has_ended_since(ticket) {
                if let Some(outcome) = outcome() {
                    return outcome;
                }
                state = self.state.lock();
            } else {
                // Called to lead, or woken for nothing.
                state = self.state.lock();
                if !self.gates[side].has_ended_since(ticket) {
                    state.waiting[side] -= 1;
                }
                was_called = true;
            }
        }
    }

    fn lead<'s>(&'s self, mut state: MutexGuard<'s, State>, commit: &impl Fn()) -> MutexGuard<'s, State> {
        state.leading = true;
        if state.crowded {
            // Those whom the last commit served append again a moment later: let them come, and one sync serves them too.
            drop(state);
            yield_now();
            state = self.state.lock();
        }
        state.begun += 1;
        drop(state);
        commit();
        let mut state = self.state.lock();
        state.leading = false;
        let done = 1 - state.next();
        let settled = std::mem::take(&mut state.waiting[done]);
        let wakers = std::mem::take(&mut state.wakers);
        state.crowded = settled + state.waiting[1 - done] + wakers.len() > 0;
        self.gates[done].end();
        self.call_next_leader(state);
        self.gates[done].wake_all();
        wakers.into_iter().for_each(Waker::wake);
        self.state.lock()
    }

    /// What `outcome` says; if nothing, the waker is woken when a commit has ended.
    pub(crate) fn poll<T>(&self, outcome: impl Fn() -> Option<T>, waker: &Waker) -> Option<T> {
        let mut state = self.state.lock();
        let outcome = outcome();
        if outcome.is_none() && !state.wakers.iter().any(|other| other.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        outcome
    }

    /// Wakes every task, so that it asks again: an outcome may come without a commit.
    pub(crate) fn wake_tasks(&self) {
        let wakers = std::mem::take(&mut self.state.lock().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Those who came too late for the last commit need one of them to lead the next.
    fn call_next_leader(&self, state: MutexGuard<'_, State>) {
        #[cfg(all(test, loom))]
        if is_weakened(Weakened::Call) {
            return;
        }
        let side = state.next();
        if state.waiting[side] > 0 {
            self.gates[side].call();
            drop(state);
            self.gates[side].wake_one();
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::io::sync::CountTail;
    use loom::sync::Arc;
    use loom::thread;

    struct Shard {
        group: Group,
        published: loom::sync::atomic::AtomicU64,
        durable: CountTail,
    }

    impl Shard {
        fn append_durably(&self) {
            use loom::sync::atomic::Ordering;
            let end = self.published.fetch_add(1, Ordering::AcqRel) + 1;
            self.group.wait(
                || (self.durable.get() >= end).then_some(()),
                || {
                    let end = self.published.load(Ordering::Acquire);
                    thread::yield_now();
                    self.durable.raise(end);
                },
            );
            assert!(self.durable.get() >= end, "nobody returns before its record is durable");
        }
    }

    fn explore(writers: usize, preemptions: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        // A lost wake-up is a deadlock, which loom reports.
        model.check(move || {
            let shard = Arc::new(Shard {
                group: Group::default(),
                published: loom::sync::atomic::AtomicU64::new(0),
                durable: CountTail::new(0),
            });
            let threads: Vec<_> = (1..writers)
                .map(|_| {
                    let shard = Arc::clone(&shard);
                    thread::spawn(move || shard.append_durably())
                })
                .collect();
            shard.append_durably();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn loom_every_waiter_of_three_is_woken_when_its_record_is_durable() {
        explore(3, 3);
    }

    #[test]
    fn loom_a_waiter_that_nobody_wakes_is_noticed() {
        let test = "shard::group::loom_tests::loom_a_waiter_that_nobody_wakes_is_noticed";
        for weakened in [Weakened::Sleep, Weakened::Call] {
            must_deadlock(weakened, test, || explore(3, 3));
        }
    }

    #[test]
    fn loom_every_waiter_of_four_is_woken_when_its_record_is_durable() {
        explore(4, 2);
    }
}
