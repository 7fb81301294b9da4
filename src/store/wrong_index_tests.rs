//! An index that is wrong, its checksums right: what it leads to is an error, never somebody else's event.
//!
//! Owns a store whose run names another record for a user than the user's own. Such a run can't come of a power cut or of a
//! flipped bit, which checksums tell; it could come of a bug.

use std::path::{Path, PathBuf};

use super::open::{Host, WorkersKind, create_new, open};
use super::{Options, PackAfter, Store};
use crate::error::ErrorKind;
use crate::event::{Action, Details, NewEvent, UserId};
use crate::format::run::{DirectoryEntry, ENTRY_BYTES, PAGE_BYTES, RUN_HEADER_BYTES, RunHeader};
use crate::io::memory::MemoryDisk;
use crate::io::{Disk, Mode};
use crate::query::Order;

fn host(disk: &MemoryDisk) -> Host {
    Host { workers: WorkersKind::Caller, ..Host::machine(disk.clone()) }
}

fn append(store: &Store, user: Option<&'static str>, text: &str) {
    let text = serde_json::json!({ "text": text });
    let mut event = NewEvent::builder(Action::AUTH_LOGIN).details(Details::from_value(&text).unwrap());
    if let Some(user) = user {
        event = event.user(UserId::new(user).unwrap());
    }
    store.append(&event.build().unwrap()).unwrap();
}

/// A store whose first records are alice's and bob's only events, closed; the run of its sealed segment.
fn closed(disk: &MemoryDisk, packed: bool) -> PathBuf {
    let options = Options::new().shards(1).segment_bytes_max(1 << 20).pack_after(PackAfter::Never);
    let store = create_new(&options, &host(disk), "memory".into()).unwrap();
    append(&store, Some("alice"), "hers");
    append(&store, Some("bob"), "his");
    // What is nobody's comes last in a pack: so the two stand in one block of it, whatever the store's key.
    for _ in 0..40 {
        append(&store, None, &"x".repeat(30_000));
    }
    if packed {
        assert!(store.pack().unwrap().events > 2);
    }
    store.close().unwrap();
    let dir = Path::new("memory");
    let mut paths = disk.paths();
    paths.retain(|path| path.starts_with(dir) && path.extension().is_some_and(|end| end == "run"));
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}

/// Changes what the run says of alice: her directory entry, and the bytes of her one posting.
fn forge(disk: &MemoryDisk, path: &Path, change: impl FnOnce(&mut DirectoryEntry, &mut [u8])) {
    let mut bytes = disk.read(path, u64::MAX).unwrap();
    let header = RunHeader::decode(&bytes[..RUN_HEADER_BYTES]).unwrap();
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let place = |index: u64| at(header.directory_offset) + at(index) * ENTRY_BYTES;
    let entry = |bytes: &[u8], index| DirectoryEntry::decode(&bytes[place(index)..][..ENTRY_BYTES]).unwrap();
    let alice = (0..header.users).find(|index| entry(&bytes, *index).last_ordinal == 0).unwrap();
    let mut found = entry(&bytes, alice);
    let end = if alice + 1 < header.users {
        entry(&bytes, alice + 1).postings_offset
    } else {
        header.postings.bytes
    };
    let postings = at(header.postings.offset + found.postings_offset)..at(header.postings.offset + end);
    change(&mut found, &mut bytes[postings]);
    bytes[place(alice)..][..ENTRY_BYTES].copy_from_slice(&found.encode());
    let end = at(header.checksums_offset);
    let pages = bytes[PAGE_BYTES..end].chunks(PAGE_BYTES);
    let table: Vec<u8> = pages.flat_map(|page| crc32c::crc32c(page).to_le_bytes()).collect();
    bytes[end..].copy_from_slice(&table);
    let header = RunHeader { checksums_crc: crc32c::crc32c(&table), ..header };
    bytes[..RUN_HEADER_BYTES].copy_from_slice(&header.encode());
    disk.write_synced(path, &bytes, Mode::Shared).unwrap();
}

/// What alice's page says, of a store whose run was changed so; and that bob's is as it was.
fn told(packed: bool, change: impl FnOnce(&mut DirectoryEntry, &mut [u8])) -> Result<String, String> {
    let disk = MemoryDisk::default();
    let run = closed(&disk, packed);
    forge(&disk, &run, change);
    let store = open(&Options::new(), &host(&disk), "memory".into()).unwrap();
    let [alice, bob] = ["alice", "bob"].map(|user| UserId::new(user).unwrap());
    let his = store.user_log(&bob).page().unwrap().to_events().unwrap();
    assert_eq!(his.len(), 1);
    // From packs, the newest are found without the index: hers, or an error, but not his.
    let newest = store.user_log(&alice).page().unwrap();
    let shown = newest.iter().next().unwrap().map(|event| event.details().unwrap().unwrap().to_owned());
    assert!(shown.map_or(true, |text| text.contains("hers")));
    let page = store.user_log(&alice).order(Order::Oldest).page().unwrap();
    assert_eq!(page.len(), 1);
    let shown = page.iter().next().unwrap().map(|event| event.details().unwrap().unwrap().to_owned());
    let copied = page.to_events();
    assert_eq!(copied.is_ok(), shown.is_ok());
    shown.map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Corruption);
        let file = error.path().and_then(Path::extension).unwrap();
        assert_eq!(file, if packed { "pack" } else { "log" });
        assert!(error.offset().is_some_and(|offset| offset >= 4096), "{error}");
        error.to_string()
    })
}

#[test]
fn an_index_that_is_right_leads_to_the_users_own_event() {
    for packed in [false, true] {
        assert_eq!(told(packed, |_, _| ()), Ok(r#"{"text":"hers"}"#.to_owned()));
    }
}

#[test]
fn somebody_elses_event_is_never_shown() {
    for packed in [false, true] {
        let error = told(packed, |entry, posting| {
            assert_eq!((entry.count, posting.last()), (1, Some(&0)));
            *posting.last_mut().unwrap() = 1;
        });
        let error = error.unwrap_err();
        assert!(error.contains("record 1 is damaged (it belongs to another user)"), "{error}");
    }
}

#[test]
fn an_event_of_another_place_in_the_users_log_is_never_shown() {
    for packed in [false, true] {
        let error = told(packed, |entry, _| entry.count_before += 7).unwrap_err();
        assert!(error.contains("record 0 is damaged (it is not the event that the index names)"), "{error}");
    }
}
