//! The integration tests: one binary, a module for each subject.

#[path = "suite/repair.rs"]
mod repair;
