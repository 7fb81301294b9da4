//! A model test: whatever is done to a store, in any order, it answers as a plain list would; so does a reader beside it, for
//! as long as it is there.
//!
//! A history is made of everything that a store offers: single events, batches, groups, pages with any filter, cursors that
//! are kept for long, rollover, merging, packing, reopening, and crashes between two steps and in the middle of one. What a
//! crash took, the list forgets, after it was seen to be the end of each shard and nothing that was told to be durable.
//!
//! Ordinary runs go through a number of histories; `USERTRAIL_LONG_MINUTES` bounds a longer run, `USERTRAIL_SEED` chooses the
//! histories, `USERTRAIL_HISTORY` runs one of them alone. A history that fails is shrunk, and kept as a test in `kept`.

mod bugs;
mod ground;
mod history;
mod kept;
mod list;
mod world;

use std::cell::RefCell;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::figures::{self, Bound, Controls};
use history::History;
use world::Tally;

/// How often a history that fails is made smaller.
const SHRINKS_MAX: u32 = 1000;

/// The history of this number.
fn runner(seed: u64, number: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let config = Config { max_shrink_iters: SHRINKS_MAX, ..crate::fixture::cases(1) };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Goes through `share` histories, or as many as there is time for. Panics at the first that fails, shrunk.
fn explore(test: &str, histories: &impl Strategy<Value = History>, share: u64, controls: Controls) {
    world::foreign();
    let seed = figures::seed(1);
    let only: Option<u64> = std::env::var("USERTRAIL_HISTORY").ok().map(|number| number.parse().unwrap());
    let bound = Bound::new(share);
    let tally = RefCell::new(Tally::default());
    let mut done = 0;
    while bound.goes_on(done) && !(only.is_some() && done > 0) {
        let number = only.unwrap_or(done);
        let mut runner = runner(seed, number);
        let tree = histories.new_tree(&mut runner).unwrap();
        let outcome = runner.run_one(tree, |history| {
            tally.borrow_mut().add(&history.run());
            Ok(())
        });
        if let Err(TestError::Fail(reason, history)) = outcome {
            crate::format::seeded::random_from(None);
            panic!(
                "{reason}\nshrunk:\n{history:#?}\nagain: USERTRAIL_SEED={seed} USERTRAIL_HISTORY={number} \
                 cargo test --features full --lib {test}"
            );
        }
        done += 1;
    }
    let Tally { events, pages, cursors, crashes, lost, merges, packs } = tally.into_inner();
    let figure = format!(
        "{done} histories: {events} events, {pages} pages, {cursors} of kept cursors, {merges} merges, {packs} packs, \
         {crashes} crashes that took {lost} events; 0 wrong, seed {seed}, {:.1} min",
        bound.minutes()
    );
    let promise = "whatever is done to a store, it answers as a plain list, and so does a reader beside it";
    figures::figure(promise, &format!("store::model_tests::{test}"), figure, controls);
}

#[test]
fn a_store_on_disk_answers_as_a_list() {
    explore("a_store_on_disk_answers_as_a_list", &history::on_disk(), 24, Controls::default());
}

#[test]
fn a_store_in_memory_answers_as_a_list() {
    explore("a_store_in_memory_answers_as_a_list", &history::in_memory(), 32, Controls::default());
}

#[test]
fn a_store_that_crashes_answers_as_a_list() {
    let controls = bugs::controls();
    explore("a_store_that_crashes_answers_as_a_list", &history::simulated(), 150, controls);
}
