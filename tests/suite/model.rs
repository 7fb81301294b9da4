//! A model test: whatever is done to a store, in any order, it answers as a plain list would.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use usertrail::{Category, Durability, Level, Status};

use crate::fixture::cases;
use crate::model_world::{ACTIONS, Question, SERVICES, Setting, Spec, USERS, World};

#[derive(Clone, Debug)]
enum Step {
    Append(Spec, bool),
    Batch(Vec<Spec>),
    Atomic(Vec<Spec>),
    /// Many small events like this one.
    Many(Spec, usize),
    /// Events so large that a few dozen fill a segment.
    Large(Spec, usize),
    Ask(Question),
    Walk(Question),
    Resume(usize, usize),
    Misuse(usize, usize),
    ById(usize, u128),
    /// Packs what is sealed, or undoes it.
    Pack(bool),
    ReadBeside,
    Maintain,
    Reopen(bool),
    Crash,
}

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(|index| all[index])
}

fn spec() -> impl Strategy<Value = Spec> {
    let owner = prop_oneof![5 => Just(Some(0)), 5 => (0..USERS.len()).prop_map(Some), 1 => Just(None)];
    let kind = (option::weighted(0.3, any_of(&Level::ALL)), option::weighted(0.3, any_of(&Category::ALL)));
    let rest = (any_of(&Status::ALL), option::of(0..SERVICES.len()), option::of(-100_i64..100), 0_usize..600);
    (owner, 0..ACTIONS.len(), kind, rest).prop_map(
        |(user, action, (level, category), (status, service, at, padding))| Spec {
            user,
            action,
            level,
            category,
            status,
            service,
            at,
            padding: padding.saturating_sub(300),
        },
    )
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1_usize..8, 2 => 1_usize..=500, 1 => Just(500)]
}

fn question() -> impl Strategy<Value = Question> {
    let kinds =
        (vec(any_of(&Level::ALL), 0..3), vec(any_of(&Category::ALL), 0..4), vec(any_of(&Status::ALL), 0..2));
    let names = (vec(0..ACTIONS.len(), 0..3), vec(0..SERVICES.len(), 0..3));
    // Sometimes far from all events, sometimes among them: in order, an event's second is its place.
    let times = || option::weighted(0.4, prop_oneof![-120_i64..120, 0_i64..2_000]);
    let owner = prop_oneof![2 => Just(0), 1 => 0..USERS.len()];
    // Each kind of filter is there in half of the questions only, or hardly anything would pass all of them.
    let shape = (owner, any::<u8>(), any::<bool>(), limit());
    (shape, kinds, names, times(), times()).prop_map(
        |(
            (user, parts, oldest_first, limit),
            (levels, categories, statuses),
            (actions, services),
            since,
            until,
        )| {
            let part = |bit: u8| parts & 1 << bit != 0;
            let keep = |bit, list: Vec<usize>| if part(bit) { list } else { Vec::new() };
            Question {
                levels: if part(0) { levels } else { Vec::new() },
                categories: if part(1) { categories } else { Vec::new() },
                statuses: if part(2) { statuses } else { Vec::new() },
                actions: keep(3, actions),
                services: keep(4, services),
                since: since.filter(|_| part(5)),
                until: until.filter(|_| part(6)),
                ..Question { oldest_first, ..Question::plain(user, limit) }
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (spec(), any::<bool>()).prop_map(|(spec, durably)| Step::Append(spec, durably)),
        4 => vec(spec(), 0..30).prop_map(Step::Batch),
        3 => (vec(spec(), 0..12), any::<bool>()).prop_map(|(mut specs, mixed)| {
            let owner = specs.first().and_then(|spec| spec.user);
            specs.iter_mut().filter(|_| !mixed).for_each(|spec| spec.user = owner);
            Step::Atomic(specs)
        }),
        2 => (spec(), 1_usize..700).prop_map(|(spec, count)| Step::Many(spec, count)),
        2 => (spec(), 1_usize..45).prop_map(|(spec, count)| Step::Large(spec, count)),
        6 => question().prop_map(Step::Ask),
        2 => question().prop_map(Step::Walk),
        6 => (any::<usize>(), limit()).prop_map(|(which, limit)| Step::Resume(which, limit)),
        2 => any::<(usize, usize)>().prop_map(|(which, how)| Step::Misuse(which, how)),
        2 => (any::<usize>(), prop_oneof![any::<u128>(), (0_u32..128).prop_map(|bit| 1 << bit)])
            .prop_map(|(which, bits)| Step::ById(which, bits)),
        2 => prop::bool::weighted(0.3).prop_map(Step::Pack),
        1 => Just(Step::ReadBeside),
        2 => Just(Step::Maintain),
        1 => any::<bool>().prop_map(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

const DURABILITIES: [Durability; 4] = [
    Durability::Buffered,
    Durability::Interval(Duration::from_millis(1)),
    Durability::Interval(Duration::from_millis(100)),
    Durability::Durable,
];

fn setting(on_disk: bool) -> impl Strategy<Value = Setting> {
    let durability = any_of(&DURABILITIES);
    (any_of(&[1_u16, 1, 2, 4]), durability, any::<bool>(), any::<bool>()).prop_map(
        move |(shards, durability, in_order, packs)| Setting { on_disk, shards, durability, in_order, packs },
    )
}

fn run(setting: Setting, steps: Vec<Step>) {
    let mut world = World::new(setting);
    world.refuse_limits();
    for step in steps {
        match step {
            Step::Append(spec, durably) => world.append(&spec, durably),
            Step::Batch(specs) => world.append_batch(&specs),
            Step::Atomic(specs) => world.append_atomic(&specs),
            Step::Many(spec, count) => world.append_batch(&vec![Spec { padding: 0, ..spec }; count]),
            Step::Large(spec, count) => world.append_batch(&vec![Spec { padding: 50_000, ..spec }; count]),
            Step::Ask(question) => world.ask(question),
            Step::Walk(question) => world.walk(&question),
            Step::Resume(which, limit) => world.resume(which, limit),
            Step::Misuse(which, how) => world.misuse(which, how),
            Step::ById(which, bits) => world.by_id(which, bits),
            Step::Pack(undo) => world.pack(undo),
            Step::ReadBeside => world.read_beside(),
            Step::Maintain => world.maintain(),
            Step::Reopen(close) => world.reopen(close),
            Step::Crash => world.crash(),
        }
    }
    world.verify_all();
    world.read_beside();
    world.reopen(true);
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn a_store_on_disk_answers_as_a_list(setting in setting(true), steps in vec(step(), 1..40)) {
        run(setting, steps);
    }

    #[test]
    fn a_store_in_memory_answers_as_a_list(setting in setting(false), steps in vec(step(), 1..60)) {
        run(setting, steps);
    }
}

/// Row 10: at most two blocks more, wherever the bounds lie among a user's events in memory. The first blocks of a user
/// in a segment have no times of their own; they were asked one by one, beside the two in which the bounds lie.
#[test]
fn a_time_range_touches_no_more_than_two_blocks_in_vain() {
    let setting =
        Setting { on_disk: false, shards: 1, durability: Durability::Buffered, in_order: true, packs: false };
    let mut world = World::new(setting);
    let spec = Spec {
        user: Some(0),
        action: 0,
        level: None,
        category: None,
        status: Status::Success,
        service: None,
        at: None,
        padding: 0,
    };
    world.append_batch(&vec![spec; 800]);
    for since in (300..500).step_by(5) {
        for until in (since..800).step_by(5) {
            let plain = Question::plain(0, 500);
            world.walk(&Question { since: Some(since), until: Some(until), ..plain.clone() });
            world.walk(&Question { since: Some(since), until: Some(until), oldest_first: true, ..plain });
        }
    }
}
