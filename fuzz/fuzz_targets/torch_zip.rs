//! Fuzzes the zip container of `torch.save`.
//!
//! Inputs that start like an archive are read unchanged, which fuzzes the archive structure. Other inputs are packed
//! into a valid archive: the first two bytes are the length of the pickle, and the pickle and the data of the storage
//! `0` follow.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use sconce::__private::readers;
use sconce_fuzz::{archive, check, is_archive};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if is_archive(bytes) {
        check(bytes, readers::torch_zip);
        return Corpus::Keep;
    }
    let Some((&length, rest)) = bytes.split_first_chunk() else {
        return Corpus::Reject;
    };
    let length = usize::from(u16::from_le_bytes(length)).min(rest.len());
    let (pickle, storage) = rest.split_at(length);
    let packed = archive(&[("archive/data.pkl", pickle), ("archive/data/0", storage)]);
    check(&packed, readers::torch_zip);
    Corpus::Keep
});
