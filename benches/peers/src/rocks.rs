//! RocksDB: an LSM tree, key (user, sequence), one write batch for each append. Behind the feature `rocksdb`.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, ReadOptions, WriteBatch, WriteOptions,
};
use usertrail::NewEvent;

use crate::engine::{Body, Engine, Fields, Kind, LIMIT, Outcome, Question, Sync};
use crate::reads_by_visit;
use crate::stored::{Reader, encode, key, range, tags};

pub const KIND: Kind = Kind {
    name: "rocksdb",
    settings: "block cache 1 GiB, blocks of 16 KiB, LZ4, 2 background jobs, level_compaction_dynamic_level_bytes; log not \
               synced, or synced with each batch; rkyv, checked, in place in its blocks where aligned",
    with,
};

const CACHE_BYTES: usize = 1 << 30;

struct Rocks {
    database: DB,
    write: WriteOptions,
}

fn with(dir: &Path, sync: Sync, body: Body<'_>) -> Outcome<()> {
    // What its tuning guide gives as a good beginning.
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    blocks.set_block_size(16 << 10);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    let database = DB::open(&options, dir)?;
    let mut write = WriteOptions::default();
    write.set_sync(sync == Sync::Durable);
    let rocks = Rocks { database, write };
    body(&rocks)?;
    rocks.database.flush_wal(true)?;
    Ok(())
}

impl Rocks {
    fn visit(&self, question: Question<'_>, mut visit: impl FnMut(Fields<'_>)) -> Outcome<usize> {
        let (low, high) = range(question.user)?;
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(low);
        let mut entries = self.database.raw_iterator_opt(read);
        let (filter, mut reader, mut found) = (question.filter.map(tags), Reader::default(), 0);
        entries.seek_for_prev(high);
        while let Some(value) = entries.value() {
            found += usize::from(reader.visit(value, filter, &mut visit)?);
            if found == LIMIT {
                break;
            }
            entries.prev();
        }
        entries.status()?;
        Ok(found)
    }
}

impl Engine for Rocks {
    fn append(&self, first: u64, events: &[NewEvent<'static>]) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        for (event, sequence) in events.iter().zip(first..) {
            let key = key(event.user_id().map(|user| user.as_str()), sequence)?;
            batch.put(key, encode(event)?);
        }
        self.database.write_opt(batch, &self.write)?;
        Ok(())
    }

    fn groups_commits(&self) -> bool {
        true
    }

    reads_by_visit!();
}
