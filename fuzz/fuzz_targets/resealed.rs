//! The fuzzer's program for `usertrail::fuzzing::resealed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::resealed(data));
