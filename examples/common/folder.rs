//! The folder for the files of an example.

use std::fs;
use std::path::Path;

use sconce::{Error, Result};

/// Creates a folder and its parents. The error names the path. Call this function before training, so that no results
/// are lost if it fails.
pub fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .map_err(|error| Error::msg(format!("cannot create the folder {}: {error}", path.display())))
}
