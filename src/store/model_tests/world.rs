//! The store beside a plain list of everything that was appended to it; each question is asked of both, and of a reader.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use super::ground::{Cut, Ground, Kind};
use super::list::{Held, Known, Position, Question, STRANGER, Spec, USERS};
use crate::event::EventView;
use crate::fixture::{user, whole_log};
use crate::store::PackAfter;
use crate::{
    Action, Durability, Epoch, ErrorKind, EventId, NewEvent, Options, Order, Page, Receipt, Result, Sequence,
    ShardId, Store, UserSequence,
};

/// How the store is made.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) kind: Kind,
    pub(super) shards: u16,
    pub(super) segment_bytes: u64,
    pub(super) durability: Durability,
    /// Every event occurs later than the one before it.
    pub(super) in_order: bool,
    /// How many bytes of what is sealed stay unpacked; `None`: nothing is packed unasked.
    pub(super) pack_after: Option<u64>,
    /// What is random in the store follows from it, where it has no threads.
    pub(super) seed: u64,
}

/// Few segments are filled here, and they are to be merged.
const MERGE_FAN_OUT: usize = 2;

impl Setting {
    pub(super) fn options(&self) -> Options {
        let mut options = Options::new()
            .shards(self.shards)
            .create_if_missing(true)
            .durability(self.durability)
            .checkpoint_bytes(4096)
            .merge_fan_out(MERGE_FAN_OUT)
            .pack_after(self.pack_after.map_or(PackAfter::Never, PackAfter::Bytes));
        options.segment_bytes_max = self.segment_bytes;
        options
    }
}

/// What histories have gone through.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) events: u64,
    pub(super) pages: u64,
    pub(super) cursors: u64,
    pub(super) crashes: u64,
    pub(super) lost: u64,
    pub(super) merges: u64,
    pub(super) packs: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.pages += other.pages;
        self.cursors += other.cursors;
        self.crashes += other.crashes;
        self.lost += other.lost;
        self.merges += other.merges;
        self.packs += other.packs;
    }
}

/// A store that is open for reading beside the writer.
struct Reader {
    store: Store,
    /// How many events of each user it has shown.
    shown: [u64; USERS.len()],
}

pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) ground: Ground,
    store: Option<Store>,
    reader: Option<Reader>,
    events: Vec<Known>,
    by_user: BTreeMap<usize, Vec<usize>>,
    held: Vec<Held>,
    /// How many events were ever built.
    serial: usize,
    /// How many events of each shard are known to survive a power cut.
    durable: Vec<u64>,
    lost: BTreeSet<EventId>,
    /// The newest epoch of each shard of which something was lost.
    lost_epochs: Vec<Option<u32>>,
    pub(super) tally: Tally,
}

/// A store of the same users, to which other cursors belong.
pub(super) fn foreign() -> &'static Store {
    static FOREIGN: OnceLock<Store> = OnceLock::new();
    FOREIGN.get_or_init(|| {
        let foreign = Options::new().shards(1).in_memory().unwrap();
        for name in USERS {
            let event = NewEvent::builder(Action::AUTH_LOGIN).user(user(name)).build().unwrap();
            foreign.append_batch(&[event.clone(), event]).unwrap();
        }
        foreign
    })
}

/// What was handed in: whose, and the event.
pub(super) type Handed = Vec<(Option<usize>, NewEvent<'static>)>;

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let ground = Ground::new(setting.kind);
        let store = ground.open(&setting.options()).unwrap();
        let shards = usize::from(setting.shards);
        Self {
            ground,
            store: Some(store),
            reader: None,
            events: Vec::new(),
            by_user: BTreeMap::new(),
            held: Vec::new(),
            serial: 0,
            durable: vec![0; shards],
            lost: BTreeSet::new(),
            lost_epochs: vec![None; shards],
            tally: Tally::default(),
            setting,
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(super) fn build(&mut self, specs: &[Spec]) -> Handed {
        let first = self.events.len();
        let places = specs.iter().zip(first..).map(|(spec, place)| {
            self.serial += 1;
            self.ground.pass(1000);
            let at = self.setting.in_order.then(|| i64::try_from(place).unwrap());
            (spec.user, spec.build(self.serial, at))
        });
        places.collect()
    }

    /// How many events each shard has, by the list.
    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; usize::from(self.setting.shards)];
        for known in &self.events {
            let count = &mut counts[usize::from(known.receipt.shard.get())];
            *count = (*count).max(known.receipt.sequence.get() + 1);
        }
        counts
    }

    /// Notes what the store has taken: user sequences must be dense, ids new, and epochs later than what was lost.
    fn note(&mut self, known: Known) {
        let receipt = known.receipt;
        let mut expected = None;
        if let Some(user) = known.user {
            let own = self.by_user.entry(user).or_default();
            expected = Some(own.len() as u64);
            own.push(self.events.len());
        }
        assert_eq!(receipt.user_sequence.map(UserSequence::get), expected, "user sequences are dense");
        assert!(!self.lost.contains(&receipt.id), "an id was given out twice");
        let lost = self.lost_epochs[usize::from(receipt.shard.get())];
        assert!(
            lost.is_none_or(|lost| receipt.epoch.get() > lost),
            "{receipt:?}, though epoch {lost:?} lost events"
        );
        self.events.push(known);
        self.tally.events += 1;
    }

    /// Notes that what has been acknowledged as durable, or is said to be, must stay.
    fn note_durable(&mut self, acknowledged: Option<&[Receipt]>) {
        for receipt in acknowledged.unwrap_or_default() {
            let durable = &mut self.durable[usize::from(receipt.shard.get())];
            *durable = (*durable).max(receipt.sequence.get() + 1);
        }
        let counts = self.counts();
        let core = &self.store.as_ref().unwrap().0.core;
        for ((durable, count), shard) in self.durable.iter_mut().zip(counts).zip(&*core.shards) {
            *durable = (*durable).max(core.durable(shard));
            assert!(*durable <= count, "{durable} of {count} events are durable");
        }
    }

    fn take(&mut self, handed: Handed, receipts: &[Receipt], grouped: bool, durably: bool) {
        assert_eq!(receipts.len(), handed.len());
        let group =
            receipts.first().filter(|_| grouped).map(|first| (first.sequence.get(), receipts.len() as u64));
        for ((user, event), receipt) in handed.into_iter().zip(receipts) {
            self.note(Known { user, event, receipt: *receipt, group });
        }
        let durably = durably || self.setting.durability.waits();
        self.note_durable(durably.then_some(receipts));
    }

    pub(super) fn append(&mut self, spec: &Spec, durably: bool) {
        let handed = self.build(std::slice::from_ref(spec));
        let durability = if durably { Durability::Durable } else { Durability::Buffered };
        let receipt = self.store().append_with(&handed[0].1, durability).unwrap();
        self.take(handed, &[receipt], false, durably);
    }

    /// Appends an event that is waited for later: until then a durable store shows it to nobody.
    pub(super) fn append_later(&mut self, spec: &Spec) {
        let handed = self.build(std::slice::from_ref(spec));
        let pending = self.store().append_nowait(&handed[0].1).unwrap();
        let receipt = pending.receipt();
        let hidden = self.setting.durability.waits();
        // Threads may commit at any time.
        if hidden && self.ground.is_simulated() {
            for store in self.stores() {
                assert_eq!(store.event(receipt.id).unwrap(), None, "it is not durable yet");
            }
            if let Some(user) = spec.user {
                self.page(&Question::plain(user, 3), None);
            }
        } else if !hidden {
            assert!(self.stores().all(|store| store.event(receipt.id).unwrap().is_some()));
        }
        assert_eq!(pending.wait().unwrap(), receipt);
        self.take(handed, &[receipt], false, true);
    }

    pub(super) fn append_batch(&mut self, specs: &[Spec]) {
        let handed = self.build(specs);
        let events: Vec<_> = handed.iter().map(|(_, event)| event.clone()).collect();
        let receipts = self.store().append_batch(&events).unwrap();
        self.take(handed, &receipts, false, false);
    }

    /// Appends the events as one user's, all or none.
    pub(super) fn append_atomic(&mut self, specs: &[Spec]) {
        let Some(owner) = specs.first().map(|spec| spec.user) else { return };
        let handed = self.build(specs);
        let events: Vec<_> = handed.iter().map(|(_, event)| event.clone()).collect();
        let outcome = self.store().append_atomic(&events);
        if specs.iter().any(|spec| spec.user != owner) {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidEvent);
            return;
        }
        let receipts = outcome.unwrap();
        let sequences: Vec<u64> = receipts.iter().map(|receipt| receipt.sequence.get()).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{sequences:?}");
        self.take(handed, &receipts, true, false);
    }

    pub(super) fn flush(&mut self) {
        self.store().flush().unwrap();
        self.durable = self.counts();
        self.note_durable(None);
    }

    /// The writer, and the reader beside it.
    fn stores(&self) -> impl Iterator<Item = &Store> {
        self.store.iter().chain(self.reader.iter().map(|reader| &reader.store))
    }

    /// The list's answer: which events come behind `position`, all of them.
    fn expected(&self, question: &Question, position: Option<Position>) -> Vec<&Known> {
        let own = self.by_user.get(&question.user).map_or(&[][..], |own| &own[..]);
        let all = own.iter().zip(0_u64..).filter(|(_, sequence)| {
            position.is_none_or(|position| position.is_before(*sequence, question.oldest_first))
        });
        let mut found: Vec<&Known> =
            all.map(|(place, _)| &self.events[*place]).filter(|known| question.lets_through(known)).collect();
        if !question.oldest_first {
            found.reverse();
        }
        found
    }

    /// Asks the writer for one page, and the reader, and compares them with the list.
    fn page(&mut self, question: &Question, from: Option<(&str, Position)>) -> Page {
        if let Some(reader) = &self.reader {
            self.page_of(&reader.store, question, from);
        }
        self.tally.pages += 1;
        self.page_of(self.store(), question, from)
    }

    fn page_of(&self, store: &Store, question: &Question, from: Option<(&str, Position)>) -> Page {
        let mut query = question.ask(store);
        if let Some((cursor, _)) = from {
            query = query.cursor(cursor);
        }
        let records_read = || store.0.core.reads.records.load(std::sync::atomic::Ordering::Relaxed);
        let read_before = records_read();
        let page = query.page().unwrap();
        let expected = self.expected(question, from.map(|(_, position)| position));
        let shown = expected.len().min(question.limit);
        assert_eq!(page.len(), shown, "{question:?} from {from:?}");
        assert_eq!(page.has_more(), expected.len() > question.limit);
        assert_eq!(page.next_cursor().is_some(), page.has_more());
        assert_eq!(page.limit(), question.limit);
        for (found, known) in page.to_events().unwrap().iter().zip(&expected) {
            known.is(found);
        }
        let time_bound = question.since.is_some() || question.until.is_some();
        let read = records_read() - read_before;
        assert_eq!(read, page.records_read());
        // Where the cursor's event was lost, the index is asked from the beginning.
        if !time_bound {
            assert!(read <= shown as u64 + 1, "{read} records read for {shown}");
        } else if self.setting.in_order {
            assert!(read <= shown as u64 + 1 + 2 * 128, "{read} records read for {shown}");
        }
        page
    }

    /// Asks, and keeps the cursor.
    pub(super) fn ask(&mut self, question: Question) {
        let page = self.page(&question, None);
        self.hold(question, &page);
    }

    fn hold(&mut self, question: Question, page: &Page) {
        let last = page.iter().last().map(|event| event.unwrap().user_sequence().unwrap());
        if let Some((cursor, after)) = page.end_cursor().zip(last) {
            assert!(page.next_cursor().is_none_or(|next| next == cursor));
            assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            self.held.push(Held { question, cursor, position: Position { after, lost_from: None } });
        }
    }

    fn held(&self, which: usize) -> Option<Held> {
        self.held.get(which % self.held.len().max(1)).cloned()
    }

    /// Goes on at a cursor that was kept, perhaps for very long.
    pub(super) fn resume(&mut self, which: usize, limit: usize) {
        let Some(held) = self.held(which) else { return };
        let question = Question { limit, ..held.question };
        let page = self.page(&question, Some((&held.cursor, held.position)));
        self.tally.cursors += 1;
        self.hold(question, &page);
    }

    /// From the first page to the last.
    pub(super) fn walk(&mut self, question: &Question) {
        let mut from: Option<(String, Position)> = None;
        loop {
            let page = self.page(question, from.as_ref().map(|(cursor, position)| (&cursor[..], *position)));
            let last = page.iter().last().map(|event| event.unwrap().user_sequence().unwrap());
            match page.next_cursor().zip(last) {
                Some((cursor, after)) => from = Some((cursor, Position { after, lost_from: None })),
                None => return,
            }
        }
    }

    /// Cursors that are not this question's, not this store's, or not whole.
    pub(super) fn misuse(&self, which: usize, how: usize) {
        let Some(Held { question, cursor, .. }) = self.held(which) else { return };
        let refused = |question: &Question, cursor: &str| {
            let outcome = question.ask(self.store()).cursor(cursor).page();
            let error =
                outcome.err().unwrap_or_else(|| panic!("{cursor} was taken for a cursor of {question:?}"));
            assert_eq!(error.kind(), ErrorKind::InvalidCursor, "{error}");
        };
        refused(&Question { user: (question.user + 1) % USERS.len(), ..question.clone() }, &cursor);
        refused(&Question { oldest_first: !question.oldest_first, ..question.clone() }, &cursor);
        for other in question.others() {
            refused(&other, &cursor);
        }
        refused(&question, "");
        refused(&question, &cursor[..how % cursor.len()]);
        let mut damaged = cursor.clone().into_bytes();
        let place = how % damaged.len();
        damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
        refused(&question, &String::from_utf8(damaged).unwrap());
        let stranger = Question::plain(question.user, 1);
        let foreign = stranger.ask(foreign()).page().unwrap().next_cursor().unwrap();
        refused(&stranger, &foreign);
    }

    pub(super) fn refuse_limits(&self) {
        for limit in [0, 501, usize::MAX] {
            let error = self.store().user_log(&user(USERS[0])).limit(limit).page().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
        }
    }

    /// An event by its id; and an id that differs from it in these bits.
    pub(super) fn by_id(&self, which: usize, forged_bits: u128) {
        let Some(known) = self.events.get(which % self.events.len().max(1)) else { return };
        let forged = EventId::from_u128(known.receipt.id.as_u128() ^ forged_bits);
        let is_one = self.events.iter().any(|known| known.receipt.id == forged);
        for store in self.stores() {
            known.is(&store.event(known.receipt.id).unwrap().unwrap());
            assert!(is_one || store.event(forged).unwrap().is_none());
        }
    }

    /// Everything that can be asked, of this store and the reader beside it.
    pub(super) fn verify_all(&mut self) {
        for number in 0..USERS.len() {
            self.page(&Question::plain(number, 7), None);
        }
        // Of the cursors that were kept, the newest and the oldest.
        let kept = self.held.len();
        for which in (kept.saturating_sub(4)..kept).chain(0..kept.min(4)) {
            let Some(Held { question, cursor, position }) = self.held(which) else { break };
            self.page(&question, Some((&cursor, position)));
            self.tally.cursors += 1;
        }
        self.verify(self.store());
        self.look_beside(true);
    }

    /// Everything that can be asked.
    fn verify(&self, store: &Store) {
        for (number, name) in USERS.iter().enumerate() {
            let own = self.by_user.get(&number).map_or(&[][..], |own| &own[..]);
            assert_eq!(store.user_count(&user(name)).unwrap(), own.len() as u64);
            let found = whole_log(store, &user(name), Order::Oldest, 500).unwrap();
            assert_eq!(found.len(), own.len());
            for (found, place) in found.iter().zip(own) {
                self.events[*place].is(found);
            }
        }
        assert_eq!(store.user_count(&user(STRANGER)).unwrap(), 0);
        for known in self.events.iter().step_by(self.events.len() / 50 + 1) {
            known.is(&store.event(known.receipt.id).unwrap().unwrap());
        }
        for id in &self.lost {
            assert!(store.event(*id).unwrap().is_none(), "a lost event's id leads to another");
        }
        let stats = store.stats().unwrap();
        assert_eq!(stats.events, self.events.len() as u64);
        assert_eq!(stats.users, self.by_user.len() as u64);
        store.check().unwrap();
    }

    /// What the reader beside the writer shows is a beginning of each log, and never less than it has shown; while a writer
    /// runs, all of it.
    fn look_beside(&mut self, running: bool) {
        let Some(Reader { store, mut shown }) = self.reader.take() else { return };
        for (number, shown) in shown.iter_mut().enumerate() {
            let found = whole_log(&store, &user(USERS[number]), Order::Oldest, 100).unwrap();
            let own = self.by_user.get(&number).map_or(&[][..], |own| &own[..]);
            found.iter().zip(own).for_each(|(found, place)| self.events[*place].is(found));
            let count = found.len() as u64;
            assert_eq!(store.user_count(&user(USERS[number])).unwrap(), count);
            assert!(count <= own.len() as u64, "{count} events, of {} that are there", own.len());
            assert!(count >= *shown, "{count} events, though {shown} were shown before");
            assert!(!running || count == own.len() as u64, "{count} events, of {} that are there", own.len());
            *shown = count;
        }
        self.reader = Some(Reader { store, shown });
    }

    fn new_reader(&self) -> Reader {
        let store = self.ground.open(&self.setting.options().read_only(true)).unwrap();
        Reader { store, shown: [0; USERS.len()] }
    }

    /// Opens a reader beside the writer, which sees everything, now; it stays.
    pub(super) fn read_beside(&mut self) {
        if self.ground.keeps() {
            let reader = self.new_reader();
            self.verify(&reader.store);
            self.reader = Some(reader);
            self.look_beside(true);
        }
    }

    /// Packs what is sealed, or makes segments of it again.
    pub(super) fn pack(&mut self, undo: bool) {
        let done = if undo { self.store().unpack() } else { self.store().pack() }.unwrap();
        let stats = self.store().stats().unwrap();
        assert!(done.events <= stats.events);
        // A store that packs by itself may be at it again.
        assert!(!undo || self.setting.pack_after.is_some() || stats.packed_events == 0);
        self.tally.packs += stats.packs;
    }

    /// What the background would do in its time is done now.
    pub(super) fn maintain(&mut self) {
        self.store().maintain().unwrap();
        let stats = self.store().stats().unwrap();
        assert_eq!(stats.merge_waiting_bytes, 0);
        let layout = self.store().layout().unwrap();
        let packed: u64 = layout.iter().flat_map(|shard| &shard.packs).map(|pack| pack.segments).sum();
        let sealed = stats.segments + packed - u64::from(stats.shards);
        assert!(stats.runs <= sealed);
        if stats.shards == 1 {
            // With a fan-out of two, no two runs of one level stand side by side.
            assert!(
                stats.runs <= u64::from(u64::BITS - sealed.leading_zeros()),
                "{} of {sealed}",
                stats.runs
            );
        }
        self.tally.merges += stats.merges;
        self.verify_all();
    }

    /// Closes the store, by itself or with its last handle, and opens it again.
    pub(super) fn reopen(&mut self, close: bool) {
        if !self.ground.keeps() {
            return;
        }
        if close {
            self.store().close().unwrap();
            assert_eq!(self.store().stats().unwrap_err().kind(), ErrorKind::Closed);
        }
        self.store = None;
        self.durable = self.counts();
        self.look_beside(false);
        // Of what was closed everything is shown.
        self.verify(&self.new_reader().store);
        self.open();
        assert!(self.store().recovery().shards.is_empty(), "{:?}", self.store().recovery());
        self.verify_all();
    }

    fn open(&mut self) {
        self.ground.pass(1_000_000);
        self.store = Some(self.ground.open(&self.setting.options().create_if_missing(false)).unwrap());
    }

    /// Goes on with what a writer leaves that ends now.
    pub(super) fn crash(&mut self, cut: Cut) {
        if self.ground.keeps() {
            let there = self.counts();
            self.end(cut, &there);
        }
    }

    /// The machine stops, or the process ends, at an operation of what is done. So many events were there before.
    pub(super) fn crash_in(
        &mut self,
        operation: usize,
        cut: Cut,
        action: impl FnOnce(&mut Self) -> (Handed, bool),
    ) {
        if !self.ground.is_simulated() {
            return self.crash(cut);
        }
        let before = self.counts();
        self.ground.stop_at(operation);
        let (handed, grouped) = action(self);
        if self.store.is_some() {
            self.absorb(&handed, grouped);
        }
        self.end(cut, &before);
    }

    /// Closes the store, and opens it again; the machine may stop meanwhile.
    pub(super) fn try_reopen(&mut self, close: bool) {
        let outcome = if close { self.store().close() } else { Ok(()) };
        if outcome.is_ok() && !self.ground.has_stopped() {
            if close {
                self.durable = self.counts();
            }
            if let Some(store) = self.store.take().filter(|_| !close) {
                store.0.core.open.close();
            }
            // What it made durable is not known here, if it was stopped.
            self.store = self.ground.open(&self.setting.options()).ok();
        }
    }

    /// Takes in what is stored of events that nobody got a receipt of.
    fn absorb(&mut self, handed: &Handed, grouped: bool) {
        let counts = self.counts();
        let by_request: HashMap<&str, &(Option<usize>, NewEvent<'static>)> =
            handed.iter().map(|handed| (handed.1.request_id().unwrap().as_str(), handed)).collect();
        let mut found = Vec::new();
        for (shard, count) in self.store().0.core.shards.iter().zip(counts) {
            let view = shard.view();
            for sequence in count..view.end() {
                let leaf = view.leaf(sequence).unwrap();
                let event = EventView::parse(&leaf).unwrap();
                let (user, handed) = by_request[event.request_id().unwrap().unwrap()];
                let receipt = Receipt {
                    id: event.id(),
                    shard: ShardId::new(shard.id.get()),
                    sequence: Sequence::new(sequence),
                    user_sequence: event.user_sequence().map(UserSequence::new),
                    recorded_at: event.recorded_at(),
                    epoch: Epoch::new(view.epoch()),
                };
                let group = grouped.then_some((count, by_request.len() as u64));
                found.push(Known { user: *user, event: handed.clone(), receipt, group });
            }
        }
        assert!(!grouped || found.is_empty() || found.len() == handed.len(), "a part of a group was stored");
        for known in found {
            self.note(known);
        }
    }

    /// Ends the store, and opens what is left of it. So many events of each shard survive a kill.
    fn end(&mut self, cut: Cut, returned: &[u64]) {
        self.tally.crashes += 1;
        let store = self.store.take();
        let stays = self.ground.end(store, cut);
        let power = self.ground.is_simulated() && matches!(cut, Cut::Power(..));
        let floors = if power { self.durable.clone() } else { returned.to_vec() };
        // Who was beside the writer sees what was there; on another disk there is nobody.
        self.look_beside_before(stays);
        self.open();
        self.settle(&floors);
        self.verify_all();
    }

    /// Before anybody recovers the store a reader sees what is known to be durable: of each log the beginning.
    fn look_beside_before(&mut self, stays: bool) {
        let kept = self.reader.take();
        let had = kept.is_some();
        self.reader = kept.filter(|_| stays);
        self.look_beside(false);
        let kept = self.reader.take();
        self.reader = Some(self.new_reader());
        self.look_beside(false);
        let lonely = self.reader.take();
        self.reader = kept.or(lonely.filter(|_| had));
    }

    /// The list is what has survived; that is a beginning of each shard, with all that must be there.
    fn settle(&mut self, floors: &[u64]) {
        let store = self.store.clone().unwrap();
        let views: Vec<_> = store.0.core.shards.iter().map(|shard| shard.view()).collect();
        let ends: Vec<u64> = views.iter().map(|view| view.end()).collect();
        let counts = self.counts();
        for (shard, end) in ends.iter().enumerate() {
            let (count, floor) = (counts[shard], floors[shard]);
            assert!(*end <= count, "shard {shard}: {end} events, of {count} that were handed in");
            assert!(*end >= floor, "shard {shard}: {end} events, though {floor} had to survive");
        }
        for report in &store.recovery().shards {
            let end = ends[usize::from(report.shard.get())];
            assert!(report.rolled_back_from.is_none_or(|from| from == end), "{report:?}, not {end}");
        }
        let survived =
            |known: &Known| known.receipt.sequence.get() < ends[usize::from(known.receipt.shard.get())];
        let (kept, lost): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events).into_iter().partition(survived);
        for known in &lost {
            let shard = usize::from(known.receipt.shard.get());
            let epoch = known.receipt.epoch.get();
            assert!(views[shard].epoch() > epoch, "events of epoch {epoch} were lost, and it goes on");
            self.lost.insert(known.receipt.id);
            self.lost_epochs[shard] = self.lost_epochs[shard].max(Some(epoch));
        }
        self.tally.lost += lost.len() as u64;
        self.by_user.clear();
        for (place, known) in kept.iter().enumerate() {
            if let Some((first, count)) = known.group {
                assert!(first + count <= ends[usize::from(known.receipt.shard.get())], "a group was torn");
            }
            if let Some(user) = known.user {
                self.by_user.entry(user).or_default().push(place);
            }
        }
        self.events = kept;
        for held in &mut self.held {
            held.position.cut(self.by_user.get(&held.question.user).map_or(0, |own| own.len() as u64));
        }
        // What opening found is durable from now on.
        self.durable = ends;
    }

    /// Tries to append them, as the machine stops.
    pub(super) fn try_append(&mut self, specs: &[Spec], how: TryAppend) -> (Handed, bool) {
        let handed = self.build(specs);
        let events: Vec<_> = handed.iter().map(|(_, event)| event.clone()).collect();
        let store = self.store();
        match how {
            TryAppend::Each(durability) => {
                for event in &events {
                    let _ = store.append_with(event, durability);
                }
            }
            TryAppend::Batch => {
                let _ = store.append_batch(&events);
            }
            TryAppend::Atomic => {
                let _: Result<_> = store.append_atomic(&events);
            }
        }
        (handed, matches!(how, TryAppend::Atomic))
    }
}

/// How events are handed in that may not be taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum TryAppend {
    Each(Durability),
    Batch,
    Atomic,
}
