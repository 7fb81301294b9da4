//! The details that events carry: JSON objects in some variants, made once.
//!
//! Owns the shape of background details. Must not know which event gets them.

use super::rng::Rng;

/// What the details of an event tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Facts {
    /// The device and where it is.
    Device,
    /// Which attempt it was and how risky it looked.
    Attempt,
    /// How long the session may last.
    Session,
    /// Which token was replaced.
    Token,
    /// Values of a profile before and after.
    Profile,
    /// A setting before and after.
    Setting,
    /// A role before and after.
    Role,
    /// How much was cleared away, and how long that took.
    Cleanup,
    /// What a job did, and how long that took.
    Job,
}

/// How many variants of each are made.
pub(super) const VARIANTS: u32 = 64;

const DEVICES: [&str; 6] = ["laptop", "phone", "tablet", "desktop", "terminal", "watch"];
const CITIES: [(&str, &str); 10] = [
    ("Amsterdam", "NL"),
    ("Berlin", "DE"),
    ("Lyon", "FR"),
    ("Porto", "PT"),
    ("Oslo", "NO"),
    ("Toronto", "CA"),
    ("Austin", "US"),
    ("Nagoya", "JP"),
    ("Cape Town", "ZA"),
    ("Montevideo", "UY"),
];
const TIME_ZONES: [&str; 5] = ["Europe/Amsterdam", "Europe/Lisbon", "America/Toronto", "Asia/Tokyo", "UTC"];
const SETTINGS: [&str; 4] = ["email_digest", "login_alerts", "share_statistics", "compact_view"];
const ROLES: [&str; 5] = ["viewer", "editor", "billing", "manager", "administrator"];
const JOBS: [&str; 4] = ["vacuum", "reindex", "statistics", "backup"];

impl Facts {
    /// One variant as compact JSON.
    pub(super) fn variant(self, rng: &mut Rng) -> String {
        match self {
            Self::Device => {
                let (city, country) = one(rng, &CITIES);
                let device = one(rng, &DEVICES);
                let (known, risk) = (rng.chance(900), rng.below(30));
                format!(
                    r#"{{"device":"{device}","known":{known},"location":{{"city":"{city}","country":"{country}"}},"risk":{risk}}}"#
                )
            }
            Self::Attempt => {
                let (attempt, wait, risk) = (1 + rng.below(5), 15 * rng.below(60), 20 + rng.below(75));
                format!(
                    r#"{{"attempt":{attempt},"attempts_max":5,"retry_after_seconds":{wait},"risk":{risk}}}"#
                )
            }
            Self::Session => {
                let (age, idle) = (60 * rng.below(600), 60 * rng.below(30));
                format!(
                    r#"{{"age_seconds":{age},"idle_seconds":{idle},"idle_seconds_max":1800,"remembered":{}}}"#,
                    rng.chance(300)
                )
            }
            Self::Token => {
                let (family, generation) = (upper_hex(rng), 1 + rng.below(200));
                format!(r#"{{"token_family":"{family}","generation":{generation},"lifetime_seconds":900}}"#)
            }
            Self::Profile => {
                let (before, after) = two(rng, &TIME_ZONES);
                format!(r#"{{"before":{{"time_zone":"{before}"}},"after":{{"time_zone":"{after}"}}}}"#)
            }
            Self::Setting => {
                let (name, on) = (one(rng, &SETTINGS), rng.chance(500));
                format!(r#"{{"before":{{"{name}":{}}},"after":{{"{name}":{on}}}}}"#, !on)
            }
            Self::Role => {
                let (before, after) = two(rng, &ROLES);
                format!(
                    r#"{{"before":{{"role":"{before}"}},"after":{{"role":"{after}"}},"ticket":"OPS-{}"}}"#,
                    rng.below(9_000)
                )
            }
            Self::Cleanup => {
                let (cleaned_up, took) = (rng.below(4_000), 5 + rng.below(900));
                format!(r#"{{"cleaned_up":{cleaned_up},"took_millis":{took}}}"#)
            }
            Self::Job => {
                let (job, rows, took) = (one(rng, &JOBS), rng.below(40_000), 5 + rng.below(9_000));
                format!(r#"{{"job":"{job}","rows":{rows},"took_millis":{took}}}"#)
            }
        }
    }
}

fn upper_hex(rng: &mut Rng) -> String {
    format!("{:012X}", rng.next_u64() >> 16)
}

/// One at random.
fn one<T: Copy, const N: usize>(rng: &mut Rng, choices: &[T; N]) -> T {
    two(rng, choices).0
}

/// Two at random that differ, where there are two.
fn two<T: Copy, const N: usize>(rng: &mut Rng, choices: &[T; N]) -> (T, T) {
    const { assert!(N > 1, "a choice needs alternatives") };
    let count = u32::try_from(N).unwrap_or(u32::MAX);
    let first = rng.below(count);
    let second = first + 1 + rng.below(count - 1);
    let at = |index: u32| choices[usize::try_from(index).unwrap_or(0) % N];
    (at(first), at(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Details;

    #[test]
    fn every_variant_is_a_compact_object() {
        let mut rng = Rng::new(9);
        for facts in [
            Facts::Device,
            Facts::Attempt,
            Facts::Session,
            Facts::Token,
            Facts::Profile,
            Facts::Setting,
            Facts::Role,
            Facts::Cleanup,
            Facts::Job,
        ] {
            for _ in 0..VARIANTS {
                let text = facts.variant(&mut rng);
                assert_eq!(Details::from_json(&text).unwrap().as_str(), text);
            }
        }
    }

    #[test]
    fn before_and_after_differ() {
        let mut rng = Rng::new(10);
        assert!((0..1_000).map(|_| two(&mut rng, &ROLES)).all(|(before, after)| before != after));
    }
}
