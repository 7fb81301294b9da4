//! Which images are tried, in which order, and what is told of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{Change, Ground, Image, Kind, kind_of};
use crate::figures::{Bound, figure, seed};
use crate::io::faulty::Dice;

/// What became of images.
#[derive(Default)]
struct Sum {
    images: AtomicU64,
    told: AtomicU64,
    same: AtomicU64,
    older: AtomicU64,
    bits: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Sum {
    fn try_image(&self, ground: &Ground, image: &Image, again: bool) {
        for read_only in [false, true] {
            match ground.try_image(image, read_only, again) {
                Ok(None) => return,
                Ok(Some(told)) => {
                    let kind = match told {
                        told if told.older => &self.older,
                        told if told.is_silent() => &self.same,
                        _ => &self.told,
                    };
                    kind.fetch_add(1, Ordering::Relaxed);
                }
                Err(fault) => self.faults.lock().push(fault),
            }
            self.images.fetch_add(1, Ordering::Relaxed);
        }
        self.bits.fetch_add(u64::from(matches!(image.1, Change::Flip(_))), Ordering::Relaxed);
    }

    /// Tries images in as many threads as there are processors, or in this one.
    fn try_all(
        &self,
        ground: &Ground,
        bound: Bound,
        count: usize,
        image: impl Fn(usize) -> (Image, bool) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        let some = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let enough = self.faults.lock().len() > 40;
                if number >= count || enough || !bound.goes_on(self.images.load(Ordering::Relaxed)) {
                    return;
                }
                let (image, again) = image(number);
                self.try_image(ground, &image, again);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let others = if bound.is_long() { threads - 1 } else { 0 };
        std::thread::scope(|scope| {
            (0..others).for_each(|_| drop(scope.spawn(some)));
            some();
        });
    }
}

/// The place of a bit: the file and the bit in it.
fn flip(ground: &Ground, mut bit: usize) -> Image {
    for (path, bytes) in ground.files() {
        if bit < bytes.len() * 8 {
            return (path.clone(), Change::Flip(bit));
        }
        bit -= bytes.len() * 8;
    }
    unreachable!("bit {bit} of no file")
}

/// A step that has no divisor in common with `count`: so `n * step % count` meets each number once, far from each other.
fn step(count: usize) -> usize {
    let divides = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a > 1
    };
    // The golden section: of all fractions the one that clusters least.
    let section = (count as u128 * 0x9e37_79b9_7f4a_7c15) >> 64;
    (usize::try_from(section).unwrap()..count.max(2)).find(|step| !divides(*step, count)).unwrap()
}

#[test]
fn a_closed_store_tells_the_truth_or_names_the_place() {
    let seed = seed(7);
    let bound = Bound::new(if cfg!(debug_assertions) { 1_000 } else { 12_000 });
    let mut dice = Dice(seed);
    let ground = Ground::new();
    let undamaged =
        [false, true].map(|read_only| ground.sample.judge(&ground.sample.disk.image(), read_only, true));
    assert!(
        undamaged.iter().all(|told| told.as_ref().is_ok_and(|told| told.is_silent() && !told.older)),
        "{undamaged:?}"
    );
    let sum = Sum::default();
    let long = bound.is_long();
    let mut changes = ground.changes(|bytes| {
        let (stride, from) = if long { (1, 0) } else { (1 + bytes.len() / 6, dice.below(512)) };
        (from..bytes.len()).step_by(stride).chain([0]).collect()
    });
    if !long {
        // A sample, another for each seed.
        (1..changes.len()).rev().for_each(|last| changes.swap(last, dice.below(last + 1)));
        changes.truncate(if cfg!(debug_assertions) { 250 } else { 2_000 });
    }
    // Lengths and bits come last, mixed: so each has its part of a run that ends before all is tried.
    let is_cut = |image: &Image| matches!(image.1, Change::Cut(_));
    let (cuts, others): (Vec<Image>, Vec<Image>) = changes.into_iter().partition(is_cut);
    sum.try_all(&ground, bound, others.len(), |number| (others[number].clone(), true));
    let bits = ground.bits();
    let count = cuts.len() + bits;
    let (step, from) = (step(count), dice.below(count));
    // A short form takes all of its sample of lengths first.
    let short = if long { 0 } else { cuts.len() };
    sum.try_all(&ground, bound, short, |number| (cuts[number].clone(), true));
    sum.try_all(&ground, bound, count, |number| {
        let place = (from + number * step) % count;
        let flip = |bit| (flip(&ground, bit), number.is_multiple_of(16));
        cuts.get(place).map_or_else(|| flip(place - cuts.len()), |cut| (cut.clone(), true))
    });
    let faults = sum.faults.into_inner();
    assert!(faults.is_empty(), "{} faults, seed {seed}:\n{}", faults.len(), faults.join("\n"));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert!(
        count(&sum.told) > count(&sum.images) / 10,
        "hardly anything was told: {} images",
        count(&sum.told)
    );
    let line = format!(
        "{} images ({} of {bits} bits in {} bytes, {} other damages; each for writing and for reading): {} told, \
         {} the same answers, {} an older log as it was; 0 silent wrong answers, 0 panics; seed {seed}, {:.1} min",
        count(&sum.images),
        count(&sum.bits),
        bits / 8,
        count(&sum.images) / 2 - count(&sum.bits),
        count(&sum.told),
        count(&sum.same),
        count(&sum.older),
        bound.minutes(),
    );
    let test = "store::damage_tests::work::a_closed_store_tells_the_truth_or_names_the_place";
    figure("damage is told, or changes nothing", test, line, super::controls::all());
}

/// An ordinary run draws few of these.
#[test]
fn an_older_log_goes_on_where_it_ends() {
    let ground = Ground::new();
    let is_older =
        |(path, change): &Image| matches!(change, Change::Older(_)) && kind_of(path) == Some(Kind::Segment);
    let mut shorter = 0;
    for image in ground.changes(|_| Vec::new()).into_iter().filter(is_older) {
        let told = ground.try_image(&image, false, true).unwrap();
        shorter += usize::from(told.is_some_and(|told| told.older));
    }
    assert!(shorter > 0, "a segment that was used after the store was opened again");
}
