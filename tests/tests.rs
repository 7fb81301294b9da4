//! The integration tests, one module each.

#[path = "suite/epochs.rs"]
mod epochs;
#[path = "suite/interop.rs"]
mod interop;
#[path = "suite/repair.rs"]
mod repair;
#[path = "suite/tidy.rs"]
mod tidy;
