//! Fuzzes the index of a sharded checkpoint with the two shards `one` and `types`.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sconce::__private::readers;
use sconce_fuzz::check_with_length;

const ONE: &[u8] = include_bytes!("../seeds/safetensors/one");
const TYPES: &[u8] = include_bytes!("../seeds/safetensors/types");

/// The directory of the shards. Every run uses the same directory.
static SHARDS: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join("sconce-fuzz-shards");
    fs::create_dir_all(&directory).expect("creating a temporary directory should succeed");
    for (name, content) in [("one", ONE), ("types", TYPES)] {
        fs::write(directory.join(name), content).expect("writing a temporary file should succeed");
    }
    directory
});

fuzz_target!(|bytes: &[u8]| {
    let length = bytes.len() + ONE.len() + TYPES.len();
    check_with_length(length, || readers::index(bytes, &SHARDS));
});
