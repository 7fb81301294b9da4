//! Exhaustive damage of a small store that was closed: every bit of every byte, every length, every pair of swapped pages,
//! files that are missing, exchanged, doubled, or older than the rest.
//!
//! What is allowed and what is not, the judge knows ([`crate::store::images`]). An ordinary run tries a sample; `.ci/long
//! damage` tries all, in an order that spreads over the files.

mod allocations;
mod controls;
mod cursors;
mod real;
mod work;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::images::{Fault, Sample, Told, name_of};
use crate::error::{Error, ErrorKind};
use crate::format::bytes::u64_at;
use crate::io::Disk;
use crate::io::memory::MemoryDisk;

/// What a store keeps on the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Store,
    Key,
    Lock,
    Live,
    Manifest,
    Segment,
    Run,
    MergedRun,
    Pack,
    Heads,
    Checkpoint,
}

/// Every kind: the sample must have them all.
const KINDS: [Kind; 11] = [
    Kind::Store,
    Kind::Key,
    Kind::Lock,
    Kind::Live,
    Kind::Manifest,
    Kind::Segment,
    Kind::Run,
    Kind::MergedRun,
    Kind::Pack,
    Kind::Heads,
    Kind::Checkpoint,
];

/// A file's kind, by its name; `None` for one that no test knows.
fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let number = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(match name.split_once('.').unwrap_or((name, "")) {
        ("STORE", "") => Kind::Store,
        ("KEY", "") => Kind::Key,
        ("LOCK", "") => Kind::Lock,
        ("LIVE", "") => Kind::Live,
        ("MANIFEST", "") => Kind::Manifest,
        ("HEADS", "") => Kind::Heads,
        (stem, "log") if number(stem) => Kind::Segment,
        (stem, "run") if number(stem) => Kind::Run,
        (stem, "pack") if number(stem) => Kind::Pack,
        (stem, "ckpt") if number(stem) => Kind::Checkpoint,
        (stem, "run") if stem.split_once('-').is_some_and(|(a, b)| number(a) && number(b)) => Kind::MergedRun,
        _ => return None,
    })
}

/// What happens to a file.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Change {
    /// This bit, counted from the file's first, is another.
    Flip(usize),
    /// The file ends here.
    Cut(usize),
    /// More bytes stand behind it.
    Longer(Vec<u8>),
    /// Two pages of 4 KiB have changed places.
    Swapped(usize, usize),
    /// It is not there.
    Gone,
    /// Another file of the store stands in its place.
    Other(PathBuf),
    /// The file of the same name of another store stands in its place.
    Foreign,
    /// The file is there a second time, under this name.
    Doubled(PathBuf),
    /// It is as it was at this moment before.
    Older(usize),
}

/// The small store, and the files of another one like it.
struct Ground {
    sample: Sample,
    foreign: BTreeMap<PathBuf, Vec<u8>>,
}

/// An image: a file, and what happens to it.
type Image = (PathBuf, Change);

impl Ground {
    fn new() -> Self {
        let (sample, foreign) = (Sample::new().unwrap(), Sample::new().unwrap().files);
        let found: Vec<Option<Kind>> = sample.files.keys().map(|path| kind_of(path)).collect();
        let names: Vec<String> = sample.files.keys().map(|path| name_of(path)).collect();
        assert!(found.iter().all(Option::is_some), "a kind of file that nothing is known of: {names:?}");
        for kind in KINDS {
            assert!(found.contains(&Some(kind)), "no file of kind {kind:?}: {names:?}");
        }
        let packs = sample.files.iter().filter(|(path, _)| kind_of(path) == Some(Kind::Pack));
        for (path, pack) in packs {
            assert!(u64_at(pack, 128).is_some_and(|bytes| bytes > 0), "{} has no dictionary", path.display());
        }
        let bytes: usize = sample.files.values().map(Vec::len).sum();
        assert!(bytes >= 64 << 10, "{bytes} bytes");
        Self { sample, foreign }
    }

    /// How many bits the files have.
    fn bits(&self) -> usize {
        self.sample.files.values().map(|bytes| bytes.len() * 8).sum()
    }

    /// The files, each with its bytes.
    fn files(&self) -> impl Iterator<Item = (&PathBuf, &Vec<u8>)> {
        self.sample.files.iter()
    }

    /// The disk on which this has happened; `None` if nothing is other than it was.
    fn disk(&self, (path, change): &Image) -> Option<MemoryDisk> {
        let before = &self.sample.files[path];
        let disk = self.sample.disk.image();
        let mut bytes = before.clone();
        match change {
            Change::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Change::Cut(length) => bytes.truncate(*length),
            Change::Longer(more) => bytes.extend_from_slice(more),
            Change::Swapped(first, second) => {
                let (front, back) = bytes.split_at_mut(second * PAGE);
                let last = back.len().min(PAGE);
                front[first * PAGE..first * PAGE + last].swap_with_slice(&mut back[..last]);
            }
            Change::Gone => {
                disk.remove(path).unwrap();
                return Some(disk);
            }
            Change::Other(other) => bytes.clone_from(&self.sample.files[other]),
            Change::Foreign => bytes.clone_from(self.foreign.get(path)?),
            Change::Doubled(name) => {
                disk.put(name, before).unwrap();
                return Some(disk);
            }
            Change::Older(moment) => bytes.clone_from(self.sample.older[*moment].get(path)?),
        }
        (bytes != *before).then(|| {
            disk.put(path, &bytes).unwrap();
            disk
        })
    }

    /// Everything but flipped bits: `lengths` says which lengths of a file are tried.
    fn changes(&self, mut lengths: impl FnMut(&[u8]) -> Vec<usize>) -> Vec<Image> {
        let mut images = Vec::new();
        for (path, bytes) in self.files() {
            let kind = kind_of(path);
            let mut add = |change| images.push((path.clone(), change));
            add(Change::Gone);
            add(Change::Foreign);
            (0..self.sample.older.len()).for_each(|moment| add(Change::Older(moment)));
            for garbage in [vec![0], vec![0xff; 7], vec![0; PAGE], vec![0xa5; 3 * PAGE], bytes.clone()] {
                add(Change::Longer(garbage));
            }
            for (other, _) in self.files().filter(|(other, _)| *other != path) {
                add(Change::Other(other.clone()));
            }
            let folder = path.parent().unwrap();
            let ending = path.extension().map(|ending| ending.to_str().unwrap());
            for number in 0..9 {
                let name = ending.map(|ending| folder.join(format!("{number:016}.{ending}")));
                let name = name.filter(|name| !self.sample.files.contains_key(name));
                if let Some(name) = name {
                    add(Change::Doubled(name));
                }
            }
            if kind == Some(Kind::MergedRun) || kind == Some(Kind::Run) {
                add(Change::Doubled(folder.join("0000000000000001-0000000000000004.run")));
            }
            add(Change::Doubled(PathBuf::from(format!("{}.tmp", path.display()))));
            let pages = bytes.len().div_ceil(PAGE);
            for first in 0..pages {
                (first + 1..pages).for_each(|second| add(Change::Swapped(first, second)));
            }
            for length in lengths(bytes) {
                add(Change::Cut(length));
            }
        }
        images
    }

    /// Tries an image, for writing or for reading alone.
    fn try_image(&self, image: &Image, read_only: bool, again: bool) -> Result<Option<Told>, Fault> {
        let Some(disk) = self.disk(image) else { return Ok(None) };
        let mode = if read_only { "for reading" } else { "for writing" };
        let fault = |what: String| format!("{}, {:?}, opened {mode}: {what}", name_of(&image.0), image.1);
        allocations::begin();
        let judged = catch_unwind(AssertUnwindSafe(|| self.sample.judge(&disk, read_only, again)));
        let largest = allocations::largest();
        let told = match judged {
            Ok(judged) => judged.map_err(&fault)?,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                return Err(fault(format!("a panic: {}", text.unwrap_or_default())));
            }
        };
        if largest > ALLOCATION_MAX {
            return Err(fault(format!("{largest} bytes were allocated at once")));
        }
        // The log itself, as it was, closed like any other: nothing else on the disk knows that it was longer.
        let excused = matches!(image.1, Change::Older(_)) && kind_of(&image.0) == Some(Kind::Segment);
        if told.older && !excused {
            return Err(fault("events at the end are missing without a word".to_owned()));
        }
        // A reader doesn't show what nothing vouches for any more, and says so; a writer makes it durable and shows it.
        if told.shortened && !read_only {
            return Err(fault("a store that was closed has lost events".to_owned()));
        }
        if let (Change::Flip(bit), Some(error)) =
            (&image.1, told.errors.iter().find(|error| !is_at(error, image)))
        {
            return Err(fault(format!("damage in byte {} is told elsewhere: {error}", bit / 8)));
        }
        if told.refused && again {
            self.put_back(image, &disk).map_err(fault)?;
        }
        Ok(Some(told))
    }

    /// What was refused was left as it was: with the file as it had been, the store is whole.
    fn put_back(&self, (path, change): &Image, disk: &MemoryDisk) -> Result<(), Fault> {
        if let Change::Doubled(name) = change {
            disk.remove(name).unwrap();
        }
        disk.put(path, &self.sample.files[path]).unwrap();
        let told = self.sample.judge(disk, true, false)?;
        if told.is_silent() && !told.older {
            return Ok(());
        }
        Err(format!("with the file put back, the store is not whole: {told:?}"))
    }
}

/// Whether an error names the file that was damaged. A store that was written by something newer names no more.
fn is_at(error: &Error, (path, _): &Image) -> bool {
    error.path() == Some(path) || error.kind() == ErrorKind::NotAStore
}

const PAGE: usize = 4096;

/// No answer of so small a store takes more at once: larger than its largest file, and than a pack's block may be.
const ALLOCATION_MAX: usize = 2 << 20;
