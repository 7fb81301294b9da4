//! Crash tests: a workload on the disk that fails on purpose, stopped at each of its operations, and everything that a
//! power cut or a kill may leave behind opened again and compared with a plain list.
//!
//! An ordinary run tries a bounded sample; `USERTRAIL_CRASH_IMAGES=100000` tries that many.

mod checkpoints;
mod controls;
mod creation;
mod faults;
mod heads;
mod packing;
mod power;
mod rig;
