//! Owns what is remembered from line to line so that one attempt becomes one event: which connections of sshd have had
//! an attempt logged, and which failures PAM has named before the program itself did. Bounded: a table of fixed size in
//! which a newer entry takes an older one's place. Must not know how messages look.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Connections and programs that are remembered at one time. What is lost beyond it can make one attempt two events, or
/// leave out a `auth.login_abandoned`; it never loses a logged failure.
const SLOTS: usize = 4096;

/// A connection of sshd, from its first line to its last.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// The user of an `Invalid user` line.
    pub(super) invalid_user: Option<String>,
    /// An attempt was logged, so its end is no news.
    pub(super) attempted: bool,
    /// Failures that PAM has named and that a `Failed keyboard-interactive` line may name again.
    pub(super) named_by_pam: u32,
}

/// What a run of sudo or su has had of failures so far.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Failures that PAM has named and the program has not summed up yet.
    pub(super) named_by_pam: u32,
    /// The program has summed up: what PAM still adds is in the sum.
    pub(super) summed_up: bool,
}

/// A table of fixed size, addressed by hash.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Option<(u64, T)>>,
}

impl<T: Default> Table<T> {
    fn new() -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(SLOTS).collect() }
    }

    /// The entry of `key`, made if it isn't there.
    pub(super) fn entry(&mut self, key: impl Hash) -> &mut T {
        let (slot, hash) = self.slot(key);
        if slot.as_ref().is_none_or(|(owner, _)| *owner != hash) {
            *slot = None;
        }
        &mut slot.get_or_insert_with(|| (hash, T::default())).1
    }

    /// Takes the entry of `key` out.
    pub(super) fn take(&mut self, key: impl Hash) -> Option<T> {
        let (slot, hash) = self.slot(key);
        slot.take_if(|(owner, _)| *owner == hash).map(|(_, entry)| entry)
    }

    fn slot(&mut self, key: impl Hash) -> (&mut Option<(u64, T)>, u64) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        let index = usize::try_from(hash % SLOTS as u64).unwrap_or_default();
        (&mut self.slots[index], hash)
    }
}

/// Everything that is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) connections: Table<Connection>,
    pub(super) attempts: Table<Attempts>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { connections: Table::new(), attempts: Table::new() }
    }
}
