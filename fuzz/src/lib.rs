//! What the fuzz targets share: reading bytes as a file, and what must hold of the tensors.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sconce::candle::{DType, Device};
use sconce::checkpoint::{self, StateDict};

/// A file of this process, in memory where the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    directory.join(format!("sconce-fuzz-{}", std::process::id()))
});

/// Reads `bytes` as a checkpoint. An error is as good an answer as tensors; these must be sound.
pub fn read(bytes: &[u8]) {
    fs::write(&*FILE, bytes).expect("the file can be written");
    if let Ok(state) = checkpoint::read(&*FILE, &Device::Cpu) {
        check(&state, bytes.len());
    }
}

/// Every value is there to be read, and there are not more of them than a file of `length` bytes may
/// ask for: the reader's limit is sixteen bytes for each of the file's, and a mebibyte.
fn check(state: &StateDict, length: usize) {
    let mut seen = HashSet::new();
    let mut total = 0;
    for (name, tensor) in state {
        // Tied parameters are one tensor.
        if tensor.elem_count() == 0 || !seen.insert(tensor.id()) {
            continue;
        }
        total += tensor.elem_count() * tensor.dtype().size_in_bytes();
        // candle's conversion of an 8-bit float never returns for some values.
        if tensor.dtype() != DType::F8E4M3 {
            let sum = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.sum_all());
            sum.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(total <= 16 * length + (1 << 20), "{total} bytes of tensors from a file of {length}");
}
