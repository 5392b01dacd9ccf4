//! Temporary files for atomic replacement.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// A file that is removed on drop unless it was renamed.
pub(super) struct TemporaryFile {
    path: Option<PathBuf>,
}

impl TemporaryFile {
    /// Creates an empty, hidden file in `directory` that can later replace the file `name`.
    ///
    /// The temporary name depends only on `name`, so that killed processes do not leave many files. A lock on the file
    /// keeps other writers out. If the file system does not support locks, each writer uses a unique name.
    pub fn create(directory: &Path, name: &OsStr) -> Result<(Self, File)> {
        let hidden_path = |suffix: String| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!("{suffix}.tmp"));
            directory.join(hidden)
        };
        if let Some(locked) = Self::create_locked(hidden_path(String::new()))? {
            return Ok(locked);
        }
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = hidden_path(format!(".{}-{count}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self { path: Some(path) }, file)),
                // A killed process with the same id left this file.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens, locks and truncates the file at `path`. Returns `None` if files cannot be locked.
    fn create_locked(path: PathBuf) -> Result<Option<(Self, File)>> {
        if !cfg!(unix) {
            return Ok(None);
        }
        loop {
            // Do not truncate before the file is locked: another writer may be using it.
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            match file.lock() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    // If the file system does not support locks, every writer uses a unique name instead of this file.
                    let _ = fs::remove_file(&path);
                    return Ok(None);
                }
            }
            // Retry if another writer renamed or removed the file while this writer waited for the lock.
            if is_at(&path, &file)? {
                file.set_len(0)?;
                return Ok(Some((Self { path: Some(path) }, file)));
            }
        }
    }

    /// Renames the file to `target`.
    pub fn rename(mut self, target: &Path) -> Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A failure here is ignored in favor of the error that caused the drop.
            let _ = fs::remove_file(path);
        }
    }
}

/// Returns `true` if `path` still refers to the open file.
#[cfg(unix)]
fn is_at(path: &Path, file: &File) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let Ok(named) = fs::symlink_metadata(path) else { return Ok(false) };
    // Reject a link: writing through it would overwrite its target.
    if !named.is_file() {
        return Err(Error::msg(format!("expected a file or nothing at {}, found a link", path.display())));
    }
    let open = file.metadata()?;
    Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
}

#[cfg(not(unix))]
fn is_at(_: &Path, _: &File) -> Result<bool> {
    Ok(false)
}
