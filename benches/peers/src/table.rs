//! The figures of all engines side by side, with how many times the first one's they are. Must not know how they came.

use std::fmt::Write as _;

use serde_json::json;
use usertrail::workload::measure::{Report, shown};

use crate::Args;
use crate::engine::{Kind, Outcome};

pub fn print(args: &Args, reports: &[(&Kind, Report)]) -> Outcome<()> {
    if args.json {
        let engines: serde_json::Map<String, serde_json::Value> = reports
            .iter()
            .map(|(kind, report)| {
                (kind.name.to_owned(), json!({"settings": kind.settings, "figures": report}))
            })
            .collect();
        println!("{}", json!({"events": args.events, "users": args.users, "engines": engines}));
        return Ok(());
    }
    print!("{}", text(args, reports));
    Ok(())
}

fn text(args: &Args, reports: &[(&Kind, Report)]) -> String {
    let mut text = format!("{} events of {} users\n\n", shown(args.events as f64), shown(args.users as f64));
    let Some((base, first)) = reports.first() else { return text };
    let labels: Vec<String> =
        first.figures().iter().map(|figure| format!("{}, {}", figure.label, figure.unit)).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    // Writing to a `String` doesn't fail.
    let _ = write!(text, "{:<width$}", "");
    for (kind, _) in reports {
        let _ = write!(text, " {:>20}", kind.name);
    }
    text.push('\n');
    for (figure, label) in first.figures().iter().zip(&labels) {
        let _ = write!(text, "{label:<width$}");
        for (kind, report) in reports {
            let cell = report.value(&figure.name).map_or(String::new(), |value| {
                let ratio = if kind.name == base.name {
                    String::new()
                } else {
                    format!(" ({}x)", times(value / figure.value))
                };
                format!("{}{ratio}", shown(value))
            });
            let _ = write!(text, " {cell:>20}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\nIn brackets: how many times {}'s.\n", base.name);
    for (kind, _) in reports {
        let _ = writeln!(text, "{:<13} {}", kind.name, kind.settings);
    }
    text
}

/// A ratio; a small one with two digits that count.
fn times(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.01 {
        let places = (1.0 - ratio.log10().floor()).clamp(0.0, 12.0);
        return format!("{ratio:.*}", places as usize);
    }
    shown(ratio)
}
