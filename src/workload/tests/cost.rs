//! What it costs. Run on a quiet machine:
//! `cargo test --release --features workload --lib -- --ignored --nocapture workload::tests::cost`

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::event::encode_leaf;
use crate::workload::rng::Rng;
use crate::workload::{Distribution, Pool, Scenario, ScenarioConfig, Workload, WorkloadConfig};

const EVENTS: u32 = 1_000_000;

/// The best of five runs, each event's share of it.
fn best_of_five(name: &str, mut work: impl FnMut()) -> Duration {
    let run = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed() / EVENTS
    };
    let best = (0..5).map(|_| run(&mut work)).min().unwrap_or_default();
    println!("{name}: {best:?} each");
    best
}

#[test]
#[ignore = "measures time"]
fn an_event_costs_well_below_200_nanoseconds() {
    for (name, distribution) in
        [("zipf", Distribution::Zipf { exponent: 1.0 }), ("uniform", Distribution::Uniform)]
    {
        let mut workload = Workload::new(&WorkloadConfig { distribution, ..WorkloadConfig::default() });
        let best = best_of_five(name, || {
            for _ in 0..EVENTS {
                black_box(workload.next_event());
            }
        });
        assert!(best < Duration::from_nanos(200), "{name}: {best:?}");
    }
    let mut workload = Workload::new(&WorkloadConfig::default());
    let mut leaf = Vec::with_capacity(1 << 10);
    best_of_five("zipf, encoded", || {
        for _ in 0..EVENTS {
            leaf.clear();
            encode_leaf(&workload.next_event(), &mut leaf);
            black_box(&leaf);
        }
    });
    let pool = Pool::new(&WorkloadConfig::default(), 4_096);
    best_of_five("from a pool of 4,096", || {
        for index in 0..1_000_000 {
            black_box(pool.event(index));
        }
    });
    best_of_five("from a pool of 4,096, encoded", || {
        for index in 0..1_000_000 {
            leaf.clear();
            encode_leaf(pool.event(index), &mut leaf);
            black_box(&leaf);
        }
    });
    best_of_five("owned", || {
        for _ in 0..EVENTS {
            black_box(workload.next_event().into_owned());
        }
    });
}

#[test]
#[ignore = "measures time"]
fn a_million_events_of_a_scenario_take_less_than_two_seconds() {
    let best = best_of_five("scenario", || {
        assert_eq!(Scenario::new(&ScenarioConfig::default()).map(black_box).count(), 1_000_000);
    });
    assert!(best * EVENTS < Duration::from_secs(2));
}

/// Why ranks come from an alias table: the measurement that decided it.
#[test]
#[ignore = "measures time"]
fn the_alias_table_against_rejection_inversion() {
    let mut workload = Workload::new(&WorkloadConfig::default());
    let table = best_of_five("alias table", || {
        for _ in 0..EVENTS {
            black_box(workload.next_rank());
        }
    });
    let mut rng = Rng::new(1);
    let rejection = best_of_five("rejection-inversion", || {
        for _ in 0..EVENTS {
            black_box(rejection_inversion(&mut rng, 100_000.0));
        }
    });
    println!("rejection-inversion takes {:.1} times as long", rejection.as_secs_f64() / table.as_secs_f64());
}

/// Hörmann and Derflinger's algorithm for an exponent of 1, where the integral of the density is a logarithm.
fn rejection_inversion(rng: &mut Rng, count: f64) -> f64 {
    let low = 1.5_f64.ln() - 1.0;
    let high = (count + 0.5).ln();
    let squeeze = 2.0 - (2.5_f64.ln() - 0.5).exp();
    loop {
        let random = f64::from(rng.below(u32::MAX)) / f64::from(u32::MAX);
        let u = high + random * (low - high);
        let x = u.exp();
        let rank = (x + 0.5).floor().clamp(1.0, count);
        if rank - x <= squeeze || u >= (rank + 0.5).ln() - 1.0 / rank {
            return rank;
        }
    }
}
