//! Puts records that are already in the log into the tail index: after a crash, and in a process that follows a writer.

use std::path::Path;

use crate::error::{Error, Result};
use crate::event::{Category, EventView, Level, Status};
use crate::format::keys::IndexKey;
use crate::format::posting::{Posting, SERVICE_CODE_NONE, Tags};
use crate::index::tail::TailIndex;
use crate::segment::Segment;

/// The tags of an event whose action and service have these codes.
pub(crate) fn tags_of(
    (level, category, status): (Level, Category, Status),
    action: u16,
    service: u16,
) -> Tags {
    Tags::new(level.code(), category.code(), status.code(), action, service)
}

/// What replayed records tell the shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replayed {
    pub(crate) recorded_max_micros: i64,
    /// How many of the records are the first of their user.
    pub(crate) new_users: u64,
}

impl Replayed {
    pub(crate) const NOTHING: Self = Self { recorded_max_micros: i64::MIN, new_users: 0 };
}

/// Publishes and indexes records that lie at these offsets, the first of them as record `ordinal`. They are intact.
pub(crate) fn replay(
    key: &IndexKey,
    segment: &Segment,
    tail: &TailIndex,
    ordinal: u64,
    offsets: &[u32],
) -> Result<Replayed> {
    let mut sum = Replayed::NOTHING;
    for (ordinal, offset) in (ordinal..).zip(offsets) {
        let offset = *offset as usize;
        if !segment.note_offset(ordinal, offset) {
            return Err(Error::corruption(segment.path(), offset as u64, "more records than there can be"));
        }
        let leaf = segment.leaf_at(ordinal, offset)?;
        let event = index_record(key, tail, (segment.path(), offset as u64), ordinal, leaf)?;
        sum.recorded_max_micros = sum.recorded_max_micros.max(event.recorded_at().as_micros());
        sum.new_users += u64::from(event.user_sequence() == Some(0));
        segment.publish(ordinal + 1);
    }
    Ok(sum)
}

/// Indexes a record; `path` and `offset` say where it lies, for messages.
pub(super) fn index_record<'l>(
    key: &IndexKey,
    tail: &TailIndex,
    (path, offset): (&Path, u64),
    ordinal: u64,
    leaf: &'l [u8],
) -> Result<EventView<'l>> {
    let damaged = |message: String| Error::corruption(path, offset, message);
    let view = EventView::parse(leaf).map_err(|error| damaged(error.to_string()))?;
    let (Some(user), Some(user_sequence)) = (view.user_id_bytes(), view.user_sequence()) else {
        return Ok(view);
    };
    let action = view.action().map_err(|error| damaged(error.to_string()))?;
    let service = view.service().map_err(|error| damaged(error.to_string()))?;
    let kind = (view.level(), view.category(), view.status());
    let action = match view.action_code() {
        0 => tail.actions.code_or_insert(action),
        code => code,
    };
    let service = service.map_or(SERVICE_CODE_NONE, |service| tail.services.code_or_insert(service));
    let tags = tags_of(kind, action, service);
    let ordinal = u32::try_from(ordinal).map_err(|_| damaged("too many records".to_owned()))?;
    let posting = Posting { ordinal, tags };
    let user = key.fingerprint(user);
    let stored = match tail.slot(user) {
        Some(slot) if tail.head(slot).count == user_sequence => {
            tail.push(slot, posting, view.occurred_at().as_micros())
        }
        Some(slot) => {
            let expected = tail.head(slot).count;
            let message = format!("user sequence {user_sequence} stands where {expected} should");
            return Err(damaged(message));
        }
        None => tail.insert(user, user_sequence, posting, view.occurred_at().as_micros()),
    };
    if !stored {
        return Err(damaged("the segment has more records than it can hold".to_owned()));
    }
    Ok(view)
}
