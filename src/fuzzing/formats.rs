//! Targets for what is in `format`: decoders, and what their encoders make.
#![expect(clippy::missing_panics_doc, reason = "a panic is what a target tells with")]

use crate::format::bytes::{put_varint, take_varint, u64_at};
use crate::format::checkpoint::Checkpoint;
use crate::format::compression::{Compressor, Decompressor};
use crate::format::cursor::UserLogCursor;
use crate::format::event_id::{locate, make};
use crate::format::heads::{
    ENTRY_WORDS, Entry, HEADER_WORDS, Mark, Place, STATE_WORDS, TableHeader, TableState, decode_place,
    encode_place,
};
use crate::format::keys::IndexKey;
use crate::format::manifest::{ShardManifest, StoreManifest};
use crate::format::pack::{
    BlockEntry, PACK_HEADER_BYTES, PackHeader, Summary, bits_for, bits_range, pack_bits, unpack_bits,
};
use crate::format::pack_block::{BLOCK_BYTES_MAX, BlockBuilder, Leaves};
use crate::format::posting::{BLOCK_POSTINGS_MAX, DecodedBlock, Posting, Tags, TimeRange, encode_block};
use crate::format::record::{self, Envelope, LEAF_BYTES_MAX, Salt, record_bytes};
use crate::format::run::{
    ArchivedDictionaries, Dictionaries, DirectoryEntry, RUN_HEADER_BYTES, RunHeader, TableForm, filter,
};
use crate::format::segment::{
    FloorSlot, Footer, HEADER_BYTES, Header, SLOT_BYTES, TRAILER_BYTES, Trailer, encode_footer, unarchive,
};
use crate::ids::Fingerprint;

use super::Input;

/// The bytes with their checksum, at 12, made to match what it covers: from 16 up to `end`.
fn summed(bytes: &[u8], magic: [u8; 8], end: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(16), 0);
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
    let end = end.min(bytes.len());
    let crc = crc32c::crc32c(&bytes[16..end]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A record's envelope around any leaf, and any bytes as a record.
pub fn record(data: &[u8]) {
    let mut input = Input(data);
    let (salt, offset) = (Salt(input.word()), u64::from(input.short()) * 8);
    let envelope =
        Envelope { durable_floor: input.word(), group_index: input.short(), group_count: input.short() };
    let bytes = input.rest();
    if let Ok((_, leaf)) = record::verify(bytes, salt, offset) {
        assert!(record_bytes(leaf.len()) >= leaf.len() + 24);
    }
    let _ = (record::leaf_bytes(bytes), record::leaf(bytes));
    let mut made = Vec::new();
    record::begin(&mut made);
    made.extend_from_slice(bytes);
    let sealed = record::seal(&mut made, salt, offset, envelope);
    assert_eq!(sealed.is_ok(), (1..=LEAF_BYTES_MAX).contains(&bytes.len()));
    if sealed.is_ok() {
        assert_eq!(record::verify(&made, salt, offset), Ok((envelope, bytes)));
        assert!(record::verify(&made, salt, offset ^ 8).is_err());
    }
}

/// A segment's header, floor slots, trailer and footer.
pub fn segment(data: &[u8]) {
    let mut input = Input(data);
    let salt = Salt(input.word());
    let bytes = input.rest();
    let _ = (Header::decode(bytes), FloorSlot::decode(bytes, salt), Trailer::decode(bytes, salt));
    let mut long = bytes.to_vec();
    long.resize(long.len().max(HEADER_BYTES), 0);
    if let Ok(header) = Header::decode(&summed(&long, *b"UTSEG\0\0\0", HEADER_BYTES)) {
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        assert!(header.records_max() as u64 <= header.file_bytes);
    }
    let mut input = Input(bytes);
    let slot = FloorSlot { counter: input.word(), floor: input.word(), clean: input.byte() & 1 == 1 };
    let decoded = FloorSlot::decode(&slot.encode(salt), salt);
    assert_eq!(decoded, (slot.counter > 0).then_some(slot));
    assert_eq!(slot.encode(salt).len(), SLOT_BYTES);
    let footer = Footer {
        base: input.word(),
        count: input.word(),
        records_end: input.word(),
        sidecar_offset: input.word(),
        occurred_min_micros: input.word().cast_signed(),
        occurred_max_micros: input.word().cast_signed(),
        recorded_min_micros: input.word().cast_signed(),
        recorded_max_micros: input.word().cast_signed(),
        users_total: input.word(),
    };
    let Ok((archive, trailer)) = encode_footer(&footer, salt, slot.floor) else { return };
    assert_eq!(trailer.len(), TRAILER_BYTES);
    let read = Trailer::decode(&trailer, salt).and_then(|trailer| Footer::decode(&archive, &trailer));
    assert_eq!(read, Ok(footer));
    if let Ok(trailer) = Trailer::decode(&trailer, salt) {
        let _ = Footer::decode(bytes, &trailer);
    }
}

/// A run's header, directory entries, lines of block tables, dictionaries and filter.
pub fn run(data: &[u8]) {
    let _ = RunHeader::decode(data);
    let mut long = data.to_vec();
    long.resize(long.len().max(RUN_HEADER_BYTES), 0);
    if let Ok(header) = RunHeader::decode(&summed(&long, *b"UTRUN\0\0\0", RUN_HEADER_BYTES)) {
        assert_eq!(RunHeader::decode(&header.encode()), Ok(header));
    }
    if let Some(entry) = DirectoryEntry::decode(data) {
        assert_eq!(DirectoryEntry::decode(&entry.encode()), Some(entry));
    }
    for form in [TableForm::Even, TableForm::Uneven] {
        let number = data.len() * 7;
        if let Some(summary) = form.decode(data, number) {
            let mut line = Vec::new();
            form.encode(&summary, &mut line);
            assert_eq!(form.decode(&line, number), Some(summary));
        }
    }
    let _ = unarchive::<Dictionaries, ArchivedDictionaries>(data, "damaged");
    let mut input = Input(data);
    let user = Fingerprint(input.take());
    let blocks = u64::from(input.byte()) + 1;
    assert!(filter::block_of(user, blocks) < blocks);
    let mut block = input.take::<{ filter::BLOCK_BYTES }>();
    filter::insert(&mut block, user);
    assert!(filter::may_contain(&block, user));
    let _ = filter::may_contain(input.rest(), user);
}

/// Blocks of postings, and varints.
pub fn postings(data: &[u8]) {
    let mut input = Input(data);
    let (count, base, end) =
        (usize::from(input.byte()), input.word().cast_signed(), u64::from(input.short()));
    let mut varints = input.0;
    while let Some(value) = take_varint(&mut varints) {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(take_varint(&mut out.as_slice()), Some(value));
    }
    if let Ok(block) = DecodedBlock::decode(input.0, count, base, end) {
        let postings = block.postings();
        assert!(postings.len() == count && postings.iter().all(|posting| u64::from(posting.ordinal) < end));
        assert!(postings.windows(2).all(|pair| pair[0].ordinal < pair[1].ordinal), "ordinals rise");
        let mut bytes = Vec::new();
        encode_block(&mut bytes, postings, block.times, base);
        let again = DecodedBlock::decode(&bytes, count, base, end);
        assert!(again.is_ok_and(|again| again.postings() == postings && again.times == block.times));
    }
    let times = TimeRange { min: input.word().cast_signed(), max: input.word().cast_signed() };
    let mut made = Vec::new();
    let mut ordinal = 0_u32;
    while !input.is_empty() && made.len() < BLOCK_POSTINGS_MAX {
        ordinal = ordinal.saturating_add(u32::from(input.short()) + u32::from(!made.is_empty()));
        made.push(Posting { ordinal, tags: Tags(u32::from_le_bytes(input.take())) });
    }
    let mut bytes = Vec::new();
    encode_block(&mut bytes, &made, times, base);
    let read = DecodedBlock::decode(&bytes, made.len(), base, u64::from(ordinal) + 1);
    assert!(made.is_empty() || read.is_ok_and(|read| read.postings() == made && read.times == times));
}

/// A head table's header, states and places.
pub fn heads(data: &[u8]) {
    let mut input = Input(data);
    let (salt, line) = (input.word(), input.word() >> 28);
    let mut words: [u64; HEADER_WORDS] = std::array::from_fn(|_| input.word());
    let _ = TableHeader::decode(&words);
    let _ = TableState::decode(&words, salt);
    let [a, b, c, d, ..] = words;
    let place: [u64; ENTRY_WORDS] = [a, b, c, d];
    if let Place::Taken(entry) = decode_place(place, salt, line) {
        assert_eq!(encode_place(Some(&entry), salt, line), Some(place));
    }
    let entry = Entry { user: Fingerprint(input.take()), count: a, last_sequence: b };
    if let Some(words) = encode_place(Some(&entry), salt, line) {
        assert_eq!(decode_place(words, salt, line), Place::Taken(entry));
        assert_eq!(decode_place(words, salt, line ^ 1), Place::Damaged);
    }
    let state = TableState { counter: a, covers: Mark { end: b, salt: c }, users: d, clean: salt & 1 == 1 };
    let encoded: [u64; STATE_WORDS] = state.encode(salt);
    assert_eq!(TableState::decode(&encoded, salt), (a > 0).then_some(state));
    let header =
        TableHeader { store_id: entry.user.0, shard: input.short(), lines: words[5] % (1 << 37), salt: d };
    words = header.encode();
    if TableHeader::decode(&words) == Ok(header) {
        let file = header.file_bytes();
        assert!(header.home(entry.user) < header.lines && file > header.lines && header.users_max() > 0);
    }
    assert!(TableHeader::lines_for(d) >= 64);
}

/// Index checkpoints.
pub fn checkpoint(data: &[u8]) {
    let _ = Checkpoint::decode(data.to_vec());
    let Ok(read) = Checkpoint::decode(summed(data, *b"UTCKPT\0\0", usize::MAX)) else { return };
    let records = read.scope.records;
    assert_eq!(read.offsets().count() as u64, records);
    let mut postings = 0;
    for (user, own, ranges) in read.users() {
        assert_eq!(ranges.count(), user.ranges as usize);
        let own = own.map(|posting| assert!(u64::from(posting.ordinal) < records)).count();
        assert_eq!(own, user.postings as usize);
        postings += own;
    }
    assert!(postings as u64 <= records);
    let _ = (read.new_users(), read.user_count(), read.scope.end());
    let tail = crate::index::tail::TailIndex::restore(1 << 20, &read);
    assert!(tail.is_none_or(|tail| tail.user_count() <= read.user_count()));
}

/// `STORE` and `MANIFEST`.
pub fn manifest(data: &[u8]) {
    let _ = (StoreManifest::decode(data), ShardManifest::decode(data));
    for version in [1_u32, 2] {
        for magic in [*b"UTSTORE\0", *b"UTSHARD\0"] {
            let mut bytes = vec![0; 32];
            bytes[..8].copy_from_slice(&magic);
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            bytes[12..16].copy_from_slice(&crc32c::crc32c(data).to_le_bytes());
            bytes[16..24].copy_from_slice(&(data.len() as u64).to_le_bytes());
            bytes.extend_from_slice(data);
            if let Ok(store) = StoreManifest::decode(&bytes) {
                let again = store.encode().and_then(|bytes| StoreManifest::decode(&bytes));
                assert_eq!(again, Ok(store));
            }
            if let Ok(shard) = ShardManifest::decode(&bytes) {
                let again = shard.encode().and_then(|bytes| ShardManifest::decode(&bytes));
                assert_eq!(again.as_ref(), Ok(&shard));
                let _ = (shard.pack_of(u64::from(version)), shard.closed(3), shard.epoch());
            }
        }
    }
}

/// A pack's header, directory entries, map and summary.
pub fn pack(data: &[u8]) {
    let mut input = Input(data);
    let file_bytes = input.word();
    let bytes = input.rest();
    let _ = PackHeader::decode(bytes, file_bytes);
    let mut long = bytes.to_vec();
    long.resize(long.len().max(PACK_HEADER_BYTES), 0);
    let file_bytes = u64_at(&long, 48).unwrap_or_default();
    if let Ok(header) = PackHeader::decode(&summed(&long, *b"UTPACK\0\0", PACK_HEADER_BYTES), file_bytes) {
        assert_eq!(PackHeader::decode(&header.encode(), file_bytes), Ok(header));
        assert_eq!(header.map_bits, bits_for(header.blocks));
        let rest = long.get(PACK_HEADER_BYTES..).unwrap_or_default();
        if let Ok(summary) = Summary::decode(rest, &header) {
            let again = summary.encode().and_then(|bytes| Summary::decode(&bytes, &header));
            assert_eq!(again, Ok(summary));
        }
    }
    if let Some(entry) = BlockEntry::decode(bytes) {
        assert_eq!(BlockEntry::decode(&entry.encode()), Some(entry));
    }
    let mut input = Input(bytes);
    let bits = u32::from(input.byte()) % 32 + 1;
    let numbers: Vec<u32> =
        std::iter::from_fn(|| (!input.is_empty()).then(|| u32::from_le_bytes(input.take())))
            .map(|number| number >> (32 - bits))
            .take(300)
            .collect();
    let packed = pack_bits(&numbers, bits);
    for (index, number) in (0..).zip(&numbers) {
        let (begin, length) = bits_range(index, bits);
        let bound = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let place = packed.get(bound(begin)..bound(begin + length));
        assert_eq!(place.and_then(|bytes| unpack_bits(bytes, index, bits)), Some(*number));
    }
}

/// A pack's block, compressed and not.
pub fn pack_block(data: &[u8]) {
    let mut input = Input(data);
    let length = u32::from(input.short()).min(BLOCK_BYTES_MAX) as usize;
    if let Ok(plain) = Decompressor::new(None) {
        let _ = plain.decompress(input.0, length).and_then(Leaves::decode);
    }
    if let Ok(leaves) = Leaves::decode(input.0.to_vec()) {
        let mut builder = BlockBuilder::new();
        let all: Vec<Vec<u8>> =
            (0..leaves.len()).filter_map(|index| leaves.get(index)).map(<[u8]>::to_vec).collect();
        assert_eq!(all.len(), leaves.len(), "every leaf that was counted can be lent");
        for leaf in &all {
            builder.push(leaf);
        }
        let mut block = Vec::new();
        builder.finish(&mut block);
        let again = Leaves::decode(block);
        let again =
            again.as_ref().map(|again| (0..again.len()).map(|index| again.get(index)).collect::<Vec<_>>());
        assert_eq!(again, Ok(all.iter().map(|leaf| Some(leaf.as_slice())).collect()));
        let _ = leaves.sequence(0);
    }
    let Ok(mut compressor) = Compressor::new(None) else { return };
    let block = input.rest();
    let Ok(compressed) = compressor.compress(block).map(<[u8]>::to_vec) else { return };
    let back = Decompressor::new(None).and_then(|plain| plain.decompress(&compressed, block.len()));
    assert_eq!(back.as_deref(), Ok(block));
}

/// A cursor's token: any text, and any cursor that was given out.
pub fn cursor(data: &[u8]) {
    thread_local! {
        static KEY: IndexKey = IndexKey::new([7; 32]);
    }
    KEY.with(|key| {
        if let Ok(text) = std::str::from_utf8(data)
            && let Ok(cursor) = UserLogCursor::decode(text, key)
        {
            assert_eq!(cursor.encode(key), text, "there is one token for a cursor");
        }
        let mut input = Input(data);
        let cursor = UserLogCursor {
            oldest_first: input.byte() & 1 == 1,
            epoch: u32::from_le_bytes(input.take()),
            user: Fingerprint(input.take()),
            filter_digest: input.word(),
            user_sequence: input.word(),
            sequence: input.word(),
        };
        let mut token = cursor.encode(key);
        assert_eq!(UserLogCursor::decode(&token, key), Ok(cursor));
        let at = usize::from(input.byte()) % token.len();
        let other = char::from(b'A' + input.byte() % 26);
        if !token[at..].starts_with(other) {
            token.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
            assert!(UserLogCursor::decode(&token, key).is_err(), "{token}");
        }
    });
}

/// Event ids: any id, and any place in a store.
pub fn event_id(data: &[u8]) {
    thread_local! {
        static KEY: IndexKey = IndexKey::new([9; 32]);
    }
    KEY.with(|key| {
        let mut input = Input(data);
        let id = u128::from_le_bytes(input.take());
        if let Some((shard, sequence)) = locate(key, id) {
            assert!(shard < 1 << 14 && sequence < 1 << 48);
        }
        let (shard, sequence, micros) = (input.short() % (1 << 14), input.word() >> 16, input.word() >> 14);
        let made = make(key, shard, sequence, micros.cast_signed());
        assert_eq!(locate(key, made), Some((shard, sequence)));
        let _ = make(key, shard, sequence, micros.wrapping_shl(14).cast_signed());
        let id = crate::EventId::from_u128(id);
        assert_eq!(id.to_string().parse::<crate::EventId>().ok(), Some(id));
    });
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(id) = text.parse::<crate::EventId>()
    {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
}

/// `KEY`.
pub fn key(data: &[u8]) {
    let _ = IndexKey::decode(data);
    let mut bytes = summed(data, *b"UTKEY\0\0\0", usize::MAX);
    if let Ok(key) = IndexKey::decode(&bytes) {
        assert_eq!(key.encode()[..], bytes);
        let tag = key.cursor_tag(data);
        assert!(key.cursor_tag_matches(data, &tag));
    }
    bytes.resize(48, 0);
    assert!(IndexKey::decode(&summed(&bytes, *b"UTKEY\0\0\0", usize::MAX)).is_ok());
}
