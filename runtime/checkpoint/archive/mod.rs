//! A reader and a writer of the zip archives that PyTorch and NumPy use.
//!
//! The reader supports only the features that PyTorch and NumPy use, and needs little memory: the central directory is
//! read once, and an entry is represented by the position of its record in the directory. Encrypted entries are errors.
//! So are overlapping entries and duplicate names, which malicious archives use.

mod directory;
mod entry;
mod write;

use std::io::Read as _;

use crate::{Error, Result};

use super::budget::Budget;
use super::input::{Input, truncated};
use super::with_context;

use directory::Record;

pub(super) use entry::EntryReader;
pub(super) use write::{ALIGNMENT, ArchiveWriter};

/// An open archive.
pub(super) struct Archive<'f> {
    input: Input<'f>,
    directory: Vec<u8>,
    /// The position of the directory, which follows all entries.
    directory_start: u64,
    /// The positions of the records in the directory, ordered by name.
    records: Vec<usize>,
}

impl<'f> Archive<'f> {
    /// Opens an archive and reads its directory.
    pub fn open(mut input: Input<'f>, budget: &mut Budget) -> Result<Self> {
        let extent = directory::locate(&mut input)?;
        // Charge the budget twice the length of the directory: once for the directory itself, and once for the lists
        // that `directory::records` builds.
        budget.spend(usize::try_from(extent.length).ok().and_then(|length| length.checked_mul(2)))?;
        let directory = input.bytes(extent.start, extent.length)?;
        let records = directory::records(&directory, extent.start)?;
        Ok(Self { input, directory, directory_start: extent.start, records })
    }

    /// Returns the sorted names of the entries. Skips names that are not UTF-8.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.records.iter().map(|&position| directory::name(&self.directory, position));
        names.filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// Returns the uncompressed size of the entry `name`, or `None` if it does not exist.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.find(name)?.map(|record| record.size))
    }

    /// Returns a reader of the entry `name`, or `None` if it does not exist. The reader checks the checksum at the end.
    pub fn entry(&mut self, name: &str) -> Result<Option<EntryReader<'_>>> {
        match self.find(name)? {
            None => Ok(None),
            Some(record) => EntryReader::open(&mut self.input, &record, self.directory_start).map(Some),
        }
    }

    /// Reads the entry `name`, or returns `None` if it does not exist.
    pub fn bytes(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>> {
        with_context(format_args!("entry `{name}`"), self.read_entry(name, budget))
    }

    fn read_entry(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>> {
        let Some(size) = self.size(name)? else { return Ok(None) };
        let size = usize::try_from(size).map_err(Error::msg)?;
        budget.spend(Some(size))?;
        let Some(mut reader) = self.entry(name)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(size);
        reader.read_to_end(&mut bytes)?;
        if bytes.len() == size { Ok(Some(bytes)) } else { Err(truncated()) }
    }

    fn find(&self, name: &str) -> Result<Option<Record>> {
        let found = self
            .records
            .binary_search_by(|&position| directory::name(&self.directory, position).cmp(name.as_bytes()));
        match found {
            Ok(index) => Record::read(&self.directory, self.records[index]).map(|(record, _)| Some(record)),
            Err(_) => Ok(None),
        }
    }
}
