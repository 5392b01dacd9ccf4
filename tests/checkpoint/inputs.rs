//! Files for the readers: recorded ones, and files with given bytes.

use std::path::{Path, PathBuf};

use sconce::candle::Device;
use sconce::checkpoint::{StateDict, read};

/// Returns the path of a file in `tests/golden`.
pub fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

/// Returns the path of a file in `tests/golden/checkpoints`.
pub fn golden_checkpoint(file: &str) -> PathBuf {
    golden("checkpoints").join(file)
}

/// Reads a file with the given bytes.
pub fn read_bytes(bytes: &[u8]) -> sconce::Result<StateDict> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("file");
    std::fs::write(&path, bytes)?;
    read(&path, &Device::Cpu)
}
