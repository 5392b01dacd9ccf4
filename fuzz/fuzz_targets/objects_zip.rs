//! Fuzzes the reader of zip archives of `torch.save` with generated archives: mostly valid pickles of objects, modules
//! and tensors, and their storages.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};
use sconce::__private::readers;
use sconce_fuzz::{check, generate};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(file) = generate::torch_zip(&mut Unstructured::new(bytes)) else { return Corpus::Reject };
    check(&file, readers::torch_zip);
    Corpus::Keep
});
