//! The tail index as loom explores it: one thread appends, another looks up and walks, ordered by nothing but the map's lock,
//! the published end, and the fences that `push` and `counts` say they need.

use std::ops::ControlFlow;

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::error::Result;
use crate::index::selection::Selection;
use crate::index::{Candidate, Direction, Range, Sink};
use crate::io::sync::{CountTail, Weakened, must_notice};

const ALICE: Fingerprint = Fingerprint([1; 16]);
const BOB: Fingerprint = Fingerprint([2; 16]);
const BASE: u64 = 100;

struct Log {
    tail: TailIndex,
    published: CountTail,
}

/// The posting of a record, which no other looks like.
fn posting(ordinal: u32) -> Posting {
    Posting { ordinal, tags: Tags(ordinal + 1) }
}

impl Log {
    fn new() -> Self {
        Self { tail: TailIndex::new(BASE, 16), published: CountTail::new(0) }
    }

    /// Appends the record of this ordinal, and doesn't publish it.
    fn add(&self, user: Fingerprint, ordinal: u32) {
        let at = i64::from(ordinal);
        let stored = match self.tail.slot(user) {
            Some(slot) => self.tail.push(slot, posting(ordinal), at),
            None => self.tail.insert(user, 0, posting(ordinal), at),
        };
        assert!(stored);
    }

    fn publish(&self, end: u32) {
        self.published.publish(u64::from(end));
    }

    /// A reader that sees the published end sees every posting below it, and none above.
    fn look(&self, user: Fingerprint, all: &[u32]) {
        let published = self.published.get();
        let expected: Vec<u32> =
            all.iter().copied().filter(|ordinal| u64::from(*ordinal) < published).collect();
        let Some(found) = self.tail.user(user, published) else {
            assert!(expected.is_empty(), "the user is missing, though {expected:?} are published");
            return;
        };
        assert_eq!(found.count() as usize, expected.len());
        let postings: Vec<Posting> = expected.iter().map(|ordinal| posting(*ordinal)).collect();
        assert_eq!(found.postings(), postings);
        for direction in [Direction::NewestFirst, Direction::OldestFirst] {
            let mut seen = Seen(Vec::new());
            let range = Range { from: 0, to: found.count(), direction };
            assert!(found.walk(range, &Selection::ALL, &mut seen).unwrap().is_continue());
            if direction == Direction::NewestFirst {
                seen.0.reverse();
            }
            let sequences: Vec<u64> = expected.iter().map(|ordinal| BASE + u64::from(*ordinal)).collect();
            assert_eq!(seen.0, sequences);
        }
    }
}

struct Seen(Vec<u64>);

impl Sink for Seen {
    fn take(&mut self, candidate: Candidate) -> Result<ControlFlow<()>> {
        self.0.push(candidate.sequence);
        Ok(ControlFlow::Continue(()))
    }
}

/// Who appended what, before the reader is there and while it looks; each round is published as a whole, as a batch is.
struct Story {
    before: &'static [(Fingerprint, u32)],
    rounds: &'static [&'static [(Fingerprint, u32)]],
    looks: &'static [Fingerprint],
}

fn explore(story: &'static Story) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let log = Arc::new(Log::new());
        for (user, ordinal) in story.before {
            log.add(*user, *ordinal);
            log.publish(ordinal + 1);
        }
        let writer = Arc::clone(&log);
        let writing = thread::spawn(move || {
            for round in story.rounds {
                round.iter().for_each(|(user, ordinal)| writer.add(*user, *ordinal));
                let end = round.last().map_or(0, |(_, ordinal)| ordinal + 1);
                writer.publish(end);
            }
        });
        let events = || story.before.iter().chain(story.rounds.iter().copied().flatten());
        for user in story.looks {
            let all: Vec<u32> =
                events().filter(|(owner, _)| owner == user).map(|(_, ordinal)| *ordinal).collect();
            log.look(*user, &all);
        }
        writing.join().unwrap();
        for user in [ALICE, BOB] {
            let all: Vec<u32> =
                events().filter(|(owner, _)| *owner == user).map(|(_, ordinal)| *ordinal).collect();
            log.look(user, &all);
        }
    });
}

/// Users come while they are looked for.
static NEW_USERS: Story =
    Story { before: &[], rounds: &[&[(ALICE, 0)], &[(BOB, 1)], &[(ALICE, 2)]], looks: &[ALICE, BOB] };

/// A batch that begins one block and ends in the next, while both are walked.
static NEXT_BLOCK: Story = Story {
    before: &[(ALICE, 0), (ALICE, 1), (ALICE, 2)],
    rounds: &[&[(ALICE, 3), (ALICE, 4)], &[(ALICE, 5)]],
    looks: &[ALICE],
};

#[test]
fn loom_users_are_found_as_far_as_they_are_published() {
    explore(&NEW_USERS);
}

#[test]
fn loom_a_walk_sees_every_posting_below_the_published_end() {
    explore(&NEXT_BLOCK);
}

#[test]
fn loom_a_tail_that_is_published_too_early_is_noticed() {
    must_notice(Weakened::Publication, || explore(&NEXT_BLOCK));
}

#[test]
fn loom_a_count_that_is_ahead_of_its_postings_is_noticed() {
    must_notice(Weakened::Count, || explore(&NEXT_BLOCK));
}
