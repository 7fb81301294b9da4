//! The integration tests: one binary, a module for each subject.
#![cfg(test)]

#[cfg(feature = "cli")]
#[path = "suite/cli.rs"]
mod cli;
#[path = "suite/concurrent.rs"]
mod concurrent;
#[path = "suite/damage.rs"]
mod damage;
#[path = "suite/epochs.rs"]
mod epochs;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/figures.rs"]
mod figures;
#[path = "suite/fixture.rs"]
mod fixture;
#[path = "suite/full_disk.rs"]
mod full_disk;
#[path = "suite/golden.rs"]
mod golden;
#[path = "suite/interop.rs"]
mod interop;
#[path = "suite/kill.rs"]
mod kill;
#[path = "suite/memory.rs"]
mod memory;
#[path = "suite/merging.rs"]
mod merging;
#[path = "suite/repair.rs"]
mod repair;
#[path = "suite/tidy.rs"]
mod tidy;
