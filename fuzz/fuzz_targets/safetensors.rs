//! Fuzzes the safetensors reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sconce::__private::readers;

fuzz_target!(|bytes: &[u8]| sconce_fuzz::check(bytes, readers::safetensors));
