//! Hands libFuzzer's inputs to the target that has this program's name.
#![no_main]

use bugzfeed::fuzz::TARGETS;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let own = TARGETS.iter().find(|(name, _)| *name == env!("CARGO_BIN_NAME"));
    let (_, target) = own.expect("each program has the name of a target");
    target(input);
});
