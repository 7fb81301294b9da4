//! The writer that is killed: some threads that append in every way there is, close and open again, and say what they have
//! been told.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use usertrail::{Durability, NewEvent, Options, PackAfter, Receipt, Store};

use super::events::{ACK_BYTES, Ack, Draw, Key, THREADS};

/// The environment variable that makes this process a writer.
pub(super) const TASK: &str = "USERTRAIL_KILL_TASK";
/// The line after which acknowledgements follow.
pub(super) const MARK: &str = "acknowledgements:\n";
/// No place in a log: of an event that was never stored.
const NOWHERE: u64 = u64::MAX;

/// What a writer does wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    None,
    /// Acknowledges some events before it appends them.
    AcknowledgedFirst,
    /// Acknowledges an event that it doesn't append, now and then.
    Dropped,
    /// Appends an event twice, now and then.
    Twice,
    /// Stores an event with another message, now and then.
    OtherBytes,
}

const FLAWS: [Flaw; 5] = [Flaw::None, Flaw::AcknowledgedFirst, Flaw::Dropped, Flaw::Twice, Flaw::OtherBytes];

/// What a writer has to do.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) dir: PathBuf,
    pub(super) life: u32,
    pub(super) seed: u64,
    pub(super) flaw: Flaw,
}

impl Task {
    pub(super) fn encode(&self) -> String {
        let flaw = FLAWS.iter().position(|flaw| *flaw == self.flaw).unwrap();
        format!("{} {} {flaw} {}", self.life, self.seed, self.dir.display())
    }

    fn decode(text: &str) -> Self {
        let mut parts = text.splitn(4, ' ');
        let mut next = || parts.next().unwrap();
        let (life, seed) = (next().parse().unwrap(), next().parse().unwrap());
        let flaw = FLAWS[next().parse::<usize>().unwrap()];
        Self { life, seed, flaw, dir: next().into() }
    }
}

/// The writer's name among this binary's tests.
pub(super) fn test_name() -> String {
    let (_, module) = module_path!().split_once("::").unwrap();
    format!("{module}::a_writer_that_is_killed")
}

/// The store: everything so small that it all happens within some milliseconds.
pub(super) fn options(durability: Durability) -> Options {
    Options::new()
        .shards(2)
        .segment_bytes_max(1 << 20)
        .checkpoint_bytes(128 << 10)
        .merge_fan_out(2)
        .pack_after(PackAfter::Bytes(4 << 20))
        .durability(durability)
        .create_if_missing(true)
}

#[test]
#[ignore = "started, and killed, by the test of kills"]
fn a_writer_that_is_killed() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task = Task::decode(&task);
    let acks = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    // The harness may have begun a line.
    (&acks).write_all(format!("\n{MARK}").as_bytes()).unwrap();
    let mut draw = Draw::new(task.seed);
    let mut begin = [0; THREADS as usize];
    loop {
        let durability = match draw.below(3) {
            0 => Durability::Buffered,
            1 => Durability::Interval(Duration::from_millis(3)),
            _ => Durability::Durable,
        };
        let store = options(durability).open(&task.dir).unwrap();
        let share = 50 + draw.below(3_000);
        std::thread::scope(|scope| {
            for (thread, next) in (0..THREADS).zip(&mut begin) {
                let draw = Draw::new(draw.next());
                let (store, acks, task) = (&store, &acks, &task);
                scope.spawn(move || {
                    let mut writer = Writer { store, acks, task, thread, next: *next, draw };
                    writer.append_until(*next + share);
                    *next = writer.next;
                });
            }
        });
        store.close().unwrap();
    }
}

/// One thread.
struct Writer<'a> {
    store: &'a Store,
    acks: &'a File,
    task: &'a Task,
    thread: u32,
    next: u64,
    draw: Draw,
}

impl Writer<'_> {
    fn append_until(&mut self, end: u64) {
        while self.next < end {
            match self.draw.below(24) {
                0 | 1 => self.batch(),
                2 | 3 => self.group(),
                4 => {
                    self.single(|store, event| store.append_with(event, Durability::Durable).unwrap());
                }
                5 => self.single(|store, event| store.append_nowait(event).unwrap().wait().unwrap()),
                _ => self.single(|store, event| store.append(event).unwrap()),
            }
            if self.thread == 0 {
                match self.draw.below(400) {
                    0 => self.store.maintain().unwrap(),
                    1 => drop(self.store.pack().unwrap()),
                    2 => drop(self.store.unpack().unwrap()),
                    _ => {}
                }
            }
        }
    }

    fn take(&mut self) -> Key {
        let key = Key::single(self.task.life, self.thread, self.next);
        self.next += 1;
        key
    }

    fn single(&mut self, append: impl Fn(&Store, &NewEvent<'_>) -> Receipt) {
        let key = self.take();
        let marked = key.number % 16 == 5;
        let told = |key| Ack { key, user_sequence: NOWHERE, sequence: NOWHERE, id: 0 };
        match self.task.flaw {
            Flaw::AcknowledgedFirst if marked => {
                let keys: Vec<Key> = (0..8).map(|_| self.take()).collect();
                self.acknowledge(keys.iter().map(|key| told(*key)));
                for key in keys {
                    append(self.store, &key.event());
                }
            }
            Flaw::Dropped if marked => return self.acknowledge([told(key)]),
            Flaw::Twice if marked => drop(append(self.store, &key.event())),
            _ => {}
        }
        let event = match self.task.flaw {
            Flaw::OtherBytes if marked => key.event_with("other".to_owned()),
            _ => key.event(),
        };
        let receipt = append(self.store, &event);
        self.acknowledge([Ack::new(key, receipt)]);
    }

    /// Each event for itself, of several users.
    fn batch(&mut self) {
        let keys: Vec<Key> = (0..2 + self.draw.below(30)).map(|_| self.take()).collect();
        let events: Vec<_> = keys.iter().map(Key::event).collect();
        let receipts = self.store.append_batch(&events).unwrap();
        self.acknowledge(keys.into_iter().zip(receipts).map(|(key, receipt)| Ack::new(key, receipt)));
    }

    /// All or none, of one user.
    fn group(&mut self) {
        let (first, length) = (self.next, 2 + u32::try_from(self.draw.below(8)).unwrap());
        let keys: Vec<Key> = (0..length).map(|_| Key { first, length, ..self.take() }).collect();
        let events: Vec<_> = keys.iter().map(Key::event).collect();
        let receipts = self.store.append_atomic(&events).unwrap();
        self.acknowledge(keys.into_iter().zip(receipts).map(|(key, receipt)| Ack::new(key, receipt)));
    }

    /// One write: a pipe takes up to 4 KiB whole or not at all.
    fn acknowledge(&self, acks: impl IntoIterator<Item = Ack>) {
        let bytes: Vec<u8> = acks.into_iter().flat_map(|ack| ack.encode()).collect();
        assert!(bytes.len() <= 4096 && bytes.len().is_multiple_of(ACK_BYTES));
        let mut acks = self.acks;
        acks.write_all(&bytes).unwrap();
    }
}
