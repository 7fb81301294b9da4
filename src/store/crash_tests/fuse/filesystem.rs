//! A file system in memory that records what it is asked to do, in one order.
//!
//! Pages of mappings come as writes: when the kernel writes them back by itself, and before a sync. Its only thread takes no
//! lock that a store holds, and never touches the mounted directory. Must not know what is in a file, but for the notes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;

use super::record::{Bytes, Entry, NOTES, Note};

/// How long the kernel may believe what it was told: nobody else changes the files.
const FOR_EVER: Duration = Duration::from_hours(24);
const ROOT: u64 = 1;
const BLOCK: u64 = 512;

#[derive(Debug)]
enum Node {
    File { bytes: Vec<u8>, mode: u16 },
    Directory { path: PathBuf, entries: BTreeMap<OsString, Named> },
    Notes,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    number: u64,
    /// Where a listing goes on behind it; never given to another.
    cookie: u64,
}

/// The files, and the record.
#[derive(Debug)]
pub(super) struct State {
    nodes: BTreeMap<u64, Node>,
    next_cookie: u64,
    pub(super) record: Vec<Entry>,
    /// What the file system was asked for and can't do.
    pub(super) complaints: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        let root = Node::Directory { path: PathBuf::new(), entries: BTreeMap::new() };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next_cookie: 1,
            record: Vec::new(),
            complaints: Vec::new(),
        }
    }
}

type Answer<T> = Result<T, Errno>;

impl State {
    /// Puts a directory there that is on the disk already.
    pub(super) fn put_directory(&mut self, path: &Path) {
        let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap());
        let parent = self.number_of(parent).unwrap();
        let node = Node::Directory { path: path.to_owned(), entries: BTreeMap::new() };
        self.add(parent, name, node).unwrap();
    }

    /// Puts a file there that is on the disk already; its number.
    pub(super) fn put_file(&mut self, path: &Path, bytes: Vec<u8>) -> u64 {
        let parent = self.number_of(path.parent().unwrap_or(Path::new(""))).unwrap();
        self.add(parent, path.file_name().unwrap(), Node::File { bytes, mode: 0o600 }).unwrap()
    }

    fn number_of(&self, directory: &Path) -> Option<u64> {
        let is_it = |node: &Node| matches!(node, Node::Directory { path, .. } if path == directory);
        self.nodes.iter().find(|(_, node)| is_it(node)).map(|(number, _)| *number)
    }

    fn directory(&self, number: u64) -> Answer<(&Path, &BTreeMap<OsString, Named>)> {
        match self.nodes.get(&number) {
            Some(Node::Directory { path, entries }) => Ok((path, entries)),
            Some(_) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn entries(&mut self, number: u64) -> Answer<&mut BTreeMap<OsString, Named>> {
        match self.nodes.get_mut(&number) {
            Some(Node::Directory { entries, .. }) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn find(&self, parent: u64, name: &OsStr) -> Answer<u64> {
        let (_, entries) = self.directory(parent)?;
        entries.get(name).map(|named| named.number).ok_or(Errno::ENOENT)
    }

    fn path_in(&self, parent: u64, name: &OsStr) -> Answer<PathBuf> {
        Ok(self.directory(parent)?.0.join(name))
    }

    fn link(&mut self, parent: u64, name: &OsStr, number: u64) -> Answer<()> {
        let named = Named { number, cookie: self.next_cookie };
        self.next_cookie += 1;
        self.entries(parent)?.insert(name.to_owned(), named);
        Ok(())
    }

    fn add(&mut self, parent: u64, name: &OsStr, node: Node) -> Answer<u64> {
        let number = self.nodes.last_key_value().map_or(ROOT, |(last, _)| last + 1);
        self.nodes.insert(number, node);
        self.link(parent, name, number)?;
        Ok(number)
    }

    fn create(&mut self, parent: u64, name: &OsStr) -> Answer<u64> {
        if parent == ROOT && name == NOTES {
            return self.add(parent, name, Node::Notes);
        }
        let path = self.path_in(parent, name)?;
        let number = self.add(parent, name, Node::File { bytes: Vec::new(), mode: 0o644 })?;
        self.record.push(Entry::Create { path, file: number });
        Ok(number)
    }

    fn make_directory(&mut self, parent: u64, name: &OsStr) -> Answer<u64> {
        let path = self.path_in(parent, name)?;
        let node = Node::Directory { path: path.clone(), entries: BTreeMap::new() };
        let number = self.add(parent, name, node)?;
        self.record.push(Entry::Directory { path });
        Ok(number)
    }

    fn remove(&mut self, parent: u64, name: &OsStr) -> Answer<()> {
        let path = self.path_in(parent, name)?;
        self.entries(parent)?.remove(name).ok_or(Errno::ENOENT)?;
        self.record.push(Entry::Remove { path });
        Ok(())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Answer<()> {
        let (old, new) = (self.path_in(from.0, from.1)?, self.path_in(to.0, to.1)?);
        let file = self.find(from.0, from.1)?;
        if !matches!(self.nodes.get(&file), Some(Node::File { .. })) {
            return Err(self.complain(&format!("rename of the directory {}", old.display())));
        }
        self.entries(from.0)?.remove(from.1);
        self.link(to.0, to.1, file)?;
        self.record.push(Entry::Rename { from: old, to: new, file });
        Ok(())
    }

    fn file(&mut self, number: u64) -> Answer<&mut Vec<u8>> {
        match self.nodes.get_mut(&number) {
            Some(Node::File { bytes, .. }) => Ok(bytes),
            _ => Err(Errno::EISDIR),
        }
    }

    fn write(&mut self, number: u64, offset: u64, data: &[u8]) -> Answer<()> {
        if matches!(self.nodes.get(&number), Some(Node::Notes)) {
            let (note, leaf) = Note::decode(data).ok_or_else(|| self.complain("a note in pieces"))?;
            self.record.push(Entry::Note(note, leaf));
            return Ok(());
        }
        let file = self.file(number)?;
        let begin = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        let end = begin + data.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[begin..end].copy_from_slice(data);
        self.record.push(Entry::Write { file: number, offset, bytes: Bytes::of(data) });
        Ok(())
    }

    fn set_length(&mut self, number: u64, bytes: u64) -> Answer<()> {
        if matches!(self.nodes.get(&number), Some(Node::Notes)) {
            return Ok(());
        }
        let length = usize::try_from(bytes).map_err(|_| Errno::EFBIG)?;
        self.file(number)?.resize(length, 0);
        self.record.push(Entry::Length { file: number, bytes });
        Ok(())
    }

    fn set_mode(&mut self, number: u64, new: u32) {
        if let Some(Node::File { mode, .. }) = self.nodes.get_mut(&number) {
            *mode = u16::try_from(new & 0o7777).unwrap_or(*mode);
        }
    }

    fn allocate(&mut self, number: u64, end: u64, mode: i32) -> Answer<()> {
        if mode != 0 {
            return Err(self.complain(&format!("fallocate with mode {mode}")));
        }
        let length = self.file(number)?.len() as u64;
        if length < end { self.set_length(number, end) } else { Ok(()) }
    }

    fn complain(&mut self, what: &str) -> Errno {
        self.complaints.push(what.to_owned());
        Errno::EIO
    }

    fn attributes(&self, number: u64) -> Answer<FileAttr> {
        let (kind, size, perm) = match self.nodes.get(&number).ok_or(Errno::ENOENT)? {
            Node::File { bytes, mode } => (FileType::RegularFile, bytes.len() as u64, *mode),
            Node::Directory { .. } => (FileType::Directory, 0, 0o755),
            Node::Notes => (FileType::RegularFile, 0, 0o600),
        };
        let then = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(BLOCK),
            atime: then,
            mtime: then,
            ctime: then,
            crtime: then,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn open_flags(&self, number: u64) -> FopenFlags {
        match self.nodes.get(&number) {
            // Each note arrives by itself, before the write returns.
            Some(Node::Notes) => FopenFlags::FOPEN_DIRECT_IO,
            // As a disk's own file system: neither opening nor closing writes anything back.
            _ => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
        }
    }
}

/// The file system of a mount; its state is shared with the test.
#[derive(Debug)]
pub(super) struct Recorder(pub(super) Arc<Mutex<State>>);

fn answer(outcome: Answer<()>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(outcome: Answer<FileAttr>, reply: ReplyEntry) {
    match outcome {
        Ok(attributes) => reply.entry(&FOR_EVER, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Recorder {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.0.lock();
        answer_entry(state.find(parent.0, name).and_then(|number| state.attributes(number)), reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.lock().attributes(ino.0) {
            Ok(attributes) => reply.attr(&FOR_EVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.0.lock();
        if let Some(mode) = mode {
            state.set_mode(ino.0, mode);
        }
        let changed = size.map_or(Ok(()), |size| state.set_length(ino.0, size));
        match changed.and_then(|()| state.attributes(ino.0)) {
            Ok(attributes) => reply.attr(&FOR_EVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let mut state = self.0.lock();
        let made = state.make_directory(parent.0, name).and_then(|number| state.attributes(number));
        answer_entry(made, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.0.lock().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(self.0.lock().rename((parent.0, name), (newparent.0, newname)), reply);
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.0.lock();
        let made = state.create(parent.0, name);
        match made.and_then(|number| Ok((number, state.attributes(number)?))) {
            Ok((number, attributes)) => {
                let flags = state.open_flags(number);
                reply.created(&FOR_EVER, &attributes, Generation(0), FileHandle(0), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), self.0.lock().open_flags(ino.0));
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().file(ino.0) {
            Ok(bytes) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = begin.saturating_add(size as usize).min(bytes.len());
                reply.data(&bytes[begin..end]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.lock().write(ino.0, offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.0.lock().record.push(Entry::Sync { file: ino.0 });
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let mut state = self.0.lock();
        let path = state.directory(ino.0).map(|(path, _)| path.to_owned());
        let synced = path.map(|path| state.record.push(Entry::SyncDirectory { path }));
        answer(synced, reply);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.0.lock();
        let Ok((_, entries)) = state.directory(ino.0) else { return reply.error(Errno::ENOTDIR) };
        let mut rest: Vec<(&OsString, &Named)> =
            entries.iter().filter(|(_, named)| named.cookie > offset).collect();
        rest.sort_unstable_by_key(|(_, named)| named.cookie);
        for (name, named) in rest {
            let kind = match state.nodes.get(&named.number) {
                Some(Node::Directory { .. }) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(named.number), named.cookie, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer(self.0.lock().allocate(ino.0, offset.saturating_add(length), mode), reply);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 24;
        reply.statfs(blocks, blocks, blocks, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
