//! Fuzzes the reader of legacy files of `torch.save` with generated files: mostly valid pickles of objects, modules
//! and tensors, and their storages.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};
use sconce::__private::readers;
use sconce_fuzz::{check, generate};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(file) = generate::torch_legacy(&mut Unstructured::new(bytes)) else { return Corpus::Reject };
    check(&file, readers::torch_legacy);
    Corpus::Keep
});
