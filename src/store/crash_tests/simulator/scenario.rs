//! What the simulator's rounds run: workloads, fixed and random, and a store's options, all of them from a seed.

use super::super::rig::{LATER, Rig, Step};
use crate::PackAfter;
use crate::io::faulty::{Dice, Fault};
use crate::store::Durability;
use crate::store::open::WorkersKind;

/// What a round runs.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) steps: Vec<Step>,
    durability: Durability,
    workers: WorkersKind,
    checkpoint_bytes: u64,
    merge_fan_out: usize,
    pack_after: PackAfter,
    pub(super) fault: Option<Fault>,
}

fn append(user: u8, bytes: usize, durability: Durability) -> Step {
    Step::Append { user: Some(user), bytes, durability }
}

/// Enough for a segment.
const ROLLOVER: Step = Step::Batch { count: 17, bytes: 3300 };

/// Each form of append, rollover, sealing, merging, packing, unpacking, closing, killing, reading beside, at least once.
fn fixed() -> Vec<Step> {
    let buffered = Durability::Buffered;
    vec![
        append(0, 100, buffered),
        append(1, 3000, Durability::Durable),
        Step::Batch { count: 7, bytes: 200 },
        Step::Atomic { user: 0, count: 3, bytes: 2500 },
        Step::Page,
        Step::Append { user: None, bytes: 60, durability: buffered },
        Step::Flush,
        Step::Read,
        Step::NoteFloor,
        Step::Atomic { user: 1, count: 4, bytes: 1500 },
        ROLLOVER,
        append(2, 10, Durability::Durable),
        Step::Page,
        ROLLOVER,
        Step::Reopen,
        append(0, 200, buffered),
        Step::KillAndReopen,
        append(1, 200, buffered),
        Step::Flush,
        ROLLOVER,
        Step::Pack,
        append(2, 5000, buffered),
        Step::Page,
        ROLLOVER,
        Step::Read,
        Step::Maintain,
        Step::ClockBack,
        Step::Atomic { user: 2, count: 5, bytes: 900 },
        Step::Unpack,
        ROLLOVER,
        Step::Pack,
        append(1, 2000, buffered),
        Step::Page,
        Step::Reopen,
        Step::Batch { count: 3, bytes: 100 },
    ]
}

/// Users that come and go, so that their heads are asked of the table; and much that nobody's is.
fn comings() -> Vec<Step> {
    let filler = Step::Append { user: None, bytes: 6000, durability: Durability::Buffered };
    let mut steps = vec![Step::Batch { count: 12, bytes: 50 }];
    for user in [0, 1, 0, 2, 1] {
        steps.extend([filler; 10]);
        steps.extend([append(user, 50, Durability::Buffered), append(user, 50, LATER), Step::Flush]);
    }
    steps.extend([Step::Reopen, append(0, 10, LATER), append(1, 10, LATER), append(2, 10, LATER)]);
    steps.extend([filler; 10]);
    steps.extend([append(2, 10, LATER), Step::KillAndReopen, append(1, 10, LATER)]);
    steps.extend([filler; 10]);
    steps.extend([append(0, 10, LATER), Step::Page, append(1, 10, LATER)]);
    steps
}

pub(super) fn random(dice: &mut Dice) -> Vec<Step> {
    let durability = |dice: &mut Dice| [Durability::Buffered, LATER, Durability::Durable][dice.below(3)];
    let user = |dice: &mut Dice| u8::try_from(dice.below(3)).unwrap();
    let bytes = |dice: &mut Dice| [10, 150, 700, 4000, 9000][dice.below(5)] + dice.below(90);
    let count = 6 + dice.below(30);
    let step = |dice: &mut Dice| match dice.below(100) {
        0..24 => append(user(dice), bytes(dice), durability(dice)),
        24..29 => Step::Append { user: None, bytes: bytes(dice), durability: durability(dice) },
        29..40 => Step::Batch { count: 1 + dice.below(9), bytes: 10 + dice.below(600) },
        40..52 => Step::Atomic { user: user(dice), count: 2 + dice.below(4), bytes: 10 + dice.below(3000) },
        52..66 => ROLLOVER,
        66..71 => Step::Flush,
        71..74 => Step::NoteFloor,
        74..79 => Step::Page,
        79..84 => Step::Pack,
        84..86 => Step::Unpack,
        86..88 => Step::Maintain,
        88..91 => Step::Read,
        91..92 => Step::ClockBack,
        92..96 => Step::Reopen,
        _ => Step::KillAndReopen,
    };
    (0..count).map(|_| step(dice)).collect()
}

impl Scenario {
    pub(super) fn of(round: u64, dice: &mut Dice) -> Self {
        let steps = match round % 8 {
            0 => fixed(),
            4 => comings(),
            _ => random(dice),
        };
        Self {
            steps,
            durability: [LATER, LATER, Durability::Durable, Durability::Buffered][dice.below(4)],
            workers: [WorkersKind::Caller, WorkersKind::Caller, WorkersKind::Nobody][dice.below(3)],
            checkpoint_bytes: [2000, 20_000, u64::MAX][dice.below(3)],
            merge_fan_out: [2, 2, 3, 64][dice.below(4)],
            pack_after: [PackAfter::Never, PackAfter::Never, PackAfter::Bytes(64 << 10)][dice.below(3)],
            fault: None,
        }
    }

    pub(super) fn rig(&self) -> Rig {
        let mut rig = Rig::unmade(self.durability).worked_by(self.workers);
        rig.options = rig
            .options
            .segment_bytes_max(64 << 10)
            .checkpoint_bytes(self.checkpoint_bytes)
            .merge_fan_out(self.merge_fan_out)
            .pack_after(self.pack_after);
        rig
    }
}
