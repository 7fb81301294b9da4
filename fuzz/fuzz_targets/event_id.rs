//! The fuzzer's program for `usertrail::fuzzing::event_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::event_id(data));
