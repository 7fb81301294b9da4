//! A store on a disk that fails on purpose, and beside it a plain list of what it must hold.
//!
//! Everything that a crash may and may not take is said in [`Rig::verify`], in the file `verify.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::event::{Action, Category, Details, EventId, EventView, Level, NewEvent, RequestId, UserId};
use crate::io::clock::tests::ManualClock;
use crate::io::faulty::FaultyDisk;
use crate::query::Order;
use crate::shard::Job;
use crate::store::open::{self, Host, WorkersKind};
use crate::store::{Durability, Options, Receipt, Store};

/// What a workload does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Append {
        user: Option<u8>,
        bytes: usize,
        durability: Durability,
    },
    /// Events of all users in turn.
    Batch {
        count: usize,
        bytes: usize,
    },
    Atomic {
        user: u8,
        count: usize,
        bytes: usize,
    },
    Flush,
    /// What the background does for a shard that is idle.
    NoteFloor,
    /// Takes a page of each user in both orders and keeps the cursors.
    Page,
    /// Packs everything that is sealed.
    Pack,
    /// Makes segments again of everything that is packed.
    Unpack,
    /// Seals, merges and packs what is due.
    Maintain,
    /// Opens the store for reading beside the writer, and compares.
    Read,
    /// The wall clock goes back.
    ClockBack,
    /// Closes the store and opens it again.
    Reopen,
    /// Drops the store without closing it, the page cache stays, and opens it again.
    KillAndReopen,
}

/// An event that was handed in and not refused.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) marker: String,
    pub(super) user: Option<u8>,
    /// Its atomic group: the first one's place in the list, and how many there are.
    pub(super) group: (usize, usize),
    pub(super) leaf: Vec<u8>,
    pub(super) id: EventId,
    pub(super) epoch: u32,
}

/// A cursor that somebody kept.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) user: u8,
    pub(super) order: Order,
    pub(super) cursor: String,
    /// The place in the list of the last event on its page.
    pub(super) at: usize,
    /// That event was lost, and so was everything from here on.
    pub(super) lost_from: Option<usize>,
}

/// What was known at a moment of a recorded run.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// So many events of the disk had happened.
    at: usize,
    returned: usize,
    durable: usize,
    held: usize,
}

/// A store with one shard, its disk, and what it must hold.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) disk: FaultyDisk,
    pub(super) options: Options,
    pub(super) store: Option<Store>,
    clock: Arc<ManualClock>,
    workers: WorkersKind,
    pub(super) log: Vec<Arc<Entry>>,
    /// How many of them the store has taken, as its caller knows: these survive a kill.
    pub(super) returned: usize,
    /// How many of them are known to survive a power cut.
    pub(super) durable: usize,
    next: usize,
    pub(super) held: Vec<Held>,
    /// Which event was at (epoch, sequence), ever.
    places: BTreeMap<(u32, u64), Arc<Entry>>,
    pub(super) lost_ids: Vec<EventId>,
    moments: Vec<Moment>,
}

pub(super) const USERS: u8 = 3;

pub(super) fn user_id(user: u8) -> UserId<'static> {
    UserId::new(format!("user {user}")).unwrap()
}

pub(super) fn leaf_marker(leaf: &[u8]) -> String {
    EventView::parse(leaf).unwrap().request_id().unwrap().unwrap().to_owned()
}

impl Rig {
    /// A new store, all of it durable.
    pub(super) fn new(durability: Durability) -> Self {
        let mut rig = Self::unmade(durability);
        rig.open().unwrap();
        rig
    }

    /// A new store that merges nothing.
    pub(super) fn without_merging(durability: Durability) -> Self {
        let mut rig = Self::unmade(durability);
        rig.options = rig.options.merge_fan_out(64);
        rig.open().unwrap();
        rig
    }

    /// A disk with nothing on it, not even the store.
    pub(super) fn unmade(durability: Durability) -> Self {
        let options = Options::new()
            .shards(1)
            .segment_bytes_max(1 << 20)
            // So little that there is one after nearly every sync.
            .checkpoint_bytes(2000)
            .merge_fan_out(2)
            .durability(durability)
            .create_if_missing(true);
        let clock = Arc::new(ManualClock::default());
        clock.wall_micros.store(1_700_000_000_000_000, Ordering::Relaxed);
        Self {
            disk: FaultyDisk::default(),
            options,
            store: None,
            clock,
            workers: WorkersKind::Caller,
            log: Vec::new(),
            returned: 0,
            durable: 0,
            next: 0,
            held: Vec::new(),
            places: BTreeMap::new(),
            lost_ids: Vec::new(),
            moments: Vec::new(),
        }
    }

    /// A new store whose background work is done by them, from its first event on.
    pub(super) fn with_workers(durability: Durability, workers: WorkersKind) -> Self {
        let mut rig = Self::unmade(durability).worked_by(workers);
        rig.open().unwrap();
        rig
    }

    /// The same, its background work done by them.
    pub(super) fn worked_by(self, workers: WorkersKind) -> Self {
        Self { workers, ..self }
    }

    /// The same store on what a crash left of the disk.
    pub(super) fn on(&self, disk: FaultyDisk) -> Self {
        Self {
            disk,
            options: self.options.clone(),
            store: None,
            clock: Arc::clone(&self.clock),
            workers: self.workers,
            log: self.log.clone(),
            returned: self.returned,
            durable: self.durable,
            next: self.next,
            held: self.held.clone(),
            places: self.places.clone(),
            lost_ids: self.lost_ids.clone(),
            moments: Vec::new(),
        }
    }

    /// The same store on what a crash left of the disk, when so many events of this rig's recorded run had happened. What a
    /// step under way then stores may be there; it was not told to anybody.
    pub(super) fn at(&self, disk: FaultyDisk, happened: usize) -> Self {
        let next = self.moments.partition_point(|moment| moment.at <= happened);
        let none = Moment { at: 0, returned: 0, durable: 0, held: 0 };
        let known = next.checked_sub(1).map_or(none, |last| self.moments[last]);
        let handed = self.moments.get(next).map_or(known.returned, |moment| moment.returned);
        let log = self.log[..handed].to_vec();
        Self {
            disk,
            options: self.options.clone(),
            store: None,
            clock: Arc::clone(&self.clock),
            workers: self.workers,
            places: (0..).zip(&log).map(|(place, entry)| ((entry.epoch, place), Arc::clone(entry))).collect(),
            log,
            returned: known.returned,
            durable: known.durable,
            next: self.next,
            held: self.held[..known.held].to_vec(),
            lost_ids: Vec::new(),
            moments: Vec::new(),
        }
    }

    /// How many events had happened when the store was opened for the first time.
    pub(super) fn made_at(&self) -> usize {
        self.moments.first().map_or(0, |moment| moment.at)
    }

    /// Whether the store had been opened when so many events had happened.
    pub(super) fn was_open_at(&self, happened: usize) -> bool {
        self.moments.first().is_some_and(|moment| moment.at <= happened)
    }

    /// What is known now holds for what happens from now on.
    fn note_moment(&mut self) {
        let (returned, durable, held) = (self.returned, self.durable, self.held.len());
        self.moments.push(Moment { at: self.disk.recorded(), returned, durable, held });
    }

    pub(super) fn dir() -> PathBuf {
        PathBuf::from("data/trail")
    }

    /// Opens the store, or makes it where there is none.
    pub(super) fn open(&mut self) -> Result<(), Error> {
        self.clock.wall_micros.fetch_add(1_000_000, Ordering::Relaxed);
        let host = Host {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as Arc<_>,
            workers: self.workers,
        };
        self.store = Some(open::open(&self.options, &host, Self::dir())?);
        self.note_moment();
        Ok(())
    }

    /// Opens the store for reading, beside this one if it is open.
    pub(super) fn reader(&self) -> Result<Store, Error> {
        let host = Host {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as Arc<_>,
            workers: WorkersKind::Nobody,
        };
        open::open(&self.options.clone().read_only(true), &host, Self::dir())
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Ends the store as a kill does: nothing more reaches the disk. The disk is as after a kill.
    pub(super) fn kill(&mut self) {
        let after = self.disk.after_kill();
        self.disk.inject(crate::io::faulty::Fault::ErrorsForEver, 0);
        self.store = None;
        self.disk = after;
    }

    fn event(&mut self, user: Option<u8>, bytes: usize) -> (String, NewEvent<'static>) {
        self.clock.wall_micros.fetch_add(1000, Ordering::Relaxed);
        let marker = format!("event-{}", self.next);
        self.next += 1;
        // The content differs from event to event, so that no torn page looks whole by chance.
        let text = marker.repeat(bytes / marker.len() + 1);
        let details = Details::from_value(&serde_json::json!({ "text": text[..bytes] })).unwrap();
        let builder = NewEvent::builder(Action::new("crash.tested").unwrap())
            .category(Category::System)
            .level(Level::Info)
            .request_id(RequestId::new(marker.clone()).unwrap())
            .details(details);
        let builder = match user {
            Some(user) => builder.user(user_id(user)),
            None => builder,
        };
        (marker, builder.build().unwrap())
    }

    /// Notes events that the store has taken.
    fn took(&mut self, events: Vec<(String, Option<u8>)>, receipts: &[Receipt], grouped: bool) {
        let view = self.store().0.core.shards[0].view();
        let first = self.log.len();
        let count = receipts.len();
        for (place, ((marker, user), receipt)) in events.into_iter().zip(receipts).enumerate() {
            let sequence = receipt.sequence.get();
            let epoch = receipt.epoch.get();
            assert_eq!(sequence, (first + place) as u64, "the shard's sequence is dense");
            assert!(!self.lost_ids.contains(&receipt.id), "an id was given out twice");
            let leaf = view.leaf(sequence).unwrap().to_vec();
            assert_eq!(leaf_marker(&leaf), marker);
            let group = if grouped { (first, count) } else { (first + place, 1) };
            let entry = Arc::new(Entry { marker, user, group, leaf, id: receipt.id, epoch });
            let other = self.places.insert((epoch, sequence), Arc::clone(&entry));
            assert!(other.is_none(), "{entry:?} has the receipt of another event");
            self.log.push(entry);
        }
        self.returned = self.log.len();
    }

    /// Does a step, and what the background does from time to time. Says what went wrong; what was refused is not in the
    /// list.
    pub(super) fn step(&mut self, step: Step) -> Result<(), Error> {
        let acted = self.act(step);
        self.note_moment();
        acted?;
        let shard = &self.store().0.core.shards[0];
        if shard.wants_checkpoint() {
            // Nothing hangs on it: a failure is nobody's.
            let _ = shard.run(Job::Checkpoint);
        }
        Ok(())
    }

    fn act(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Append { user, bytes, durability } => self.append(user, bytes, durability),
            Step::Batch { count, bytes } => self.batch(count, bytes),
            Step::Atomic { user, count, bytes } => self.atomic(user, count, bytes),
            Step::Flush => {
                let published = self.log.len();
                self.store().flush()?;
                self.durable = published;
                Ok(())
            }
            Step::NoteFloor => {
                self.store().0.core.shards[0].note_floor();
                Ok(())
            }
            Step::Pack => self.store().pack().map(drop),
            Step::Unpack => self.store().unpack().map(drop),
            Step::Maintain => self.store().maintain(),
            Step::Page => {
                self.hold_cursors();
                Ok(())
            }
            Step::Read => {
                self.verify_reader(&self.reader()?);
                Ok(())
            }
            Step::ClockBack => {
                self.clock.wall_micros.fetch_sub(61_234_567, Ordering::Relaxed);
                Ok(())
            }
            Step::Reopen => {
                self.store().close()?;
                self.durable = self.log.len();
                self.store = None;
                self.open()
            }
            Step::KillAndReopen => {
                // The disk stays itself, so that operations are counted on.
                self.abandon();
                self.open()?;
                self.durable = self.log.len();
                Ok(())
            }
        }
    }

    /// Drops the store so that its closing reaches nothing.
    fn abandon(&mut self) {
        if let Some(store) = self.store.take() {
            store.0.core.open.close();
        }
    }

    fn append(&mut self, user: Option<u8>, bytes: usize, durability: Durability) -> Result<(), Error> {
        let (marker, event) = self.event(user, bytes);
        // In two halves, so that an event whose sync failed is known by its receipt, too.
        let pending = self.store().append_nowait(&event)?;
        self.took(vec![(marker, user)], &[pending.receipt()], false);
        if durability.waits() || self.store().durability().waits() {
            pending.wait()?;
            self.durable = self.log.len();
        }
        Ok(())
    }

    fn batch(&mut self, count: usize, bytes: usize) -> Result<(), Error> {
        let users = (0..count).map(|place| u8::try_from(place % 4).ok().filter(|user| *user < USERS));
        let (names, events): (Vec<_>, Vec<_>) = users
            .map(|user| {
                let (marker, event) = self.event(user, bytes);
                ((marker, user), event)
            })
            .unzip();
        match self.store().append_batch(&events) {
            Ok(receipts) => {
                self.took(names, &receipts, false);
                if self.store().durability().waits() {
                    self.durable = self.log.len();
                }
                Ok(())
            }
            Err(error) => {
                let stored: Vec<Receipt> =
                    error.receipts.iter().copied().map_while(|receipt| receipt).collect();
                assert_eq!(stored.len(), error.stored(), "what was stored is a prefix");
                self.took(names, &stored, false);
                Err(error.error)
            }
        }
    }

    fn atomic(&mut self, user: u8, count: usize, bytes: usize) -> Result<(), Error> {
        let (names, events): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (marker, event) = self.event(Some(user), bytes);
                ((marker, Some(user)), event)
            })
            .unzip();
        let before = self.store().0.core.shards[0].view().end();
        match self.store().append_atomic(&events) {
            Ok(receipts) => {
                self.took(names, &receipts, true);
                if self.store().durability().waits() {
                    self.durable = self.log.len();
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                self.took_without_receipts(names, before);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// An atomic group whose sync failed is there all the same.
    fn took_without_receipts(&mut self, names: Vec<(String, Option<u8>)>, before: u64) {
        let view = self.store().0.core.shards[0].view();
        let first = self.log.len();
        assert_eq!(first as u64, before);
        let count = names.len();
        for (place, (marker, user)) in names.into_iter().enumerate() {
            let leaf = view.leaf((first + place) as u64).unwrap().to_vec();
            let id = EventView::parse(&leaf).unwrap().id();
            assert_eq!(leaf_marker(&leaf), marker);
            let epoch = view.epoch();
            let entry = Arc::new(Entry { marker, user, group: (first, count), leaf, id, epoch });
            self.places.insert((epoch, (first + place) as u64), Arc::clone(&entry));
            self.log.push(entry);
        }
        self.returned = self.log.len();
    }

    fn hold_cursors(&mut self) {
        for user in 0..USERS {
            for order in [Order::Newest, Order::Oldest] {
                let page = self.store().user_log(&user_id(user)).order(order).limit(2).page().unwrap();
                let Some(cursor) = page.end_cursor() else { continue };
                let last = page.iter().last().unwrap().unwrap().sequence();
                let at = usize::try_from(last).unwrap();
                self.held.push(Held { user, order, cursor, at, lost_from: None });
            }
        }
    }
}

/// Interval durability that no test waits for.
pub(super) const LATER: Durability = Durability::Interval(Duration::from_hours(1));
