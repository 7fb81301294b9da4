//! Seals a segment: sidecar, footer and trailer behind the records, then synced and read-only.

use crate::error::{Error, Result};
use crate::event::EventView;
use crate::format::bytes::align8;
use crate::format::located;
use crate::format::posting::TimeRange;
use crate::format::record;
use crate::format::segment::{FOOTER_RESERVE, Footer, TRAILER_BYTES, Trailer, encode_footer};
use crate::io::DiskFile;

use super::Segment;

/// What must stay free behind `records` records for the segment to be sealed.
pub(crate) const fn sealing_bytes(records: u64) -> u64 {
    records * 4 + FOOTER_RESERVE
}

/// Writes everything that a sealed segment has and an active one has not, and syncs the file.
///
/// The segment must be full: its appender gone, all of its records published. `users_total` is how many users the shard
/// has seen when it ends. Returns the footer, and each record's `occurred_at` in microseconds.
pub(crate) fn seal(segment: &Segment, users_total: u64) -> Result<(Footer, Vec<i64>)> {
    let count = segment.published();
    let mut records_end = usize::try_from(crate::format::segment::RECORDS_START).unwrap_or_default();
    let (mut occurred, mut recorded) = (TimeRange::EMPTY, TimeRange::EMPTY);
    let mut times = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    let mut sidecar = Vec::with_capacity(usize::try_from(count).unwrap_or_default() * 4);
    for ordinal in 0..count {
        let offset = segment.offset_of(ordinal).unwrap_or_default();
        let leaf = segment.leaf_at(ordinal, offset)?;
        let view = EventView::parse(leaf)
            .map_err(|error| Error::corruption(segment.path(), offset as u64, error.to_string()))?;
        times.push(view.occurred_at().as_micros());
        occurred = occurred.with(view.occurred_at().as_micros());
        recorded = recorded.with(view.recorded_at().as_micros());
        sidecar.extend_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
        records_end = offset + record::record_bytes(leaf.len());
    }
    let footer_offset = (align8(records_end) + sidecar.len()).next_multiple_of(16) as u64;
    let footer = Footer {
        base: segment.base(),
        count,
        records_end: records_end as u64,
        sidecar_offset: align8(records_end) as u64,
        occurred_min_micros: occurred.min,
        occurred_max_micros: occurred.max,
        recorded_min_micros: recorded.min,
        recorded_max_micros: recorded.max,
        users_total,
    };
    let (archive, trailer) = encode_footer(&footer, segment.salt(), footer_offset)
        .map_err(located(segment.path(), footer_offset))?;
    let file = segment.file();
    file.write_all_at(footer.sidecar_offset, &sidecar)?;
    file.write_all_at(footer_offset, &archive)?;
    file.write_all_at(file.len() - TRAILER_BYTES as u64, &trailer)?;
    segment.sync()?;
    Ok((footer, times))
}

/// Reads a sealed segment's footer.
pub(crate) fn read_footer(file: &dyn DiskFile, salt: record::Salt) -> Result<Footer> {
    let trailer_at = file.len().saturating_sub(TRAILER_BYTES as u64);
    let mut bytes = [0; TRAILER_BYTES];
    file.read_exact_at(trailer_at, &mut bytes)?;
    let trailer = Trailer::decode(&bytes, salt).map_err(located(file.path(), trailer_at))?;
    let mut archive = vec![0; trailer.footer_bytes as usize];
    file.read_exact_at(trailer.footer_offset, &mut archive)?;
    let footer = Footer::decode(&archive, &trailer).map_err(located(file.path(), trailer.footer_offset))?;
    let sidecar_end = footer.count.checked_mul(4).and_then(|bytes| bytes.checked_add(footer.sidecar_offset));
    if sidecar_end.is_none_or(|end| end > trailer.footer_offset) || footer.records_end > footer.sidecar_offset
    {
        return Err(Error::corruption(file.path(), trailer.footer_offset, "the footer contradicts the file"));
    }
    Ok(footer)
}
