//! Targets for whole files and whole stores: the bytes say what happens to a small store's files.
#![expect(clippy::missing_panics_doc, reason = "a panic is what a target tells with")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::ErrorKind;
use crate::event::UserId;
use crate::format::bytes::{u32_at, u64_at};
use crate::format::pack::block_crc;
use crate::format::run::PAGE_BYTES;
use crate::index::heads::HeadTable;
use crate::index::run::Run;
use crate::io::memory::MemoryDisk;
use crate::io::{Access, Disk};
use crate::segment::map_file;
use crate::segment::pack::Pack;
use crate::store::images::{Sample, open_on};

use super::Input;

thread_local! {
    static SAMPLE: Option<Sample> = Sample::new().ok();
}

fn with_sample(ask: impl FnOnce(&Sample)) {
    SAMPLE.with(|sample| {
        assert!(sample.is_some(), "the small store can't be made");
        if let Some(sample) = sample {
            ask(sample);
        }
    });
}

/// Changes a file as the bytes say: up to eight times.
fn change(file: &[u8], others: &BTreeMap<PathBuf, Vec<u8>>, input: &mut Input<'_>) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let kind = input.byte();
        let (at, number) = (usize::from(input.short()), input.word());
        let at = if file.is_empty() { 0 } else { at % file.len() };
        let end = |length: usize| (at + length).min(file.len());
        match kind % 10 {
            0 | 1 => {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= 1 << (number % 8);
                }
            }
            2 => {
                let end = end(8);
                file[at..end].iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
            }
            3 => {
                let end = end(4);
                file[at..end].iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
            }
            4 => {
                let end = end(usize::from(kind) * 32);
                file[at..end].fill(number.to_le_bytes()[0]);
            }
            5 => file.truncate(at),
            6 => file.extend_from_slice(&number.to_le_bytes().repeat(usize::from(kind))),
            7 => {
                let page = |at: usize| at / PAGE_BYTES * PAGE_BYTES;
                let other = usize::try_from(number).unwrap_or_default() % file.len().max(1);
                let (first, second) = (page(at.min(other)), page(at.max(other)));
                if first < second && second + PAGE_BYTES <= file.len() {
                    let (front, back) = file.split_at_mut(second);
                    front[first..first + PAGE_BYTES].swap_with_slice(&mut back[..PAGE_BYTES]);
                }
            }
            8 => {
                let other = usize::try_from(number).unwrap_or_default();
                if let Some(other) = others.values().nth(other % others.len().max(1)) {
                    file.clone_from(other);
                }
            }
            _ => {
                let from = usize::try_from(number).unwrap_or_default() % file.len().max(1);
                let length = usize::from(kind).min(file.len() - from.max(at));
                file.copy_within(from..from + length, at);
            }
        }
    }
    file
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

fn sum(bytes: &[u8], begin: usize, end: usize) -> u32 {
    crc32c::crc32c(bytes.get(begin..end.min(bytes.len())).unwrap_or_default())
}

/// Where a file says that its table of checksums begins, if that lies in it.
fn checksums_at(bytes: &[u8], place: usize) -> Option<usize> {
    let at = usize::try_from(u64_at(bytes, place)?).ok()?;
    (at <= bytes.len()).then_some(at)
}

/// Makes the checksums of pages from `begin` on match.
fn sum_pages(bytes: &mut [u8], begin: usize, table: usize, total_at: usize) {
    let mut at = table;
    for page in (begin..table).step_by(PAGE_BYTES) {
        let crc = sum(bytes, page, page + PAGE_BYTES);
        put(bytes, at, crc);
        at += 4;
    }
    let crc = sum(bytes, table, bytes.len());
    put(bytes, total_at, crc);
}

/// Makes a file's checksums match what is in it: what a writer with bad intent, or a bug, would leave.
fn seal(name: &str, bytes: &mut [u8]) {
    if bytes.len() < 64 {
        return;
    }
    match name.rsplit(['.', '/']).next().unwrap_or_default() {
        "STORE" | "MANIFEST" => {
            let length = (bytes.len() - 32) as u64;
            bytes[16..24].copy_from_slice(&length.to_le_bytes());
            put(bytes, 12, sum(bytes, 32, usize::MAX));
        }
        "KEY" | "ckpt" => put(bytes, 12, sum(bytes, 16, usize::MAX)),
        "log" => put(bytes, 12, sum(bytes, 16, 96)),
        "run" => {
            if let Some(table) = checksums_at(bytes, 136) {
                sum_pages(bytes, PAGE_BYTES, table, 144);
            }
            put(bytes, 12, sum(bytes, 16, 160));
        }
        "pack" => {
            seal_blocks(bytes);
            if let (Some(index), Some(table)) = (checksums_at(bytes, 104), checksums_at(bytes, 152)) {
                sum_pages(bytes, index, table, 160);
            }
            put(bytes, 12, sum(bytes, 16, 192));
        }
        _ => {}
    }
}

/// Makes the checksums of a pack's blocks match.
fn seal_blocks(bytes: &mut [u8]) {
    let (Some(salt), Some(directory), Some(blocks)) =
        (u64_at(bytes, 56), checksums_at(bytes, 104), u64_at(bytes, 88))
    else {
        return;
    };
    for number in 0..u32::try_from(blocks.min(64)).unwrap_or_default() {
        let entry = directory + number as usize * 32;
        let (Some(at), Some(length)) = (checksums_at(bytes, entry + 16), u32_at(bytes, entry + 24)) else {
            return;
        };
        let compressed = bytes.get(at..at.saturating_add(length as usize)).unwrap_or_default();
        put(bytes, entry + 12, block_crc(salt, number, compressed));
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}

/// A disk with one changed file, and that file's path. `None` if the bytes say that nothing is changed.
fn changed(
    sample: &Sample,
    input: &mut Input<'_>,
    chosen: impl Fn(&Path) -> bool,
) -> Option<(MemoryDisk, PathBuf)> {
    let files: Vec<(&PathBuf, &Vec<u8>)> = sample.files.iter().filter(|(path, _)| chosen(path)).collect();
    let (path, file) = files.get(usize::from(input.byte()) % files.len().max(1))?;
    let mut bytes = change(file, &sample.files, input);
    seal(&path.to_string_lossy(), &mut bytes);
    let disk = sample.disk.image();
    disk.put(path, &bytes).ok()?;
    Some((disk, (*path).clone()))
}

/// Files are changed or removed: a store on them tells the truth, or names a place.
pub fn recovery(data: &[u8]) {
    with_sample(|sample| {
        let mut input = Input(data);
        let flags = input.byte();
        let which = usize::from(input.byte()) % sample.files.len();
        let Some((path, file)) = sample.files.iter().nth(which) else { return };
        let disk = sample.disk.image();
        if flags & 2 == 2 && input.is_empty() {
            assert!(disk.remove(path).is_ok());
        } else {
            // Of another store, or of an older state of this one: that is what the tests of damage try in order.
            let none = BTreeMap::new();
            let bytes = change(file, &none, &mut input);
            assert!(disk.put(path, &bytes).is_ok());
        }
        let judged = sample.judge(&disk, flags & 1 == 1, flags & 4 == 4);
        let name = path.display();
        // Where all that vouches for the last records goes with them, nothing is left to tell by.
        let excused = path.extension().is_some_and(|ending| ending == "log");
        assert!(judged.as_ref().is_ok_and(|told| !told.older || excused), "{name}: {judged:?}");
    });
}

/// A file is changed, and its checksums match: no answer is promised, but no panic, and an end.
pub fn resealed(data: &[u8]) {
    with_sample(|sample| {
        let mut input = Input(data);
        let read_only = input.byte() & 1 == 1;
        let Some((disk, _)) = changed(sample, &mut input, |_| true) else { return };
        let _ = sample.judge(&disk, read_only, false);
    });
}

/// An index run whose checksums match: whatever it says, it is read without a panic and to an end.
pub fn run_file(data: &[u8]) {
    with_sample(|sample| {
        let mut input = Input(data);
        let Some((disk, path)) = changed(sample, &mut input, |path| has_ending(path, "run")) else { return };
        let Ok(run) = disk
            .open(&path, Access::Read)
            .and_then(|file| map_file(&file, file.len(), Access::Read))
            .and_then(|map| Run::open(&path, map))
        else {
            return;
        };
        let _ = (run.verify(), run.totals(), run.memory_bytes());
        for index in 0..run.header().users.min(20) {
            let Ok(user) = run.user_at(index) else { continue };
            let _ = (run.user(user.fingerprint()).is_ok(), user.head());
            let Ok(blocks) = user.blocks() else { continue };
            for number in 0..blocks.len().min(20) {
                let _ = blocks.decode(number);
            }
        }
        heads_of(&run);
    });
}

/// Takes whatever a run says into a head table.
fn heads_of(run: &Run) {
    let header = crate::format::heads::TableHeader { store_id: [0; 16], shard: 0, lines: 64, salt: 7 };
    let stop = AtomicBool::new(false);
    let made = MemoryDisk::default()
        .allocate(Path::new("HEADS"), header.file_bytes())
        .and_then(|file| HeadTable::create(file, header, &stop));
    if let Ok(Ok(table)) = made {
        let _ = table.fold(run, &stop);
    }
}

/// A pack whose checksums match.
pub fn pack_file(data: &[u8]) {
    with_sample(|sample| {
        let mut input = Input(data);
        let Some((disk, path)) = changed(sample, &mut input, |path| has_ending(path, "pack")) else { return };
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let Ok(pack) = Pack::open(&*disk, &path) else { return };
        let mut leaves = 0_u64;
        let verified = pack.verify(|_| {
            leaves += 1;
            Ok(())
        });
        assert!(verified.is_err() || leaves == pack.records(), "{leaves} of {}", pack.records());
        for sequence in (pack.base()..pack.end()).step_by(17).take(20) {
            if let Ok((block, index)) = pack.find(sequence) {
                assert_eq!(block.sequence(index), Some(sequence));
            }
        }
        for ordinal in 0..4 {
            let _ = pack.block_of(u64::MAX / 4 * u64::from(ordinal), ordinal);
        }
        let _ = (pack.parts().len(), pack.memory_bytes());
    });
}

/// Any text as a cursor, and any cursor at any place of a log.
pub fn question(data: &[u8]) {
    thread_local! {
        static STORE: Option<crate::Store> =
            SAMPLE.with(|sample| sample.as_ref().and_then(|sample| open_on(&sample.disk.image(), true).ok()));
    }
    let mut input = Input(data);
    let (which, flags) = (usize::from(input.byte()), input.byte());
    with_sample(|sample| {
        STORE.with(|store| {
            let Some(store) = store else { unreachable!("the small store can be opened") };
            let Some((_, order, cursor, _)) = sample.cursors.get(which % sample.cursors.len().max(1)) else {
                return;
            };
            let name = ["anna", "gina", "cleo", "doris"][usize::from(flags & 3)];
            let Ok(user) = UserId::new(name) else { return };
            let limit = usize::from(input.short()) % 600;
            let mut query = store.user_log(&user).order(*order).limit(limit);
            if flags & 4 == 4 {
                query = query.since(crate::Timestamp::from_micros(input.word().cast_signed()));
            }
            if flags & 8 == 8 {
                query = query.until(crate::Timestamp::from_micros(input.word().cast_signed()));
            }
            if flags & 16 == 16 {
                query = query.cursor(cursor.clone());
            } else if flags & 32 == 32
                && let Ok(text) = std::str::from_utf8(input.rest())
            {
                query = query.cursor(text);
            }
            match query.page() {
                Ok(page) => {
                    assert!(page.len() <= limit && page.iter().all(|event| event.is_ok()));
                }
                Err(error) => {
                    let kinds = [ErrorKind::InvalidCursor, ErrorKind::InvalidOption];
                    assert!(kinds.contains(&error.kind()), "{error}");
                }
            }
        });
    });
}
