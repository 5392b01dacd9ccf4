//! Fuzzes the `.npz` reader with generated archives.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};
use sconce::__private::readers;
use sconce_fuzz::{check, generate};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(file) = generate::npz(&mut Unstructured::new(bytes)) else { return Corpus::Reject };
    check(&file, readers::npz);
    Corpus::Keep
});
