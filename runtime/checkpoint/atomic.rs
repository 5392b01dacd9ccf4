//! Atomic replacement of files.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::{Error, Result};

use super::temporary::TemporaryFile;
use super::with_context;

/// Atomically replaces the file at `path` with the output of `write`.
///
/// Writes to a temporary file in the same directory, flushes it to the disk, renames it to `path`, and flushes the
/// directory. After a crash, `path` holds either the old or the new file. Follows a symbolic link and keeps the
/// permissions of the old file.
///
/// Concurrent writes of the same file wait for each other. A process that is killed leaves the temporary file
/// `.name.tmp`, which the next write of the same file overwrites.
///
/// # Errors
///
/// Fails if `write` or the file system returns an error. The message begins with the path. After an error, the old
/// file is unchanged and the temporary file is removed, with one exception: if only flushing the directory fails, the
/// file is already replaced, and the message says so.
///
/// # Examples
/// ```
/// use std::io::Write;
///
/// use sconce::checkpoint::write_atomically;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("labels.txt");
/// write_atomically(&path, |file| Ok(file.write_all(b"cat")?))?;
/// // An error leaves the old file in place.
/// let result = write_atomically(&path, |file| {
///     file.write_all(b"d")?;
///     Err(Error::msg("no more labels"))
/// });
/// assert!(result.is_err());
/// assert_eq!(std::fs::read(&path)?, b"cat");
/// # Ok(())
/// # }
/// ```
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    with_context(path.display(), replace(path, write))
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    // Renaming to a link would replace the link instead of its target.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(name) = target.file_name() else {
        return Err(Error::msg("expected the path of a file, found one without a file name"));
    };
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = Directory::open(directory.unwrap_or(Path::new(".")))?;

    let (temporary, file) = TemporaryFile::create(directory.path, name)?;
    if let Ok(old) = fs::metadata(&target) {
        file.set_permissions(old.permissions())?;
    }
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    // Rebind `temporary` after `writer`, so that `temporary` is dropped first: the temporary file must be removed
    // before the writer releases the lock.
    let temporary = temporary;
    write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    temporary.rename(&target)?;
    directory.sync()
}

/// The directory of a file. It is opened before the file is written, to detect a missing directory early.
pub(super) struct Directory<'a> {
    path: &'a Path,
    #[cfg(unix)]
    handle: File,
}

impl<'a> Directory<'a> {
    pub fn open(path: &'a Path) -> Result<Self> {
        let metadata = fs::metadata(path)
            .map_err(|error| Error::msg(format!("cannot write into {}: {error}", path.display())))?;
        if !metadata.is_dir() {
            return Err(Error::msg(format!("expected a directory, found a file: {}", path.display())));
        }
        #[cfg(unix)]
        let handle = File::open(path)?;
        Ok(Self {
            path,
            #[cfg(unix)]
            handle,
        })
    }

    /// Flushes the directory on Unix. Other systems cannot flush directories.
    pub fn sync(&self) -> Result<()> {
        #[cfg(unix)]
        if let Err(error) = self.handle.sync_all() {
            let directory = self.path.display();
            return Err(Error::msg(format!(
                "the file is written, but flushing the directory {directory} failed: {error}"
            )));
        }
        Ok(())
    }
}
