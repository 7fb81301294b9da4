//! Seals a segment: sidecar, footer and trailer behind the records, then synced and read-only.

use crate::error::{Error, ErrorKind, Result};
use crate::event::EventView;
use crate::format::bytes::align8;
use crate::format::located;
use crate::format::posting::TimeRange;
use crate::format::record;
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::format::segment::{FOOTER_RESERVE, Footer, RECORDS_START, TRAILER_BYTES, Trailer, encode_footer};
use crate::io::DiskFile;

use super::Segment;

/// What must stay free behind `records` records for the segment to be sealed.
pub(crate) const fn sealing_bytes(records: u64) -> u64 {
    records * 4 + FOOTER_RESERVE
}

/// What a sealed segment has and an active one has not.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) footer: Footer,
    /// What is to be written, and where: sidecar, footer, trailer.
    pub(crate) parts: [(u64, Vec<u8>); 3],
    /// Each record's `occurred_at`.
    pub(crate) times: Times,
}

/// When each record of a segment occurred.
#[derive(Debug)]
pub(crate) struct Times {
    /// In microseconds; of a damaged record whatever.
    micros: Vec<i64>,
    /// What all of them lie within.
    within: TimeRange,
    /// The ordinals of damaged records, rising.
    damaged: Vec<usize>,
}

impl Times {
    /// Of records none of which is damaged.
    pub(crate) fn of_intact(micros: Vec<i64>) -> Self {
        let within = micros.iter().fold(TimeRange::EMPTY, |range, at| range.with(*at));
        Self { micros, within, damaged: Vec::new() }
    }

    /// What is known of one record.
    pub(crate) fn of(&self, ordinal: usize) -> TimeRange {
        #[cfg(test)]
        if has(Bug::DamageAtOneTime) {
            return TimeRange::at(self.micros[ordinal]);
        }
        match self.micros.get(ordinal) {
            Some(micros) if self.damaged.binary_search(&ordinal).is_err() => TimeRange::at(*micros),
            _ => self.within,
        }
    }

    /// Any time near those of the records.
    pub(crate) fn base(&self) -> i64 {
        self.of(0).min
    }

    /// How many records are damaged.
    pub(crate) fn damaged(&self) -> usize {
        self.damaged.len()
    }
}

/// Works out how the segment is sealed, from all of its records. `users_total` is how many users the shard has seen when
/// it ends.
///
/// A damaged record is an error, unless it is known what all records with a user have `occurred` within: then the record is
/// left to whoever asks for it, as in a segment that was sealed before the damage.
pub(crate) fn plan(segment: &Segment, users_total: u64, occurred: Option<TimeRange>) -> Result<Sealing> {
    let count = segment.published();
    let mut records_end = usize::try_from(RECORDS_START).unwrap_or_default();
    let (mut within, mut recorded) = (TimeRange::EMPTY, TimeRange::EMPTY);
    let mut micros = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    let mut damaged = Vec::new();
    let mut sidecar = Vec::with_capacity(micros.capacity() * 4);
    for ordinal in 0..count {
        let offset = segment.offset_of(ordinal).unwrap_or_default();
        sidecar.extend_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
        match (read(segment, ordinal, offset), occurred) {
            (Ok((view, end)), _) => {
                micros.push(view.occurred_at().as_micros());
                within = within.with(view.occurred_at().as_micros());
                recorded = recorded.with(view.recorded_at().as_micros());
                records_end = end;
            }
            (Err(error), Some(occurred)) if error.kind() == ErrorKind::Corruption => {
                damaged.push(micros.len());
                micros.push(0);
                within = within.union(occurred);
                // Unless the next one says so: where this one ends, it can't tell.
                records_end = segment.map().published();
            }
            (Err(error), _) => return Err(error),
        }
    }
    // Behind the records, and behind what readers in other processes may still look at.
    let sidecar_offset = (align8(records_end) as u64).max(segment.used_to());
    let footer_offset = (sidecar_offset + sidecar.len() as u64).next_multiple_of(16);
    let footer = Footer {
        base: segment.base(),
        count,
        records_end: records_end as u64,
        sidecar_offset,
        occurred_min_micros: within.min,
        occurred_max_micros: within.max,
        recorded_min_micros: recorded.min,
        recorded_max_micros: recorded.max,
        users_total,
    };
    let (archive, trailer) = encode_footer(&footer, segment.salt(), footer_offset)
        .map_err(located(segment.path(), footer_offset))?;
    let trailer_offset = segment.header().file_bytes - TRAILER_BYTES as u64;
    let parts = [(sidecar_offset, sidecar), (footer_offset, archive), (trailer_offset, trailer.to_vec())];
    Ok(Sealing { footer, parts, times: Times { micros, within, damaged } })
}

/// A record, intact, and where it ends.
fn read(segment: &Segment, ordinal: u64, offset: usize) -> Result<(EventView<'_>, usize)> {
    let leaf = segment.leaf_at(ordinal, offset)?;
    let view = EventView::parse(leaf)
        .map_err(|error| Error::corruption(segment.path(), offset as u64, error.to_string()))?;
    Ok((view, offset + record::record_bytes(leaf.len())))
}

/// Seals a segment that is full (its appender gone, all of its records published) and syncs the file.
pub(crate) fn seal(segment: &Segment, users_total: u64, occurred: TimeRange) -> Result<Sealing> {
    let sealing = plan(segment, users_total, Some(occurred))?;
    let file = segment.file()?;
    for (offset, bytes) in &sealing.parts {
        file.write_all_at(*offset, bytes)?;
    }
    #[cfg(test)]
    if has(Bug::SealNotSynced) {
        return Ok(sealing);
    }
    segment.sync()?;
    Ok(sealing)
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
