//! Zip archives, as PyTorch and NumPy write them: the directory at the end, and entries by their names.
//!
//! Only as much of the format as those two use, which lets the memory be bounded: the directory is read
//! once, an entry is a position in it. Entries that overlap, names given twice, and encryption, by which
//! archives deceive their readers, are errors.

mod directory;
mod entry;

use std::io::Read as _;

use super::budget::Budget;
use super::input::{Input, cut_short};
use super::within;
use crate::{Error, Result};
use directory::Record;
pub(super) use entry::EntryReader;

/// An archive of which the directory has been read.
pub(super) struct Archive<'f> {
    input: Input<'f>,
    directory: Vec<u8>,
    /// Where the directory begins, and the entries end.
    start: u64,
    /// Positions in the directory, ordered by name.
    records: Vec<usize>,
}

impl<'f> Archive<'f> {
    /// Reads the directory of a file.
    pub fn open(mut input: Input<'f>, budget: &mut Budget) -> Result<Self> {
        let place = directory::locate(&mut input)?;
        // The directory, and for each of its records a position here and an extent while it is checked.
        budget.spend(usize::try_from(place.length).ok().and_then(|length| length.checked_mul(2)))?;
        let directory = input.bytes(place.start, place.length)?;
        let records = directory::records(&directory, place.start)?;
        Ok(Self { input, directory, start: place.start, records })
    }

    /// The names of the entries, ordered. Names that are no UTF-8 are left out.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.records.iter().map(|&position| directory::name(&self.directory, position));
        names.filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// The uncompressed size of the entry `name`, if there is such a one.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.find(name)?.map(|record| record.size))
    }

    /// A reader of the entry `name`, if there is such a one. It checks the checksum when it is at the end.
    pub fn entry(&mut self, name: &str) -> Result<Option<EntryReader<'_>>> {
        match self.find(name)? {
            None => Ok(None),
            Some(record) => EntryReader::open(&mut self.input, &record, self.start).map(Some),
        }
    }

    /// The content of the entry `name`, if there is such a one.
    pub fn bytes(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>> {
        within(format_args!("entry `{name}`"), self.whole(name, budget))
    }

    fn whole(&mut self, name: &str, budget: &mut Budget) -> Result<Option<Vec<u8>>> {
        let Some(size) = self.size(name)? else { return Ok(None) };
        let size = usize::try_from(size).map_err(Error::msg)?;
        budget.spend(Some(size))?;
        let Some(mut reader) = self.entry(name)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(size);
        reader.read_to_end(&mut bytes)?;
        if bytes.len() == size { Ok(Some(bytes)) } else { Err(cut_short()) }
    }

    fn find(&self, name: &str) -> Result<Option<Record>> {
        let found = self
            .records
            .binary_search_by(|&position| directory::name(&self.directory, position).cmp(name.as_bytes()));
        match found {
            Ok(place) => Record::read(&self.directory, self.records[place]).map(|(record, _)| Some(record)),
            Err(_) => Ok(None),
        }
    }
}
