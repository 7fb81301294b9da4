//! What happens on the disk that fails on purpose, in order; and a recording of it that is gone through again, so that one
//! run of a workload gives the disks that a crash at each of its moments may leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Kind;
use super::damage::{Damage, Dice, PageRule, Span};
use super::names::{NameChange, Names};
use super::pages::{Dirty, Inode};

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A new file of zeros.
    Made {
        number: u64,
        bytes: usize,
    },
    /// Bytes stored, through a mapping or not.
    Wrote {
        number: u64,
        offset: usize,
        bytes: Arc<[u8]>,
        words: bool,
    },
    Shortened {
        number: u64,
        bytes: usize,
    },
    /// The file was synced; with `lost`, nothing of it was written.
    Synced {
        number: u64,
        lost: bool,
    },
    /// A name was changed; with `lost`, the disk never hears of it.
    Named {
        change: NameChange,
        lost: bool,
    },
    /// Its names are durable; with `lost`, the disk never hears of their changes.
    DirectorySynced {
        path: PathBuf,
        lost: bool,
    },
}

/// What is on the disk, in the cache, and on the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) names: Names,
    durable_names: Names,
    /// Changes of names since their directory was synced, in order.
    pending: Vec<NameChange>,
    time: u64,
}

impl Shadow {
    pub(super) fn apply(&mut self, event: &Event) {
        self.time += 1;
        match event {
            Event::Made { number, bytes } => drop(self.inodes.insert(*number, Inode::new(*bytes))),
            Event::Wrote { number, offset, bytes, words } => {
                if let Some(inode) = self.inodes.get_mut(number) {
                    inode.write(*offset, bytes, *words, self.time);
                }
            }
            Event::Shortened { number, bytes } => {
                if let Some(inode) = self.inodes.get_mut(number) {
                    inode.shorten(*bytes);
                }
            }
            Event::Synced { number, lost } => {
                if let Some(inode) = self.inodes.get_mut(number) {
                    inode.sync(*lost);
                }
            }
            Event::Named { change, lost } => {
                self.names.apply(change);
                if !lost {
                    self.pending.push(change.clone());
                }
            }
            Event::DirectorySynced { path, lost } => {
                let all = std::mem::take(&mut self.pending);
                let (now, later): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(|change| change.directory() == path);
                for change in now.iter().filter(|_| !lost) {
                    self.durable_names.apply(change);
                }
                self.pending = later;
            }
        }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.inodes.last_key_value().map_or(0, |(number, _)| number + 1)
    }

    /// The same, no mapped memory shared; files that no name leads to, now or after a power cut, are left out.
    pub(super) fn copied(&self) -> Self {
        let pending = self.pending.iter().filter_map(|change| match change {
            NameChange::Set(_, number) | NameChange::Rename(_, _, number) => Some(number),
            NameChange::Directory(_) | NameChange::Gone(_) => None,
        });
        let named: BTreeSet<&u64> =
            self.names.files.values().chain(self.durable_names.files.values()).chain(pending).collect();
        let inodes = self.inodes.iter().filter(|(number, _)| named.contains(number));
        Self {
            inodes: inodes.map(|(number, inode)| (*number, inode.clone())).collect(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending: self.pending.clone(),
            time: self.time,
        }
    }

    /// What a power cut now leaves, and a number that tells it from others.
    pub(super) fn after_power_cut(&self, damage: Damage, seed: u64) -> (Self, u64) {
        let mut dice = Dice(seed);
        let (pages, name_rule) = damage.rules(&mut dice);
        let mut sum = 0_u64;
        let mut names = self.durable_names.clone();
        let happened = name_rule.happened(self.pending.len(), &mut dice);
        let half = matches!(damage, Damage::Variant(_)) && dice.chance(10);
        for (place, (change, happened)) in self.pending.iter().zip(happened).enumerate() {
            sum = sum.wrapping_mul(3).wrapping_add(u64::from(happened));
            if happened && half && place + 1 == self.pending.len() {
                names.apply_half(change);
            } else if happened {
                names.apply(change);
            }
        }
        sum = xxh3_64_with_seed(&sum.to_le_bytes(), u64::from(half));
        let span = self.span(pages, &names, &mut dice);
        let mut after = Self::default();
        let mut place = 0;
        for (path, number) in &names.files {
            if !names.reachable(path) {
                continue;
            }
            let fate = |dirty: &Dirty, dice: &mut Dice| {
                place += 1;
                pages.fate(dirty, place - 1, &span, dice)
            };
            let left = self.inodes[number].left(fate, &mut dice, &mut sum);
            let number = after.next_number();
            after.inodes.insert(number, left);
            after.names.files.insert(path.clone(), number);
        }
        after.names.directories =
            names.directories.iter().filter(|path| names.reachable(path)).cloned().collect();
        after.durable_names = after.names.clone();
        (after, sum)
    }

    /// What the rule must know of the pages that are not synced.
    fn span(&self, rule: PageRule, names: &Names, dice: &mut Dice) -> Span {
        let files = names.files.iter().filter(|(path, _)| names.reachable(path));
        let dirty = files.flat_map(|(_, number)| self.inodes[number].dirty.values());
        let mut last: Vec<u64> = dirty.clone().filter_map(|dirty| Some(dirty.changes.last()?.time)).collect();
        last.sort_unstable();
        let first = dirty.filter_map(|dirty| Some(dirty.changes.first()?.time)).min().unwrap_or_default();
        let count = last.len();
        let edge = match rule {
            PageRule::Newest(percent) => last.get(count - (count * percent).div_ceil(100)).copied(),
            PageRule::Oldest(percent) => (count * percent).div_ceil(100).checked_sub(1).map(|at| last[at]),
            _ => None,
        };
        let nothing = if matches!(rule, PageRule::Newest(_)) { u64::MAX } else { 0 };
        Span {
            first,
            last: last.last().copied().unwrap_or(first),
            alone: dice.below(count),
            edge: edge.unwrap_or(nothing),
        }
    }
}

/// A run, as it was recorded.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(super) base: Shadow,
    pub(super) events: Vec<(Kind, Event)>,
}

impl Recording {
    pub(super) fn push(&mut self, kind: Kind, event: &Event) {
        // Words that follow each other are one store: it may be cut between any of them.
        if let Event::Wrote { number, offset, bytes, words: true } = event
            && let Some((Kind::Store, Event::Wrote { number: before, offset: at, bytes: first, words: true })) =
                self.events.last_mut()
            && *before == *number
            && *at + first.len() == *offset
            && first.len() < 256
        {
            *first = first.iter().chain(bytes.iter()).copied().collect();
            return;
        }
        self.events.push((kind, event.clone()));
    }

    /// How many moments there are.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// What happens at each moment, and to which kind of file.
    pub(crate) fn kinds(&self) -> Vec<(Kind, &'static str)> {
        let mut names = self.base.names.clone();
        let mut kinds = Vec::with_capacity(self.events.len());
        for (kind, event) in &self.events {
            let number = match event {
                Event::Made { .. } => None,
                Event::Wrote { number, .. }
                | Event::Shortened { number, .. }
                | Event::Synced { number, .. } => Some(number),
                Event::Named { change, .. } => {
                    names.apply(change);
                    kinds.push((*kind, kind_of(change.path())));
                    continue;
                }
                Event::DirectorySynced { .. } => {
                    kinds.push((*kind, "directory"));
                    continue;
                }
            };
            let path = names.files.iter().find(|(_, named)| Some(*named) == number);
            kinds.push((*kind, path.map_or("new file", |(path, _)| kind_of(path))));
        }
        kinds
    }
}

/// What kind of file has such a name.
fn kind_of(path: &Path) -> &'static str {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".tmp").unwrap_or(&name);
    match name.rsplit_once('.') {
        Some((_, "log")) => "segment",
        Some((_, "pack")) => "pack",
        Some((_, "ckpt")) => "checkpoint",
        Some((segments, "run")) if segments.contains('-') => "merged run",
        Some((_, "run")) => "run",
        _ => ["STORE", "KEY", "LOCK", "LIVE", "MANIFEST", "HEADS"]
            .into_iter()
            .find(|known| *known == name)
            .unwrap_or("other"),
    }
}

/// A recording that is gone through.
#[derive(Debug)]
pub(crate) struct Replay<'r> {
    pub(super) shadow: Shadow,
    events: &'r [(Kind, Event)],
    at: usize,
    /// The rest of a store of which some has happened.
    rest: Option<Event>,
}

impl<'r> Replay<'r> {
    pub(crate) fn new(recording: &'r Recording) -> Self {
        Self { shadow: recording.base.copied(), events: &recording.events, at: 0, rest: None }
    }

    /// How many events have happened.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Lets the events below `at` happen.
    pub(crate) fn go_to(&mut self, at: usize) {
        if let Some(rest) = self.rest.take_if(|_| at > self.at) {
            self.shadow.apply(&rest);
            self.at += 1;
        }
        while self.at < at.min(self.events.len()) {
            self.shadow.apply(&self.events[self.at].1);
            self.at += 1;
        }
    }

    /// Lets half of the next store happen: the machine stops while the bytes are copied in. `false` if it is none.
    pub(crate) fn go_into(&mut self, dice: &mut Dice) -> bool {
        let Some((Kind::Store, Event::Wrote { number, offset, bytes, words })) = self.events.get(self.at)
        else {
            return false;
        };
        let length = dice.below(bytes.len());
        let length = if *words { length / 8 * 8 } else { length };
        if length == 0 || self.rest.is_some() {
            return false;
        }
        let part = |bytes: &[u8], offset| Event::Wrote {
            number: *number,
            offset,
            bytes: bytes.into(),
            words: *words,
        };
        self.shadow.apply(&part(&bytes[..length], *offset));
        self.rest = Some(part(&bytes[length..], *offset + length));
        true
    }

    /// The disk after a power cut now, and a number that tells it from others.
    pub(crate) fn after_power_cut(&self, damage: Damage, seed: u64) -> (super::FaultyDisk, u64) {
        let (after, sum) = self.shadow.after_power_cut(damage, seed);
        (super::FaultyDisk::of(after), sum)
    }

    /// The disk after the process was killed now: the cache is what it was.
    pub(crate) fn after_kill(&self) -> super::FaultyDisk {
        super::FaultyDisk::of(self.shadow.copied())
    }

    /// The word in the file of this name.
    pub(crate) fn word(&self, path: &Path, index: usize) -> Option<u64> {
        let inode = self.shadow.inodes.get(self.shadow.names.files.get(path)?)?;
        let mut word = [0; 8];
        let inside = (index + 1) * 8 <= inode.bytes;
        inside.then(|| inode.read_at(index * 8, &mut word))?;
        Some(u64::from_ne_bytes(word))
    }
}
