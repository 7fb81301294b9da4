//! The parts of the disk that fails on purpose: a file with what is durable of it, names, and the dice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::MmapMut;

use crate::io::mmap::Memory;
use crate::io::parent;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// A small generator of numbers (`SplitMix64`): the same seed, the same damage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) memory: Arc<Memory>,
    /// What the disk has.
    pub(super) durable: Vec<u8>,
    /// What the cache takes for written: `durable`, but for pages whose writing failed.
    pub(super) clean: Vec<u8>,
    /// The length in bytes, and the length that is durable.
    pub(super) bytes: usize,
    pub(super) durable_bytes: usize,
}

pub(super) fn memory_of(bytes: &[u8]) -> Arc<Memory> {
    let mut memory = MmapMut::map_anon(bytes.len().max(1)).unwrap();
    memory[..bytes.len()].copy_from_slice(bytes);
    Memory::anonymous(memory)
}

pub(super) fn pages(bytes: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..bytes.div_ceil(PAGE)).map(move |page| page * PAGE..((page + 1) * PAGE).min(bytes))
}

impl Inode {
    pub(super) fn new(bytes: usize) -> Self {
        let zeros = vec![0; bytes];
        Self { memory: memory_of(&zeros), durable: zeros.clone(), clean: zeros, bytes, durable_bytes: 0 }
    }

    /// Cuts the file; the disk may have the longer one until the next sync.
    pub(super) fn shorten(&mut self, bytes: usize) {
        self.bytes = bytes.min(self.bytes);
        self.memory = memory_of(&self.memory.all()[..self.bytes]);
    }

    pub(super) fn current(&self) -> Vec<u8> {
        let mut bytes = self.memory.all();
        bytes.truncate(self.bytes);
        bytes
    }

    /// What was written is dirty, also where the same bytes stood before.
    pub(super) fn mark_dirty(&mut self, written: std::ops::Range<usize>) {
        let current = self.current();
        for page in pages(self.bytes).filter(|page| page.start < written.end && written.start < page.end) {
            self.clean[page.start] = !current[page.start];
        }
    }

    /// Writes dirty pages back; with `lost`, they are marked clean and nothing is written.
    pub(super) fn sync(&mut self, lost: bool) {
        let current = self.current();
        for page in pages(self.bytes) {
            if current[page.clone()] != self.clean[page.clone()] {
                self.clean[page.clone()].copy_from_slice(&current[page.clone()]);
                if !lost {
                    self.durable[page.clone()].copy_from_slice(&current[page]);
                }
            }
        }
        if !lost {
            self.durable_bytes = self.bytes;
            self.durable.truncate(self.bytes);
            self.clean.truncate(self.bytes);
        }
    }

    /// The kernel writes some dirty pages back on its own.
    pub(super) fn write_back(&mut self, dice: &mut Dice) {
        if self.durable_bytes != self.bytes {
            return;
        }
        let current = self.current();
        for page in pages(self.bytes) {
            if current[page.clone()] != self.clean[page.clone()] && dice.chance(30) {
                self.clean[page.clone()].copy_from_slice(&current[page.clone()]);
                self.durable[page.clone()].copy_from_slice(&current[page]);
            }
        }
    }

    /// What a power cut may leave of the file.
    pub(super) fn damaged(&self, mode: Damage, dice: &mut Dice) -> Vec<u8> {
        let mut left = self.durable.clone();
        let current = self.current();
        for page in pages(self.bytes) {
            if current[page.clone()] == self.clean[page.clone()] {
                continue;
            }
            match mode.page(dice) {
                0 => {}
                1 => left[page.clone()].copy_from_slice(&current[page]),
                _ => {
                    for sector in page.clone().step_by(SECTOR) {
                        let sector = sector..(sector + SECTOR).min(page.end);
                        if dice.chance(50) {
                            left[sector.clone()].copy_from_slice(&current[sector]);
                        }
                    }
                }
            }
        }
        if self.durable_bytes != self.bytes {
            let length = match mode.page(dice) {
                0 => self.durable_bytes,
                1 => self.bytes,
                // Growing or being cut, it is one or the other; what was never synced may have any length.
                _ if self.durable_bytes > 0 => self.durable_bytes,
                _ => dice.below(self.bytes + 1),
            };
            left.truncate(length);
        }
        left
    }
}

/// How a power cut treats what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// Nothing of it is on the disk.
    Nothing,
    /// All of it is.
    Everything,
    /// Each page for itself is there, not there, or torn; each name for itself is there or not.
    Random,
}

impl Damage {
    pub(super) fn page(self, dice: &mut Dice) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => 1,
            Self::Random => dice.below(3),
        }
    }

    pub(super) fn name(self, dice: &mut Dice) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Random => dice.chance(50),
        }
    }
}

/// A change to a directory.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Directory(PathBuf),
    Set(PathBuf, u64),
    Gone(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Set(path, _) | Self::Gone(path) | Self::Rename(_, path, _) => {
                parent(path)
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<PathBuf, u64>,
    pub(super) directories: BTreeSet<PathBuf>,
}

impl Names {
    pub(super) fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Directory(path) => drop(self.directories.insert(path.clone())),
            NameChange::Set(path, inode) => drop(self.files.insert(path.clone(), *inode)),
            NameChange::Gone(path) => drop(self.files.remove(path)),
            NameChange::Rename(from, to, inode) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *inode);
            }
        }
    }

    /// Whether the path can be reached from the directory that the test began with.
    pub(super) fn reachable(&self, path: &Path) -> bool {
        path.ancestors()
            .skip(1)
            .filter(|dir| !dir.as_os_str().is_empty())
            .all(|dir| self.directories.contains(dir))
    }
}
