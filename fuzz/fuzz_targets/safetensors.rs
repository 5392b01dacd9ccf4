//! The safetensors reader.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    // What tells the format; other files are other targets' business.
    if bytes.get(8) != Some(&b'{') {
        return Corpus::Reject;
    }
    sconce_fuzz::read(bytes);
    Corpus::Keep
});
