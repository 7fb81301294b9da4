//! The head table: how many events each user has had in all that is sealed, and which was the last, found with one look.
//!
//! One thread takes runs in ([`HeadTable::fold`]); any other may look users up meanwhile. What a table says is true for
//! users whose events all lie below what it [covers](HeadTable::covers); who has some above is found in a newer run or tail,
//! which is asked first. So an entry that is ahead does no harm, and taking the same run in twice changes nothing.
//!
//! Every entry that is looked at must match its check. Where one doesn't, the table says nothing, and the runs are asked.
//!
//! Must not know files' names, segments, or when a table on disk may be believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::UserHead;
use super::run::Run;
use crate::error::{Error, Result};
use crate::format::heads::{
    ENTRY_WORDS, Entry, HEADER_WORDS, LINE_WORDS, LINES_AT, Mark, Place, STATE_AT, STATE_WORDS, TableHeader,
    TableState, decode_place, encode_place,
};
use crate::format::located;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::ids::Fingerprint;
use crate::io::mmap::SharedWords;
use crate::io::{Access, DiskFile};

/// How many lines a search goes along at most. At four fifths full a longer one comes up once in a great many tables; then
/// the table takes no more users, and a larger one is made.
const PROBES_MAX: u64 = 64;

/// How many entries are read or written between two looks at whether to stop.
const STRIDE: u64 = 1 << 15;

/// A mapped table of heads.
#[derive(Debug)]
pub(crate) struct HeadTable {
    file: Arc<dyn DiskFile>,
    words: SharedWords,
    header: TableHeader,
    /// Everything below has been taken in.
    covers: AtomicU64,
    users: AtomicU64,
    /// The state slot that was written last.
    state: parking_lot::Mutex<TableState>,
    /// Odd while entries are being written, so that one seen half written isn't taken for damage.
    turn: AtomicU64,
    damaged: AtomicBool,
    /// Some of a run was taken in, and perhaps not all of it.
    ahead: AtomicBool,
    /// Its pages were asked for.
    present: AtomicBool,
}

/// What a table says of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// Has this head below what the table covers; `None`: no event there.
    Known(Option<UserHead>),
    /// The runs must be asked.
    Unknown,
}

/// Why a table takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Full,
    Damaged,
    /// It was told to stop.
    Stopped,
}

impl HeadTable {
    /// Makes an empty table in a new file of [`TableHeader::file_bytes`] bytes.
    pub(crate) fn create(
        file: Arc<dyn DiskFile>,
        header: TableHeader,
        stop: &AtomicBool,
    ) -> Result<Result<Self, Refusal>> {
        let words = file.map_words(Access::Write)?;
        for line in 0..header.lines {
            if is_told_to_stop(line, stop) {
                return Ok(Err(Refusal::Stopped));
            }
            let free = encode_place(None, header.salt, line).unwrap_or_default();
            for (index, word) in (line_at(line)..).zip(free.iter().chain(&free)) {
                words.store(index, *word);
            }
        }
        for (index, word) in header.encode().into_iter().enumerate() {
            words.store(index, word);
        }
        let table = Self::new(file, words, header, TableState::default());
        table.present.store(true, Ordering::Relaxed);
        table.write_state(TableState::default());
        Ok(Ok(table))
    }

    /// Opens a table that is there: its header, and how far it goes. Says nothing of its entries.
    pub(crate) fn open(file: Arc<dyn DiskFile>) -> Result<Self> {
        let damaged = |message| Error::corruption(file.path(), 0, message);
        if file.len() < LINES_AT as u64 * 8 {
            return Err(damaged("the head table is cut short"));
        }
        let words = file.map_words(Access::Write)?;
        let header: [u64; HEADER_WORDS] = std::array::from_fn(|index| words.load(index));
        let header = TableHeader::decode(&header).map_err(located(file.path(), 0))?;
        if file.len() != header.file_bytes() {
            return Err(damaged("the head table's length contradicts its header"));
        }
        let slots = STATE_AT.map(|at| {
            let slot: [u64; STATE_WORDS] = std::array::from_fn(|index| words.load(at + index));
            TableState::decode(&slot, header.salt)
        });
        let state = slots.into_iter().flatten().max_by_key(|state| state.counter);
        let state = state.ok_or_else(|| damaged("neither of the head table's state slots is intact"))?;
        Ok(Self::new(file, words, header, state))
    }

    fn new(file: Arc<dyn DiskFile>, words: SharedWords, header: TableHeader, state: TableState) -> Self {
        Self {
            file,
            words,
            header,
            covers: AtomicU64::new(state.covers.end),
            users: AtomicU64::new(state.users),
            state: parking_lot::Mutex::new(state),
            turn: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            ahead: AtomicBool::new(false),
            present: AtomicBool::new(false),
        }
    }

    pub(crate) fn header(&self) -> &TableHeader {
        &self.header
    }

    /// What the file says of how far the table goes.
    pub(crate) fn state(&self) -> TableState {
        *self.state.lock()
    }

    /// Everything below this sequence has been taken in.
    #[inline]
    pub(crate) fn covers(&self) -> u64 {
        self.covers.load(Ordering::Acquire)
    }

    /// How many users there are, about: a crash may have it count some twice.
    pub(crate) fn users(&self) -> u64 {
        self.users.load(Ordering::Relaxed)
    }

    /// Whether an entry was found that doesn't match its check.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether there may be entries beyond what the table covers.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead.load(Ordering::Relaxed)
    }

    /// The file's length in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.header.file_bytes()
    }

    /// Asks the processor for what [`Self::look_up`] looks at first.
    #[inline]
    pub(crate) fn prefetch(&self, user: Fingerprint) {
        self.words.prefetch(line_at(self.header.home(user)));
    }

    /// What the user had below what the table covers.
    #[inline]
    pub(crate) fn look_up(&self, user: Fingerprint) -> Look {
        let covers = self.covers();
        let turn = self.turn.load(Ordering::Acquire);
        for line in self.lines_from(self.header.home(user)) {
            for place in 0..2 {
                match self.place(line, place) {
                    Place::Taken(entry) if entry.user == user => {
                        // Ahead of what is covered: then a newer run was to be asked, and this is another history's.
                        if entry.last_sequence >= covers {
                            return Look::Unknown;
                        }
                        let head = UserHead { count: entry.count, last_sequence: entry.last_sequence };
                        return Look::Known(Some(head));
                    }
                    Place::Taken(_) => {}
                    Place::Free => return Look::Known(None),
                    Place::Damaged => {
                        self.report(turn);
                        return Look::Unknown;
                    }
                }
            }
        }
        Look::Unknown
    }

    #[cold]
    fn report(&self, turn: u64) {
        if turn.is_multiple_of(2) && self.turn.load(Ordering::Acquire) == turn {
            self.damaged.store(true, Ordering::Relaxed);
        }
    }

    /// The lines that a search goes along.
    #[inline]
    fn lines_from(&self, home: u64) -> impl Iterator<Item = u64> {
        let lines = self.header.lines;
        (home..home + PROBES_MAX.min(lines)).map(move |line| if line < lines { line } else { line - lines })
    }

    #[inline]
    fn place(&self, line: u64, place: usize) -> Place {
        let at = line_at(line) + place * ENTRY_WORDS;
        let words = std::array::from_fn(|word| self.words.load(at + word));
        decode_place(words, self.header.salt, line)
    }

    /// Takes in every user of a run. All that the runs before it have must have been taken in.
    ///
    /// What it says itself is only moved by [`Self::set_covers`]. One thread at a time.
    pub(crate) fn fold(&self, run: &Run, stop: &AtomicBool) -> Result<Result<(), Refusal>> {
        let header = run.header();
        self.ahead.store(true, Ordering::Relaxed);
        self.writing(|| {
            for index in 0..header.users {
                if is_told_to_stop(index, stop) {
                    return Ok(Err(Refusal::Stopped));
                }
                let entry = run.entry(index)?;
                let entry = Entry {
                    user: entry.user,
                    count: entry.count_before + u64::from(entry.count),
                    last_sequence: header.base + u64::from(entry.last_ordinal),
                };
                if let Err(refusal) = self.put(&entry) {
                    return Ok(Err(refusal));
                }
            }
            Ok(Ok(()))
        })
    }

    /// Takes in what another table of this history covers.
    ///
    /// Entries that are ahead are left out: what a fold that was cut short has left is taken in again, from its run.
    pub(crate) fn fold_table(&self, older: &Self, stop: &AtomicBool) -> Result<(), Refusal> {
        let covers = older.covers();
        for line in 0..older.header.lines {
            if is_told_to_stop(line, stop) {
                return Err(Refusal::Stopped);
            }
            for place in 0..2 {
                match older.place(line, place) {
                    Place::Free => {}
                    Place::Taken(entry) if entry.last_sequence >= covers => {}
                    Place::Taken(entry) => self.put(&entry)?,
                    Place::Damaged => return Err(Refusal::Damaged),
                }
            }
        }
        self.covers.store(covers, Ordering::Release);
        Ok(())
    }

    /// No entry that `write` stores is taken for damage while it is half written.
    pub(super) fn writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.turn.fetch_add(1, Ordering::AcqRel);
        let outcome = write();
        self.turn.fetch_add(1, Ordering::AcqRel);
        outcome
    }

    /// Sets a user's head. A head never goes back.
    fn put(&self, entry: &Entry) -> Result<(), Refusal> {
        for line in self.lines_from(self.header.home(entry.user)) {
            for place in 0..2 {
                match self.place(line, place) {
                    Place::Taken(other) if other.user != entry.user => {}
                    Place::Taken(older) if older.count >= entry.count => return Ok(()),
                    Place::Taken(_) => return self.store(line, place, entry),
                    Place::Free => {
                        if self.users() >= self.header.users_max() {
                            return Err(Refusal::Full);
                        }
                        self.users.fetch_add(1, Ordering::Relaxed);
                        return self.store(line, place, entry);
                    }
                    Place::Damaged => {
                        self.damaged.store(true, Ordering::Relaxed);
                        return Err(Refusal::Damaged);
                    }
                }
            }
        }
        Err(Refusal::Full)
    }

    fn store(&self, line: u64, place: usize, entry: &Entry) -> Result<(), Refusal> {
        let words = encode_place(Some(entry), self.header.salt, line).ok_or(Refusal::Full)?;
        let at = line_at(line) + place * ENTRY_WORDS;
        for (index, word) in (at..).zip(words) {
            self.words.store(index, word);
        }
        Ok(())
    }

    /// From now on the table is asked for all below this, the end of the run that was taken in last.
    pub(crate) fn set_covers(&self, end: u64) {
        self.ahead.store(false, Ordering::Relaxed);
        self.covers.store(end, Ordering::Release);
    }

    /// Before the first run is taken in: says in the file, durably, that it isn't what was closed cleanly any more.
    pub(crate) fn begin_use(&self) -> Result<()> {
        let state = self.state();
        if state.clean {
            self.write_state(TableState { clean: false, ..state });
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Makes all entries durable, then says in the file that everything below `covers`, which must have been taken in
    /// before the call, is. Durable itself with the next sync.
    pub(crate) fn checkpoint(&self, covers: Mark) -> Result<()> {
        #[cfg(test)]
        if !has(Bug::HeadsNotSynced) {
            self.file.sync_data()?;
        }
        #[cfg(not(test))]
        self.file.sync_data()?;
        self.write_state(TableState { covers, ..self.state() });
        Ok(())
    }

    /// As [`Self::checkpoint`], when nobody takes anything in any more: the next opening may use the table as it is.
    pub(crate) fn close(&self, covers: Mark) -> Result<()> {
        self.checkpoint(covers)?;
        self.write_state(TableState { clean: true, ..self.state() });
        self.file.sync_data()
    }

    fn write_state(&self, state: TableState) {
        let mut last = self.state.lock();
        *last = TableState { counter: last.counter + 1, users: self.users(), ..state };
        let [even, odd] = STATE_AT;
        let at = if last.counter.is_multiple_of(2) { even } else { odd };
        for (index, word) in (at..).zip(last.encode(self.header.salt)) {
            self.words.store(index, word);
        }
    }

    /// Makes the pages of a table that was opened present, once: a look that faults would have the writer wait for the disk.
    pub(crate) fn populate(&self, stop: &AtomicBool) {
        if self.present.swap(true, Ordering::Relaxed) {
            return;
        }
        let piece = 1 << 20;
        let mut at = 0;
        while at < self.words.len() && !stop.load(Ordering::Relaxed) {
            self.words.populate(at, piece);
            at += piece;
        }
    }
}

/// Looks now and then, `done` being what was done until now.
fn is_told_to_stop(done: u64, stop: &AtomicBool) -> bool {
    done.is_multiple_of(STRIDE) && stop.load(Ordering::Relaxed)
}

fn line_at(line: u64) -> usize {
    LINES_AT + usize::try_from(line).unwrap_or_default() * LINE_WORDS
}
