//! The file that is written before it takes another's name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// A file that is removed when dropped, unless it was renamed before.
pub(super) struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    /// An empty, hidden file beside the file `name`.
    ///
    /// It has the same name every time, so that what killed processes leave cannot pile up. A lock keeps
    /// it for one writer; where the file system has no locks, each writer gets a name of its own.
    pub fn create(directory: &Path, name: &OsStr) -> Result<(Self, File)> {
        let hidden = |middle: String| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!("{middle}.tmp"));
            directory.join(hidden)
        };
        if let Some(locked) = Self::locked(hidden(String::new()))? {
            return Ok(locked);
        }
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = hidden(format!(".{}-{count}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self { path: Some(path) }, file)),
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The file at `path`, locked and emptied; none where there are no locks.
    fn locked(path: PathBuf) -> Result<Option<(Self, File)>> {
        if !cfg!(unix) {
            return Ok(None);
        }
        loop {
            // Not emptied yet: it may be another's.
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            match file.lock() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    // Without locks nobody writes into it.
                    let _ = fs::remove_file(&path);
                    return Ok(None);
                }
            }
            // Else its holder renamed or removed it while we waited for the lock.
            if is_at(&path, &file)? {
                file.set_len(0)?;
                return Ok(Some((Self { path: Some(path) }, file)));
            }
        }
    }

    pub fn rename(mut self, target: &Path) -> Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nobody is left to hear of a failure: the error that brought us here goes first.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether `path` is still the name of the open file.
#[cfg(unix)]
fn is_at(path: &Path, file: &File) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let Ok(named) = fs::symlink_metadata(path) else { return Ok(false) };
    // Somebody could else have us write over what it links to.
    if !named.is_file() {
        return Err(Error::msg(format!("expected a file or nothing at {}, got a link", path.display())));
    }
    let open = file.metadata()?;
    Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
}

#[cfg(not(unix))]
fn is_at(_: &Path, _: &File) -> Result<bool> {
    Ok(false)
}
