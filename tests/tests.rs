//! The integration tests: one binary, a module for each subject.
#![cfg(test)]

#[cfg(feature = "cli")]
#[path = "suite/cli.rs"]
mod cli;
#[path = "suite/repair.rs"]
mod repair;
