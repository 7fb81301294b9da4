//! The store beside a plain list of everything that was appended to it, and each question asked of both.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;
use usertrail::{
    Action, Category, Details, Durability, ErrorKind, Event, EventId, Level, Message, NewEvent, Options,
    Order, PackAfter, Page, Receipt, Service, Status, Store, TenantId, Timestamp, UserId, UserLogQuery,
    UserSequence,
};

use crate::fixture::{copy_of_killed, user, whole_log};

/// Ids that a careless key, path or comparison would trip over.
pub const USERS: [&str; 10] = [
    "alice",
    "Alice",
    "alice ",
    " ",
    "0",
    "../../etc/passwd",
    "日本語ユーザー",
    "a\u{0}b",
    "👩‍👩‍👧‍👦",
    "%00%ff;drop",
];
/// Nobody ever appends for this one.
const STRANGER: &str = "mallory";
/// Actions with the kind that they need, if the catalogue doesn't have them.
pub const ACTIONS: [(&str, Option<(Category, Level)>); 7] = [
    ("auth.login", None),
    ("auth.login_failed", None),
    ("session.created", None),
    ("auth.lockout", None),
    ("billing.refund.made", Some((Category::Data, Level::Info))),
    ("x.y", Some((Category::Admin, Level::Warning))),
    ("ärger.größe", Some((Category::Account, Level::Error))),
];
pub const SERVICES: [&str; 4] = ["gateway", "Gateway", "bïlling", " "];
const SECOND: i64 = 1_000_000;
const START: i64 = 1_700_000_000 * SECOND;

/// An event to be.
#[derive(Clone, Debug)]
pub struct Spec {
    pub user: Option<usize>,
    pub action: usize,
    pub level: Option<Level>,
    pub category: Option<Category>,
    pub status: Status,
    pub service: Option<usize>,
    /// Seconds from the start; `None`: when it is recorded.
    pub at: Option<i64>,
    pub padding: usize,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    pub user: usize,
    pub levels: Vec<Level>,
    pub categories: Vec<Category>,
    pub statuses: Vec<Status>,
    pub actions: Vec<usize>,
    pub services: Vec<usize>,
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub oldest_first: bool,
    pub limit: usize,
}

impl Question {
    pub fn plain(user: usize, limit: usize) -> Self {
        Self {
            user,
            levels: Vec::new(),
            categories: Vec::new(),
            statuses: Vec::new(),
            actions: Vec::new(),
            services: Vec::new(),
            since: None,
            until: None,
            oldest_first: false,
            limit,
        }
    }

    /// Questions with one filter more, or one less: for each kind of filter one.
    fn others(&self) -> [Self; 7] {
        fn toggled<T: Copy + PartialEq>(list: &[T], value: T) -> Vec<T> {
            let mut list = list.to_vec();
            if list.contains(&value) {
                list.retain(|other| *other != value);
            } else {
                list.push(value);
            }
            list
        }
        let later = |bound: Option<i64>| Some(bound.map_or(1, |bound| bound + 1));
        let own = || self.clone();
        [
            Self { levels: toggled(&self.levels, Level::Suspicious), ..own() },
            Self { categories: toggled(&self.categories, Category::Data), ..own() },
            Self { statuses: toggled(&self.statuses, Status::Failure), ..own() },
            Self { actions: toggled(&self.actions, 4), ..own() },
            Self { services: toggled(&self.services, 2), ..own() },
            Self { since: later(self.since), ..own() },
            Self { until: later(self.until), ..own() },
        ]
    }

    fn lets_through(&self, known: &Known) -> bool {
        let event = &known.event;
        let service = event.service().map(Service::as_str);
        let at = known.at();
        let bound = |seconds: i64| START + seconds * SECOND;
        (self.levels.is_empty() || self.levels.contains(&event.level()))
            && (self.categories.is_empty() || self.categories.contains(&event.category()))
            && (self.statuses.is_empty() || self.statuses.contains(&event.status()))
            && (self.actions.is_empty()
                || self.actions.iter().any(|i| ACTIONS[*i].0 == event.action().as_str()))
            && (self.services.is_empty() || self.services.iter().any(|i| Some(SERVICES[*i]) == service))
            && self.since.is_none_or(|since| at >= bound(since))
            && self.until.is_none_or(|until| at < bound(until))
    }

    fn ask<'s>(&self, store: &'s Store) -> UserLogQuery<'s> {
        let mut query = store.user_log(&user(USERS[self.user])).limit(self.limit);
        query = query.order(if self.oldest_first { Order::Oldest } else { Order::Newest });
        query = self.levels.iter().fold(query, |query, level| query.level(*level));
        query = self.categories.iter().fold(query, |query, category| query.category(*category));
        query = self.statuses.iter().fold(query, |query, status| query.status(*status));
        query =
            self.actions.iter().fold(query, |query, i| query.action(&Action::new(ACTIONS[*i].0).unwrap()));
        query =
            self.services.iter().fold(query, |query, i| query.service(&Service::new(SERVICES[*i]).unwrap()));
        let time = |seconds: i64| Timestamp::from_micros(START + seconds * SECOND);
        query = self.since.into_iter().fold(query, |query, since| query.since(time(since)));
        self.until.into_iter().fold(query, |query, until| query.until(time(until)))
    }
}

/// An event that the store has acknowledged.
struct Known {
    event: NewEvent<'static>,
    receipt: Receipt,
}

impl Known {
    fn at(&self) -> i64 {
        self.event.occurred_at().unwrap_or(self.receipt.recorded_at).as_micros()
    }

    fn is(&self, found: &Event) {
        let (event, receipt) = (&self.event, &self.receipt);
        assert_eq!(found.id(), receipt.id);
        assert_eq!(found.sequence(), receipt.sequence.get());
        assert_eq!(found.user_sequence(), receipt.user_sequence.map(UserSequence::get));
        assert_eq!(found.recorded_at(), receipt.recorded_at);
        assert_eq!(found.occurred_at().as_micros(), self.at());
        assert_eq!(found.user_id(), event.user_id().map(UserId::as_str));
        assert_eq!(found.tenant_id(), event.tenant_id().map(TenantId::as_str));
        assert_eq!(found.action(), event.action().as_str());
        assert_eq!((found.level(), found.category()), (event.level(), event.category()));
        assert_eq!(found.status(), event.status());
        assert_eq!(found.service(), event.service().map(Service::as_str));
        assert_eq!(found.message(), event.message().map(Message::as_str));
        assert_eq!(found.details(), event.details().map(Details::as_str));
    }
}

/// A cursor that somebody keeps.
struct Held {
    question: Question,
    cursor: String,
    /// The user sequence that it stands behind.
    position: u64,
}

/// How the store is made.
#[derive(Clone, Debug)]
pub struct Setting {
    pub on_disk: bool,
    pub shards: u16,
    pub durability: Durability,
    /// Every event occurs later than the one before it.
    pub in_order: bool,
    /// What is sealed is packed at once.
    pub packs: bool,
}

impl Setting {
    fn options(&self) -> Options {
        let pack_after = if self.packs { PackAfter::Bytes(0) } else { PackAfter::Never };
        Options::new()
            .durability(self.durability)
            .checkpoint_bytes(4096)
            .merge_fan_out(MERGE_FAN_OUT)
            .pack_after(pack_after)
    }
}

pub struct World {
    setting: Setting,
    dir: TempDir,
    lives: usize,
    store: Store,
    foreign: Store,
    events: Vec<Known>,
    by_user: BTreeMap<usize, Vec<usize>>,
    held: Vec<Held>,
}

/// Few segments are filled here, and they are to be merged.
const MERGE_FAN_OUT: usize = 2;

impl World {
    pub fn new(setting: Setting) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = setting.options().shards(setting.shards).segment_bytes_max(1 << 20);
        let store = if setting.on_disk {
            options.create_new(dir.path().join("0")).unwrap()
        } else {
            options.in_memory().unwrap()
        };
        let foreign = Options::new().shards(1).in_memory().unwrap();
        for name in USERS {
            let event = NewEvent::builder(Action::AUTH_LOGIN).user(user(name)).build().unwrap();
            foreign.append_batch(&[event.clone(), event]).unwrap();
        }
        Self {
            setting,
            dir,
            lives: 0,
            store,
            foreign,
            events: Vec::new(),
            by_user: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(self.lives.to_string())
    }

    fn build(&self, spec: &Spec, place: usize) -> NewEvent<'static> {
        let (action, kind) = ACTIONS[spec.action];
        let mut builder = NewEvent::builder(Action::new(action).unwrap()).status(spec.status);
        if let Some(name) = spec.user {
            builder = builder.user(user(USERS[name]));
        } else {
            builder = builder.tenant(TenantId::new(format!("tenant-{}", place % 3)).unwrap());
        }
        let category = spec.category.or(kind.map(|(category, _)| category));
        builder = category.into_iter().fold(builder, usertrail::event::EventBuilder::category);
        let level = spec.level.or(kind.map(|(_, level)| level));
        builder = level.into_iter().fold(builder, usertrail::event::EventBuilder::level);
        if let Some(service) = spec.service {
            builder = builder.service(Service::new(SERVICES[service]).unwrap());
        }
        let at = if self.setting.in_order { Some(i64::try_from(place).unwrap()) } else { spec.at };
        if let Some(at) = at {
            builder = builder.occurred_at(Timestamp::from_micros(START + at * SECOND));
        }
        if spec.padding > 0 {
            let padding = serde_json::json!({ "place": place, "padding": "p".repeat(spec.padding) });
            builder = builder.details(Details::from_value(&padding).unwrap());
        } else {
            builder = builder.message(Message::new(format!("event {place}")).unwrap());
        }
        builder.build().unwrap()
    }

    fn build_all(&self, specs: &[Spec]) -> Vec<NewEvent<'static>> {
        let places = self.events.len()..;
        specs.iter().zip(places).map(|(spec, place)| self.build(spec, place)).collect()
    }

    /// Notes what the store has acknowledged: user sequences must be dense.
    fn note(&mut self, spec: &Spec, event: NewEvent<'static>, receipt: Receipt) {
        let mut expected = None;
        if let Some(user) = spec.user {
            let own = self.by_user.entry(user).or_default();
            expected = Some(own.len() as u64);
            own.push(self.events.len());
        }
        assert_eq!(receipt.user_sequence.map(UserSequence::get), expected);
        self.events.push(Known { event, receipt });
    }

    pub fn append(&mut self, spec: &Spec, durably: bool) {
        let event = self.build(spec, self.events.len());
        let receipt = if durably {
            self.store.append_with(&event, Durability::Durable)
        } else {
            self.store.append(&event)
        };
        self.note(spec, event, receipt.unwrap());
    }

    pub fn append_batch(&mut self, specs: &[Spec]) {
        let events = self.build_all(specs);
        let receipts = self.store.append_batch(&events).unwrap();
        assert_eq!(receipts.len(), specs.len());
        for ((spec, event), receipt) in specs.iter().zip(events).zip(receipts) {
            self.note(spec, event, receipt);
        }
    }

    /// Appends the events as one user's, all or none.
    pub fn append_atomic(&mut self, specs: &[Spec]) {
        let Some(owner) = specs.first().map(|spec| spec.user) else { return };
        let events = self.build_all(specs);
        let outcome = self.store.append_atomic(&events);
        if specs.iter().any(|spec| spec.user != owner) {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidEvent);
            return;
        }
        let receipts = outcome.unwrap();
        let sequences: Vec<u64> = receipts.iter().map(|receipt| receipt.sequence.get()).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{sequences:?}");
        for ((spec, event), receipt) in specs.iter().zip(events).zip(receipts) {
            self.note(spec, event, receipt);
        }
    }

    /// The list's answer: which events come behind `position`, all of them.
    fn expected(&self, question: &Question, position: Option<u64>) -> Vec<&Known> {
        let own = self.by_user.get(&question.user).map_or(&[][..], |own| &own[..]);
        let all = own.iter().zip(0_u64..).filter(|(_, sequence)| match position {
            None => true,
            Some(position) if question.oldest_first => *sequence > position,
            Some(position) => *sequence < position,
        });
        let mut found: Vec<&Known> =
            all.map(|(place, _)| &self.events[*place]).filter(|known| question.lets_through(known)).collect();
        if !question.oldest_first {
            found.reverse();
        }
        found
    }

    /// Asks for one page and compares it with the list.
    fn page(&self, store: &Store, question: &Question, from: Option<(&str, u64)>) -> Page {
        let mut query = question.ask(store);
        if let Some((cursor, _)) = from {
            query = query.cursor(cursor);
        }
        let read_before = store.stats().unwrap().records_read;
        let page = query.page().unwrap();
        let expected = self.expected(question, from.map(|(_, position)| position));
        let shown = expected.len().min(question.limit);
        assert_eq!(page.len(), shown, "{question:?}");
        assert_eq!(page.has_more(), expected.len() > question.limit);
        assert_eq!(page.next_cursor().is_some(), page.has_more());
        assert_eq!(page.limit(), question.limit);
        for (found, known) in page.to_events().unwrap().iter().zip(&expected) {
            known.is(found);
        }
        let time_bound = question.since.is_some() || question.until.is_some();
        let read = store.stats().unwrap().records_read - read_before;
        assert_eq!(read, page.records_read());
        if !time_bound {
            assert!(read <= shown as u64 + 1, "{read} records read for {shown}");
        } else if self.setting.in_order {
            assert!(read <= shown as u64 + 1 + 2 * 128, "{read} records read for {shown}");
        }
        page
    }

    /// Asks, and keeps the cursor.
    pub fn ask(&mut self, question: Question) {
        let page = self.page(&self.store, &question, None);
        self.hold(question, &page);
    }

    fn hold(&mut self, question: Question, page: &Page) {
        let last = page.iter().last().map(|event| event.unwrap().user_sequence().unwrap());
        if let Some((cursor, position)) = page.end_cursor().zip(last) {
            assert!(page.next_cursor().is_none_or(|next| next == cursor));
            assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            self.held.push(Held { question, cursor, position });
        }
    }

    /// Goes on at a cursor that was kept, perhaps for very long.
    pub fn resume(&mut self, which: usize, limit: usize) {
        let Some(held) = self.held.get(which % self.held.len().max(1)) else { return };
        let question = Question { limit, ..held.question.clone() };
        let page = self.page(&self.store, &question, Some((&held.cursor, held.position)));
        self.hold(question, &page);
    }

    /// From the first page to the last.
    pub fn walk(&self, question: &Question) {
        let mut from: Option<(String, u64)> = None;
        loop {
            let page = self.page(
                &self.store,
                question,
                from.as_ref().map(|(cursor, position)| (&cursor[..], *position)),
            );
            let last = page.iter().last().map(|event| event.unwrap().user_sequence().unwrap());
            match page.next_cursor().zip(last) {
                Some(next) => from = Some(next),
                None => return,
            }
        }
    }

    /// Cursors that are not this question's, not this store's, or not whole.
    pub fn misuse(&self, which: usize, how: usize) {
        let Some(held) = self.held.get(which % self.held.len().max(1)) else { return };
        let (question, cursor) = (&held.question, &held.cursor);
        let refused = |question: &Question, cursor: &str| {
            let outcome = question.ask(&self.store).cursor(cursor).page();
            let error =
                outcome.err().unwrap_or_else(|| panic!("{cursor} was taken for a cursor of {question:?}"));
            assert_eq!(error.kind(), ErrorKind::InvalidCursor, "{error}");
        };
        refused(&Question { user: (question.user + 1) % USERS.len(), ..question.clone() }, cursor);
        refused(&Question { oldest_first: !question.oldest_first, ..question.clone() }, cursor);
        for other in question.others() {
            refused(&other, cursor);
        }
        refused(question, "");
        refused(question, &cursor[..how % cursor.len()]);
        let mut damaged = cursor.clone().into_bytes();
        let place = how % damaged.len();
        damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
        refused(question, &String::from_utf8(damaged).unwrap());
        let stranger = Question::plain(question.user, 1);
        let foreign = stranger.ask(&self.foreign).page().unwrap().next_cursor().unwrap();
        refused(&stranger, &foreign);
    }

    pub fn refuse_limits(&self) {
        for limit in [0, 501, usize::MAX] {
            let error = self.store.user_log(&user(USERS[0])).limit(limit).page().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
        }
    }

    /// An event by its id; and an id that differs from it in these bits.
    pub fn by_id(&self, which: usize, forged_bits: u128) {
        let Some(known) = self.events.get(which % self.events.len().max(1)) else { return };
        known.is(&self.store.event(known.receipt.id).unwrap().unwrap());
        let forged = known.receipt.id.as_u128() ^ forged_bits;
        if !self.events.iter().any(|known| known.receipt.id.as_u128() == forged) {
            assert_eq!(self.store.event(EventId::from_u128(forged)).unwrap(), None);
        }
    }

    /// Everything that can be asked, of this store or a reader beside it.
    fn verify(&self, store: &Store) {
        for (number, name) in USERS.iter().enumerate() {
            let own = self.by_user.get(&number).map_or(&[][..], |own| &own[..]);
            assert_eq!(store.user_count(&user(name)).unwrap(), own.len() as u64);
            let found = whole_log(store, &user(name), Order::Oldest, 500).unwrap();
            assert_eq!(found.len(), own.len());
            for (found, place) in found.iter().zip(own) {
                self.events[*place].is(found);
            }
            self.page(store, &Question::plain(number, 7), None);
        }
        assert_eq!(store.user_count(&user(STRANGER)).unwrap(), 0);
        for known in self.events.iter().step_by(self.events.len() / 50 + 1) {
            known.is(&store.event(known.receipt.id).unwrap().unwrap());
        }
        let stats = store.stats().unwrap();
        assert_eq!(stats.events, self.events.len() as u64);
        assert_eq!(stats.users, self.by_user.len() as u64);
        store.check().unwrap();
    }

    /// Packs what is sealed, or makes segments of it again.
    pub fn pack(&self, undo: bool) {
        let done = if undo { self.store.unpack() } else { self.store.pack() }.unwrap();
        let stats = self.store.stats().unwrap();
        assert!(done.events <= stats.events);
        // A store that packs by itself may be at it again.
        assert!(!undo || self.setting.packs || stats.packed_events == 0);
    }

    pub fn verify_all(&self) {
        self.verify(&self.store);
    }

    /// A reader beside the writer sees everything, now.
    pub fn read_beside(&self) {
        if self.setting.on_disk {
            self.verify(&Options::new().read_only(true).open(self.path()).unwrap());
        }
    }

    /// What the background would do in its time is done now.
    pub fn maintain(&mut self) {
        self.store.maintain().unwrap();
        let stats = self.store.stats().unwrap();
        assert_eq!(stats.merge_waiting_bytes, 0);
        let layout = self.store.layout().unwrap();
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
        self.verify_all();
    }

    pub fn reopen(&mut self, close: bool) {
        if !self.setting.on_disk {
            return;
        }
        let path = self.path();
        if close {
            self.store.close().unwrap();
            assert_eq!(self.store.stats().unwrap_err().kind(), ErrorKind::Closed);
        }
        // The old handle holds the lock until it is dropped.
        self.store = Options::new().shards(1).in_memory().unwrap();
        self.store = self.setting.options().open(path).unwrap();
        assert!(self.store.recovery().shards.is_empty(), "{:?}", self.store.recovery());
        self.verify_all();
    }

    /// Goes on with the directory that a killed writer would have left.
    pub fn crash(&mut self) {
        if !self.setting.on_disk {
            return;
        }
        let from = self.path();
        self.lives += 1;
        copy_of_killed(&from, &self.path());
        self.read_unrecovered();
        self.store = self.setting.options().open(self.path()).unwrap();
        assert!(!self.store.recovery().rolled_back(), "{:?}", self.store.recovery());
        self.verify_all();
    }

    /// Without a writer a reader sees what is known to be durable: of each log the beginning, and it says if that is
    /// not all.
    fn read_unrecovered(&self) {
        let reader = Options::new().read_only(true).open(self.path()).unwrap();
        for (number, name) in USERS.iter().enumerate() {
            let own = self.by_user.get(&number).map_or(&[][..], |own| &own[..]);
            let found = whole_log(&reader, &user(name), Order::Oldest, 100).unwrap();
            assert!(found.len() == own.len() || found.len() < own.len() && reader.recovery().needs_recovery);
            found.iter().zip(own).for_each(|(found, place)| self.events[*place].is(found));
        }
    }
}
