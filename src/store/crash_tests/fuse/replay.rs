//! Replays a record up to a place, and makes the disks that a power cut there may leave.
//!
//! - Bytes are durable after a sync of their file. Before, each sector has what it had at any time since.
//! - A file's length is durable after its sync, too. What was never synced may have any length.
//! - Names are durable after a sync of their directory. Before, each change may have happened or not.
//!
//! Must not know what is in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Bytes, Entry, Note};
use crate::io::faulty::Dice;
use crate::io::memory::MemoryDisk;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

type Page = [u8; PAGE];

/// What a file has, zeros left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: Vec<Option<Arc<Page>>>,
    bytes: usize,
}

impl Content {
    fn set_length(&mut self, bytes: usize) {
        self.pages.resize(bytes.div_ceil(PAGE), None);
        if bytes < self.bytes
            && let Some(Some(last)) = self.pages.last_mut()
        {
            Arc::make_mut(last)[(bytes - 1) % PAGE + 1..].fill(0);
        }
        self.bytes = bytes;
    }

    /// Writes the sectors that are chosen, by their numbers in the file; the file is long enough, or it isn't written there.
    fn write(&mut self, offset: usize, bytes: &Bytes, chosen: impl Fn(usize) -> bool) {
        let end = (offset + bytes.len()).min(self.bytes);
        let mut at = offset;
        while at < end {
            let stop = ((at / SECTOR + 1) * SECTOR).min(end);
            if chosen(at / SECTOR) {
                let place = &mut self.pages[at / PAGE];
                let within = at % PAGE..at % PAGE + (stop - at);
                match bytes {
                    Bytes::Zeros(_) => {
                        if let Some(page) = place {
                            Arc::make_mut(page)[within].fill(0);
                        }
                    }
                    Bytes::Data(data) => {
                        let page = place.get_or_insert_with(|| Arc::new([0; PAGE]));
                        Arc::make_mut(page)[within].copy_from_slice(&data[at - offset..stop - offset]);
                    }
                }
            }
            at = stop;
        }
    }

    fn pieces(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.pages.iter().enumerate().filter_map(|(number, page)| {
            let begin = number * PAGE;
            Some((begin, &page.as_ref()?[..PAGE.min(self.bytes - begin)]))
        })
    }

    /// All of it.
    pub(super) fn all(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes];
        for (offset, piece) in self.pieces() {
            bytes[offset..offset + piece.len()].copy_from_slice(piece);
        }
        bytes
    }
}

/// What is not synced of a file.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Bytes },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Arc<Content>,
    /// With their places in the record.
    pending: Vec<(usize, Change)>,
    synced: bool,
}

impl Inode {
    fn sync(&mut self) {
        self.synced = true;
        if self.pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for (_, change) in self.pending.drain(..) {
            match change {
                Change::Length(bytes) => durable.set_length(bytes),
                Change::Write { offset, bytes } => {
                    durable.set_length(durable.bytes.max(offset + bytes.len()));
                    durable.write(offset, &bytes, |_| true);
                }
            }
        }
    }

    /// The length after the changes before this place in the record.
    fn length_at(&self, time: usize) -> usize {
        self.pending.iter().take_while(|(place, _)| *place < time).fold(
            self.durable.bytes,
            |length, (_, change)| match change {
                Change::Length(bytes) => *bytes,
                Change::Write { offset, bytes } => length.max(offset + bytes.len()),
            },
        )
    }

    /// The pages that are not synced.
    fn dirty_pages(&self) -> BTreeSet<usize> {
        let writes = self.pending.iter().filter_map(|(_, change)| match change {
            Change::Write { offset, bytes } => Some(offset / PAGE..(offset + bytes.len()).div_ceil(PAGE)),
            Change::Length(_) => None,
        });
        writes.flatten().collect()
    }

    /// The file with each sector as it was before a place in the record, and this length.
    fn as_of(&self, length: usize, time_of: &mut dyn FnMut(usize) -> usize) -> Arc<Content> {
        let ends = self.pending.iter().map(|(_, change)| match change {
            Change::Write { offset, bytes } => offset + bytes.len(),
            Change::Length(bytes) => *bytes,
        });
        let longest = ends.max().unwrap_or_default().max(self.durable.bytes);
        let mut content = Content::clone(&self.durable);
        content.set_length(longest);
        let mut times = vec![None; longest.div_ceil(SECTOR)];
        let mut reached = self.durable.bytes;
        for (place, change) in &self.pending {
            let (offset, bytes) = match change {
                Change::Write { offset, bytes } => (*offset, bytes.clone()),
                // What a cut takes is gone.
                Change::Length(bytes) => (*bytes, Bytes::Zeros(reached.saturating_sub(*bytes))),
            };
            let sectors = offset / SECTOR..(offset + bytes.len()).div_ceil(SECTOR);
            for (sector, time) in sectors.clone().zip(&mut times[sectors]) {
                time.get_or_insert_with(|| time_of(sector));
            }
            content.write(offset, &bytes, |sector| times[sector] > Some(*place));
            reached = reached.max(offset + bytes.len());
        }
        content.set_length(length);
        Arc::new(content)
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Directory(PathBuf),
    Set(PathBuf, u64),
    Gone(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    fn directory(&self) -> &Path {
        let (Self::Directory(path) | Self::Set(path, _) | Self::Gone(path) | Self::Rename(_, path, _)) = self;
        path.parent().unwrap_or(Path::new(""))
    }
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    directories: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Directory(path) => drop(self.directories.insert(path.clone())),
            NameChange::Set(path, file) => drop(self.files.insert(path.clone(), *file)),
            NameChange::Gone(path) => drop(self.files.remove(path)),
            NameChange::Rename(from, to, file) => {
                // Another file may have the old name by now.
                if self.files.get(from) == Some(file) {
                    self.files.remove(from);
                }
                self.files.insert(to.clone(), *file);
            }
        }
    }

    /// Whether every directory above is there.
    fn reachable(&self, path: &Path) -> bool {
        let above = path.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty());
        above.into_iter().all(|directory| self.directories.contains(directory))
    }
}

/// A disk after a power cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) files: BTreeMap<PathBuf, Arc<Content>>,
    pub(super) directories: BTreeSet<PathBuf>,
}

impl Image {
    /// The same as a disk in memory.
    pub(super) fn in_memory(&self) -> MemoryDisk {
        let disk = MemoryDisk::default();
        for (path, content) in &self.files {
            disk.put_pieces(path, content.bytes as u64, content.pieces());
        }
        disk
    }

    /// The same as a directory.
    pub(super) fn write_to(&self, root: &Path) -> std::io::Result<()> {
        for path in &self.directories {
            std::fs::create_dir(root.join(path))?;
        }
        for (path, content) in &self.files {
            std::fs::write(root.join(path), content.all())?;
        }
        Ok(())
    }
}

/// How a power cut treats what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Damage {
    Nothing,
    Everything,
    /// Each sector for itself.
    Sectors,
    /// Each page for itself, some of them torn.
    Pages,
    /// Everything up to some moment before, and one page more or less.
    Late,
    /// All but one page.
    AllButOne,
    /// One page alone.
    OneAlone,
    /// Each file has another of these.
    Files,
}

const DAMAGES: [Damage; 8] = [
    Damage::Nothing,
    Damage::Everything,
    Damage::Sectors,
    Damage::Pages,
    Damage::Late,
    Damage::AllButOne,
    Damage::OneAlone,
    Damage::Files,
];

impl Damage {
    pub(super) fn any(dice: &mut Dice) -> Self {
        DAMAGES[dice.below(DAMAGES.len())]
    }
}

/// What is durable and what is not, at a place of the record.
#[derive(Clone, Debug, Default)]
pub(super) struct Replay {
    files: BTreeMap<u64, Inode>,
    durable_names: Names,
    pending_names: Vec<(usize, NameChange)>,
    /// How many entries were replayed.
    pub(super) place: usize,
    /// One past the last sequence of each shard that was said to be durable.
    pub(super) promised: Vec<u64>,
}

impl Replay {
    /// Begins on the disk that an image is.
    pub(super) fn on(image: &Image, numbers: &BTreeMap<PathBuf, u64>, promised: &[u64]) -> Self {
        let mut replay = Self { promised: promised.to_vec(), ..Self::default() };
        replay.durable_names.directories.clone_from(&image.directories);
        for (path, content) in &image.files {
            let number = numbers[path];
            let inode = Inode { durable: Arc::clone(content), pending: Vec::new(), synced: true };
            replay.files.insert(number, inode);
            replay.durable_names.files.insert(path.clone(), number);
        }
        replay
    }

    fn change_name(&mut self, change: NameChange) {
        self.pending_names.push((self.place, change));
    }

    fn change(&mut self, file: u64, change: Change) {
        self.files.entry(file).or_default().pending.push((self.place, change));
    }

    /// Goes on by one entry.
    pub(super) fn advance(&mut self, entry: &Entry) {
        match entry {
            Entry::Write { file, offset, bytes } => {
                let offset = usize::try_from(*offset).unwrap();
                self.change(*file, Change::Write { offset, bytes: bytes.clone() });
            }
            Entry::Length { file, bytes } => {
                self.change(*file, Change::Length(usize::try_from(*bytes).unwrap()));
            }
            Entry::Create { path, file } => {
                self.files.entry(*file).or_default();
                self.change_name(NameChange::Set(path.clone(), *file));
            }
            Entry::Directory { path } => self.change_name(NameChange::Directory(path.clone())),
            Entry::Rename { from, to, file } => {
                self.change_name(NameChange::Rename(from.clone(), to.clone(), *file));
            }
            Entry::Remove { path } => self.change_name(NameChange::Gone(path.clone())),
            Entry::Sync { file } => {
                if let Some(inode) = self.files.get_mut(file) {
                    inode.sync();
                }
            }
            Entry::SyncDirectory { path } => {
                let (now, later) = std::mem::take(&mut self.pending_names)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(_, change)| change.directory() == path);
                for (_, change) in now {
                    self.durable_names.apply(&change);
                }
                self.pending_names = later;
            }
            Entry::Note(note, _) => self.note(note),
        }
        self.place += 1;
    }

    fn note(&mut self, note: &Note) {
        let mut promise = |shard: usize, end: u64| {
            if self.promised.len() <= shard {
                self.promised.resize(shard + 1, 0);
            }
            self.promised[shard] = self.promised[shard].max(end);
        };
        match note {
            Note::Durable { shard, end } => promise(usize::from(*shard), *end),
            // What opening found was made durable before it returned.
            Note::Opened { ends } => ends.iter().enumerate().for_each(|(shard, end)| promise(shard, *end)),
            Note::Took { .. } => {}
        }
    }

    /// A disk that a power cut here may leave.
    pub(super) fn cut(&self, damage: Damage, dice: &mut Dice) -> Image {
        // Up to here nothing of it is late.
        let moment = self.moment(dice);
        let names = self.names(damage, moment, dice);
        let files: Vec<(&PathBuf, &Inode)> = names
            .files
            .iter()
            .filter(|(path, _)| names.reachable(path))
            .filter_map(|(path, number)| Some((path, self.files.get(number)?)))
            .collect();
        let special = Self::special(&files, damage, dice);
        let left = files.iter().map(|(path, inode)| {
            let special = special.as_ref().filter(|(of, _)| of == *path).map(|(_, page)| *page);
            ((*path).clone(), self.file(inode, damage, (moment, special), dice))
        });
        let files = left.collect();
        let directories = names.directories.iter().filter(|path| names.reachable(path)).cloned().collect();
        Image { files, directories }
    }

    /// One of the moments since which something is not synced.
    fn moment(&self, dice: &mut Dice) -> usize {
        let changes = self.files.values().filter_map(|inode| inode.pending.first().map(|(place, _)| *place));
        let first = changes.chain(self.pending_names.first().map(|(place, _)| *place)).min();
        first.map_or(self.place, |first| first + dice.below(self.place - first + 1))
    }

    fn names(&self, damage: Damage, moment: usize, dice: &mut Dice) -> Names {
        let mut names = self.durable_names.clone();
        let way = match damage {
            Damage::Nothing => 0,
            Damage::Everything => 1,
            Damage::Late => 2,
            _ => dice.below(5),
        };
        for (place, change) in &self.pending_names {
            let happened = match way {
                0 => false,
                1 => true,
                2 => *place < moment,
                _ => dice.below(2) == 0,
            };
            if happened {
                names.apply(change);
            }
        }
        names
    }

    /// The one page that is treated in another way.
    fn special(files: &[(&PathBuf, &Inode)], damage: Damage, dice: &mut Dice) -> Option<(PathBuf, usize)> {
        if !matches!(damage, Damage::AllButOne | Damage::OneAlone | Damage::Late) {
            return None;
        }
        let dirty: Vec<_> = files.iter().filter(|(_, inode)| !inode.pending.is_empty()).collect();
        let (path, inode) = dirty.get(dice.below(dirty.len()))?;
        let pages: Vec<usize> = inode.dirty_pages().into_iter().collect();
        Some(((*path).clone(), *pages.get(dice.below(pages.len()))?))
    }

    fn file(
        &self,
        inode: &Inode,
        damage: Damage,
        (moment, special): (usize, Option<usize>),
        dice: &mut Dice,
    ) -> Arc<Content> {
        let Some((first, _)) = inode.pending.first() else { return Arc::clone(&inode.durable) };
        let (first, now) = (*first, self.place);
        let damage = if damage == Damage::Files { DAMAGES[dice.below(4)] } else { damage };
        let any = |dice: &mut Dice| match dice.below(4) {
            0 => first,
            1 => now,
            _ => first + dice.below(now - first + 1),
        };
        let length = match damage {
            Damage::Nothing | Damage::OneAlone => inode.length_at(first),
            Damage::Everything | Damage::AllButOne => inode.length_at(now),
            Damage::Late => inode.length_at(moment),
            _ if !inode.synced && dice.below(8) == 0 => dice.below(inode.length_at(now) + 1),
            _ => inode.length_at(any(dice)),
        };
        // A page that is special may matter beyond what the length was.
        let length = if special.is_some() { inode.length_at(now) } else { length };
        let mut pages: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        let mut time_of = |sector: usize| {
            let page = sector / (PAGE / SECTOR);
            let is_special = special == Some(page);
            match damage {
                Damage::Nothing => first,
                Damage::Everything => now,
                Damage::Late if is_special => any(dice),
                Damage::Late => moment,
                Damage::AllButOne if !is_special => now,
                Damage::OneAlone if !is_special => first,
                Damage::AllButOne => {
                    if dice.below(2) == 0 {
                        first
                    } else {
                        any(dice)
                    }
                }
                Damage::OneAlone => {
                    if dice.below(2) == 0 {
                        now
                    } else {
                        any(dice)
                    }
                }
                Damage::Sectors | Damage::Files => any(dice),
                Damage::Pages => {
                    let whole = pages.entry(page).or_insert_with(|| (dice.below(4) > 0).then(|| any(dice)));
                    whole.unwrap_or_else(|| any(dice))
                }
            }
        };
        inode.as_of(length, &mut time_of)
    }
}
