//! The writer of a shard: what happens under its lock.
//!
//! The order is the promise. For each record: bytes into the mapping, offset, index; then, once for the whole call,
//! the mapping's end, the segment's count, the shard's tail. A reader that sees the tail sees all of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::maintain::POPULATE_BYTES;
use super::memory::index_bytes;
use super::next_segment::Prepared;
use super::replay::tags_of;
use super::view::Source;
use super::{Background, Frozen, Job, Shard};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Assigned, EventId, NewEvent, Timestamp, assign, encode_leaf, leaf_bytes};
use crate::format::event_id;
use crate::format::posting::{Posting, SERVICE_CODE_NONE, Tags};
use crate::format::record::{self, Envelope};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::ids::{Fingerprint, Sequence, UserSequence};
use crate::index::UserHead;
use crate::index::dictionary::Recent;
use crate::index::tail::{Slot, TailIndex};
use crate::io::mmap::Appender;
use crate::segment::Segment;
use crate::segment::seal::sealing_bytes;

/// The most bytes of records in an atomic group: it must fit one segment, and the smallest has 1 MiB.
pub(crate) const GROUP_BYTES_MAX: usize = 512 << 10;

/// After how many records the memory of the index is looked at: the sum takes a microsecond or two.
const INDEX_LOOKS: u64 = 1024;

/// What only the thread that holds the shard's lock touches.
#[derive(Debug)]
pub(crate) struct Writer {
    appender: Appender,
    segment: Arc<Segment>,
    tail: Arc<TailIndex>,
    /// The sequence that the next record gets.
    next: u64,
    last_recorded_at: i64,
    users_total: u64,
    /// Up to where pages were populated, as far as was asked for.
    populate_asked: usize,
    /// Room for one record, reused.
    record: Vec<u8>,
    /// Codes of the active segment.
    recent_actions: Recent,
    recent_services: Recent,
    written_bytes: u64,
    /// The segment's index has used up its share of memory.
    index_full: bool,
    wants_populate: bool,
    wants_seal: bool,
}

/// An event on its way in, with what its place depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'e, 'a> {
    pub(crate) event: &'e NewEvent<'a>,
    pub(crate) user: Option<Fingerprint>,
}

/// What a shard says of an event that it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) id: EventId,
    pub(crate) sequence: Sequence,
    pub(crate) user_sequence: Option<UserSequence>,
    pub(crate) recorded_at: Timestamp,
}

/// The user's state before an append: where the index has it, and what it had.
#[derive(Clone, Copy, Debug)]
struct UserState {
    user: Fingerprint,
    slot: Option<Slot>,
    head: Option<UserHead>,
}

impl Writer {
    pub(crate) fn new(
        appender: Appender,
        segment: Arc<Segment>,
        tail: Arc<TailIndex>,
        last_recorded_at: i64,
        users_total: u64,
    ) -> Self {
        Self {
            populate_asked: appender.end() + POPULATE_BYTES,
            next: segment.end(),
            appender,
            segment,
            tail,
            last_recorded_at,
            users_total,
            record: Vec::with_capacity(1024),
            recent_actions: Recent::default(),
            recent_services: Recent::default(),
            written_bytes: 0,
            index_full: false,
            wants_populate: false,
            wants_seal: false,
        }
    }

    /// `recorded_at` for the next records: the clock's, but never earlier than the last.
    fn now(&mut self, shard: &Shard) -> i64 {
        self.last_recorded_at = self.last_recorded_at.max(shard.context.clock.wall_micros());
        self.last_recorded_at
    }

    /// Whether `records` more records of `bytes` in all fit this segment, with what sealing needs, and the memory for its
    /// index isn't used up.
    fn fits(&self, bytes: usize, records: u64) -> bool {
        let held = self.next - self.segment.base();
        let end = self.appender.end() as u64 + bytes as u64 + sealing_bytes(held + records);
        end <= self.segment.header().file_bytes && !self.index_full
    }

    /// The user's place in the tail. Whoever has none is on the way from the head table when this returns.
    fn find(&self, shard: &Shard, user: Fingerprint) -> Option<(Slot, UserHead)> {
        if let Some(slot) = self.tail.slot(user) {
            return Some((slot, self.tail.head(slot)));
        }
        if let Some(heads) = &shard.view.load().heads {
            heads.prefetch(user);
        }
        None
    }

    /// What the user had before: from the tail, else from what is older.
    fn user_state(shard: &Shard, user: Fingerprint, found: Option<(Slot, UserHead)>) -> Result<UserState> {
        let head = match found {
            Some((_, head)) => Some(head),
            None => shard.view.load().head_before_newest(user)?,
        };
        Ok(UserState { user, slot: found.map(|(slot, _)| slot), head })
    }

    /// Writes an event into the buffer for one record; returns how many bytes it takes in the log.
    ///
    /// Done once, before the place is known: what an event needs is then known without counting it first.
    fn encode(&mut self, event: &NewEvent<'_>) -> usize {
        self.record.clear();
        record::begin(&mut self.record);
        encode_leaf(event, &mut self.record);
        record::record_bytes(self.record.len() - record::ENVELOPE_BYTES)
    }

    /// Stores the record that was encoded last, unseen by readers. There must be room.
    fn stage(
        &mut self,
        shard: &Shard,
        event: &NewEvent<'_>,
        user: Option<UserState>,
        recorded_at: i64,
        group: (u16, u16),
    ) -> Result<Placed> {
        let sequence = self.next;
        let recorded_at = Timestamp::from_micros(recorded_at);
        let head = user.and_then(|user| user.head);
        let user_sequence = user.map(|_| head.map_or(0, |head| head.count));
        let id = event_id::make(&shard.context.key, shard.id.get(), sequence, recorded_at.as_micros());
        let id = EventId::from_u128(id);
        let assigned = Assigned {
            sequence,
            user_sequence,
            previous: head.map(|head| head.last_sequence),
            recorded_at,
            id,
        };
        if let Some(leaf) = self.record.get_mut(record::ENVELOPE_BYTES..) {
            assign(leaf, &assigned);
        }
        let offset = self.appender.end();
        let durable_floor = shard.durable();
        #[cfg(test)]
        let durable_floor = if has(Bug::FloorAhead) { shard.published() } else { durable_floor };
        let envelope = Envelope { durable_floor, group_index: group.0, group_count: group.1 };
        let sealed = record::seal(&mut self.record, self.segment.salt(), offset as u64, envelope);
        let ordinal = sequence - self.segment.base();
        // Before the bytes go to the mapping: what takes a lock behind such stores waits for them.
        let tags = user.map_or(Tags(0), |_| self.tags(event));
        let stored = sealed.is_ok()
            && self.appender.store(&self.record)
            && self.segment.note_offset(ordinal, offset)
            && self.index(event, user, (ordinal, tags), &assigned);
        if !stored {
            // Room was checked before: only a bug leads here, and a refusal is better than a wrong record.
            return Err(Error::at(
                ErrorKind::Io,
                self.segment.path(),
                "the segment has no room for the record",
            ));
        }
        self.next += 1;
        if (ordinal + 1).is_multiple_of(INDEX_LOOKS) {
            let index_bytes = index_bytes(&self.tail, &self.segment);
            self.index_full = index_bytes > shard.context.shares.tail_bytes_max;
        }
        self.written_bytes += self.record.len() as u64;
        let user_sequence = user_sequence.map(UserSequence::new);
        Ok(Placed { id, sequence: Sequence::new(sequence), user_sequence, recorded_at })
    }

    /// The event's tags, in the codes of the active segment.
    fn tags(&mut self, event: &NewEvent<'_>) -> Tags {
        let kind = (event.level(), event.category(), event.status());
        let action = match event.action_code() {
            0 => self.recent_actions.code_or_insert(&self.tail.actions, event.action().as_str()),
            code => code,
        };
        let service = event.service().map_or(SERVICE_CODE_NONE, |service| {
            self.recent_services.code_or_insert(&self.tail.services, service.as_str())
        });
        tags_of(kind, action, service)
    }

    fn index(
        &mut self,
        event: &NewEvent<'_>,
        user: Option<UserState>,
        (ordinal, tags): (u64, Tags),
        assigned: &Assigned,
    ) -> bool {
        let Some(user) = user else { return true };
        let Ok(ordinal) = u32::try_from(ordinal) else { return false };
        let posting = Posting { ordinal, tags };
        let occurred_at = event.occurred_at().unwrap_or(assigned.recorded_at).as_micros();
        if let Some(slot) = user.slot {
            return self.tail.push(slot, posting, occurred_at);
        }
        if user.head.is_none() {
            self.users_total += 1;
        }
        self.tail.insert(user.user, user.head.map_or(0, |head| head.count), posting, occurred_at)
    }

    /// Lets readers see what was staged.
    fn publish(&mut self, shard: &Shard) {
        self.appender.publish();
        self.segment.publish(self.next - self.segment.base());
        shard.tell_published(self.next);
        shard.written_bytes.store(self.written_bytes, Ordering::Release);
        shard.users_total.store(self.users_total, Ordering::Relaxed);
        if self.appender.end() + POPULATE_BYTES / 2 > self.populate_asked {
            self.populate_asked = self.appender.end() + POPULATE_BYTES;
            self.wants_populate = true;
        }
    }
}

impl Shard {
    /// Appends one event and publishes it.
    pub(crate) fn append(
        self: &Arc<Self>,
        background: &dyn Background,
        incoming: Incoming<'_, '_>,
    ) -> Result<Placed> {
        self.write(background, |shard, writer| shard.append_one(writer, incoming))
    }

    /// Encodes the event, goes on in the next segment if it doesn't fit this one, and finds its user.
    fn make_room(
        self: &Arc<Self>,
        writer: &mut Writer,
        incoming: Incoming<'_, '_>,
    ) -> Result<Option<UserState>> {
        let find = |writer: &Writer| incoming.user.and_then(|user| writer.find(self, user));
        // The user first: that memory is far away, and the processor encodes while it comes.
        let mut found = find(writer);
        let bytes = writer.encode(incoming.event);
        if !writer.fits(bytes, 1) {
            self.roll_over(writer)?;
            // Not the place from before: that was one in the full segment's index.
            found = find(writer);
        }
        incoming.user.map(|user| Writer::user_state(self, user, found)).transpose()
    }

    fn append_one(self: &Arc<Self>, writer: &mut Writer, incoming: Incoming<'_, '_>) -> Result<Placed> {
        let user = self.make_room(writer, incoming)?;
        let now = writer.now(self);
        let placed = writer.stage(self, incoming.event, user, now, (0, 1))?;
        writer.publish(self);
        Ok(placed)
    }

    /// Appends events one after the other; each stands for itself. Stops at the first that can't be stored.
    ///
    /// `placed` gets what was stored, in order, also when an error comes back.
    pub(crate) fn append_batch<'e, 'a: 'e>(
        self: &Arc<Self>,
        background: &dyn Background,
        events: impl Iterator<Item = Incoming<'e, 'a>>,
        placed: &mut Vec<Placed>,
    ) -> Result<()> {
        self.write(background, |shard, writer| {
            let now = writer.now(shard);
            let outcome = events.into_iter().try_for_each(|incoming| {
                let user = shard.make_room(writer, incoming)?;
                placed.push(writer.stage(shard, incoming.event, user, now, (0, 1))?);
                Ok(())
            });
            writer.publish(shard);
            outcome
        })
    }

    /// Appends events of one user (or of none) so that a crash keeps all of them or none.
    pub(crate) fn append_atomic(
        self: &Arc<Self>,
        background: &dyn Background,
        events: &[NewEvent<'_>],
        user: Option<Fingerprint>,
    ) -> Result<Vec<Placed>> {
        let bytes: usize = events.iter().map(|event| record::record_bytes(leaf_bytes(event))).sum();
        let count = u16::try_from(events.len()).ok().filter(|_| bytes <= GROUP_BYTES_MAX);
        let count = count.ok_or_else(|| {
            let limits = format!("at most 65,535 events and {GROUP_BYTES_MAX} bytes");
            Error::new(ErrorKind::InvalidEvent, format!("an atomic group is too large: {limits} are allowed"))
        })?;
        self.write(background, |shard, writer| {
            if !writer.fits(bytes, u64::from(count)) {
                shard.roll_over(writer)?;
            }
            // All that can fail comes before the first record: from here on the group is stored whole.
            let mut state =
                user.map(|user| Writer::user_state(shard, user, writer.find(shard, user))).transpose()?;
            let now = writer.now(shard);
            let mut placed = Vec::with_capacity(events.len());
            for (index, event) in (0..count).zip(events) {
                writer.encode(event);
                placed.push(writer.stage(shard, event, state, now, (index, count))?);
                state =
                    user.map(|user| Writer::user_state(shard, user, writer.find(shard, user))).transpose()?;
            }
            writer.publish(shard);
            Ok(placed)
        })
    }

    /// Runs `action` under the writer's lock, then hands on the work that it left.
    fn write<T>(
        self: &Arc<Self>,
        background: &dyn Background,
        action: impl FnOnce(&Arc<Self>, &mut Writer) -> Result<T>,
    ) -> Result<T> {
        let mut guard = self.writer.lock();
        if let Some(error) = self.refusal() {
            return Err(error);
        }
        let writer = guard
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::ReadOnly, "the store is open for reading only"))?;
        let outcome = action(self, writer);
        let populate = std::mem::take(&mut writer.wants_populate);
        let seal = std::mem::take(&mut writer.wants_seal);
        drop(guard);
        if populate {
            background.submit(self, Job::Populate);
        }
        if seal {
            background.submit(self, Job::Prepare);
            background.submit(self, Job::Seal);
        }
        outcome
    }

    /// Goes on in the next segment. What was staged is published first.
    fn roll_over(self: &Arc<Self>, writer: &mut Writer) -> Result<()> {
        writer.publish(self);
        // Indexes that wait to be sealed are in memory: a writer that is too fast helps.
        let index_bytes = index_bytes(&writer.tail, &writer.segment);
        while self.must_seal_before(index_bytes) {
            self.seal_oldest()?;
        }
        self.learn_segment_bytes(writer.appender.end() as u64, index_bytes);
        let Prepared { file, map, header } = self.take_prepared()?;
        let segment = Arc::new(Segment::growing(file, map, header, writer.next));
        let appender = segment
            .appender()
            .ok_or_else(|| Error::at(ErrorKind::Io, segment.path(), "the segment has a writer already"))?;
        let tail = Arc::new(TailIndex::new(writer.next, segment.records_max()));
        let frozen = Frozen {
            segment: std::mem::replace(&mut writer.segment, Arc::clone(&segment)),
            tail: std::mem::replace(&mut writer.tail, Arc::clone(&tail)),
            users_total: writer.users_total,
            index_bytes,
        };
        writer.populate_asked = appender.end() + POPULATE_BYTES;
        // Dropping the old appender gives the old mapping's end to whoever seals it: before anyone is told to.
        writer.appender = appender;
        writer.index_full = false;
        writer.recent_actions = Recent::default();
        writer.recent_services = Recent::default();
        self.unsynced.lock().push(Arc::clone(&segment));
        self.frozen.lock().push(frozen);
        self.change_view(|view| {
            view.segments.push(Arc::clone(&segment));
            view.sources.push(Source::Tail(Arc::clone(&tail), Arc::clone(&segment)));
        });
        writer.wants_seal = true;
        Ok(())
    }
}
