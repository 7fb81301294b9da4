//! What a store must hold after a power cut: a prefix of each shard's history that has everything that was said to be
//! durable, byte for byte, with pages that agree.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use super::record::{Entry, Note};
use super::workload::{USERS, next_event, options, store_dir, user_id};
use crate::event::EventView;
use crate::format::bytes::u64_at;
use crate::io::Disk;
use crate::io::clock::SystemClock;
use crate::io::faulty::Dice;
use crate::io::real::RealDisk;
use crate::query::Order;
use crate::shard::view::ShardView;
use crate::store::open::{self, Host, WorkersKind};
use crate::store::{Durability, Store};

use super::replay::Image;

/// An event that a shard has taken.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) user: Option<u8>,
    marker: String,
    leaf: Arc<[u8]>,
    epoch: u32,
    group: (u64, u64),
    /// Where in the record its receipt was noted.
    noted_at: usize,
}

/// What each shard took, in the order of its sequences; and what was kept of it when the record began.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) shards: Vec<Vec<Event>>,
}

impl History {
    /// The history that a record tells, going on from what was there before.
    pub(super) fn of(record: &[Entry], before: &Self, shards: usize) -> Result<Self, String> {
        let mut history = before.clone();
        history.shards.resize(shards, Vec::new());
        let mut took: Vec<Vec<(u64, Event)>> = vec![Vec::new(); shards];
        let mut opened_before = false;
        for (place, entry) in record.iter().enumerate() {
            match entry {
                // A power cut may have taken the last of what was there before; later lives lose nothing.
                Entry::Note(Note::Opened { ends }, _) if !opened_before => {
                    opened_before = true;
                    for (events, end) in history.shards.iter_mut().zip(ends) {
                        let end = usize::try_from(*end).map_err(|error| error.to_string())?;
                        if end > events.len() {
                            return Err(format!("{end} records, of {} that there were", events.len()));
                        }
                        events.truncate(end);
                    }
                    history.shards.iter_mut().flatten().for_each(|event| event.noted_at = 0);
                }
                Entry::Note(Note::Took { shard, sequence, epoch, user, marker, group }, leaf) => {
                    let event = Event {
                        user: *user,
                        marker: marker.clone(),
                        leaf: Arc::clone(leaf),
                        epoch: *epoch,
                        group: *group,
                        noted_at: place,
                    };
                    took[usize::from(*shard)].push((*sequence, event));
                }
                _ => {}
            }
        }
        for (shard, mut took) in took.into_iter().enumerate() {
            took.sort_by_key(|(sequence, _)| *sequence);
            for (sequence, event) in took {
                let events = &mut history.shards[shard];
                if sequence != events.len() as u64 {
                    return Err(format!(
                        "shard {shard} has record {sequence} where {} is expected",
                        events.len()
                    ));
                }
                events.push(event);
            }
        }
        Ok(history)
    }
}

/// What an image is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'h> {
    pub(super) history: &'h History,
    /// What was said to be durable, for each shard.
    pub(super) promised: &'h [u64],
    /// The place in the record.
    pub(super) place: usize,
    pub(super) durability: Durability,
}

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

fn told<T>(what: &str, outcome: crate::Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("{what}: {error}"))
}

impl Expected<'_> {
    /// Opens the image and looks at everything; a panic is told as what is wrong, too.
    pub(super) fn check(&self, image: &Image, on_real_disk: bool, dice: &mut Dice) -> Result<(), String> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if !on_real_disk {
                return self.check_on(Arc::new(image.in_memory()), store_dir("".as_ref()), dice);
            }
            let dir = memory_dir();
            image.write_to(dir.path()).map_err(|error| error.to_string())?;
            self.check_on(Arc::new(RealDisk::default()), store_dir(dir.path()), dice)
        }));
        outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        })
    }

    fn check_on(&self, disk: Arc<dyn Disk>, dir: PathBuf, dice: &mut Dice) -> Result<(), String> {
        let workers = if dice.below(8) == 0 { WorkersKind::Caller } else { WorkersKind::Nobody };
        let host = Host { disk, clock: Arc::new(SystemClock::new()), workers };
        let options = options(self.durability);
        let store = told("opening was refused", open::open(&options, &host, dir.clone()))?;
        let ends = self.check_records(&store)?;
        self.check_pages(&store, &ends, &[])?;
        if dice.below(8) > 0 {
            return Ok(());
        }
        told("the store's own check", store.check())?;
        // Life goes on, and closes.
        let mut added = Vec::new();
        for user in 0..USERS {
            let (marker, event) = next_event(&format!("after-{user}"), Some(user), 100);
            told("an append afterwards", store.append(&event))?;
            added.push((user, marker));
        }
        self.check_pages(&store, &ends, &added)?;
        told("closing", store.close())?;
        drop(store);
        let store = told("opening again", open::open(&options, &host, dir))?;
        self.check_pages(&store, &ends, &added)
    }

    /// Every record, in the order of the shards' logs. Says how many of each shard survived.
    fn check_records(&self, store: &Store) -> Result<Vec<usize>, String> {
        let mut ends = Vec::new();
        for (shard, events) in store.0.core.shards.iter().zip(&self.history.shards) {
            let number = shard.id;
            let view = shard.view();
            let promised = self.promised.get(usize::from(number.get())).copied().unwrap_or_default();
            let end = view.end();
            ensure!(end >= promised, "shard {number} has {end} records, {promised} were durable");
            let survived = usize::try_from(end).map_err(|error| error.to_string())?;
            ensure!(
                survived <= events.len(),
                "shard {number} has {end} records, {} were handed in",
                events.len()
            );
            let packed = Self::check_packs(&view, events)?;
            for (sequence, event) in (0..).zip(&events[..survived]) {
                if sequence >= packed {
                    let leaf = told("a record", view.leaf(sequence))?;
                    ensure!(*leaf == *event.leaf, "shard {number} has other bytes in record {sequence}");
                }
                let (first, count) = event.group;
                ensure!(first + count <= end, "shard {number} has a part of the group at {first}");
            }
            let taken = events[survived..].iter().filter(|event| event.noted_at < self.place);
            if let Some(epoch) = taken.map(|event| event.epoch).max() {
                let now = view.epoch();
                ensure!(now > epoch, "shard {number} lost a record of epoch {epoch}, and is in {now}");
            }
            ends.push(survived);
        }
        Ok(ends)
    }

    /// What is packed, block by block: a block for each record again would take most of the time. Up to where it reaches.
    fn check_packs(view: &ShardView, events: &[Event]) -> Result<u64, String> {
        let mut packed = 0;
        for pack in &view.packs {
            ensure!(pack.base() == packed, "a pack begins at {} instead of {packed}", pack.base());
            let mut wrong = None;
            let verified = pack.verify(|leaf| {
                let sequence = u64_at(leaf, 0).and_then(|sequence| usize::try_from(sequence).ok());
                let event = sequence.and_then(|sequence| events.get(sequence));
                if event.is_none_or(|event| *event.leaf != *leaf) {
                    wrong = sequence.or(Some(usize::MAX));
                }
                packed += 1;
                Ok(())
            });
            told("a pack", verified)?;
            ensure!(wrong.is_none(), "a pack has other bytes in record {wrong:?}");
            ensure!(packed == pack.end(), "a pack has {packed} records of {}", pack.end());
        }
        Ok(packed)
    }

    /// Each user's log in both orders, and the counts.
    fn check_pages(&self, store: &Store, ends: &[usize], added: &[(u8, String)]) -> Result<(), String> {
        for user in 0..USERS {
            let survived = self.history.shards.iter().zip(ends).flat_map(|(events, end)| &events[..*end]);
            let of_user = survived.filter(|event| event.user == Some(user));
            let mut expected: Vec<&str> = of_user.map(|event| event.marker.as_str()).collect();
            let mine = added.iter().filter(|(other, _)| *other == user);
            expected.extend(mine.map(|(_, marker)| marker.as_str()));
            let log = store.user_log(&user_id(user));
            for order in [Order::Oldest, Order::Newest] {
                let page = told("a page", log.clone().order(order).limit(500).page())?;
                ensure!(page.len() == expected.len(), "user {user}: {} of {}", page.len(), expected.len());
                for (place, event) in page.iter().enumerate() {
                    let event = told("an event of a page", event)?;
                    let place = if order == Order::Oldest { place } else { expected.len() - place - 1 };
                    let marker = marker(&event);
                    ensure!(
                        marker.as_deref() == Some(expected[place]),
                        "user {user} has {marker:?} instead of {} at {place}",
                        expected[place]
                    );
                    let sequence = event.user_sequence();
                    ensure!(
                        sequence == Some(place as u64),
                        "user {user}: user sequence {sequence:?} at {place}"
                    );
                }
            }
            let count = told("a count", store.user_count(&user_id(user)))?;
            ensure!(count == expected.len() as u64, "user {user} has the count {count}");
        }
        Ok(())
    }
}

/// The name that the workload gave an event.
pub(super) fn marker(event: &EventView<'_>) -> Option<String> {
    event.request_id().ok().flatten().map(str::to_owned)
}

/// A directory in memory, where the machine has one.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
