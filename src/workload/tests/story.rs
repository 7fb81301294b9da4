//! The scenario.

use std::collections::{BTreeMap, BTreeSet};

use super::digest;
use crate::event::{NewEvent, Status, Timestamp, UserId, action, catalogue};
use crate::workload::{Scenario, ScenarioConfig, cast};

fn small() -> ScenarioConfig {
    ScenarioConfig { events: 20_000, ..ScenarioConfig::default() }
}

fn user<'e>(event: &'e NewEvent<'_>) -> Option<&'e str> {
    event.user_id().map(UserId::as_str)
}

fn of(user_id: &str) -> Vec<NewEvent<'static>> {
    Scenario::new(&small()).filter(|event| user(event) == Some(user_id)).collect()
}

fn actions(events: &[NewEvent<'static>]) -> Vec<String> {
    events.iter().map(|event| event.action().as_str().to_owned()).collect()
}

#[test]
fn the_story_stays_what_it_is() {
    let mut leaf = Vec::new();
    let mut run = |seed| {
        let scenario = Scenario::new(&ScenarioConfig { seed, ..small() });
        scenario.fold(0, |hash, event| digest(hash, &event, &mut leaf))
    };
    assert_eq!(run(1), 13_869_784_925_353_224_113);
    assert_ne!(run(2), run(1));
}

#[test]
fn there_are_as_many_events_as_wanted_in_the_order_of_time() {
    for events in [0, 1, 3_000, 50_000] {
        let config = ScenarioConfig { events, ..small() };
        let mut scenario = Scenario::new(&config);
        let promised = scenario.size_hint();
        let times: Vec<Timestamp> = scenario.by_ref().map(|event| event.occurred_at().unwrap()).collect();
        assert!(times.is_sorted());
        assert_eq!(promised, (times.len(), Some(times.len())));
        assert!(scenario.next().is_none());
        if events >= 3_000 {
            assert_eq!(u64::try_from(times.len()).unwrap(), events);
            // The traffic fills the month, and not much more.
            let last = times.last().unwrap().as_micros();
            let day = 86_400_000_000;
            assert!((last - config.until.as_micros()).abs() < day, "{last}");
            assert!(times[0].as_micros() < config.until.as_micros() - 29 * day);
        } else {
            assert!(times.len() > 500, "the story is whole: {}", times.len());
        }
    }
}

#[test]
fn the_cast_is_there() {
    let mut counts = BTreeMap::<String, u32>::new();
    let mut actors = BTreeSet::new();
    for event in Scenario::new(&small()) {
        *counts.entry(user(&event).unwrap_or_default().to_owned()).or_default() += 1;
        actors.extend(event.actor_id().map(|actor| actor.as_str().to_owned()));
        assert!(event.actor_id().is_none_or(|actor| Some(actor.as_str()) != user(&event)), "{event:?}");
    }
    for member in Scenario::members() {
        let count = counts.get(member.id).copied().unwrap_or(0);
        println!("{:6} {count:4}  {}: {}", member.id, member.role, member.story);
        assert!(count >= 7, "{}", member.id);
    }
    assert_eq!(Scenario::members()[0].id, cast::ALICE);
    assert!(actors.contains(cast::CAROL) && actors.contains(cast::DAVE));
}

#[test]
fn all_actions_but_the_stores_own_occur() {
    let told: BTreeSet<String> = Scenario::new(&ScenarioConfig { events: 0, ..small() })
        .map(|event| event.action().as_str().to_owned())
        .collect();
    for entry in catalogue() {
        let of_the_store = entry.action.starts_with("store.") || entry.action == action::SYSTEM_CLOCK_JUMPED;
        assert_eq!(told.contains(entry.action), !of_the_store, "{}", entry.action);
    }
}

#[test]
fn alice_is_attacked_locked_out_and_rescued() {
    let events = of(cast::ALICE);
    assert!((100..300).contains(&events.len()), "{}", events.len());
    let told = actions(&events);
    let lockout = told.iter().position(|told| told == action::AUTH_LOCKOUT).unwrap();
    let burst = &events[lockout - 10..lockout];
    for event in burst {
        assert_eq!(event.action().as_str(), action::AUTH_LOGIN_FAILED);
        assert_eq!(event.ip_address().unwrap().to_string(), cast::BRUTE_FORCE_ADDRESS);
        assert_eq!(event.status(), Status::Failure);
    }
    let micros = |event: &NewEvent<'_>| event.occurred_at().unwrap().as_micros();
    assert!(micros(&events[lockout]) - micros(&burst[0]) < 120_000_000);
    let after = |wanted: &str| lockout + told[lockout..].iter().position(|told| told == wanted).unwrap();
    let cleared = after(action::AUTH_LOCKOUT_CLEARED);
    assert_eq!(events[cleared].actor_id().unwrap().as_str(), cast::DAVE);
    let changed = events[cleared].details().unwrap().as_str().to_owned();
    assert!(changed.contains(r#""before":{"locked":true}"#), "{changed}");
    assert!(cleared < after(action::AUTH_PASSWORD_RESET));
    assert!(after(action::AUTH_PASSWORD_RESET) < after(action::AUTH_MFA_ENABLED));
    assert!(after(action::AUTH_MFA_ENABLED) < after(action::AUTH_MFA_DENIED));
    assert!(after(action::AUTH_MFA_DENIED) < after(action::SESSION_HIJACK_SUSPECTED));
}

#[test]
fn one_address_fails_on_many_accounts() {
    let all: Vec<_> = Scenario::new(&small()).collect();
    let sprayed: Vec<_> = all
        .iter()
        .filter(|event| event.ip_address().is_some_and(|ip| ip.to_string() == cast::SPRAYING_ADDRESS))
        .filter(|event| event.status() == Status::Failure)
        .collect();
    let victims: BTreeSet<_> = sprayed.iter().filter_map(|event| user(event)).collect();
    assert_eq!((sprayed.len(), victims.len()), (48, 40));
    assert!(actions(&of(cast::GRACE)).iter().any(|told| told == action::USER_CREDENTIALS_RESET));
}

#[test]
fn the_story_is_told_for_any_day_and_length() {
    for until in [0, -62_167_219_200_000_000, 253_402_300_799_999_999, 1_769_882_400_000_000] {
        let until = Timestamp::from_micros(until);
        let config = ScenarioConfig { events: 2_000, users: 0, until, days: 0, seed: 0 };
        assert!(Scenario::new(&config).count() >= 2_000);
    }
    let far =
        ScenarioConfig { events: 2_000, until: Timestamp::from_micros(i64::MIN), days: u32::MAX, ..small() };
    assert!(Scenario::new(&far).count() >= 2_000);
}
