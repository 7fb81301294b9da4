//! What must hold of a store, whatever happened to its disk: compared with the plain list beside it.

use std::collections::BTreeSet;

use super::rig::{Held, Rig, USERS, user_id};
use crate::error::{Error, ErrorKind};
use crate::event::EventView;
use crate::format::bytes::u64_at;
use crate::format::checkpoint::Checkpoint;
use crate::format::record;
use crate::format::segment::{FloorSlot, Header, RECORDS_START, SLOT_OFFSETS};
use crate::io::{Disk, TEMPORARY_SUFFIX};
use crate::query::{Order, Page};
use crate::shard::maintain::MANIFEST_NAME;
use crate::store::Store;

/// Of so many old events one is asked for by its id.
const IDS_STRIDE: usize = 8;

/// The events of a page, as the list names them.
fn markers(page: &Page) -> Vec<&str> {
    page.iter().map(|event| event.unwrap().request_id().unwrap().unwrap()).collect()
}

impl Rig {
    /// What must be visible while the store is open, whatever has failed: everything that was taken.
    pub(super) fn verify_open(&self) {
        let view = self.store().0.core.shards[0].view();
        assert_eq!(view.end(), self.log.len() as u64, "everything that was taken is visible, nothing else");
        let same = |sequence: u64, leaf: &[u8]| {
            let entry = &self.log[usize::try_from(sequence).unwrap()];
            assert_eq!(*leaf, *entry.leaf, "{} is byte-identical", entry.marker);
        };
        // What is packed block by block: one by one, each block would be decompressed for each of its records.
        let mut packed = 0;
        for pack in &view.packs {
            let each = |leaf: &[u8]| {
                packed += 1;
                same(u64_at(leaf, 0).unwrap(), leaf);
                Ok(())
            };
            pack.verify(each).unwrap();
        }
        let unpacked = view.segments.first().map_or(view.end(), |first| first.base());
        assert_eq!((view.start(), packed), (0, unpacked), "every record before the segments is packed, once");
        for sequence in (0..unpacked).step_by(7).chain(unpacked..view.end()) {
            same(sequence, &view.leaf(sequence).unwrap());
        }
        for user in 0..USERS {
            self.verify_user(user);
        }
        for held in &self.held {
            self.verify_cursor(held);
        }
        // Of the old ones some, others each time: they may cost a block of a pack.
        let begin = self.log.len() % IDS_STRIDE;
        let newest = self.log.len().saturating_sub(IDS_STRIDE);
        let places = (0..newest).skip(begin).step_by(IDS_STRIDE).chain(newest..self.log.len());
        for (place, entry) in places.map(|place| (place, &self.log[place])) {
            let found = self.store().event(entry.id).unwrap();
            let marker = found.as_ref().and_then(|event| event.request_id());
            assert_eq!(marker, (place < self.visible()).then_some(entry.marker.as_str()));
        }
        for id in &self.lost_ids {
            assert!(self.store().event(*id).unwrap().is_none(), "a lost event's id leads to another");
        }
        self.verify_numbers();
    }

    /// What the store says of itself, and what its own times are.
    fn verify_numbers(&self) {
        let stats = self.store().stats().unwrap();
        assert_eq!(stats.events, self.visible() as u64, "the events that are counted");
        let users: BTreeSet<u8> = self.log.iter().filter_map(|entry| entry.user).collect();
        assert_eq!(stats.users, users.len() as u64, "the users that are counted");
        let recorded = self.log.iter().map(|entry| EventView::parse(&entry.leaf).unwrap().recorded_at());
        assert!(recorded.is_sorted(), "recorded_at never falls");
    }

    fn verify_user(&self, user: u8) {
        let expected: Vec<&str> = self.of_user(user, |_| true);
        let page = self.store().user_log(&user_id(user)).order(Order::Oldest).limit(500).page().unwrap();
        assert_eq!(markers(&page), expected, "the log of user {user}");
        for (place, event) in (0..).zip(page.iter()) {
            assert_eq!(event.unwrap().user_sequence(), Some(place), "user sequences are dense");
        }
        assert_eq!(self.store().user_count(&user_id(user)).unwrap(), expected.len() as u64);
        let newest = self.walk(user);
        assert!(newest.iter().rev().eq(&expected), "the log of user {user}, newest first: {newest:?}");
    }

    /// All events of a user, newest first, page by page.
    fn walk(&self, user: u8) -> Vec<String> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let id = user_id(user);
            let mut query = self.store().user_log(&id).limit(9);
            if let Some(cursor) = &cursor {
                query = query.cursor(cursor);
            }
            let page = query.page().unwrap();
            found.extend(markers(&page).into_iter().map(str::to_owned));
            if !page.has_more() {
                return found;
            }
            cursor = page.end_cursor();
        }
    }

    /// How much of the list queries may show: in a durable store what is durable alone.
    fn visible(&self) -> usize {
        let core = &self.store().0.core;
        let durable = usize::try_from(core.shards[0].durable()).unwrap();
        if core.durability.waits() { durable } else { self.log.len() }
    }

    fn of_user(&self, user: u8, chosen: impl Fn(usize) -> bool) -> Vec<&str> {
        let entries = self.log.iter().enumerate().take(self.visible());
        entries
            .filter(|(place, entry)| entry.user == Some(user) && chosen(*place))
            .map(|(_, entry)| entry.marker.as_str())
            .collect()
    }

    /// A cursor neither repeats nor skips what survived.
    fn verify_cursor(&self, held: &Held) {
        let mut expected = self.of_user(held.user, |place| match (held.order, held.lost_from) {
            (Order::Newest, None) => place < held.at,
            (Order::Newest, Some(lost_from)) => place < lost_from,
            (Order::Oldest, None) => place > held.at,
            (Order::Oldest, Some(lost_from)) => place >= lost_from,
        });
        if held.order == Order::Newest {
            expected.reverse();
        }
        let query = self.store().user_log(&user_id(held.user)).order(held.order).limit(500);
        let page = query.cursor(&held.cursor).page().unwrap();
        assert_eq!(markers(&page), expected, "behind {held:?}");
    }

    /// After a crash: the store, opened again, holds what it must, and the list is what the store holds.
    ///
    /// `all` if nothing may be lost: the process was killed, the machine goes on.
    pub(super) fn verify(&mut self, all: bool) {
        let view = self.store().0.core.shards[0].view();
        let survived = usize::try_from(view.end()).unwrap();
        assert!(survived <= self.log.len(), "{survived} events, of {} that were handed in", self.log.len());
        assert!(survived >= self.durable, "{survived} events, though {} were durable", self.durable);
        assert!(!all || survived >= self.returned, "{survived} of {} survived a kill", self.returned);
        let lost = self.log.split_off(survived);
        if let Some(newest) = lost.iter().map(|entry| entry.epoch).max() {
            assert!(view.epoch() > newest, "events of epoch {newest} were lost, now it is {}", view.epoch());
        }
        for entry in &self.log {
            let (first, count) = entry.group;
            assert!(first + count <= survived, "the group of {} was torn", entry.marker);
        }
        self.lost_ids.extend(lost.iter().map(|entry| entry.id));
        for held in &mut self.held {
            let bound = held.lost_from.map_or(survived, |from| from.min(survived));
            if held.lost_from.is_some() || held.at >= survived {
                held.lost_from = Some(bound);
            }
        }
        // What opening found is durable from now on.
        self.durable = survived;
        self.returned = survived;
        self.verify_report(survived as u64);
        if self.disk.is_healthy() {
            self.verify_files();
        }
        drop(view);
        self.verify_open();
        self.store().check().unwrap();
    }

    /// What opening reports is what it did.
    fn verify_report(&self, survived: u64) {
        for shard in &self.store().recovery().shards {
            assert!(shard.rolled_back_from.is_none_or(|from| from == survived), "{shard:?}, not {survived}");
            assert!(shard.rolled_back_to.is_none_or(|to| to >= survived), "{shard:?}, not {survived}");
            assert!(shard.rescued <= survived, "{shard:?}");
        }
    }

    /// After opening, there is no file that nothing names.
    fn verify_files(&self) {
        let shard = &self.store().0.core.shards[0];
        let manifest = shard.manifest.lock().clone();
        let number = |text: &str| text.parse::<u64>().ok();
        for name in self.disk.list(&Rig::dir().join("shard-00")).unwrap() {
            let listed = |id: u64| manifest.segments.iter().find(|entry| entry.id == id);
            let (stem, kind) = name.rsplit_once('.').unwrap_or((&name, ""));
            let known = match (kind, number(stem)) {
                ("", _) => [MANIFEST_NAME, "HEADS"].contains(&stem),
                // Prepared, and not listed yet.
                ("log", Some(id)) if id >= manifest.next_segment => id < manifest.next_segment + 2,
                ("log", Some(id)) => listed(id).is_some() && manifest.pack_of(id).is_none(),
                ("ckpt", Some(id)) => id >= manifest.next_segment || listed(id).is_some_and(|it| !it.sealed),
                ("pack", Some(id)) => manifest.packs.iter().any(|pack| pack.number == id),
                ("run", Some(id)) => {
                    let merged = manifest.runs.iter().any(|run| (run.first..=run.last).contains(&id));
                    listed(id).is_some_and(|entry| entry.sealed) && !merged
                }
                ("run", None) => manifest.runs.iter().any(|run| {
                    stem.split_once('-')
                        == Some((&format!("{:016}", run.first), &format!("{:016}", run.last)))
                }),
                _ => false,
            };
            assert!(known, "{name} is no file of the store: {manifest:?}");
        }
        for name in self.disk.list(&Rig::dir()).unwrap() {
            let known = ["STORE", "KEY", "LOCK", "LIVE", "shard-00"].contains(&name.as_str());
            assert!(known, "{name} is no file of the store");
        }
    }

    /// What was begun, and failed for want of room, takes none.
    pub(super) fn verify_no_remains(&self) {
        for dir in [Rig::dir(), Rig::dir().join("shard-00")] {
            let names = self.disk.list(&dir).unwrap();
            assert!(names.iter().all(|name| !name.ends_with(TEMPORARY_SUFFIX)), "{names:?}");
        }
    }

    /// A store opened for reading beside this one shows the same.
    pub(super) fn verify_reader(&self, reader: &Store) {
        for user in 0..USERS {
            let expected = self.of_user(user, |_| true);
            let page = reader.user_log(&user_id(user)).order(Order::Oldest).limit(500).page().unwrap();
            assert_eq!(markers(&page), expected, "what a reader sees of user {user}");
        }
    }

    /// A store opened for reading, where there is no writer, shows a beginning of the list. Says how much of it.
    pub(super) fn verify_lonely_reader(&self, reader: &Store) -> usize {
        let view = reader.0.core.shards[0].view();
        let shown = usize::try_from(view.end()).unwrap();
        assert!(shown <= self.log.len(), "{shown} events, of {} that were handed in", self.log.len());
        for (sequence, entry) in (0..).zip(&self.log[..shown]) {
            assert_eq!(*view.leaf(sequence).unwrap(), *entry.leaf, "{} is byte-identical", entry.marker);
        }
        for user in 0..USERS {
            let of_user = self.log[..shown].iter().filter(|entry| entry.user == Some(user));
            let count = reader.user_count(&user_id(user)).unwrap();
            assert_eq!(count, of_user.count() as u64, "what a reader counts of user {user}");
        }
        shown
    }

    /// After a disk has told that it wrote what it did not: what is lost is lost, but nobody is told otherwise, and no event is
    /// shown in another's place. `floor` is the highest that was found on the disk before.
    pub(super) fn verify_detected(&mut self, opened: Result<(), Error>, floor: u64) {
        if let Err(error) = opened {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert!(error.path().is_some(), "{error}");
            return;
        }
        let view = self.store().0.core.shards[0].view();
        let survived = usize::try_from(view.end()).unwrap();
        assert!(survived <= self.log.len(), "{survived} events, of {} that were handed in", self.log.len());
        assert!(view.end() >= floor, "{survived} events, though a floor of {floor} was on the disk");
        let told = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert!(error.path().is_some() && error.offset().is_some(), "{error}");
            true
        };
        let mut damaged = false;
        for (sequence, entry) in (0..).zip(&self.log[..survived]) {
            match view.leaf(sequence) {
                Ok(leaf) => assert_eq!(*leaf, *entry.leaf, "{} is byte-identical", entry.marker),
                Err(error) => damaged |= told(error),
            }
        }
        drop(view);
        damaged |= self.store().check().is_err_and(told);
        self.log.truncate(survived);
        self.held.retain(|held| held.at < survived);
        (self.durable, self.returned) = (survived, survived);
        if !damaged {
            self.verify_open();
            return;
        }
        for user in 0..USERS {
            let expected = self.of_user(user, |_| true);
            let id = user_id(user);
            let page = match self.store().user_log(&id).order(Order::Oldest).limit(500).page() {
                Ok(page) => page,
                Err(error) => {
                    told(error);
                    continue;
                }
            };
            let mut rest = expected.iter();
            let (mut shown, mut errors) = (0, 0);
            for event in page.iter() {
                match event {
                    Ok(event) => {
                        let marker = event.request_id().unwrap().unwrap();
                        assert!(rest.any(|other| *other == marker), "{marker} is no event of user {user}");
                        shown += 1;
                    }
                    Err(error) => errors += usize::from(told(error)),
                }
            }
            assert_eq!(shown + errors, expected.len(), "an event of user {user} is missing without a word");
        }
    }

    /// The highest durable floor that any file of the shard speaks of, read from the bytes alone.
    pub(super) fn floor_on_disk(&self) -> u64 {
        let dir = Rig::dir().join("shard-00");
        let mut floor = 0;
        for name in self.disk.list(&dir).unwrap_or_default() {
            let bytes = self.disk.read(&dir.join(&name), u64::MAX).unwrap_or_default();
            let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
            if kind == "ckpt" {
                floor = floor.max(Checkpoint::decode(bytes).map_or(0, |checkpoint| checkpoint.scope.end()));
            } else if kind == "log"
                && let Ok(header) = Header::decode(&bytes)
            {
                let slots = SLOT_OFFSETS.iter().filter_map(|offset| {
                    let at = usize::try_from(*offset).unwrap();
                    FloorSlot::decode(bytes.get(at..)?, header.salt)
                });
                floor = floor.max(slots.map(|slot| slot.floor).max().unwrap_or_default());
                for offset in (usize::try_from(RECORDS_START).unwrap()..bytes.len()).step_by(8) {
                    if let Ok((envelope, _)) = record::verify(&bytes[offset..], header.salt, offset as u64) {
                        floor = floor.max(envelope.durable_floor);
                    }
                }
            }
        }
        floor
    }
}
