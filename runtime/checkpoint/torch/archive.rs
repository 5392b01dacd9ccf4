//! The zip container that `torch.save` has written since PyTorch 1.6. Its entries are `data.pkl`, `data/<key>` for each
//! storage, and `byteorder`.

use std::io::Read;

use crate::checkpoint::archive::Archive;
use crate::checkpoint::budget::Budget;
use crate::checkpoint::with_context;
use crate::{Error, Result};

use super::{Storages, wrong_size};

/// The name of the pickle that describes the tensors.
const DESCRIPTION: &str = "data.pkl";

/// An archive of `torch.save`.
pub(super) struct TorchArchive<'f> {
    archive: Archive<'f>,
    /// The prefix of all entries: the name of the file when it was saved, and a slash.
    prefix: String,
}

/// Returns the prefix before `data.pkl`, or `None` if the archive is not a file of `torch.save`.
pub(in super::super) fn prefix(archive: &Archive) -> Option<String> {
    let prefixes = archive.names().filter_map(|name| name.strip_suffix(DESCRIPTION));
    let prefixes = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('/'));
    prefixes.min_by_key(|prefix| prefix.len()).map(str::to_owned)
}

impl<'f> TorchArchive<'f> {
    pub fn new(archive: Archive<'f>, prefix: String, budget: &mut Budget) -> Result<Self> {
        let mut archive = Self { archive, prefix };
        archive.check_byte_order(budget)?;
        Ok(archive)
    }

    /// Reads the pickle that describes the tensors.
    pub fn description(&mut self, budget: &mut Budget) -> Result<Vec<u8>> {
        let bytes = self.archive.bytes(&format!("{}{DESCRIPTION}", self.prefix), budget)?;
        bytes.ok_or_else(|| Error::msg(format!("the archive has no `{DESCRIPTION}`")))
    }

    /// Reads the source file of the Python module `module`, such as `__torch__.net`, in a TorchScript archive. Returns
    /// `None` if the archive has no such file.
    pub fn source(&mut self, module: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>> {
        let name = format!("{}code/{}.py", self.prefix, module.replace('.', "/"));
        self.archive.bytes(&name, budget)
    }

    /// Checks that elements are little-endian. Accepts files without a byte order, which PyTorch wrote before 2.1.
    fn check_byte_order(&mut self, budget: &mut Budget) -> Result<()> {
        match self.archive.bytes(&format!("{}byteorder", self.prefix), budget)?.as_deref() {
            None | Some(b"little") => Ok(()),
            Some(other) => Err(Error::msg(format!(
                "expected elements in the byte order `little`, found `{}`",
                other[..other.len().min(16)].escape_ascii()
            ))),
        }
    }
}

impl Storages for TorchArchive<'_> {
    fn open(&mut self, key: &str, expected: usize) -> Result<Box<dyn Read + '_>> {
        let name = format!("{}data/{key}", self.prefix);
        match self.archive.size(&name)? {
            Some(size) if size == expected as u64 => {}
            Some(size) => return Err(wrong_size(key, expected, size)),
            None => return Err(Error::msg(format!("the archive has no entry for storage `{key}`"))),
        }
        match with_context(format_args!("entry `{name}`"), self.archive.entry(&name))? {
            Some(reader) => Ok(Box::new(reader)),
            None => Err(Error::msg(format!("the archive has no entry for storage `{key}`"))),
        }
    }
}
