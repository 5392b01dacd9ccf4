//! The pickle machine and the container that `torch.save` wrote before PyTorch 1.6.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if !matches!(bytes, [0x80, 2..=5, ..]) || bytes.get(8) == Some(&b'{') {
        return Corpus::Reject;
    }
    sconce_fuzz::read(bytes);
    Corpus::Keep
});
