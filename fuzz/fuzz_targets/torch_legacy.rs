//! Fuzzes the reader of the format that `torch.save` wrote before PyTorch 1.6: the pickle interpreter and the
//! container.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sconce::__private::readers;

fuzz_target!(|bytes: &[u8]| sconce_fuzz::check(bytes, readers::torch_legacy));
