//! The figures of the main job, each beside its bound: append, durable append, a user's page, opening, memory, size.
//!
//! One run prints them all, as a table or with `--json`. Owns the order of the measurements and what they leave behind
//! (nothing). Must not know how the store works: it uses the crate's public API.
//!
//! `cargo bench --features workload --bench figures -- --help`
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints figures")]

#[path = "figures/append.rs"]
mod append;
#[path = "figures/arguments.rs"]
mod arguments;
mod common;
#[path = "figures/durable.rs"]
mod durable;
#[path = "figures/open.rs"]
mod open;
#[path = "figures/page.rs"]
mod page;
#[path = "figures/report.rs"]
mod report;

use std::process::ExitCode;

use arguments::{Arguments, HELP, Part};
use common::{Outcome, directory};
use report::Report;
use usertrail::workload::{Pool, WorkloadConfig};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("figures: {message}");
            return ExitCode::from(2);
        }
    };
    match measure(&arguments) {
        Ok(report) if arguments.json => {
            println!("{}", report.to_json());
            ExitCode::SUCCESS
        }
        Ok(report) => {
            print!("{}", report.to_table());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("figures: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for. One store exists at a time, so that the disk holds no more than the largest.
fn measure(arguments: &Arguments) -> Outcome<Report> {
    let mut report = Report::new(arguments.events);
    let dir = directory(arguments.dir.as_deref())?;
    if [Part::Append, Part::Page, Part::Open].into_iter().any(|part| arguments.wants(part)) {
        let pool_events = arguments.pool.min(arguments.events).max(1);
        eprintln!("making {pool_events} events");
        let config = WorkloadConfig::default();
        let pool = Pool::new(&config, usize::try_from(pool_events)?);
        let single = dir.path().join("batch-of-1");
        let store = append::load(arguments, &mut report, &pool, &single, 1)?;
        if arguments.wants(Part::Page) {
            page::measure(arguments, &mut report, &store, &config)?;
        }
        if arguments.wants(Part::Open) {
            open::measure(&mut report, store, &pool, &single)?;
        } else {
            store.close()?;
            drop(store);
        }
        std::fs::remove_dir_all(&single)?;
        if arguments.wants(Part::Append) {
            let batches = dir.path().join("batch-of-100");
            append::load(arguments, &mut report, &pool, &batches, 100)?.close()?;
            std::fs::remove_dir_all(&batches)?;
        }
    }
    if arguments.wants(Part::Durable) {
        durable::measure(arguments, &mut report, dir.path())?;
    }
    dir.close()?;
    Ok(report)
}
