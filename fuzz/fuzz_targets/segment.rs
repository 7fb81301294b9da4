//! The fuzzer's program for `usertrail::fuzzing::segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::segment(data));
