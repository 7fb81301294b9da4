//! The standard mix.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::digest;
use crate::event::{EventView, NewEvent, Status, Timestamp, action, encode_leaf};
use crate::workload::{Distribution, Pool, Workload, WorkloadConfig};

/// As events are checked again when they are read, an event that can be read is valid.
fn read(event: &NewEvent<'_>, leaf: &mut Vec<u8>) -> crate::event::Event {
    leaf.clear();
    encode_leaf(event, leaf);
    EventView::parse(leaf).unwrap().to_owned().unwrap()
}

fn workload(seed: u64) -> Workload {
    Workload::new(&WorkloadConfig { seed, ..WorkloadConfig::default() })
}

fn digest_of(mut workload: Workload, events: usize) -> u64 {
    let mut leaf = Vec::new();
    (0..events).fold(0, |hash, _| digest(hash, &workload.next_event(), &mut leaf))
}

/// Figures are compared over years: whoever changes this number makes the old ones worthless, and should say so.
#[test]
fn the_standard_mix_stays_what_it_is() {
    assert_eq!(digest_of(workload(1), 10_000), 6_593_536_899_095_712_649);
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(digest_of(workload(7), 2_000), digest_of(workload(7), 2_000));
    assert_ne!(digest_of(workload(7), 2_000), digest_of(workload(8), 2_000));
    let (first, second) = (workload(7), workload(8));
    assert!((0..1_000).all(|rank| first.user(rank) != second.user(rank)));
}

#[test]
fn owned_events_are_the_same_events() {
    let owned = workload(3).take_owned(500);
    let mut lent = workload(3);
    assert!(owned.iter().all(|event| *event == lent.next_event()));
    let pool = Pool::new(&WorkloadConfig { seed: 3, ..WorkloadConfig::default() }, 500);
    assert_eq!(pool.events(), owned);
    assert_eq!(pool.event(501), &owned[1]);
    assert_eq!(Pool::new(&WorkloadConfig::default(), 0).events().len(), 1);
}

#[test]
fn a_leaf_has_about_400_bytes() {
    let (mut workload, mut leaf, mut lengths) = (workload(1), Vec::new(), Vec::new());
    for _ in 0..100_000 {
        leaf.clear();
        encode_leaf(&workload.next_event(), &mut leaf);
        lengths.push(leaf.len());
    }
    let mean = lengths.iter().sum::<usize>() / lengths.len();
    println!("bytes a leaf: mean {mean}, least {:?}, most {:?}", lengths.iter().min(), lengths.iter().max());
    assert!((380..=440).contains(&mean), "{mean}");
    assert!(lengths.iter().all(|length| (150..700).contains(length)));
}

#[test]
fn shares_are_as_configured() {
    const EVENTS: u32 = 200_000;
    let mut workload = workload(2);
    let (mut by_action, mut without_user, mut with_details) = (BTreeMap::<String, u32>::new(), 0, 0);
    for _ in 0..EVENTS {
        let event = workload.next_event();
        *by_action.entry(event.action().as_str().to_owned()).or_default() += 1;
        without_user += u32::from(event.user_id().is_none());
        with_details += u32::from(event.details().is_some());
    }
    assert_eq!(by_action.len(), 25, "{by_action:?}");
    let per_mille = |count: u32| f64::from(count) * 1000.0 / f64::from(EVENTS);
    assert!((per_mille(without_user) - 20.0).abs() < 1.0, "{without_user}");
    assert!((per_mille(with_details) - 550.0).abs() < 5.0, "{with_details}");
    for (action, expected) in [
        (action::AUTH_TOKEN_REFRESHED, 185.0 * 0.98),
        (action::AUTH_LOGIN, 170.0 * 0.98),
        (action::AUTH_LOGIN_FAILED, 62.0 * 0.98 + 600.0 * 0.02),
        (action::USER_ROLE_CHANGED, 4.0 * 0.98),
        (action::MAINTENANCE_PERFORMED, 150.0 * 0.02),
    ] {
        let found = per_mille(by_action[action]);
        // Five standard deviations of a binomial distribution.
        let bound = 5.0 * (expected * (1000.0 - expected) / f64::from(EVENTS)).sqrt();
        assert!((found - expected).abs() < bound, "{action}: {found} per mille, not {expected}");
    }
}

/// Pearson's statistic of ranks drawn against those expected, in classes of several expected hits each.
fn chi_square(counts: &[f64], expected: &[f64]) -> f64 {
    counts.iter().zip(expected).map(|(count, expected)| (count - expected).powi(2) / expected).sum()
}

#[test]
fn ranks_follow_zipf() {
    const DRAWS: u32 = 1_000_000;
    let mut workload = workload(4);
    // Each of the first 100 ranks, then the others in classes that double.
    let class = |rank: u32| if rank < 100 { rank } else { 100 + (rank / 100).ilog2() };
    let classes = usize::try_from(class(99_999)).unwrap() + 1;
    let (mut counts, mut expected) = (vec![0.0; classes], vec![0.0; classes]);
    let total: f64 = (1..=100_000).map(|rank| 1.0 / f64::from(rank)).sum();
    for rank in 0..100_000 {
        expected[usize::try_from(class(rank)).unwrap()] += f64::from(DRAWS) / (f64::from(rank + 1) * total);
    }
    for _ in 0..DRAWS {
        counts[usize::try_from(class(workload.next_rank())).unwrap()] += 1.0;
    }
    // 109 degrees of freedom: the statistic has a mean of 109 and a standard deviation of 15.
    let statistic = chi_square(&counts, &expected);
    println!("chi-square {statistic:.1} of {classes} classes; the first rank has {} of {DRAWS}", counts[0]);
    assert!((60.0..170.0).contains(&statistic), "{statistic}");
}

#[test]
fn uniform_ranks_are_even() {
    let config =
        WorkloadConfig { users: 1_000, distribution: Distribution::Uniform, ..WorkloadConfig::default() };
    let mut workload = Workload::new(&config);
    let mut counts = vec![0.0; 1_000];
    for _ in 0..1_000_000 {
        counts[usize::try_from(workload.next_rank()).unwrap()] += 1.0;
    }
    let statistic = chi_square(&counts, &vec![1_000.0; 1_000]);
    assert!((780.0..1_220.0).contains(&statistic), "{statistic}");
}

#[test]
fn events_stand_on_the_trails_of_the_users() {
    let mut workload = workload(5);
    let ranks: HashMap<String, u32> =
        (0..workload.users()).map(|rank| (workload.user(rank).as_str().to_owned(), rank)).collect();
    let mut of_first = 0;
    for _ in 0..20_000 {
        let event = workload.next_event().into_owned();
        let Some(user) = event.user_id() else { continue };
        let rank = ranks[user.as_str()];
        of_first += u32::from(rank == 0);
        assert_eq!(event.tenant_id(), workload.tenant_of_user(rank));
    }
    // 98 % of 1 / H(100,000), which is 1 / 12.09.
    assert!((1_500..1_750).contains(&of_first), "{of_first}");
    assert!((0..1_000).all(|index| !ranks.contains_key(workload.unknown_user(index).as_str())));
}

#[test]
fn every_event_is_read_back_and_time_goes_on() {
    for config in [
        WorkloadConfig { seed: 6, ..WorkloadConfig::default() },
        WorkloadConfig { without_user_per_mille: 1000, details_per_mille: 1000, ..WorkloadConfig::default() },
        WorkloadConfig { distribution: Distribution::Zipf { exponent: 1.3 }, ..WorkloadConfig::default() },
    ] {
        let mut workload = Workload::new(&config);
        let (mut leaf, mut last) = (Vec::new(), config.start);
        let mut requests = BTreeSet::new();
        for _ in 0..20_000 {
            let event = workload.next_event();
            let at = event.occurred_at().unwrap();
            assert!(at >= last);
            last = at;
            let failure = event.status() == Status::Failure;
            assert_eq!(failure, failing(event.action().as_str()), "{event:?}");
            assert!(requests.insert(event.request_id().unwrap().as_str().to_owned()));
            let _ = read(&event, &mut leaf);
        }
        // An event every quarter of a second, for 20,000 of them: the night, then some of the morning.
        assert!(last.as_micros() - config.start.as_micros() > 3_600_000_000);
    }
}

fn failing(action: &str) -> bool {
    let all =
        [action::AUTH_LOGIN_FAILED, action::AUTH_PIN_FAILED, action::AUTH_MFA_DENIED, action::AUTH_LOCKOUT];
    all.contains(&action)
}

#[test]
fn odd_configurations_work() {
    let smallest = WorkloadConfig {
        seed: 0,
        users: 0,
        distribution: Distribution::Zipf { exponent: f64::NAN },
        tenants: 0,
        user_agents: 0,
        addresses: 0,
        without_user_per_mille: 0,
        details_per_mille: 0,
        start: Timestamp::MAX,
        mean_gap_micros: u64::MAX,
    };
    let bad_exponents = [f64::INFINITY, f64::NEG_INFINITY, -2.0, 0.0, 40.0].map(|exponent| WorkloadConfig {
        users: 1_000,
        distribution: Distribution::Zipf { exponent },
        ..WorkloadConfig::default()
    });
    for config in bad_exponents.iter().chain([&smallest]) {
        let mut workload = Workload::new(config);
        let mut leaf = Vec::new();
        for _ in 0..1_000 {
            assert!(workload.next_rank() < workload.users());
            let _ = read(&workload.next_event(), &mut leaf);
        }
    }
}
