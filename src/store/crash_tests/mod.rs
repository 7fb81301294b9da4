//! Crash tests: a workload on the disk that fails on purpose, stopped at each of its operations, and everything that a
//! power cut or a kill may leave behind opened again and compared with a plain list.
//!
//! `simulator` tries tens of thousands of images of recorded runs in an ordinary run, and as many as there is time for in
//! its long form (`.ci/long simulator`); the other tests look at one thing each.

mod checkpoints;
mod controls;
mod creation;
mod faults;
#[cfg(target_os = "linux")]
mod fuse;
mod heads;
mod packing;
mod power;
mod repairs;
mod rig;
mod simulator;
mod verify;
