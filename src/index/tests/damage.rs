//! A damaged run says so, or answers as if nothing were: every bit, every length.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::run::{build, dictionaries, open};
use super::*;
use crate::index::run::Run;

/// Users of the small run, and two who are not in it.
const USERS: usize = 7;

/// Two hundred events: one user's fill two blocks, so that the run has a block table too.
fn small() -> List {
    let entry = |n: usize| Entry {
        level: u8::try_from(n % 4).unwrap(),
        category: u8::try_from(n % 7).unwrap(),
        status: u8::try_from(n % 3).unwrap(),
        action: u16::try_from(n % 6 + 1).unwrap(),
        service: u16::try_from(n % 2).unwrap(),
        at: i64::try_from(n).unwrap() * 1_000,
    };
    List((0..200).map(|n| (Some(if n % 10 < 7 { 0 } else { n % 5 }), entry(n))).collect())
}

/// Everything that can be asked of a user.
#[derive(PartialEq, Debug)]
struct Answer {
    head: Option<(u64, u64, u64)>,
    walks: Vec<Vec<Candidate>>,
}

fn answer(run: &Run, user: usize) -> Result<Answer> {
    let Some(found) = run.user(fingerprint(user))? else {
        return Ok(Answer { head: None, walks: Vec::new() });
    };
    let head = found.head();
    let mut walks = Vec::new();
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        let range = Range { from: 0, to: found.count(), direction };
        for wanted in [
            Wanted::default(),
            Wanted { levels: vec![2], actions: Some(vec![3]), ..Wanted::default() },
            Wanted { since: Some(30_000), until: Some(150_000), ..Wanted::default() },
        ] {
            walks.push(gather(usize::MAX, |sink| found.walk(range, &wanted.selection(), sink))?);
        }
    }
    Ok(Answer { head: Some((found.count_before(), head.count, head.last_sequence)), walks })
}

fn ask_all(bytes: &[u8], expected: &[Answer]) -> bool {
    let mut refused = false;
    match open(bytes) {
        Err(error) => {
            assert_is_corruption_or_newer(&error);
            refused = true;
        }
        Ok(run) => {
            assert_eq!(run.dictionaries(), &dictionaries());
            for (user, expected) in expected.iter().enumerate() {
                let outcome = answer(&run, user);
                refused |= outcome.is_err();
                corruption_or(outcome, |found| assert_eq!(&found, expected, "user {user}"));
            }
            let verified = run.verify();
            refused |= verified.is_err();
            corruption_or(verified, |()| {});
        }
    }
    refused
}

/// A flipped bit in the version may look like a newer one: that is refused as well.
fn assert_is_corruption_or_newer(error: &Error) {
    if error.kind() != ErrorKind::NewerFormat {
        assert_is_corruption(error);
    }
}

#[test]
fn every_flipped_bit_of_a_run_is_told_or_changes_nothing() {
    let bytes = build(&small());
    let run = open(&bytes).unwrap();
    let expected: Vec<Answer> = (0..USERS).map(|user| answer(&run, user).unwrap()).collect();
    assert!(!ask_all(&bytes, &expected), "undamaged, nothing is refused");
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let told = catch_unwind(AssertUnwindSafe(|| ask_all(&damaged, &expected)));
        refused += usize::from(told.unwrap_or_else(|_| panic!("bit {} of byte {}", bit % 8, bit / 8)));
    }
    // The header's page has nothing but zeros behind the header, which nobody reads; all else is under a checksum.
    assert_eq!(refused, (bytes.len() - (4096 - 160)) * 8);
}

#[test]
fn every_truncated_run_is_refused() {
    let bytes = build(&small());
    for length in 0..bytes.len() {
        let error = open(&bytes[..length]).unwrap_err();
        assert_is_corruption(&error);
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_is_corruption(&open(&longer).unwrap_err());
}
