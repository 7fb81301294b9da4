//! Random histories: what is done to a store, in which order.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::ground::{Cut, Kind};
use super::list::{ACTIONS, Question, SERVICES, Spec, USERS};
use super::world::{Handed, Setting, Tally, TryAppend, World};
use crate::format::seeded::random_from;
use crate::io::faulty::Damage;
use crate::{Category, Durability, Level, Status};

/// What is done next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Append(Spec, bool),
    /// Appended without waiting, and waited for after a look.
    Later(Spec),
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
    /// Opens a reader beside the writer, which is asked from then on.
    ReadBeside,
    Maintain,
    Flush,
    /// The wall clock goes on or back by so many seconds.
    Clock(i64),
    Reopen(bool),
    Crash(Cut),
    /// The same in the middle of something: at this operation.
    CrashIn(Attempt, usize, Cut),
}

/// What a crash may come into.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    Append(Vec<Spec>, TryAppend),
    Pack(bool),
    Maintain,
    Flush,
    Reopen(bool),
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

/// Events of one user, or of several where that must be refused.
fn group() -> impl Strategy<Value = Vec<Spec>> {
    (vec(spec(), 0..12), any::<bool>()).prop_map(|(mut specs, mixed)| {
        let owner = specs.first().and_then(|spec| spec.user);
        specs.iter_mut().filter(|_| !mixed).for_each(|spec| spec.user = owner);
        specs
    })
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        1 => Just(Cut::Kill),
        2 => (0..Damage::VARIANTS, any::<u64>()).prop_map(|(way, seed)| Cut::Power(way, seed)),
    ]
}

/// Mostly among the first: most steps have few.
fn operation() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0_usize..20, 1 => 0_usize..300]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let each = any_of(&[Durability::Buffered, Durability::Durable]).prop_map(TryAppend::Each);
    let how = prop_oneof![each, Just(TryAppend::Batch)];
    prop_oneof![
        2 => (vec(spec(), 1..20), how).prop_map(|(specs, how)| Attempt::Append(specs, how)),
        1 => (spec(), 1_usize..40).prop_map(|(spec, count)| {
            Attempt::Append(vec![Spec { padding: LARGE, ..spec }; count], TryAppend::Batch)
        }),
        1 => group().prop_map(|specs| Attempt::Append(specs, TryAppend::Atomic)),
        1 => any::<bool>().prop_map(Attempt::Pack),
        1 => Just(Attempt::Maintain),
        1 => Just(Attempt::Flush),
        2 => any::<bool>().prop_map(Attempt::Reopen),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (spec(), any::<bool>()).prop_map(|(spec, durably)| Step::Append(spec, durably)),
        1 => spec().prop_map(Step::Later),
        4 => vec(spec(), 0..30).prop_map(Step::Batch),
        3 => group().prop_map(Step::Atomic),
        2 => (spec(), 1_usize..700).prop_map(|(spec, count)| Step::Many(spec, count)),
        2 => (spec(), 1_usize..45).prop_map(|(spec, count)| Step::Large(spec, count)),
        6 => question().prop_map(Step::Ask),
        2 => question().prop_map(Step::Walk),
        8 => (any::<usize>(), limit()).prop_map(|(which, limit)| Step::Resume(which, limit)),
        2 => any::<(usize, usize)>().prop_map(|(which, how)| Step::Misuse(which, how)),
        2 => (any::<usize>(), prop_oneof![any::<u128>(), (0_u32..128).prop_map(|bit| 1 << bit)])
            .prop_map(|(which, bits)| Step::ById(which, bits)),
        2 => prop::bool::weighted(0.3).prop_map(Step::Pack),
        1 => Just(Step::ReadBeside),
        2 => Just(Step::Maintain),
        1 => Just(Step::Flush),
        1 => (-100_i64..100).prop_map(Step::Clock),
        1 => any::<bool>().prop_map(Step::Reopen),
        1 => cut().prop_map(Step::Crash),
        1 => (attempt(), operation(), cut()).prop_map(|(attempt, at, cut)| Step::CrashIn(attempt, at, cut)),
    ]
}

/// The padding of events of which a few dozen fill a segment, where segments are large.
const LARGE: usize = 50_000;

const DURABILITIES: [Durability; 4] = [
    Durability::Buffered,
    Durability::Interval(Duration::from_millis(1)),
    Durability::Interval(Duration::from_millis(100)),
    Durability::Durable,
];

/// Where nothing happens by time.
const DURABILITIES_SIMULATED: [Durability; 3] =
    [Durability::Buffered, Durability::Interval(Duration::from_hours(1)), Durability::Durable];

/// The settings of stores that lie there.
fn setting(simulated: bool, kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Setting> {
    let durability = any_of(if simulated { &DURABILITIES_SIMULATED } else { &DURABILITIES });
    let segment_bytes =
        any_of(if simulated { &[16 << 10, 32 << 10, 64 << 10] } else { &[64 << 10, 1 << 20] });
    let pack_after = option::of(any_of(&[0_u64, 40 << 10]));
    let store = (any_of(&[1_u16, 1, 2, 4]), segment_bytes, durability, pack_after);
    (kind, store, any::<bool>(), any::<u64>()).prop_map(
        move |(kind, (shards, segment_bytes, durability, pack_after), in_order, seed)| Setting {
            kind,
            shards,
            segment_bytes,
            durability,
            in_order,
            pack_after,
            seed,
        },
    )
}

/// A store, and what is done to it.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) setting: Setting,
    pub(super) steps: Vec<Step>,
}

fn history(setting: impl Strategy<Value = Setting>, steps_max: usize) -> impl Strategy<Value = History> {
    (setting, vec(step(), 1..steps_max)).prop_map(|(setting, steps)| History { setting, steps })
}

pub(super) fn in_memory() -> impl Strategy<Value = History> {
    history(setting(false, Just(Kind::Memory)), 60)
}

pub(super) fn on_disk() -> impl Strategy<Value = History> {
    history(setting(false, Just(Kind::Real)), 40)
}

pub(super) fn simulated() -> impl Strategy<Value = History> {
    let late = prop::bool::weighted(0.25).prop_map(|late| Kind::Simulated { late });
    history(setting(true, late), 40)
}

impl History {
    /// Goes through it; says what that was.
    pub(super) fn run(&self) -> Tally {
        let threads = !matches!(self.setting.kind, Kind::Simulated { .. });
        random_from((!threads).then_some(self.setting.seed));
        let mut world = World::new(self.setting.clone());
        world.refuse_limits();
        for step in &self.steps {
            step.take(&mut world);
        }
        world.verify_all();
        world.read_beside();
        world.reopen(true);
        random_from(None);
        world.tally
    }
}

impl Step {
    fn take(&self, world: &mut World) {
        // No record is larger than a segment; and on the disk that fails, each byte is remembered.
        let fitting =
            |padding: usize| padding.min(usize::try_from(world.setting.segment_bytes / 20).unwrap());
        let large = |spec: &Spec, count: usize| vec![Spec { padding: fitting(LARGE), ..spec.clone() }; count];
        let fewer = if world.ground.is_simulated() { 6 } else { 1 };
        let many =
            |spec: &Spec, count: usize| vec![Spec { padding: 0, ..spec.clone() }; count.div_ceil(fewer)];
        match self.clone() {
            Self::Append(spec, durably) => world.append(&spec, durably),
            Self::Later(spec) => world.append_later(&spec),
            Self::Batch(specs) => world.append_batch(&specs),
            Self::Atomic(specs) => world.append_atomic(&specs),
            Self::Many(spec, count) => {
                let specs = many(&spec, count);
                world.append_batch(&specs);
            }
            Self::Large(spec, count) => {
                let specs = large(&spec, count);
                world.append_batch(&specs);
            }
            Self::Ask(question) => world.ask(question),
            Self::Walk(question) => world.walk(&question),
            Self::Resume(which, limit) => world.resume(which, limit),
            Self::Misuse(which, how) => world.misuse(which, how),
            Self::ById(which, bits) => world.by_id(which, bits),
            Self::Pack(undo) => world.pack(undo),
            Self::ReadBeside => world.read_beside(),
            Self::Maintain => world.maintain(),
            Self::Flush => world.flush(),
            Self::Clock(seconds) => world.ground.pass(seconds * 1_000_000),
            Self::Reopen(close) => world.reopen(close),
            Self::Crash(cut) => world.crash(cut),
            Self::CrashIn(attempt, at, cut) => {
                let attempt = match attempt {
                    Attempt::Append(mut specs, how) => {
                        for spec in &mut specs {
                            spec.padding = fitting(spec.padding);
                        }
                        Attempt::Append(specs, how)
                    }
                    attempt => attempt,
                };
                world.crash_in(at, cut, |world| attempt.make(world));
            }
        }
    }
}

impl Attempt {
    /// What it handed in, and whether that is a group. Whether it succeeded is nobody's any more.
    fn make(self, world: &mut World) -> (Handed, bool) {
        match self {
            Self::Append(specs, how) => return world.try_append(&specs, how),
            Self::Pack(undo) => drop(if undo { world.store().unpack() } else { world.store().pack() }),
            Self::Maintain => drop(world.store().maintain()),
            Self::Flush => drop(world.store().flush()),
            Self::Reopen(close) => world.try_reopen(close),
        }
        (Vec::new(), false)
    }
}
