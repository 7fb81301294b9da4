//! The integration tests: one binary, a module for each subject.
#![cfg(test)]

#[path = "suite/epochs.rs"]
mod epochs;
#[path = "suite/interop.rs"]
mod interop;
#[path = "suite/repair.rs"]
mod repair;
#[path = "suite/tidy.rs"]
mod tidy;
