//! The tail index against the list: any number of users, any watermark, any part, any filter, both ways.

use super::*;
use crate::format::checkpoint::{Builder, Checkpoint, Scope};
use crate::format::posting::TimeRange;
use crate::format::record::Salt;
use crate::index::UserHead;
use crate::index::tail::TailIndex;

fn fill(
    tail: &TailIndex,
    events: &[(Option<usize>, Entry)],
    first_ordinal: usize,
    before: impl Fn(usize) -> u64,
) {
    for (ordinal, (owner, entry)) in events.iter().enumerate() {
        let Some(user) = owner else { continue };
        let posting = posting(first_ordinal + ordinal, entry);
        let stored = match tail.slot(fingerprint(*user)) {
            Some(slot) => tail.push(slot, posting, entry.at),
            None => tail.insert(fingerprint(*user), before(*user), posting, entry.at),
        };
        assert!(stored, "the sizes leave room for every event");
    }
}

fn before(user: usize) -> u64 {
    user as u64 * 1000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn walks_are_those_of_the_list(
        list in lists(12, 1..700), published in 0_u8..=255,
        asked in vec((0_usize..14, any::<(u8, u8)>(), direction(), wanted(), 1_usize..40), 1..12),
    ) {
        // What is pushed behind the watermark is there, and must not be seen.
        let published = list.0.len() * usize::from(published) / 255;
        let tail = TailIndex::new(BASE, list.0.len());
        fill(&tail, &list.0, 0, before);
        for (user, part, direction, wanted, limit) in asked {
            let expected = list.of(user, published);
            let Some(found) = tail.user(fingerprint(user), published as u64) else {
                prop_assert!(expected.is_empty(), "user {} is missing", user);
                continue;
            };
            prop_assert_eq!(found.count() as usize, expected.len());
            prop_assert_eq!(found.count_before(), before(user));
            let postings: Vec<Posting> =
                expected.iter().map(|listed| posting(listed.ordinal as usize, &listed.entry)).collect();
            prop_assert_eq!(found.postings(), postings);
            let range = range_of(expected.len(), part, direction);
            let selection = wanted.selection();
            let all = gather(usize::MAX, |sink| found.walk(range, &selection, sink)).unwrap();
            compare(&all, &expected, before(user), range, &wanted)?;
            let some = gather(limit, |sink| found.walk(range, &selection, sink)).unwrap();
            prop_assert_eq!(&some[..], &all[..all.len().min(limit)], "a walk ends when it is told to");
        }
    }

    #[test]
    fn heads_and_counts_are_those_of_the_list(list in lists(30, 1..300)) {
        let tail = TailIndex::new(BASE, list.0.len());
        fill(&tail, &list.0, 0, before);
        let mut known = 0;
        for user in 0..32 {
            let expected = list.of(user, list.0.len());
            let slot = tail.slot(fingerprint(user));
            prop_assert_eq!(slot.is_some(), !expected.is_empty());
            let Some((slot, last)) = slot.zip(expected.last()) else { continue };
            known += 1;
            let head = UserHead {
                count: before(user) + expected.len() as u64,
                last_sequence: BASE + u64::from(last.ordinal),
            };
            prop_assert_eq!(tail.head(slot), head);
            prop_assert_eq!(tail.sealed_user(slot).postings().len(), expected.len());
        }
        prop_assert_eq!(tail.user_count(), known);
        let mut users: Vec<_> = tail.users().into_iter().map(|(user, _)| user).collect();
        users.sort_unstable();
        users.dedup();
        prop_assert_eq!(users.len(), known);
    }
}

/// Every number of postings up to three full blocks, every watermark below it, both ways: the edges of all block sizes.
#[test]
fn every_block_edge() {
    const POSTINGS_MAX: usize = 400;
    let entry = |n: usize| Entry {
        level: u8::try_from(n % 4).unwrap(),
        category: u8::try_from(n % 7).unwrap(),
        status: u8::try_from(n % 3).unwrap(),
        action: u16::try_from(n % 9 + 1).unwrap(),
        service: 0,
        at: i64::try_from(n).unwrap(),
    };
    let tail = TailIndex::new(BASE, 2 * POSTINGS_MAX);
    let mut list = List::default();
    let wanted = [
        Wanted::default(),
        Wanted { levels: vec![1], ..Wanted::default() },
        Wanted { since: Some(90), until: Some(500), ..Wanted::default() },
    ];
    for count in 1..=POSTINGS_MAX {
        // A second user's blocks lie between those of the first.
        for user in [0, 1] {
            let ordinal = list.0.len();
            list.0.push((Some(user), entry(ordinal)));
            fill(&tail, &list.0[ordinal..], ordinal, |_| 0);
        }
        let expected = list.of(0, list.0.len());
        let found = tail.user(fingerprint(0), list.0.len() as u64).unwrap();
        assert_eq!(found.count() as usize, count);
        for direction in [Direction::NewestFirst, Direction::OldestFirst] {
            for wanted in &wanted {
                for (from, to) in
                    [(0, count), (count / 3, count), (0, count - count / 3), (count / 2, count / 2)]
                {
                    let part = |index: usize| u32::try_from(index).unwrap();
                    let range = Range { from: part(from), to: part(to), direction };
                    let all =
                        gather(usize::MAX, |sink| found.walk(range, &wanted.selection(), sink)).unwrap();
                    compare(&all, &expected, 0, range, wanted).unwrap();
                }
            }
        }
        for published in 0..count {
            // User 0 has the even ordinals.
            let seen = tail.user(fingerprint(0), 2 * published as u64);
            assert_eq!(seen.map_or(0, |user| user.count()) as usize, published, "{count} postings");
        }
    }
    for published in 1..=POSTINGS_MAX {
        let seen = tail.user(fingerprint(0), 2 * published as u64 - 1).unwrap();
        let ordinals: Vec<u32> = seen.postings().iter().map(|posting| posting.ordinal).collect();
        let expected: Vec<u32> = (0..u32::try_from(published).unwrap()).map(|index| index * 2).collect();
        assert_eq!(ordinals, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tail_goes_through_a_checkpoint_as_of_a_watermark(
        list in lists(9, 2..900), at in 0_u8..=255,
        asked in vec((0_usize..10, any::<(u8, u8)>(), direction(), wanted()), 1..12),
    ) {
        // The writer is ahead of what the checkpoint covers, and goes on after it was restored.
        let records = (list.0.len() * usize::from(at) / 255).max(1);
        let tail = TailIndex::new(BASE, list.0.len());
        tail.actions.code_or_insert("an action");
        fill(&tail, &list.0, 0, before);
        let mut builder = Builder::new(scope(records as u64, &tail), (0..).map(|n| 4096 + n * 8).take(records));
        tail.save(records as u64, &mut builder);
        let checkpoint = Checkpoint::decode(builder.finish(&tail.dictionaries()).unwrap()).unwrap();
        let restored = TailIndex::restore(list.0.len(), &checkpoint).unwrap();
        prop_assert_eq!(restored.actions.names(), ["an action"]);
        let new = (0..9).filter(|user| before(*user) == 0 && !list.of(*user, records).is_empty()).count();
        prop_assert_eq!(checkpoint.new_users(), new as u64);
        for user in 0..10 {
            let found = restored.user(fingerprint(user), u64::MAX).map_or(0, |found| found.count() as usize);
            prop_assert_eq!(found, list.of(user, records).len());
        }
        fill(&restored, &list.0[records..], records, before);
        for (user, part, direction, wanted) in asked {
            let expected = list.of(user, list.0.len());
            let Some(found) = restored.user(fingerprint(user), u64::MAX) else {
                prop_assert!(expected.is_empty());
                continue;
            };
            prop_assert_eq!(found.count_before(), before(user));
            let range = range_of(expected.len(), part, direction);
            let selection = wanted.selection();
            let all = gather(usize::MAX, |sink| found.walk(range, &selection, sink)).unwrap();
            compare(&all, &expected, before(user), range, &wanted)?;
        }
    }
}

fn scope(records: u64, tail: &TailIndex) -> Scope {
    Scope {
        store_id: [1; 16],
        shard: 0,
        generation: 0,
        segment: 0,
        salt: Salt(1),
        base: BASE,
        records,
        records_end: 4096 + records * 8,
        recorded_max_micros: 0,
        occurred: tail.occurred(),
    }
}

#[test]
fn a_checkpoint_with_other_blocks_is_not_restored() {
    let tail = TailIndex::new(0, 100);
    let entries = |ordinal| Posting { ordinal, tags: Tags(0) };
    let build = |ranges: &[TimeRange]| {
        let mut builder = Builder::new(scope(50, &tail), (0..50).map(|n| 4096 + n * 8));
        builder.push(fingerprint(1), 0, &(0..50).map(entries).collect::<Vec<_>>(), ranges);
        Checkpoint::decode(builder.finish(&tail.dictionaries()).unwrap()).unwrap()
    };
    let range = TimeRange { min: 0, max: 0 };
    assert!(TailIndex::restore(100, &build(&[range])).is_some());
    assert!(TailIndex::restore(100, &build(&[])).is_none());
    assert!(TailIndex::restore(100, &build(&[range, range])).is_none());
}
