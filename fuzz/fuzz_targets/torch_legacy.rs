//! Fuzzes the pickle machine and the container of `torch.save` before PyTorch 1.6.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sconce::__private::readers;

fuzz_target!(|bytes: &[u8]| sconce_fuzz::check(readers::torch_legacy(bytes), bytes.len()));
