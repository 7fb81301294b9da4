//! The figures, collected, then printed for people or for programs. Must not know how they were measured.

use std::fmt::Write;

use serde::Serialize;

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Shown for information.
    None,
}

/// One measured value.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    /// How far the value is on the good side of its bound: 1 and more is within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<f64>,
}

/// All of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    events: u64,
    cores: usize,
    figures: Vec<Figure>,
}

impl Report {
    pub fn new(events: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self { events, cores, figures: Vec::new() }
    }

    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, bound: Bound) {
        let (at_least, at_most) = match bound {
            Bound::AtLeast(bound) => (Some(bound), None),
            Bound::AtMost(bound) => (None, Some(bound)),
            Bound::None => (None, None),
        };
        let margin = at_least.map(|bound| value / bound).or(at_most.map(|bound| bound / value));
        self.figures.push(Figure { name: name.into(), value, unit, at_least, at_most, margin });
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn to_table(&self) -> String {
        let mut table = format!("{} events, {} cores\n\n", grouped(self.events), self.cores);
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
        for Figure { name, value, unit, at_least, at_most, margin } in &self.figures {
            let bound = match (at_least, at_most) {
                (Some(bound), _) => format!("at least {}", shown(*bound)),
                (_, Some(bound)) => format!("at most {}", shown(*bound)),
                _ => String::new(),
            };
            let verdict = match margin {
                Some(margin) if *margin >= 1.0 => format!("within, {margin:.2} x"),
                Some(margin) => format!("MISSED, {margin:.2} x"),
                None => String::new(),
            };
            // Writing to a `String` doesn't fail.
            let _ = writeln!(table, "{name:<width$}  {:>12} {unit:<10} {bound:<20} {verdict}", shown(*value));
        }
        table
    }
}

/// A value with as many digits as say something.
fn shown(value: f64) -> String {
    if value >= 1000.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and far below 2^64"
        )]
        let whole = value.round() as u64;
        grouped(whole)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The value below which this share of the sorted samples lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list in memory"
    )]
    let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// Sorts samples for [`percentile`].
pub fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    samples
}
