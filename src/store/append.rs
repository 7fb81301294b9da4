//! Appending: routing, waiting, receipts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::options::Durability;
use super::{Core, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, NewEvent, Timestamp};
use crate::ids::{Epoch, Sequence, ShardId, UserSequence};
use crate::shard::Shard;
use crate::shard::writer::{Incoming, Placed};

/// What the store says of an event that it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Receipt {
    /// The event's id.
    pub id: EventId,
    /// The shard that holds it.
    pub shard: ShardId,
    /// Its place in the shard's log.
    pub sequence: Sequence,
    /// Its place in its user's trail; `None` for an event without a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_sequence: Option<UserSequence>,
    /// When the store took it.
    pub recorded_at: Timestamp,
    /// The recovery epoch it was written in.
    pub epoch: Epoch,
}

/// A batch that was not stored as a whole.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{stored} of {total} events were stored: {error}", stored = self.stored(), total = self.receipts.len())]
pub struct BatchError {
    /// For each event of the batch, its receipt if it was stored. Stored events are not yet known to be durable.
    pub receipts: Vec<Option<Receipt>>,
    /// Why the others were not.
    pub error: Error,
}

impl BatchError {
    /// How many events were stored.
    pub fn stored(&self) -> usize {
        self.receipts.iter().flatten().count()
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        error.error
    }
}

/// An event that is stored and visible, and may be waited for until it is on stable storage.
///
/// Wait with [`Pending::wait`] in a thread, or `.await` it in any runtime.
#[derive(Debug)]
#[must_use = "the event is stored; wait for it, or take its receipt"]
pub struct Pending {
    core: Arc<Core>,
    shard: Arc<Shard>,
    receipt: Receipt,
}

impl Pending {
    /// The receipt, without waiting.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Waits until the event is on stable storage, at every durability of the store.
    ///
    /// # Errors
    ///
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) if the sync failed: the event may or may not survive.
    pub fn wait(self) -> Result<Receipt> {
        self.core.committer.wait_durable(&self.shard, self.receipt.sequence.get() + 1)?;
        Ok(self.receipt)
    }
}

impl Future for Pending {
    type Output = Result<Receipt>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let end = self.receipt.sequence.get() + 1;
        match self.core.committer.poll_durable(&self.shard, end, context.waker()) {
            Some(outcome) => Poll::Ready(outcome.map(|()| self.receipt)),
            None => match self.core.check_open() {
                Ok(()) => {
                    // The background commits for tasks: they must not block their runtime.
                    if self.core.committer.ask(&self.shard) {
                        self.core.background.commit_soon(&self.shard);
                    }
                    Poll::Pending
                }
                Err(closed) => Poll::Ready(Err(closed)),
            },
        }
    }
}

impl Store {
    /// Appends an event and waits as the store's [`Durability`] says. It is visible to every reader when this returns.
    ///
    /// Costs about a microsecond, and at `Durable` a shared sync.
    ///
    /// # Errors
    ///
    /// [`StorageFull`](ErrorKind::StorageFull): nothing was stored; appending works again when there is room.
    /// [`Poisoned`](ErrorKind::Poisoned), [`OutcomeUnknown`](ErrorKind::OutcomeUnknown),
    /// [`ReadOnly`](ErrorKind::ReadOnly), [`Closed`](ErrorKind::Closed).
    pub fn append(&self, event: &NewEvent<'_>) -> Result<Receipt> {
        self.append_with(event, self.0.core.durability)
    }

    /// Appends an event, waiting for stable storage if this durability or the store's asks for it.
    ///
    /// # Errors
    ///
    /// As [`Store::append`].
    pub fn append_with(&self, event: &NewEvent<'_>, durability: Durability) -> Result<Receipt> {
        let core = &self.0.core;
        let shard = core.shard_for(event);
        let receipt = core.append(shard, event)?;
        if durability.waits() || core.durability.waits() {
            core.committer.wait_durable(shard, receipt.sequence.get() + 1)?;
        }
        Ok(receipt)
    }

    /// Appends an event without waiting for stable storage; the [`Pending`] can be waited for later, in a thread or a task.
    ///
    /// # Errors
    ///
    /// As [`Store::append`].
    pub fn append_nowait(&self, event: &NewEvent<'_>) -> Result<Pending> {
        let core = &self.0.core;
        let shard = core.shard_for(event);
        let receipt = core.append(shard, event)?;
        Ok(Pending { core: Arc::clone(core), shard: Arc::clone(shard), receipt })
    }

    /// Appends many events, each for itself, and waits once. Events of one user keep their order.
    ///
    /// After a crash, in each shard the events up to some point are there and the others are not.
    ///
    /// # Errors
    ///
    /// [`BatchError`], which says what was stored nevertheless.
    pub fn append_batch(&self, events: &[NewEvent<'_>]) -> Result<Vec<Receipt>, BatchError> {
        let core = &self.0.core;
        let mut receipts = vec![None; events.len()];
        let outcome = core.append_batch(events, &mut receipts).and_then(|shards| {
            if core.durability.waits() {
                let waits =
                    shards.iter().try_for_each(|(shard, end)| core.committer.wait_durable(shard, *end));
                return waits;
            }
            Ok(())
        });
        let whole: Option<Vec<Receipt>> = receipts.iter().copied().collect();
        match (outcome, whole) {
            (Ok(()), Some(receipts)) => Ok(receipts),
            (Err(error), _) => Err(BatchError { receipts, error }),
            (Ok(()), None) => {
                let error = Error::new(ErrorKind::Io, "an event of the batch was not stored");
                Err(BatchError { receipts, error })
            }
        }
    }

    /// Appends events of one user (or of none) so that all of them are visible at once, and a crash keeps all or none.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent`](ErrorKind::InvalidEvent) if they are of several users, more than 65,535, or more than 512 KiB;
    /// else as [`Store::append`].
    pub fn append_atomic(&self, events: &[NewEvent<'_>]) -> Result<Vec<Receipt>> {
        let core = &self.0.core;
        let Some(first) = events.first() else { return Ok(Vec::new()) };
        let user = first.user_id();
        if events.iter().any(|event| event.user_id() != user) {
            let message = "an atomic group must be of one user, or of none";
            return Err(Error::new(ErrorKind::InvalidEvent, message));
        }
        let shard = core.shard_for(first);
        core.before_append(shard)?;
        let user = user.map(|user| core.key.fingerprint(user.as_str().as_bytes()));
        let placed = shard.append_atomic(&*core.background, events, user)?;
        let receipts: Vec<Receipt> = placed.into_iter().map(|placed| receipt(shard, placed)).collect();
        if let Some(last) = receipts.last().filter(|_| core.durability.waits()) {
            core.committer.wait_durable(shard, last.sequence.get() + 1)?;
        }
        Ok(receipts)
    }
}

#[cfg(feature = "async")]
impl Store {
    /// Whether appending this event may have to wait: for the disk, or for the next segment's file.
    pub(crate) fn may_block(&self, event: &NewEvent<'_>) -> bool {
        let shard = self.0.core.shard_for(event);
        shard.unsynced_bytes() > shard.context.unsynced_bytes_max / 2 || !shard.next_segment_is_ready()
    }
}

impl Core {
    /// Where an event goes: its user's shard, else its tenant's, else its idempotency key's, else the next in turn.
    fn shard_for(&self, event: &NewEvent<'_>) -> &Arc<Shard> {
        if let Some(user) = event.user_id() {
            return self.shard_of(user.as_str().as_bytes());
        }
        if let Some(tenant) = event.tenant_id() {
            return self.shard_of(tenant.as_str().as_bytes());
        }
        if let Some(key) = event.idempotency_key() {
            return self.shard_of(key.as_str().as_bytes());
        }
        self.shard_at(self.round_robin.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether a write may go on: the store is open, and not too much waits for the disk.
    fn before_append(&self, shard: &Arc<Shard>) -> Result<()> {
        self.check_open()?;
        let unsynced = shard.unsynced_bytes();
        if unsynced > shard.context.unsynced_bytes_max / 2 {
            if self.committer.ask(shard) {
                self.background.commit_soon(shard);
            }
            let bound = shard.context.unsynced_bytes_max;
            if unsynced > bound {
                self.committer.wait_durable(shard, shard.published())?;
            } else if let Some(wait) =
                shard.pace.wait(shard.written_bytes.load(Ordering::Relaxed), unsynced, bound)
            {
                std::thread::sleep(wait);
            }
        }
        Ok(())
    }

    pub(super) fn append(&self, shard: &Arc<Shard>, event: &NewEvent<'_>) -> Result<Receipt> {
        self.before_append(shard)?;
        let incoming = self.incoming(event);
        let placed = shard.append(&*self.background, incoming)?;
        Ok(receipt(shard, placed))
    }

    fn incoming<'e, 'a>(&self, event: &'e NewEvent<'a>) -> Incoming<'e, 'a> {
        let user = event.user_id().map(|user| self.key.fingerprint(user.as_str().as_bytes()));
        Incoming { event, user }
    }

    /// Stores the events shard by shard; says up to where each shard must be durable.
    fn append_batch(
        &self,
        events: &[NewEvent<'_>],
        receipts: &mut [Option<Receipt>],
    ) -> Result<Vec<(Arc<Shard>, u64)>> {
        let mut by_shard: Vec<Vec<usize>> = vec![Vec::new(); self.shards.len()];
        for (place, event) in events.iter().enumerate() {
            let shard = self.shard_for(event).id.get();
            by_shard[usize::from(shard)].push(place);
        }
        let mut ends = Vec::new();
        let mut placed = Vec::new();
        for (shard, places) in self.shards.iter().zip(by_shard).filter(|(_, places)| !places.is_empty()) {
            self.before_append(shard)?;
            placed.clear();
            let incoming = places.iter().map(|place| self.incoming(&events[*place]));
            let outcome = shard.append_batch(&*self.background, incoming, &mut placed);
            for (place, placed) in places.iter().zip(&placed) {
                receipts[*place] = Some(receipt(shard, *placed));
            }
            if let Some(last) = placed.last() {
                ends.push((Arc::clone(shard), last.sequence.get() + 1));
            }
            outcome?;
        }
        Ok(ends)
    }
}

fn receipt(shard: &Shard, placed: Placed) -> Receipt {
    Receipt {
        id: placed.id,
        shard: shard.id,
        sequence: placed.sequence,
        user_sequence: placed.user_sequence,
        recorded_at: placed.recorded_at,
        epoch: Epoch::new(shard.epoch()),
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("dir", &self.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use super::*;
    use crate::event::Action;
    use crate::{Options, UserId};

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    /// A segment that is sealed is synced by the sealing: nothing is left to commit for whoever waits.
    #[test]
    fn a_task_is_woken_though_its_event_became_durable_outside_of_a_commit() {
        let store = Options::new().shards(1).durability(Durability::Buffered).in_memory().unwrap();
        let core = &store.0.core;
        let action = Action::new("auth.login").unwrap();
        let event = NewEvent::builder(action).user(UserId::new("a").unwrap()).build().unwrap();
        // The background commits now and then: only an event that it has not reached shows anything.
        for round in 0..1000 {
            let pending = store.append_nowait(&event).unwrap();
            let end = pending.receipt().sequence.get() + 1;
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            if core.committer.poll_durable(&pending.shard, end, &waker).is_some() {
                continue;
            }
            pending.shard.tell_durable(end);
            core.committer.flush().unwrap();
            assert!(woken.0.load(Ordering::Acquire), "round {round}");
            return;
        }
        panic!("the background committed every event before it could be waited for");
    }
}
