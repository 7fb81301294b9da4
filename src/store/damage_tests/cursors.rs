//! Damaged cursors: a token is given out, and comes back as somebody made it.

use crate::error::ErrorKind;
use crate::event::UserId;
use crate::format::seeded::{Bug, seed};
use crate::query::Order;
use crate::store::Store;
use crate::store::images::{Sample, open_on};

/// Every character of a token in base64url.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Whether a page is refused for its cursor; a page that is given all the same has to be the one asked for.
fn is_refused(store: &Store, user: &str, order: Order, token: &str) -> bool {
    let user = UserId::new(user.to_owned()).unwrap();
    match store.user_log(&user).order(order).cursor(token).page() {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidCursor, "{error}");
            true
        }
        Ok(_) => false,
    }
}

/// Tokens that were given for something else, or never.
fn wrong_tokens(token: &str) -> impl Iterator<Item = String> + '_ {
    let exchanged = (0..token.len()).flat_map(move |at| {
        let others = LETTERS.chars().filter(move |letter| !token[at..].starts_with(*letter));
        others.map(move |letter| format!("{}{letter}{}", &token[..at], &token[at + 1..]))
    });
    let cut = (0..token.len()).map(|length| token[..length].to_owned());
    exchanged.chain(cut).chain([format!("{token}A"), format!("{token}="), format!(" {token}")])
}

/// Whether any wrong token is taken; how many there were.
fn try_tokens(sample: &Sample, store: &Store) -> (usize, usize) {
    let (mut tried, mut taken) = (0, 0);
    for (number, (user, order, token, _)) in sample.cursors.iter().enumerate() {
        let name = crate::store::images::USERS[*user];
        assert!(!is_refused(store, name, *order, token), "a cursor that was given out is taken");
        for wrong in wrong_tokens(token) {
            tried += 1;
            taken += usize::from(!is_refused(store, name, *order, &wrong));
        }
        for (other, (other_user, other_order, other_token, _)) in sample.cursors.iter().enumerate() {
            if other != number && (other_user, other_order) != (user, order) {
                tried += 1;
                taken += usize::from(!is_refused(store, name, *order, other_token));
            }
        }
    }
    (tried, taken)
}

#[test]
fn a_cursor_that_was_not_given_out_is_refused() {
    let sample = Sample::new().unwrap();
    let store = open_on(&sample.disk.image(), true).unwrap();
    let (tried, taken) = try_tokens(&sample, &store);
    assert!(tried > 10_000 && taken == 0, "{taken} of {tried} wrong tokens were taken");
}

/// A tag that is not compared lets wrong tokens through.
pub(super) fn bug_is_noticed() -> bool {
    let sample = Sample::new().unwrap();
    let store = open_on(&sample.disk.image(), true).unwrap();
    seed(Some(Bug::CursorUnchecked));
    let (_, taken) = try_tokens(&sample, &store);
    seed(None);
    taken > 0
}
