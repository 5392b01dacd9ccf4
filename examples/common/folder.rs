//! The folder for the files of an example.

use std::fs;
use std::path::Path;

use sconce::{Error, Result};

/// Creates a folder, and the folders around it. Fails with its path, before the example computes what it would lose.
pub fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .map_err(|error| Error::msg(format!("cannot create the folder {}: {error}", path.display())))
}
