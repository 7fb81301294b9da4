//! What a store holds and what it takes, and the check of all of it.

use std::sync::atomic::Ordering;

use super::{Core, Store};
use crate::error::Result;
use crate::ids::{Epoch, ShardId};
use crate::shard::memory::Usage;
use crate::shard::view::{ShardView, Source};

/// A store in numbers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Stats {
    /// Events that readers can see.
    pub events: u64,
    /// Users with at least one event.
    pub users: u64,
    /// Shards.
    pub shards: u16,
    /// Segments, sealed and active, that are not packed.
    pub segments: u64,
    /// How many of them are not sealed: the active one of each shard, and those that wait to be sealed.
    pub unsealed_segments: u64,
    /// Packs: what old segments were made into.
    pub packs: u64,
    /// Events in them.
    pub packed_events: u64,
    /// Their length in bytes.
    pub pack_bytes: u64,
    /// Index runs.
    pub runs: u64,
    /// Merges of index runs that this process has done.
    pub merges: u64,
    /// Bytes of index runs that they have written.
    pub merged_bytes: u64,
    /// Bytes of index runs that are due to be merged: the work that the background is behind with.
    pub merge_waiting_bytes: u64,
    /// The length of all files in bytes, with what is allocated ahead.
    pub bytes_on_disk: u64,
    /// How much of that is allocated for events to come.
    pub bytes_ahead: u64,
    /// Bytes on disk an event, without what is allocated ahead; 0 without events.
    pub bytes_per_event: f64,
    /// Bytes of index runs.
    pub run_bytes: u64,
    /// Bytes of memory for the user index of segments that are not sealed.
    pub tail_index_bytes: u64,
    /// Events in those segments.
    pub tail_events: u64,
    /// Users in those segments, counted in each.
    pub tail_users: u64,
    /// Bytes of memory for record offsets, checksum marks, dictionaries and what packs say of themselves.
    pub segment_memory_bytes: u64,
    /// Memory: what is used for what.
    pub memory: MemoryStats,
    /// Bytes that wait for a sync.
    pub unsynced_bytes: u64,
    /// Syncs that this process has made for appends.
    pub commits: u64,
    /// How often a writer waited for the next segment's file.
    pub rollover_waits: u64,
    /// Records that this process found damaged when it sealed their segments: asked for, each is an error that says where it
    /// lies, and so is [`Store::check`](crate::Store::check).
    pub damaged_records: u64,
    /// Records touched by queries of this process.
    pub records_read: u64,
    /// Pages made by this process.
    pub pages: u64,
    /// Each shard.
    pub per_shard: Vec<ShardStats>,
}

/// What the store has allocated of memory, in bytes, about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MemoryStats {
    /// [`Options::memory_budget`](crate::Options::memory_budget).
    pub budget_bytes: u64,
    /// The sum of what follows, but for what is mapped.
    pub used_bytes: u64,
    /// The user indexes of the segments that are written to.
    pub active_index_bytes: u64,
    /// The user indexes of segments that wait to be sealed.
    pub frozen_index_bytes: u64,
    /// Where the records of segments that are not sealed begin.
    pub record_offset_bytes: u64,
    /// Which records' checksums were compared: a bit each, of segments that were sealed when the store was opened, or that
    /// have a damaged record.
    pub checksum_mark_bytes: u64,
    /// What is known of index runs: dictionaries, and a bit for each page that was compared.
    pub run_bytes: u64,
    /// What is known of packs: their dictionaries, directories' first lines, and a bit for each page that was compared.
    pub pack_bytes: u64,
    /// Sealing that runs now.
    pub sealing_bytes: u64,
    /// Copies of records that a failed sync may lose. Not bounded by the budget: they are all there is of them.
    pub rescued_bytes: u64,
    /// The mapped head tables: files, whose pages are the kernel's to drop. Not part of the sum.
    pub head_table_mapped_bytes: u64,
}

impl MemoryStats {
    fn add(&mut self, usage: &Usage) {
        let Usage {
            active_index,
            frozen_indexes,
            record_offsets,
            checksum_marks,
            runs,
            packs,
            sealing,
            rescued,
            ..
        } = *usage;
        self.active_index_bytes += active_index;
        self.frozen_index_bytes += frozen_indexes;
        self.record_offset_bytes += record_offsets;
        self.checksum_mark_bytes += checksum_marks;
        self.run_bytes += runs;
        self.pack_bytes += packs;
        self.sealing_bytes += sealing;
        self.rescued_bytes += rescued;
        self.used_bytes += active_index
            + frozen_indexes
            + record_offsets
            + checksum_marks
            + runs
            + packs
            + sealing
            + rescued;
        self.head_table_mapped_bytes += usage.heads_mapped;
    }
}

/// A shard in numbers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShardStats {
    /// The shard.
    pub shard: ShardId,
    /// Its events.
    pub events: u64,
    /// How many of them are known to be on stable storage.
    pub durable: u64,
    /// Its users.
    pub users: u64,
    /// Its segments.
    pub segments: u64,
    /// Its recovery epoch.
    pub epoch: Epoch,
    /// Why it takes no more writes, if it doesn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poisoned: Option<String>,
}

impl Store {
    /// Counts what the store holds. Costs a look at each segment, and the sizes of all files.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn stats(&self) -> Result<Stats> {
        self.0.core.stats()
    }

    /// Reads every record and every index page and compares the checksums, whether that was done before or not; and that
    /// each event of a user is where its index says.
    ///
    /// # Errors
    ///
    /// [`Corruption`](crate::ErrorKind::Corruption), naming the file and offset of the first damage.
    pub fn check(&self) -> Result<()> {
        self.0.core.shards.iter().try_for_each(|shard| shard.check())
    }
}

impl Stats {
    fn count_source(&mut self, source: &Source) {
        match source {
            Source::Run(run) => {
                self.runs += 1;
                self.run_bytes += run.file_bytes();
            }
            Source::Tail(tail, segment) => {
                self.tail_index_bytes += tail.bytes() as u64;
                self.tail_users += tail.user_count() as u64;
                self.tail_events += segment.published();
            }
        }
    }
}

impl Stats {
    fn count_files(&mut self, view: &ShardView) {
        self.segments += view.segments.len() as u64;
        self.unsealed_segments += view.segments.iter().filter(|segment| !segment.is_sealed()).count() as u64;
        for pack in &view.packs {
            self.packs += 1;
            self.packed_events += pack.records();
            self.pack_bytes += pack.header().file_bytes;
        }
    }
}

impl Core {
    fn stats(&self) -> Result<Stats> {
        self.check_open()?;
        let mut stats = Stats {
            events: 0,
            users: 0,
            shards: self.manifest.shards,
            segments: 0,
            unsealed_segments: 0,
            packs: 0,
            packed_events: 0,
            pack_bytes: 0,
            runs: 0,
            merges: 0,
            merged_bytes: 0,
            merge_waiting_bytes: 0,
            bytes_on_disk: self.disk.used_bytes(&self.dir)?,
            bytes_ahead: 0,
            bytes_per_event: 0.0,
            run_bytes: 0,
            tail_index_bytes: 0,
            tail_events: 0,
            tail_users: 0,
            segment_memory_bytes: 0,
            memory: MemoryStats { budget_bytes: self.memory_budget, ..MemoryStats::default() },
            unsynced_bytes: 0,
            commits: self.committer.commits(),
            rollover_waits: 0,
            damaged_records: 0,
            records_read: self.reads.records.load(Ordering::Relaxed),
            pages: self.reads.pages.load(Ordering::Relaxed),
            per_shard: Vec::new(),
        };
        for shard in &*self.shards {
            self.follow(shard)?;
            let reading = shard.reading();
            let view = &reading.view;
            let visible = reading.sequences();
            let events = visible.end.saturating_sub(visible.start);
            let users = shard.users_total.load(Ordering::Relaxed);
            stats.per_shard.push(ShardStats {
                shard: shard.id,
                events,
                durable: self.durable(shard).min(view.end()).saturating_sub(view.start()),
                users,
                segments: view.segments.len() as u64,
                epoch: Epoch::new(view.epoch()),
                poisoned: shard.poison().map(ToString::to_string),
            });
            stats.events += events;
            stats.users += users;
            stats.bytes_ahead += shard.bytes_ahead(view);
            stats.unsynced_bytes += shard.unsynced_bytes();
            stats.merges += shard.merges.load(Ordering::Relaxed);
            stats.merged_bytes += shard.merged_bytes.load(Ordering::Relaxed);
            stats.merge_waiting_bytes += shard.merge_waiting_bytes(view);
            stats.rollover_waits += shard.rollover_waits.load(Ordering::Relaxed);
            stats.damaged_records += shard.damaged_records.load(Ordering::Relaxed);
            let usage = shard.usage(view);
            stats.memory.add(&usage);
            stats.segment_memory_bytes +=
                usage.record_offsets + usage.checksum_marks + usage.runs + usage.packs + usage.rescued;
            stats.count_files(view);
            view.sources.iter().for_each(|source| stats.count_source(source));
        }
        let used = stats.bytes_on_disk.saturating_sub(stats.bytes_ahead);
        if stats.events > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
            let ratio = used as f64 / stats.events as f64;
            stats.bytes_per_event = (ratio * 10.0).round() / 10.0;
        }
        Ok(stats)
    }
}
