//! One decoder, named by the environment variable `SKIFF_FUZZ`, under libFuzzer.

#![no_main]
// What the macro expands to is called from C.
#![allow(unsafe_code, missing_docs)]

use std::sync::LazyLock;

use skiff_fuzz::Decoder;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
    let name = std::env::var("SKIFF_FUZZ").unwrap_or_default();
    skiff_fuzz::by_name(&name).unwrap_or_else(|| panic!("SKIFF_FUZZ={name} is no decoder"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| DECODER.check(input));
