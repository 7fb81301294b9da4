//! A small store in memory with a file of every kind, and the judge of what changed copies of it say: for the tests of damage
//! and the fuzzer.
//!
//! The judge knows the events from a list of its own. Allowed is the right answer, or an error or report that names a place;
//! whatever else a store says is a fault, which the judge describes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::open::{Host, WorkersKind, create_new, open};
use super::{Durability, Options, PackAfter, Receipt, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Action, Category, Details, EventId, EventView, Level, NewEvent, Service, Timestamp, UserId,
};
#[cfg(test)]
use crate::io::Disk;
#[cfg(test)]
use crate::io::clock::Clock;
use crate::io::clock::SystemClock;
use crate::io::memory::MemoryDisk;
use crate::query::Order;

/// Where the store is on its disk.
pub(crate) const DIR: &str = "trail";
/// The users: two with long logs, one with a short one, one whose events are all packed, one in the other shard, one with none.
pub(crate) const USERS: [&str; 6] = ["anna", "gina", "cleo", "dina", "emil", "doris"];
/// Small, so that every byte can be tried; enough of them for a pack to get a dictionary.
const SEGMENT_BYTES: u64 = 12 << 10;
/// Times of events rise by a second from here on, microseconds.
const EPOCH_MICROS: i64 = 1_700_000_000_000_000;
/// How many events a page gets, when all of a log is read.
const LIMIT: usize = 64;

/// An event that the store took.
#[derive(Debug, Clone)]
struct Known {
    user: Option<usize>,
    number: usize,
    shard: usize,
    sequence: u64,
    id: EventId,
    leaf: Vec<u8>,
}

impl Known {
    fn level(&self) -> Level {
        if self.number.is_multiple_of(3) { Level::Warning } else { Level::Info }
    }

    fn service(&self) -> &'static str {
        ["web", "mobile", "batch"][self.number % 3]
    }

    fn action(&self) -> &'static str {
        ["auth.login", "own.action", "rare.action"]
            [usize::from(self.number % 4 == 1) + usize::from(self.number.is_multiple_of(50))]
    }

    fn occurred_micros(&self) -> i64 {
        EPOCH_MICROS + i64::try_from(self.number).unwrap_or_default() * 1_000_000
    }
}

/// A filter that pages are asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    Warnings,
    OwnActionOnWeb,
    Window(i64, i64),
}

impl Wanted {
    fn passes(self, event: &Known) -> bool {
        match self {
            Self::All => true,
            Self::Warnings => event.level() == Level::Warning,
            Self::OwnActionOnWeb => event.action() == "own.action" && event.service() == "web",
            Self::Window(since, until) => (since..until).contains(&event.occurred_micros()),
        }
    }
}

/// The small store, closed.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) disk: MemoryDisk,
    /// What the files were at moments before, oldest first.
    pub(crate) older: Vec<BTreeMap<PathBuf, Vec<u8>>>,
    /// What they are now.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    events: Vec<Known>,
    /// For each user and order a cursor, and how many events lie before it.
    pub(crate) cursors: Vec<(usize, Order, String, usize)>,
    windows: [Wanted; 4],
}

/// What a store on an image has told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) errors: Vec<Error>,
    /// Events were left out or rolled back, and the report says so.
    pub(crate) shortened: bool,
    /// The store could not be opened.
    pub(crate) refused: bool,
    /// Events at the end were missing without a word. Fault, but where an older log was put back.
    pub(crate) older: bool,
}

impl Told {
    pub(crate) fn is_silent(&self) -> bool {
        self.errors.is_empty() && !self.shortened
    }
}

/// A fault: what the store should not have said.
pub(crate) type Fault = String;

fn user(number: usize) -> Result<UserId<'static>> {
    Ok(UserId::new(USERS[number])?)
}

fn options() -> Options {
    let mut options = Options::new()
        .shards(2)
        .merge_fan_out(2)
        .checkpoint_bytes(1500)
        .pack_after(PackAfter::Never)
        // Nobody waits so long.
        .durability(Durability::Interval(Duration::from_hours(1)));
    options.segment_bytes_max = SEGMENT_BYTES;
    options
}

fn host(disk: &MemoryDisk) -> Host {
    let clock = Arc::new(SystemClock::new());
    Host { disk: Arc::new(disk.clone()), clock, workers: WorkersKind::Caller }
}

/// Opens the store that is in a directory of any disk.
#[cfg(test)]
pub(crate) fn open_at(
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    read_only: bool,
    dir: &Path,
) -> Result<Store> {
    let host = Host { disk: Arc::clone(disk), clock: Arc::clone(clock), workers: WorkersKind::Caller };
    open(&options().read_only(read_only), &host, dir.to_owned())
}

/// Opens the store that is on a disk in memory.
pub(crate) fn open_on(disk: &MemoryDisk, read_only: bool) -> Result<Store> {
    open(&options().read_only(read_only), &host(disk), PathBuf::from(DIR))
}

/// Where an image is: opens it, for reading alone or not; and the directory that errors must name.
pub(crate) struct Place<'p> {
    pub(crate) open: &'p dyn Fn(bool) -> Result<Store>,
    pub(crate) dir: &'p Path,
}

/// Which shard a user's events are in.
fn shard_of(store: &Store, user: Option<usize>) -> usize {
    user.map_or(0, |user| {
        let shard = store.0.core.shard_of(USERS[user].as_bytes());
        usize::from(shard.id.get())
    })
}

fn event(user_number: Option<usize>, number: usize) -> Result<NewEvent<'static>> {
    let known = Known {
        user: user_number,
        number,
        shard: 0,
        sequence: 0,
        id: EventId::from_u128(0),
        leaf: Vec::new(),
    };
    // Something to compress, and something that differs.
    let text = format!("event {number}, {}", number.wrapping_mul(0x9e37_79b9));
    let details =
        serde_json::json!({ "number": number, "text": text, "constant": "the same in each of them" });
    let builder = NewEvent::builder(Action::new(known.action())?)
        .category(if number.is_multiple_of(2) { Category::Auth } else { Category::Data })
        .level(known.level())
        .service(Service::new(known.service())?)
        .occurred_at(Timestamp::from_micros(known.occurred_micros()))
        .details(Details::from_value(&details)?);
    let builder = match user_number {
        Some(number) => builder.user(user(number)?),
        None => builder.tenant(crate::event::TenantId::new("nobody's")?),
    };
    Ok(builder.build()?)
}

impl Sample {
    /// Makes the store. Salts, ids and keys differ each time.
    pub(crate) fn new() -> Result<Self> {
        let disk = MemoryDisk::default();
        let store = create_new(&options(), &host(&disk), PathBuf::from(DIR))?;
        let window = |from: i64, to: i64| {
            Wanted::Window(EPOCH_MICROS + from * 1_000_000, EPOCH_MICROS + to * 1_000_000)
        };
        let mut sample = Self {
            disk,
            older: Vec::new(),
            files: BTreeMap::new(),
            events: Vec::new(),
            cursors: Vec::new(),
            windows: [Wanted::All, Wanted::Warnings, Wanted::OwnActionOnWeb, window(60, 180)],
        };
        // Four segments are packed, their runs merged.
        sample.append_until(&store, &[0, 1, 0, 3, 1, 4, 0], 4)?;
        sample.older.push(sample.disk.contents());
        store.pack()?;
        sample.older.push(sample.disk.contents());
        // One is sealed, with a run of its own; then one with some records below its index checkpoint and some behind it.
        sample.append_until(&store, &[0, 1, 2, 1, 0], 5)?;
        sample.append(&store, &[0, 1, 2, 1, 0, 2, 0])?;
        store.flush()?;
        store.0.core.shards.iter().try_for_each(|shard| shard.write_checkpoint())?;
        sample.older.push(sample.disk.contents());
        store.close()?;
        drop(store);
        sample.older.push(sample.disk.contents());
        let store = open_on(&sample.disk, false)?;
        sample.append(&store, &[1, 0, 4, 0, 2, 1])?;
        sample.hold_cursors(&store)?;
        store.close()?;
        drop(store);
        // As a real disk has it.
        sample.disk.put(&Path::new(DIR).join("LOCK"), b"process 4711\n")?;
        sample.files = sample.disk.contents();
        Ok(sample)
    }

    /// Appends events of these users in turn, one in nine of nobody, until so many segments of their shard are sealed.
    fn append_until(&mut self, store: &Store, users: &[usize], sealed: usize) -> Result<()> {
        let is_done = || {
            let view = store.0.core.shards[shard_of(store, Some(0))].view();
            let packed: usize = view.packs.iter().map(|pack| pack.parts().len()).sum();
            packed + view.segments.iter().filter(|segment| segment.is_sealed()).count() >= sealed
        };
        while !is_done() {
            self.append(store, users)?;
        }
        Ok(())
    }

    fn append(&mut self, store: &Store, users: &[usize]) -> Result<()> {
        for user in users {
            let number = self.events.len();
            let user = (number % 9 != 8).then_some(*user);
            let receipt = store.append(&event(user, number)?)?;
            self.took(store, user, number, &receipt)?;
        }
        Ok(())
    }

    fn took(&mut self, store: &Store, user: Option<usize>, number: usize, receipt: &Receipt) -> Result<()> {
        let (shard, sequence) = (usize::from(receipt.shard.get()), receipt.sequence.get());
        let leaf = store.0.core.shards[shard].view().leaf(sequence)?.to_vec();
        self.events.push(Known { user, number, shard, sequence, id: receipt.id, leaf });
        Ok(())
    }

    fn hold_cursors(&mut self, store: &Store) -> Result<()> {
        for number in 0..USERS.len() {
            for order in [Order::Newest, Order::Oldest] {
                let page = store.user_log(&user(number)?).order(order).limit(5).page()?;
                if let Some(cursor) = page.end_cursor() {
                    self.cursors.push((number, order, cursor, page.len()));
                }
            }
        }
        Ok(())
    }

    /// Opens the store on this disk, asks it everything, and says what it told; or what it said that is not so.
    ///
    /// `again`: what a store that was open for writing leaves is opened once more.
    pub(crate) fn judge(
        &self,
        disk: &MemoryDisk,
        read_only: bool,
        again: bool,
    ) -> std::result::Result<Told, Fault> {
        let open = |read_only| open_on(disk, read_only);
        self.judge_at(&Place { open: &open, dir: Path::new(DIR) }, read_only, again)
    }

    /// The same, wherever the image is.
    pub(crate) fn judge_at(
        &self,
        place: &Place<'_>,
        read_only: bool,
        again: bool,
    ) -> std::result::Result<Told, Fault> {
        let mut told = Told::default();
        let mut appended = Vec::new();
        if let Some(store) = told.take((place.open)(read_only), place.dir)? {
            let mut judge =
                Judge { sample: self, store: &store, told: &mut told, dir: place.dir, ends: Vec::new() };
            judge.ask()?;
            if !read_only && !judge.ends.is_empty() {
                judge.append(&mut appended)?;
            }
            told.take(store.close(), place.dir)?;
        } else {
            told.refused = true;
        }
        if again && !read_only && told.is_silent() && !told.older {
            let grown = Self { events: [&self.events[..], &appended[..]].concat(), ..self.like() };
            let more = grown.judge_at(place, true, false)?;
            told.errors.extend(more.errors);
        }
        Ok(told)
    }

    fn like(&self) -> Self {
        Self {
            disk: MemoryDisk::default(),
            older: Vec::new(),
            files: BTreeMap::new(),
            events: Vec::new(),
            cursors: Vec::new(),
            windows: self.windows,
        }
    }
}

impl Told {
    /// Takes a result apart; an error must be of a kind that damage has, and name its place.
    fn take<T>(&mut self, outcome: Result<T>, dir: &Path) -> std::result::Result<Option<T>, Fault> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let kinds = [ErrorKind::Corruption, ErrorKind::NotAStore, ErrorKind::NewerFormat];
                if !kinds.contains(&error.kind()) {
                    return Err(format!("an error of kind {:?}: {error}", error.kind()));
                }
                let named = error.path().is_some_and(|path| path.starts_with(dir));
                if !named || error.kind() == ErrorKind::Corruption && error.offset().is_none() {
                    return Err(format!("which place? {error}"));
                }
                self.errors.push(error);
                Ok(None)
            }
        }
    }
}

struct Judge<'s> {
    sample: &'s Sample,
    store: &'s Store,
    told: &'s mut Told,
    dir: &'s Path,
    /// Where each shard's log ends.
    ends: Vec<u64>,
}

impl<'s> Judge<'s> {
    fn ask(&mut self) -> std::result::Result<(), Fault> {
        if !self.look_at_ends()? {
            return Ok(());
        }
        for (number, name) in USERS.iter().enumerate() {
            for order in [Order::Newest, Order::Oldest] {
                for wanted in self.sample.windows {
                    self.read_log(number, order, wanted, None)?;
                }
            }
            let expected = self.expected(number, Order::Oldest, Wanted::All).len() as u64;
            let user = user(number).map_err(|error| error.to_string())?;
            if let Some(count) = self.told.take(self.store.user_count(&user), self.dir)?
                && count != expected
            {
                return Err(format!("{name} has {count} events instead of {expected}"));
            }
        }
        for (number, order, cursor, before) in &self.sample.cursors {
            self.read_log(*number, *order, Wanted::All, Some((cursor, *before)))?;
        }
        self.look_up_ids()?;
        self.told.take(self.store.check(), self.dir)?;
        self.count()
    }

    /// Sees where the shards end, and whether it was told if that is too early. Says whether there is more to ask.
    fn look_at_ends(&mut self) -> std::result::Result<bool, Fault> {
        let Some(layout) = self.told.take(self.store.layout(), self.dir)? else { return Ok(false) };
        self.ends = layout.iter().map(|shard| shard.end.get()).collect();
        let report = self.store.recovery();
        for (shard, end) in self.ends.iter().enumerate() {
            let events = self.sample.events.iter().filter(|event| event.shard == shard);
            let full = events.map(|event| event.sequence + 1).max().unwrap_or_default();
            if *end > full {
                return Err(format!("shard {shard} ends at {end} instead of {full}"));
            }
            let rolled_back = |report: &super::super::ShardRecovery| {
                usize::from(report.shard.get()) == shard && report.rolled_back_from == Some(*end)
            };
            if *end < full {
                if report.needs_recovery || report.shards.iter().any(rolled_back) {
                    self.told.shortened = true;
                } else {
                    self.told.older = true;
                }
            }
        }
        Ok(true)
    }

    fn is_there(&self, event: &Known) -> bool {
        self.ends.get(event.shard).is_some_and(|end| event.sequence < *end)
    }

    fn expected(&self, user: usize, order: Order, wanted: Wanted) -> Vec<&'s Known> {
        let events = self.sample.events.iter();
        let mut events: Vec<&'s Known> = events
            .filter(|event| event.user == Some(user) && self.is_there(event) && wanted.passes(event))
            .collect();
        if order == Order::Newest {
            events.reverse();
        }
        events
    }

    /// Reads a log page by page, all of it or from a cursor on that has so many events before it.
    fn read_log(
        &mut self,
        number: usize,
        order: Order,
        wanted: Wanted,
        from: Option<(&str, usize)>,
    ) -> std::result::Result<(), Fault> {
        let place = || format!("the log of {}, {order:?}, {wanted:?}", USERS[number]);
        let mut expected = self.expected(number, order, wanted);
        let mut cursor = from.map(|(cursor, _)| cursor.to_owned());
        if let Some((_, before)) = from {
            // Where events at the end are gone, the newest that survived come first.
            let gone =
                self.sample.events.iter().filter(|event| event.user == Some(number) && !self.is_there(event));
            let before = if order == Order::Newest { before.saturating_sub(gone.count()) } else { before };
            expected.drain(..before.min(expected.len()));
        }
        let user = user(number).map_err(|error| error.to_string())?;
        let mut at = 0;
        loop {
            let mut query = self.store.user_log(&user).order(order).limit(LIMIT);
            query = match wanted {
                Wanted::All => query,
                Wanted::Warnings => query.level(Level::Warning),
                Wanted::OwnActionOnWeb => {
                    let (Ok(action), Ok(service)) = (Action::new("own.action"), Service::new("web")) else {
                        return Err("names".to_owned());
                    };
                    query.action(&action).service(&service)
                }
                Wanted::Window(since, until) => {
                    query.since(Timestamp::from_micros(since)).until(Timestamp::from_micros(until))
                }
            };
            if let Some(cursor) = cursor.take() {
                query = query.cursor(cursor);
            }
            let Some(page) = self.told.take(query.page(), self.dir)? else { return Ok(()) };
            for found in page.iter() {
                let found = self.told.take(found, self.dir)?;
                match (found, expected.get(at)) {
                    (_, None) => return Err(format!("{}: more than {at} events", place())),
                    (Some(found), Some(expected)) if found.leaf() != expected.leaf => {
                        let found = found.sequence();
                        return Err(format!("{}: event {at} is another one, {found}", place()));
                    }
                    _ => at += 1,
                }
            }
            cursor = page.next_cursor();
            if page.has_more() != cursor.is_some() || page.has_more() && page.is_empty() {
                return Err(format!("{}: has_more without a cursor", place()));
            }
            if cursor.is_none() {
                break;
            }
        }
        if at < expected.len() {
            return Err(format!("{}: {at} events instead of {}", place(), expected.len()));
        }
        Ok(())
    }

    fn look_up_ids(&mut self) -> std::result::Result<(), Fault> {
        for event in self.sample.events.iter().step_by(5) {
            let Some(found) = self.told.take(self.store.event(event.id), self.dir)? else { continue };
            let found = found.map(|event| (event.id(), event.sequence()));
            let expected = self.is_there(event).then_some((event.id, event.sequence));
            if found != expected {
                return Err(format!("the id {} leads to {found:?}", event.id));
            }
        }
        Ok(())
    }

    fn count(&mut self) -> std::result::Result<(), Fault> {
        let there: Vec<&Known> = self.sample.events.iter().filter(|event| self.is_there(event)).collect();
        let mut users: Vec<usize> = there.iter().filter_map(|event| event.user).collect();
        users.sort_unstable();
        users.dedup();
        let Some(stats) = self.told.take(self.store.stats(), self.dir)? else { return Ok(()) };
        let expected = (there.len() as u64, users.len() as u64);
        if (stats.events, stats.users) != expected {
            return Err(format!("{} events of {} users instead of {expected:?}", stats.events, stats.users));
        }
        Ok(())
    }

    /// Appends an event of each user: the trail goes on where it ended.
    fn append(&mut self, appended: &mut Vec<Known>) -> std::result::Result<(), Fault> {
        // Looked at before anyone's: an older log that goes on has other events where the sample's were.
        let heads = (0..USERS.len()).map(|number| {
            let before = self.expected(number, Order::Oldest, Wanted::All);
            (before.len() as u64, before.last().map(|event| event.sequence))
        });
        let heads: Vec<(u64, Option<u64>)> = heads.collect();
        for (number, (name, (count, previous))) in USERS.iter().zip(heads).enumerate() {
            let mine = self.sample.events.len() + number;
            let event = event(Some(number), mine).map_err(|error| error.to_string())?;
            let Some(receipt) = self.told.take(self.store.append(&event), self.dir)? else { continue };
            let shard = usize::from(receipt.shard.get());
            let at = self.ends.get_mut(shard).ok_or("no such shard")?;
            if receipt.sequence.get() != *at
                || receipt.user_sequence.map(crate::UserSequence::get) != Some(count)
            {
                return Err(format!("{name} got {receipt:?} instead of {at} and {count}"));
            }
            *at += 1;
            let view = self.store.0.core.shards[shard].view();
            let leaf = view.leaf(receipt.sequence.get()).map_err(|error| error.to_string())?.to_vec();
            let stored = EventView::parse(&leaf).map_err(|error| error.to_string())?.previous();
            if stored != previous {
                return Err(format!("{name} goes on behind {stored:?} instead of {previous:?}"));
            }
            let (id, sequence) = (receipt.id, receipt.sequence.get());
            appended.push(Known { user: Some(number), number: mine, shard, sequence, id, leaf });
        }
        Ok(())
    }
}

/// A file of a store as a path below the store's directory.
#[cfg(test)]
pub(crate) fn name_of(path: &Path) -> String {
    path.strip_prefix(DIR).unwrap_or(path).to_string_lossy().into_owned()
}
