//! `usertrail bench`: every figure is there and sane, bounds decide the exit code, and nothing is left behind.

use std::path::Path;

use serde_json::Value;

use super::support::{Place, Said, run};

/// A small run in a directory of its own.
fn bench(place: &Place, more: &[&str]) -> Said {
    let here = place.temporary.path().to_str().unwrap();
    // By advice: the kernel's whole cache is everyone's.
    let common = ["bench", "--data", here, "--cold-by", "advise", "--users", "500", "--rounds", "1"];
    let small = ["--seconds", "1", "--calls", "100"];
    run(common.iter().chain(&small).chain(more))
}

#[track_caller]
fn assert_nothing_is_left(place: &Place) {
    let left: Vec<_> = std::fs::read_dir(place.temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[track_caller]
fn value(figures: &Value, name: &str) -> f64 {
    let figure = &figures[name];
    assert!(figure["unit"].is_string(), "{name}: {figures:#}");
    figure["value"].as_f64().unwrap_or_else(|| panic!("{name}: {figures:#}"))
}

/// Figures of a whole run that are never zero.
const FIGURES: [&str; 31] = [
    "append.one.rate",
    "append.one.p50",
    "append.one.max",
    "append.batch100.rate",
    "append.twoWriters.rate",
    "bytes.index",
    "durable.one.ratio",
    "durable.one.p50",
    "durable.bare.p50",
    "durable.threads64.rate",
    "durable.threads64.acksACommit",
    "page.hot.p50",
    "page.zipf.p50",
    "page.uniform.p50",
    "page.filtered.p50",
    "page.deep.p50",
    "page.noEvents.p50",
    "cold.uniform.p50",
    "cold.zipf.p50",
    "cold.open",
    "mixed.appends",
    "mixed.pages",
    "mixed.paced.appends",
    "mixed.paced.pages",
    "mixed.paced.behind",
    "open.killed.p50",
    "open.killed.rescued",
    "open.clean.p50",
    "memory.loading",
    "memory.loadingKnown",
    "memory.afterReading",
];

#[test]
fn every_figure_is_there_and_sane() {
    let place = Place::new();
    let said = bench(&place, &["--events", "20k", "--segment-size", "1MiB", "--json"]).ends_with(0);
    assert!(said.stderr.is_empty(), "no progress where there is no terminal: {said:?}");
    let json = said.json();
    for (member, expected) in
        [("events", 20_000), ("users", 500), ("seed", 1), ("shards", 4), ("segmentBytesMax", 1 << 20)]
    {
        assert_eq!(json[member], expected, "{member}");
    }
    assert_eq!((&json["mix"], &json["coldBy"]), (&"zipf".into(), &"advise".into()));
    assert!(json["cores"].as_u64() >= Some(1) && json["version"] == env!("CARGO_PKG_VERSION"));

    let figures = &json["figures"];
    for name in FIGURES {
        assert!(value(figures, name) > 0.0, "{name}: {figures:#}");
    }
    if cfg!(feature = "async") {
        assert!(value(figures, "durable.tasks64.rate") > 0.0);
    }
    for (lower, higher) in [
        ("append.one.p50", "append.one.p99"),
        ("append.one.p99", "append.one.p99.9"),
        ("append.one.p99.9", "append.one.max"),
        ("page.hot.p50", "page.hot.p99"),
        ("cold.uniform.p50", "cold.uniform.p99"),
        ("open.killed.p50", "open.killed.max"),
        ("bytes.record", "bytes.event"),
        ("memory.loadingKnown", "memory.loading"),
    ] {
        assert!(value(figures, lower) <= value(figures, higher), "{lower}, {higher}: {figures:#}");
    }
    // What was read is what was asked for: 20,000 events, a fifth of them the hot user's, about 40 of any other.
    for name in ["hot", "deep", "filtered"] {
        assert_eq!(figures[format!("page.{name}.events")]["value"], 100.0, "{name}");
    }
    assert_eq!(figures["page.noEvents.events"]["value"], 0.0);
    for name in ["page.uniform.events", "page.zipf.events", "cold.uniform.events", "cold.zipf.events"] {
        assert!((10.0..=100.0).contains(&value(figures, name)), "{name}: {figures:#}");
    }
    assert!((300.0..500.0).contains(&value(figures, "bytes.record")));
    assert!(value(figures, "bytes.ratio") < 1.5, "{figures:#}");
    assert!(figures["append.one.rate"].get("met").is_none(), "bounds are for --check");
    assert_nothing_is_left(&place);
}

#[test]
fn one_part_is_measured_alone_and_shown_as_a_table() {
    let place = Place::new();
    let said = bench(&place, &["--events", "2000", "--only", "page"]).ends_with(0);
    assert!(said.stdout.starts_with("2,000 events of 500 zipf users, 4 shards, "), "{said:?}");
    assert!(said.stdout.contains("newest 100 of the hot user, p50") && !said.stdout.contains("append"));
    assert_nothing_is_left(&place);
}

#[test]
fn the_same_store_is_measured_packed() {
    let place = Place::new();
    let parts = ["--events", "40k", "--segment-size", "1MiB", "--only", "page,cold", "--packed", "--json"];
    let json = bench(&place, &parts).ends_with(0).json();
    let figures = &json["figures"];
    for name in ["page.hot", "page.zipf", "page.uniform", "page.filtered", "cold.uniform", "cold.zipf"] {
        assert!(value(figures, &format!("{name}.p50")) > 0.0, "{name}: {figures:#}");
        assert!(value(figures, &format!("packed.{name}.p50")) > 0.0, "{name}: {figures:#}");
        // Packing takes no event from a page.
        let events = |prefix: &str| value(figures, &format!("{prefix}{name}.events"));
        assert!((events("") - events("packed.")).abs() < 1e-9 && events("") > 10.0, "{name}: {figures:#}");
    }
    assert!(value(figures, "packed.rate") > 0.0 && value(figures, "packed.cold.open") > 0.0);
    // Some 4 MiB a shard in segments of one: all but the last of them.
    assert!((60.0..100.0).contains(&value(figures, "packed.share")), "{figures:#}");
    assert!(value(figures, "packed.bytes.index") > 0.0);
    assert!((60.0..250.0).contains(&value(figures, "packed.bytes.event")), "{figures:#}");
    assert_nothing_is_left(&place);
}

#[test]
fn a_missed_bound_is_named_and_exits_with_one() {
    let place = Place::new();
    let parts = ["--events", "1000", "--only", "memory", "--check", "--json"];
    let met = bench(&place, &parts).ends_with(0).json();
    let loading = &met["figures"]["memory.loading"];
    assert_eq!((&loading["atMost"], &loading["met"]), (&256.0.into(), &true.into()), "{met:#}");
    // Fifty events are far too few for what a store's own files take: their bytes are beyond the bound.
    let said = bench(&place, &["--events", "50", "--only", "append", "--check"]).ends_with(1);
    assert!(
        said.complaint().starts_with("beyond their bounds: ") && said.complaint().contains("bytes.ratio")
    );
    assert!(said.stdout.contains("MISSED"), "{said:?}");
    assert_nothing_is_left(&place);
}

#[test]
fn sizes_are_compared() {
    let place = Place::new();
    let said = bench(&place, &["--compare", "1k,2k", "--mix", "uniform", "--json"]).ends_with(0).json();
    let sizes: Vec<_> = said["sizes"].as_array().unwrap().iter().map(|size| &size["events"]).collect();
    assert_eq!(sizes, [1000, 2000]);
    for name in ["append.one.rate", "page.hot.p50", "page.filtered.p50"] {
        assert!(value(&said["ratios"], name) >= 1.0, "{said:#}");
    }
    assert_nothing_is_left(&place);
}

#[test]
fn usage_errors_leave_nothing() {
    let place = Place::new();
    for (args, word) in [
        (vec!["--events", "0"], "whole number"),
        (vec!["--events", "many"], "whole number"),
        (vec!["--only", "everything"], "cold"),
        (vec!["--mix", "normal"], "uniform"),
        (vec!["--shards", "3"], "power of two"),
        (vec!["--compare", "1M,x"], "whole number"),
        (vec!["--compare", "1M", "--events", "2M"], "--events"),
    ] {
        let said = bench(&place, &args).ends_with(2);
        assert!(said.complaint().contains(word) && said.stdout.is_empty(), "{args:?}: {said:?}");
    }
    let missing = place.file("missing");
    let said = run([Path::new("bench"), Path::new("--data"), &missing]).ends_with(1);
    assert!(said.complaint().contains("missing") && !missing.exists(), "{said:?}");
    assert_nothing_is_left(&place);
}
