//! Where a model's store lies: in memory, on a real disk, or on the disk that fails on purpose.
//!
//! Owns how it is opened, and how it ends without being closed. Must not know what is in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::list::START;
use crate::fixture::copy_tree;
use crate::io::clock::tests::ManualClock;
use crate::io::faulty::{Damage, Fault, FaultyDisk};
use crate::store::open::{self, Host, WorkersKind};
use crate::{Options, Result, Store};

/// On what a store lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Memory,
    Real,
    /// On the disk that fails, its background work done by the caller, or by whoever can't go on without it.
    Simulated {
        late: bool,
    },
}

/// How a store ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// The process is killed, the machine goes on.
    Kill,
    /// The power goes: one of the ways of [`Damage`], and a seed.
    Power(usize, u64),
}

/// The disk below the store.
pub(super) enum Ground {
    Memory,
    Real { dir: TempDir, lives: usize },
    Simulated { disk: FaultyDisk, clock: Arc<ManualClock>, workers: WorkersKind },
}

impl Ground {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Memory => Self::Memory,
            Kind::Real => Self::Real { dir: tempfile::tempdir().unwrap(), lives: 0 },
            Kind::Simulated { late } => {
                let clock = Arc::new(ManualClock::default());
                clock.wall_micros.store(START, Ordering::Relaxed);
                let workers = if late { WorkersKind::Nobody } else { WorkersKind::Caller };
                Self::Simulated { disk: FaultyDisk::default(), clock, workers }
            }
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Memory => PathBuf::new(),
            Self::Real { dir, lives } => dir.path().join(lives.to_string()),
            Self::Simulated { .. } => PathBuf::from("data/trail"),
        }
    }

    /// Whether anything is left of a store when it is dropped.
    pub(super) fn keeps(&self) -> bool {
        !matches!(self, Self::Memory)
    }

    /// Whether nothing happens by itself.
    pub(super) fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated { .. })
    }

    /// Opens the store, or makes it.
    pub(super) fn open(&self, options: &Options) -> Result<Store> {
        match self {
            Self::Memory => open::in_memory(options),
            Self::Real { .. } => {
                open::open(options, &Host::machine(crate::io::real::RealDisk::default()), self.path())
            }
            Self::Simulated { disk, clock, workers } => {
                let host = Host {
                    disk: Arc::new(disk.clone()),
                    clock: Arc::clone(clock) as Arc<_>,
                    workers: *workers,
                };
                open::open(options, &host, self.path())
            }
        }
    }

    /// The wall clock goes on, or back.
    pub(super) fn pass(&self, micros: i64) {
        if let Self::Simulated { clock, .. } = self {
            clock.wall_micros.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// The machine stops at this operation from now on.
    pub(super) fn stop_at(&self, operation: usize) {
        if let Self::Simulated { disk, .. } = self {
            disk.inject(Fault::Crash, operation);
        }
    }

    /// Whether it has stopped.
    pub(super) fn has_stopped(&self) -> bool {
        matches!(self, Self::Simulated { disk, .. } if disk.stopped())
    }

    /// Ends the store. Says whether the disk is still the one that other processes have open.
    pub(super) fn end(&mut self, store: Option<Store>, cut: Cut) -> bool {
        match self {
            Self::Memory => true,
            Self::Real { dir, lives } => {
                let path = |life: usize| dir.path().join(life.to_string());
                copy_of_killed(&path(*lives), &path(*lives + 1));
                *lives += 1;
                drop(store);
                false
            }
            Self::Simulated { disk, .. } => {
                let left = match cut {
                    Cut::Kill if !disk.stopped() => None,
                    Cut::Kill => Some(disk.after_kill()),
                    Cut::Power(way, seed) => Some(disk.after_power_cut(Damage::Variant(way), seed)),
                };
                if let Some(store) = store {
                    // Its closing reaches nothing.
                    store.0.core.open.close();
                }
                disk.heal();
                let stays = left.is_none();
                if let Some(left) = left {
                    *disk = left;
                }
                stays
            }
        }
    }
}

/// Every name in a store's directory, and what the manifests say.
fn outline(dir: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut outline = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            outline.extend(
                self::outline(&entry.path())?
                    .into_iter()
                    .map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            );
        } else if name == "MANIFEST" {
            outline.push((name, fs::read(entry.path())?));
        } else {
            outline.push((name, Vec::new()));
        }
    }
    outline.sort();
    Ok(outline)
}

/// Copies the directory of a store that is open: what a writer that is killed now would leave.
///
/// A kill stops everything at one moment, a copy takes a while: if the background has made, sealed or listed a segment
/// meanwhile, the copy is made again. Nobody may append meanwhile.
fn copy_of_killed(from: &Path, to: &Path) {
    for _ in 0..1000 {
        let attempt = || -> io::Result<bool> {
            let before = outline(from)?;
            copy_tree(from, to)?;
            Ok(before == outline(from)?)
        };
        // A file that was there a moment ago may have got its proper name.
        if attempt().unwrap_or(false) {
            return;
        }
        let _ = fs::remove_dir_all(to);
    }
    panic!("the store's directory never rests");
}
