//! Today's container: a zip archive of `data.pkl`, `data/<key>` for each storage, and `byteorder`.

use std::borrow::Cow;
use std::io::{BufReader, Read, Seek};

use ::zip::ZipArchive;
use ::zip::result::ZipError;

use super::{Storages, wrong_size};
use crate::checkpoint::within;
use crate::{Error, Result};

const DESCRIPTION: &str = "data.pkl";

/// The archive and what stands before the names of its entries.
pub(super) struct Archive<File: Read + Seek> {
    zip: ZipArchive<BufReader<File>>,
    /// The file's name when it was saved, and a slash.
    prefix: String,
    /// Of the file: no entry can hold more, as none is compressed.
    length: usize,
}

impl<File: Read + Seek> Archive<File> {
    /// Opens a file of `length` bytes.
    pub fn open(file: File, length: usize) -> Result<Self> {
        let zip = ZipArchive::new(BufReader::new(file)).map_err(invalid)?;
        let prefix = zip
            .file_names()
            .filter_map(|name| name.ok()?.strip_suffix(DESCRIPTION).map(str::to_owned))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('/'))
            .min_by_key(String::len);
        let prefix = prefix.ok_or_else(|| {
            Error::msg(format!("expected a zip archive of torch.save, got one without a `{DESCRIPTION}`"))
        })?;
        let mut archive = Self { zip, prefix, length };
        archive.check_byte_order()?;
        Ok(archive)
    }

    /// The pickle that describes the tensors.
    pub fn description(&mut self) -> Result<Vec<u8>> {
        self.entry(DESCRIPTION)?.ok_or_else(|| Error::msg(format!("the archive has no `{DESCRIPTION}`")))
    }

    /// Files from before PyTorch 2.1 do not say their byte order; it is that of all machines in use.
    fn check_byte_order(&mut self) -> Result<()> {
        match self.entry("byteorder")?.as_deref() {
            None | Some(b"little") => Ok(()),
            Some(other) => Err(Error::msg(format!(
                "expected elements in the byte order `little`, got `{}`",
                other.escape_ascii()
            ))),
        }
    }

    /// The content of an entry, if there is such a one. Its checksum is checked.
    fn entry(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let name = format!("{}{name}", self.prefix);
        within(format_args!("entry `{name}`"), self.read(&name))
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let mut entry = match self.zip.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(invalid(error)),
        };
        let size = usize::try_from(entry.size()).ok().filter(|&size| size <= self.length);
        let size = size.ok_or_else(|| {
            Error::msg(format!("claims {} bytes in a file of {}", entry.size(), self.length))
        })?;
        let mut bytes = Vec::with_capacity(size);
        entry.read_to_end(&mut bytes)?;
        if bytes.len() != size {
            return Err(Error::msg(format!("expected {size} bytes, got {}", bytes.len())));
        }
        Ok(Some(bytes))
    }
}

impl<File: Read + Seek> Storages<'static> for Archive<File> {
    fn bytes(&mut self, key: &str, expected: usize) -> Result<Cow<'static, [u8]>> {
        match self.entry(&format!("data/{key}"))? {
            Some(bytes) if bytes.len() == expected => Ok(Cow::Owned(bytes)),
            Some(bytes) => Err(wrong_size(key, expected, bytes.len())),
            None => Err(Error::msg(format!("the archive has no entry for storage `{key}`"))),
        }
    }
}

fn invalid(error: ZipError) -> Error {
    Error::msg(format!("not a valid zip archive: {error}"))
}
