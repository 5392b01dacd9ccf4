//! Writing a file so that a crash, a full disk or an error leaves the old one whole.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use super::temporary::Temporary;
use super::within;
use crate::{Error, Result};

/// Replaces the file at `path` by what `write` writes, all of it or nothing.
///
/// The bytes go to a temporary file in the same directory, are flushed to the disk, and only then does
/// the file take its name; at last the directory is flushed, so that the name survives a crash as well.
/// A symbolic link is followed, and a file that is replaced passes on its permissions.
///
/// # Errors
///
/// Whatever `write` returns, and every error of the file system; the message begins with the path.
/// The old file is then as it was and no temporary file stays. (A process that is killed while it writes
/// leaves one, `.name.tmp`, which the next save of the same file overwrites; saves of one file from several
/// threads or processes wait for each other.) One error comes after the replacement:
/// that the directory could not be flushed, and it says so.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    within(path.display(), replace(path, write))
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    // Renaming onto a link would replace the link and leave the file that it names as it was.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(name) = target.file_name() else {
        return Err(Error::msg("expected the path of a file, got one that ends in no name"));
    };
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = Directory::open(directory.unwrap_or(Path::new(".")))?;

    let (temporary, file) = Temporary::create(directory.path, name)?;
    if let Ok(old) = fs::metadata(&target) {
        file.set_permissions(old.permissions())?;
    }
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    // Dropped before the writer, whose file is locked: until its name is gone nobody else may take it.
    let temporary = temporary;
    write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    temporary.rename(&target)?;
    directory.sync()
}

/// The directory of a file, opened before anything is written so that a missing one is found early.
struct Directory<'a> {
    path: &'a Path,
    #[cfg(unix)]
    handle: File,
}

impl<'a> Directory<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let metadata = fs::metadata(path)
            .map_err(|error| Error::msg(format!("cannot write into {}: {error}", path.display())))?;
        if !metadata.is_dir() {
            return Err(Error::msg(format!("expected a directory, got a file: {}", path.display())));
        }
        #[cfg(unix)]
        let handle = File::open(path)?;
        Ok(Self {
            path,
            #[cfg(unix)]
            handle,
        })
    }

    /// Only Unix lets a directory be flushed.
    fn sync(&self) -> Result<()> {
        #[cfg(unix)]
        if let Err(error) = self.handle.sync_all() {
            let directory = self.path.display();
            return Err(Error::msg(format!(
                "written, but the directory {directory} is not flushed: {error}"
            )));
        }
        Ok(())
    }
}
