//! The container that `torch.save` wrote before PyTorch 1.6: five pickles, followed by the storages.

use std::collections::HashMap;
use std::io::Read;

use crate::checkpoint::budget::Budget;
use crate::checkpoint::input::Input;
use crate::checkpoint::with_context;
use crate::{Error, Result};

use super::pickle::Pickle;
use super::values::{Value, unexpected};
use super::{Storages, wrong_size};

/// The magic number, `0x1950a86a20f9469cfc6c`, little-endian as in a pickle.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The magic number as protocol 1 writes it.
const MAGIC_DIGITS: &str = "119547037146038801333356";
const PROTOCOL: i64 = 1001;

/// The size, in bytes, of the element count that precedes the elements of each storage.
const COUNT_BYTES: u64 = size_of::<u64>() as u64;

/// The number of bytes that are read at first. If they do not contain all pickles, more are read.
const HEAD: usize = 1 << 16;

/// The contents of the five pickles.
const PARTS: [&str; 5] = ["magic number", "protocol version", "system information", "object", "storage keys"];

/// Reads the start of the file. The result contains all five pickles, unless the file is damaged.
///
/// The end of the pickles is known only after scanning them. The function reads increasingly long parts of the file
/// until one contains all pickles, instead of reading the data of all tensors.
pub(super) fn pickles(input: &mut Input, budget: &mut Budget) -> Result<Vec<u8>> {
    let file_length = input.size();
    let mut length = HEAD.min(file_length);
    loop {
        let head = input.bytes(0, length as u64)?;
        if length == file_length || contains_all_pickles(&head) {
            budget.spend(Some(length))?;
            return Ok(head);
        }
        length = length.saturating_mul(4).min(file_length);
    }
}

fn contains_all_pickles(head: &[u8]) -> bool {
    let mut rest = head;
    PARTS.iter().all(|_| match super::read::length(rest) {
        Some(length) => {
            rest = &rest[length..];
            true
        }
        None => false,
    })
}

/// The pickles of the saved object and of the storage keys.
pub(super) struct Description<'a> {
    pub object: Pickle<'a>,
    keys: Pickle<'a>,
    /// The length of all five pickles in bytes.
    length: u64,
}

impl<'a> Description<'a> {
    pub fn load(head: &'a [u8], budget: &mut Budget) -> Result<Self> {
        let mut rest = head;
        // The third pickle describes the machine that wrote the file, such as its byte order. This pickle is ignored,
        // because elements are always little-endian.
        let mut parts = PARTS.iter().map(|part| {
            let pickle = with_context(format_args!("pickle of the {part}"), Pickle::load(rest, budget))?;
            rest = &rest[pickle.length..];
            Ok::<_, Error>(pickle)
        });
        let mut next = || parts.next().unwrap_or_else(|| Err(Error::msg("the file has too few pickles")));
        let magic = next()?;
        let protocol = next()?;
        check(magic.root, protocol.root)?;
        let _system = next()?;
        let object = next()?;
        let keys = next()?;
        drop(parts);
        Ok(Self { object, keys, length: (head.len() - rest.len()) as u64 })
    }
}

fn check(magic: Value, protocol: Value) -> Result<()> {
    match magic {
        Value::Long(MAGIC) | Value::Decimal(MAGIC_DIGITS) => {}
        other => return Err(unexpected("the magic number of torch.save", other)),
    }
    match protocol {
        Value::Int(PROTOCOL) => Ok(()),
        Value::Int(other) => Err(Error::msg(format!("expected protocol version {PROTOCOL}, found {other}"))),
        other => Err(unexpected("the protocol version of torch.save", other)),
    }
}

/// The storages of a legacy file.
pub(super) struct LegacyStorages<'f, 'a> {
    input: Input<'f>,
    /// Position and length of each storage in bytes, by key.
    storages: HashMap<&'a str, (u64, usize)>,
}

impl<'f, 'a> LegacyStorages<'f, 'a> {
    /// Locates all storages, which follow the pickles in the order of the storage keys, and checks their lengths.
    pub fn locate(mut input: Input<'f>, description: &Description<'a>) -> Result<Self> {
        let Description { object, keys, length } = description;
        // For each storage, the size of an element and the length of the storage, both in bytes.
        let sizes: HashMap<_, _> = object
            .values
            .storages()
            .iter()
            .map(|storage| (storage.key, (storage.dtype.size(), storage.bytes)))
            .collect();
        let mut storages = HashMap::new();
        let mut position = *length;
        for &key in keys.values.items(keys.root)? {
            let Value::Str(key) = key else {
                return Err(unexpected("the key of a storage", key));
            };
            let Some(&(element_size, bytes)) = sizes.get(key) else {
                return Err(Error::msg(format!(
                    "storage `{key}` belongs to no tensor, so its type is unknown"
                )));
            };
            let found = check_storage(&mut input, position, element_size, bytes);
            with_context(format_args!("storage `{key}`"), found)?;
            storages.insert(key, (position + COUNT_BYTES, bytes));
            position += COUNT_BYTES + bytes as u64;
        }
        Ok(Self { input, storages })
    }
}

/// Checks the storage at `position`: an element count, which must match, followed by `expected` bytes of elements.
fn check_storage(input: &mut Input, position: u64, element_size: usize, expected: usize) -> Result<()> {
    let Ok(count) = input.bytes(position, COUNT_BYTES) else {
        return Err(Error::msg("the file ends before the storage"));
    };
    let count = count.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte));
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(element_size)) != Some(expected) {
        let expected = expected / element_size;
        return Err(Error::msg(format!("expected {expected} elements, found {count}")));
    }
    let available = input.length() - position - COUNT_BYTES;
    if available < expected as u64 {
        return Err(Error::msg(format!(
            "expected {expected} bytes, found the file's end after {available} bytes"
        )));
    }
    Ok(())
}

impl Storages for LegacyStorages<'_, '_> {
    fn open(&mut self, key: &str, expected: usize) -> Result<Box<dyn Read + '_>> {
        match self.storages.get(key) {
            Some(&(start, bytes)) if bytes == expected => {
                Ok(Box::new(self.input.section(start, expected as u64)?))
            }
            Some(&(_, bytes)) => Err(wrong_size(key, expected, bytes as u64)),
            None => Err(Error::msg(format!("the file does not contain storage `{key}`"))),
        }
    }
}
