//! What the store's process does: everything that a store does, on real files in the mounted directory, from several threads;
//! and what it tells the recorder meanwhile.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use super::oracle::marker;
use super::record::{NOTES, Note};
use crate::event::{Action, Category, Details, EventView, Level, NewEvent, RequestId, UserId};
use crate::io::faulty::Dice;
use crate::io::real::RealDisk;
use crate::shard::Job;
use crate::store::open::{self, Host, WorkersKind};
use crate::store::{Durability, Options, Receipt, Store};

pub(super) const USERS: u8 = 5;
pub(super) const SHARDS: u16 = 2;
/// How many threads append at the same time.
const THREADS: u64 = 3;
/// The events of one batch that fills about half of a segment in each shard.
const LARGE_BATCH: usize = 24;

pub(super) fn user_id(user: u8) -> UserId<'static> {
    UserId::new(format!("user {user}")).unwrap()
}

/// Where the store is, seen from the mounted directory: deep enough that its own name must be made durable.
pub(super) fn store_dir(root: &Path) -> PathBuf {
    root.join("data/trail")
}

/// Small segments, much that is done in the background.
pub(super) fn options(durability: Durability) -> Options {
    Options::new()
        .shards(SHARDS)
        .segment_bytes_max(1 << 20)
        .checkpoint_bytes(2000)
        .merge_fan_out(2)
        .clock_jump_max(Duration::from_hours(24))
        .durability(durability)
        .create_if_missing(true)
}

/// An event whose content differs from that of every other, so that nothing torn looks whole by chance.
pub(super) fn next_event(marker: &str, user: Option<u8>, bytes: usize) -> (String, NewEvent<'static>) {
    let text = marker.repeat(bytes / marker.len() + 1);
    let details = Details::from_value(&serde_json::json!({ "text": text[..bytes] })).unwrap();
    let builder = NewEvent::builder(Action::new("crash.tested").unwrap())
        .category(Category::System)
        .level(Level::Info)
        .request_id(RequestId::new(marker.to_owned()).unwrap())
        .details(details);
    let builder = match user {
        Some(user) => builder.user(user_id(user)),
        None => builder,
    };
    (marker.to_owned(), builder.build().unwrap())
}

/// One life of the store's process.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Life {
    pub(super) seed: u64,
    /// Of this record: the first opens what is there, later ones what the one before left.
    pub(super) number: u64,
    pub(super) durable: bool,
    /// Background work is done by nobody who isn't forced to.
    pub(super) no_threads: bool,
    /// Ends as by a kill: without closing.
    pub(super) killed: bool,
}

impl Life {
    pub(super) fn durability(self) -> Durability {
        if self.durable { Durability::Durable } else { Durability::Interval(Duration::from_hours(1)) }
    }
}

/// The store's process, from the opening to the end.
struct Process {
    root: PathBuf,
    life: Life,
    store: Store,
    notes: File,
    next: AtomicUsize,
}

/// Lives a life on the file system that is mounted there. A process that is killed doesn't return from it.
pub(super) fn live(root: &Path, life: Life) {
    let options = options(life.durability());
    let opened = if life.no_threads {
        let host = Host { workers: WorkersKind::Nobody, ..Host::machine(RealDisk::default()) };
        open::open(&options, &host, store_dir(root))
    } else {
        options.open(store_dir(root))
    };
    let notes = File::options().append(true).create(true).open(root.join(NOTES)).unwrap();
    let process = Process {
        root: root.to_owned(),
        life,
        store: opened.unwrap_or_else(|error| panic!("opening: {error}")),
        notes,
        next: AtomicUsize::new(0),
    };
    let ends = process.store.0.core.shards.iter().map(|shard| shard.view().end()).collect();
    process.note(&Note::Opened { ends }, &[]);
    process.run();
    if life.killed {
        std::process::exit(0);
    }
    process.store.close().unwrap();
    process.note_durable();
}

impl Process {
    /// Alone for a while, then several threads at once, then alone again.
    fn run(&self) {
        let mut dice = Dice(self.life.seed.wrapping_mul(31).wrapping_add(self.life.number));
        (0..6 + dice.below(8)).for_each(|_| self.step(&mut dice));
        self.fill(&mut dice);
        let seed = dice.next();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    let mut dice = Dice(seed.wrapping_add(thread));
                    (0..8).for_each(|_| self.step(&mut dice));
                });
            }
        });
        (0..=dice.below(2)).for_each(|_| self.fill(&mut dice));
        (0..dice.below(6)).for_each(|_| self.step(&mut dice));
    }

    /// Enough for a rollover now and then, and what follows from it.
    fn fill(&self, dice: &mut Dice) {
        self.batch(LARGE_BATCH, 40_000, dice);
        match dice.below(4) {
            0 => self.store.maintain().unwrap(),
            1 => drop(self.store.pack().unwrap()),
            2 => self.batch(LARGE_BATCH, 45_000, dice),
            _ => self.step(dice),
        }
        self.after(dice);
    }

    fn step(&self, dice: &mut Dice) {
        let bytes = [20, 300, 3000, 9000, 30_000][dice.below(5)];
        match dice.below(20) {
            0..8 => self.append(bytes, dice),
            8..11 => self.batch(2 + dice.below(6), bytes, dice),
            11..14 => self.atomic(2 + dice.below(3), bytes, dice),
            14 | 15 => self.flush(),
            16 => self.store.0.core.shards[dice.below(SHARDS.into())].note_floor(),
            17 => self.store.maintain().unwrap(),
            18 => self.nowait(bytes, dice),
            _ => self.append_durably(bytes, dice),
        }
        self.after(dice);
    }

    /// What happens by time in a store that lives longer: checkpoints, and pages that the kernel writes back.
    fn after(&self, dice: &mut Dice) {
        for shard in &*self.store.0.core.shards {
            if shard.wants_checkpoint() {
                shard.run(Job::Checkpoint).unwrap();
            }
        }
        self.note_durable();
        if dice.below(3) == 0 {
            self.write_back(dice);
        }
    }

    /// Lets the kernel begin to write back what is dirty in a segment, while others append to it.
    fn write_back(&self, dice: &mut Dice) {
        let dir = store_dir(&self.root).join(format!("shard-{:02}", dice.below(SHARDS.into())));
        let Ok(names) = std::fs::read_dir(dir) else { return };
        let mut logs: Vec<PathBuf> = names.filter_map(|name| Some(name.ok()?.path())).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        let Some(log) = logs.get(dice.below(logs.len())) else { return };
        // Packed meanwhile, and gone: then there is nothing to write.
        if let Ok(file) = File::open(log) {
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }

    fn event(&self, bytes: usize, user: Option<u8>) -> (String, NewEvent<'static>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        next_event(&format!("event-{}-{number}", self.life.number), user, bytes)
    }

    fn any_user(dice: &mut Dice) -> Option<u8> {
        u8::try_from(dice.below(usize::from(USERS) + 1)).ok().filter(|user| *user < USERS)
    }

    fn append(&self, bytes: usize, dice: &mut Dice) {
        let user = Self::any_user(dice);
        let (marker, event) = self.event(bytes, user);
        let receipt = self.store.append(&event).unwrap();
        self.took(&[(marker, user)], &[receipt], false);
        if self.life.durable {
            self.acknowledge(&[receipt]);
        }
    }

    fn append_durably(&self, bytes: usize, dice: &mut Dice) {
        let user = Self::any_user(dice);
        let (marker, event) = self.event(bytes, user);
        let receipt = self.store.append_with(&event, Durability::Durable).unwrap();
        self.took(&[(marker, user)], &[receipt], false);
        self.acknowledge(&[receipt]);
    }

    fn nowait(&self, bytes: usize, dice: &mut Dice) {
        let user = Self::any_user(dice);
        let (marker, event) = self.event(bytes, user);
        let pending = self.store.append_nowait(&event).unwrap();
        self.took(&[(marker, user)], &[pending.receipt()], false);
        let receipt = pending.wait().unwrap();
        self.acknowledge(&[receipt]);
    }

    fn batch(&self, count: usize, bytes: usize, dice: &mut Dice) {
        let made = (0..count).map(|_| {
            let user = Self::any_user(dice);
            let (marker, event) = self.event(bytes, user);
            ((marker, user), event)
        });
        let (names, events): (Vec<_>, Vec<_>) = made.unzip();
        let receipts = self.store.append_batch(&events).unwrap();
        self.took(&names, &receipts, false);
        if self.life.durable {
            self.acknowledge(&receipts);
        }
    }

    fn atomic(&self, count: usize, bytes: usize, dice: &mut Dice) {
        let user = Self::any_user(dice);
        let made = (0..count).map(|_| {
            let (marker, event) = self.event(bytes, user);
            ((marker, user), event)
        });
        let (names, events): (Vec<_>, Vec<_>) = made.unzip();
        let receipts = self.store.append_atomic(&events).unwrap();
        self.took(&names, &receipts, true);
        if self.life.durable {
            self.acknowledge(&receipts);
        }
    }

    fn flush(&self) {
        let ends: Vec<u64> = self.store.0.core.shards.iter().map(|shard| shard.published()).collect();
        self.store.flush().unwrap();
        for (shard, end) in (0..).zip(ends) {
            self.note(&Note::Durable { shard, end }, &[]);
        }
    }

    /// Tells what was taken.
    fn took(&self, names: &[(String, Option<u8>)], receipts: &[Receipt], grouped: bool) {
        assert_eq!(names.len(), receipts.len());
        for ((name, user), receipt) in names.iter().zip(receipts) {
            let (shard, sequence) = (receipt.shard.get(), receipt.sequence.get());
            let view = self.store.0.core.shards[usize::from(shard)].view();
            let leaf = view.leaf(sequence).unwrap().to_vec();
            assert_eq!(marker(&EventView::parse(&leaf).unwrap()).as_deref(), Some(name.as_str()));
            let first = receipts[0].sequence.get();
            let group = if grouped { (first, receipts.len() as u64) } else { (sequence, 1) };
            let (user, marker, epoch) = (*user, name.clone(), receipt.epoch.get());
            self.note(&Note::Took { shard, sequence, epoch, user, marker, group }, &leaf);
        }
    }

    /// The store has said that these are durable.
    fn acknowledge(&self, receipts: &[Receipt]) {
        for receipt in receipts {
            let end = receipt.sequence.get() + 1;
            self.note(&Note::Durable { shard: receipt.shard.get(), end }, &[]);
        }
    }

    /// What the store shows to its readers as durable is a promise, too.
    fn note_durable(&self) {
        for shard in &*self.store.0.core.shards {
            let end = shard.durable();
            self.note(&Note::Durable { shard: shard.id.get(), end }, &[]);
        }
    }

    /// In one write: the recorder takes it as one entry, before the write returns.
    fn note(&self, note: &Note, leaf: &[u8]) {
        let bytes = note.encode(leaf);
        assert_eq!((&self.notes).write(&bytes).unwrap(), bytes.len());
    }
}
