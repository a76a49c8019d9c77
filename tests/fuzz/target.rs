//! Hands libFuzzer's inputs to the target that FUZZ_TARGET names.
#![no_main]

use std::env;
use std::sync::LazyLock;

use bugzfeed::fuzz::TARGETS;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let named = TARGETS.iter().find(|(name, _)| *name == wanted);
    named.unwrap_or_else(|| panic!("there is no target {wanted}")).1
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
