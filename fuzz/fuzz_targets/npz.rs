//! Fuzzes the `.npz` reader.
//!
//! Inputs that start like an archive are read unchanged. Other inputs become the only array of a valid archive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sconce::__private::readers;
use sconce_fuzz::{archive, check, is_archive};

fuzz_target!(|bytes: &[u8]| {
    if is_archive(bytes) {
        return check(bytes, readers::npz);
    }
    let packed = archive(&[("array.npy", bytes)]);
    check(&packed, readers::npz);
});
