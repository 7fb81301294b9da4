//! Shares one durable transaction among the callers that wait, for engines that don't do so themselves.
//!
//! Must not know an engine.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use usertrail::NewEvent;

use crate::engine::{Engine, Outcome};

/// How many events a transaction holds at most.
const BATCH_MAX: usize = 1_000;

/// An event, and who waits for it.
type Request = (NewEvent<'static>, SyncSender<bool>);

/// The callers' side.
#[derive(Clone)]
pub struct Combiner {
    requests: Sender<Request>,
}

impl Combiner {
    /// Both sides.
    pub fn new() -> (Self, Committer) {
        let (requests, waiting) = channel();
        (Self { requests }, Committer { waiting })
    }

    /// Hands an event in and waits until it is stored.
    pub fn append(&self, event: &NewEvent<'static>) -> Outcome<()> {
        let (told, answer) = sync_channel(1);
        self.requests.send((event.clone(), told)).map_err(|_| "the committing thread has ended")?;
        match answer.recv() {
            Ok(true) => Ok(()),
            _ => Err("the commit has failed".into()),
        }
    }
}

/// The side that commits.
pub struct Committer {
    waiting: Receiver<Request>,
}

impl Committer {
    /// Commits what waits, again and again, until the last caller has gone. Says how many commits there were.
    pub fn run(self, engine: &dyn Engine, first: u64) -> Outcome<u64> {
        let (mut sequence, mut commits) = (first, 0);
        while let Ok(request) = self.waiting.recv() {
            let more = self.waiting.try_iter().take(BATCH_MAX - 1);
            let (events, callers): (Vec<_>, Vec<_>) = std::iter::once(request).chain(more).unzip();
            let outcome = engine.append(sequence, &events);
            sequence += events.len() as u64;
            commits += 1;
            for caller in callers {
                // One that has gone needs no answer.
                let _ = caller.send(outcome.is_ok());
            }
            outcome?;
        }
        Ok(commits)
    }
}
