//! The index against a plain list: the same postings, asked the same questions.
//!
//! The oracle keeps what an event has as plain numbers and decides a filter by them; it uses neither tags nor masks.

mod damage;
mod forged;
mod heads;
mod memory;
mod merge;
mod rare;
mod run;
mod tail;

use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::selection::{Kinds, Selection};
use super::{Candidate, Direction, Range};
use crate::error::{Error, ErrorKind, Result};
use crate::format::keys::IndexKey;
use crate::format::posting::{ACTION_CODE_OTHER, Posting, SERVICE_CODE_OTHER, TagMask, Tags, TimeRange};
use crate::ids::Fingerprint;

/// The shard sequence that all tests count from.
const BASE: u64 = 1_000_000_007;

fn fingerprint(user: usize) -> Fingerprint {
    IndexKey::new([9; 32]).fingerprint(&user.to_le_bytes())
}

/// What an event is to the index.
#[derive(Clone, Copy, Debug)]
struct Entry {
    level: u8,
    category: u8,
    status: u8,
    action: u16,
    service: u16,
    at: i64,
}

impl Entry {
    fn tags(&self) -> Tags {
        Tags::new(self.level, self.category, self.status, self.action, self.service)
    }
}

/// A filter, as the oracle has it.
#[derive(Clone, Debug, Default)]
struct Wanted {
    levels: Vec<u8>,
    categories: Vec<u8>,
    statuses: Vec<u8>,
    actions: Option<Vec<u16>>,
    services: Option<Vec<u16>>,
    since: Option<i64>,
    until: Option<i64>,
}

impl Wanted {
    fn selection(&self) -> Selection {
        let or = |codes: &[u8], all: TagMask, one: fn(u8) -> TagMask| match codes {
            [] => all.0,
            codes => codes.iter().fold(0, |mask, code| mask | one(*code).0),
        };
        Selection {
            kinds: Kinds::of(TagMask(
                or(&self.levels, TagMask::LEVELS, TagMask::level)
                    | or(&self.statuses, TagMask::STATUSES, TagMask::status)
                    | or(&self.categories, TagMask::CATEGORIES, TagMask::category),
            )),
            actions: self.actions.clone(),
            services: self.services.clone(),
            since: self.since.unwrap_or(i64::MIN),
            until: self.until,
        }
    }

    fn time_bound(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    fn in_time(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.at >= since) && self.until.is_none_or(|until| entry.at < until)
    }

    /// Whether the tags let the entry pass, and whether only its record can say so.
    fn by_tags(&self, entry: &Entry) -> (bool, bool) {
        let any = |codes: &[u8], code: u8| codes.is_empty() || codes.contains(&code);
        let code = |codes: &Option<Vec<u16>>, code: u16, other: u16| match codes {
            None => (true, false),
            Some(codes) if codes.contains(&code) => (true, false),
            Some(_) => (code == other, code == other),
        };
        let (action, ask_action) = code(&self.actions, entry.action, ACTION_CODE_OTHER);
        let (service, ask_service) = code(&self.services, entry.service, SERVICE_CODE_OTHER);
        let plain = any(&self.levels, entry.level)
            && any(&self.categories, entry.category)
            && any(&self.statuses, entry.status);
        (plain && action && service, ask_action || ask_service)
    }
}

/// Where a posting of the list is, and what it is.
#[derive(Clone, Copy, Debug)]
struct Listed {
    ordinal: u32,
    entry: Entry,
}

/// A shard's events as a plain list: whose each is (nobody's: `None`), and what.
#[derive(Clone, Debug, Default)]
struct List(Vec<(Option<usize>, Entry)>);

impl List {
    fn of(&self, user: usize, published: usize) -> Vec<Listed> {
        let all = self.0.iter().take(published).enumerate();
        all.filter(|(_, (owner, _))| *owner == Some(user))
            .map(|(ordinal, (_, entry))| Listed { ordinal: u32::try_from(ordinal).unwrap(), entry: *entry })
            .collect()
    }
}

/// Takes everything that a walk offers, at most `limit`.
fn gather(
    limit: usize,
    walk: impl FnOnce(&mut dyn FnMut(Candidate) -> Result<ControlFlow<()>>) -> Result<ControlFlow<()>>,
) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let _ = walk(&mut |candidate| {
        found.push(candidate);
        Ok(if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}

/// Compares a whole walk with the list: nothing that passes is missing, nothing that fails is there unless the record
/// must be asked for its time, and the order is right. Says how many must be asked beyond what the tags leave open.
fn compare(
    found: &[Candidate],
    list: &[Listed],
    count_before: u64,
    range: Range,
    wanted: &Wanted,
) -> Result<usize, TestCaseError> {
    let from = range.from as usize;
    let mut chosen: Vec<(usize, &Listed)> =
        list.iter().enumerate().take(range.to as usize).skip(from).collect();
    if range.direction == Direction::NewestFirst {
        chosen.reverse();
    }
    let mut found = found.iter().peekable();
    let mut asked_for_time = 0;
    for (index, listed) in chosen {
        let (passes, ask) = wanted.by_tags(&listed.entry);
        let in_time = wanted.in_time(&listed.entry);
        let here = found.next_if(|candidate| {
            candidate.sequence == BASE + u64::from(listed.ordinal)
                && candidate.user_sequence == count_before + index as u64
        });
        match here {
            Some(candidate) => {
                prop_assert!(passes, "{listed:?} fails the filter by its tags");
                prop_assert!(candidate.ask || (in_time && !ask), "{listed:?} must be asked");
                prop_assert!(!candidate.ask || ask || wanted.time_bound(), "{listed:?} is asked for nothing");
                asked_for_time += usize::from(candidate.ask && !ask);
            }
            None => prop_assert!(!passes || !in_time, "{listed:?} is missing"),
        }
    }
    prop_assert_eq!(found.next(), None, "more than there is, or in another order");
    Ok(asked_for_time)
}

fn entry() -> impl Strategy<Value = Entry> {
    let action = prop_oneof![8 => 1_u16..5, 1 => Just(ACTION_CODE_OTHER)];
    let service = prop_oneof![8 => 0_u16..4, 1 => Just(SERVICE_CODE_OTHER)];
    (0_u8..4, 0_u8..7, 0_u8..3, action, service, -50_i64..50).prop_map(
        |(level, category, status, action, service, at)| Entry {
            level,
            category,
            status,
            action,
            service,
            at: at * 1_000_000_000,
        },
    )
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let times = || option::of((-60_i64..60).prop_map(|at| at * 1_000_000_000));
    let parts = (vec(0_u8..4, 0..3), vec(0_u8..7, 0..4), vec(0_u8..3, 0..3), times(), times());
    let codes = (option::of(vec(1_u16..7, 0..3)), option::of(vec(0_u16..6, 0..3)));
    (parts, codes).prop_map(|((levels, categories, statuses, since, until), (actions, services))| Wanted {
        levels,
        categories,
        statuses,
        actions,
        services,
        since,
        until,
    })
}

/// Mostly one user with very many events, some with few, some of nobody.
fn lists(users: usize, events: std::ops::Range<usize>) -> impl Strategy<Value = List> {
    let owner = prop_oneof![6 => Just(Some(0)), 5 => (0..users).prop_map(Some), 1 => Just(None)];
    // One in three lists has its events in the order of their times, as real ones mostly are.
    (vec((owner, entry()), events), 0_u8..3).prop_map(|(mut list, order)| {
        if order == 0 {
            list.iter_mut()
                .zip(0_i64..)
                .for_each(|((_, entry), at)| entry.at = (at / 16 - 50) * 1_000_000_000);
        }
        List(list)
    })
}

/// A part of a user's postings, from three fractions of 255.
fn range_of(count: usize, (a, b): (u8, u8), direction: Direction) -> Range {
    let part = |fraction: u8| u32::try_from(count * usize::from(fraction) / 255).unwrap();
    Range { from: part(a.min(b)), to: part(a.max(b)), direction }
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::NewestFirst), Just(Direction::OldestFirst)]
}

fn posting(ordinal: usize, entry: &Entry) -> Posting {
    Posting { ordinal: u32::try_from(ordinal).unwrap(), tags: entry.tags() }
}

fn corruption_or<T>(outcome: Result<T>, check: impl FnOnce(T)) {
    match outcome {
        Ok(value) => check(value),
        Err(error) => assert_is_corruption(&error),
    }
}

fn assert_is_corruption(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    assert!(error.to_string().contains("some.run"), "{error}: which file?");
}
