//! The container before PyTorch 1.6: five pickles, then the storages one after the other.

use std::collections::HashMap;
use std::io::Read;

use super::heap::{Value, unexpected};
use super::pickle::Pickle;
use super::{Storages, wrong_size};
use crate::checkpoint::budget::Budget;
use crate::checkpoint::input::Input;
use crate::checkpoint::within;
use crate::{Error, Result};

/// `0x1950a86a20f9469cfc6c`, little-endian as a pickle has it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// Each storage begins with the number of its elements.
const COUNT_BYTES: u64 = size_of::<u64>() as u64;

/// So much of a file is looked through for its pickles at first.
const HEAD: usize = 1 << 16;

const PARTS: [&str; 5] = ["magic number", "protocol version", "system information", "object", "storage keys"];

/// The bytes that the file begins with, as far as the end of its last pickle or beyond.
///
/// Where the pickles end is known only after they have been gone through. The head that is read grows
/// until it has all of them, so that the tensors' data do not have to be in memory for that.
pub(super) fn pickles(input: &mut Input, budget: &mut Budget) -> Result<Vec<u8>> {
    let whole = input.size();
    let mut length = HEAD.min(whole);
    loop {
        let head = input.bytes(0, length as u64)?;
        if length == whole || head_is_long_enough(&head) {
            budget.spend(Some(length))?;
            return Ok(head);
        }
        length = length.saturating_mul(4).min(whole);
    }
}

fn head_is_long_enough(head: &[u8]) -> bool {
    let mut rest = head;
    PARTS.iter().all(|_| match super::read::length(rest) {
        Some(length) => {
            rest = &rest[length..];
            true
        }
        None => false,
    })
}

/// The pickles that matter, and how many bytes all of them took.
pub(super) struct Description<'a> {
    pub object: Pickle<'a>,
    keys: Pickle<'a>,
    length: u64,
}

impl<'a> Description<'a> {
    pub fn load(head: &'a [u8], budget: &mut Budget) -> Result<Self> {
        let mut rest = head;
        // The third is the machine that it was written on; whatever it was, elements are little-endian.
        let mut parts = PARTS.iter().map(|part| {
            let pickle = within(format_args!("pickle of the {part}"), Pickle::load(rest, budget))?;
            rest = &rest[pickle.length..];
            Ok::<_, Error>(pickle)
        });
        let mut next = || parts.next().unwrap_or_else(|| Err(Error::msg("the file has too few pickles")));
        let (magic, protocol) = (next()?, next()?);
        check(magic.root, protocol.root)?;
        let (_system, object, keys) = (next()?, next()?, next()?);
        drop(parts);
        Ok(Self { object, keys, length: (head.len() - rest.len()) as u64 })
    }
}

fn check(magic: Value, protocol: Value) -> Result<()> {
    match magic {
        Value::Long(magic) if magic == MAGIC => {}
        other => return Err(unexpected("the magic number of torch.save", other)),
    }
    match protocol {
        Value::Int(PROTOCOL) => Ok(()),
        Value::Int(other) => Err(Error::msg(format!("expected protocol version {PROTOCOL}, got {other}"))),
        other => Err(unexpected("the protocol version of torch.save", other)),
    }
}

/// Storages by their keys: where each begins in the file, and its bytes.
pub(super) struct Legacy<'f, 'a> {
    input: Input<'f>,
    storages: HashMap<&'a str, (u64, usize)>,
}

impl<'f, 'a> Legacy<'f, 'a> {
    /// Goes through the storages in the order of their keys.
    pub fn locate(mut input: Input<'f>, description: &Description<'a>) -> Result<Self> {
        let Description { object, keys, length } = description;
        let sizes: HashMap<_, _> = object
            .heap
            .storages()
            .iter()
            .map(|storage| (storage.key, (storage.element.size(), storage.bytes)))
            .collect();
        let mut storages = HashMap::new();
        let mut position = *length;
        for &key in keys.heap.items(keys.root)? {
            let Value::Str(key) = key else {
                return Err(unexpected("the key of a storage", key));
            };
            let Some(&(element_size, bytes)) = sizes.get(key) else {
                return Err(Error::msg(format!("no tensor tells the element type of storage `{key}`")));
            };
            let found = check_storage(&mut input, position, element_size, bytes);
            within(format_args!("storage `{key}`"), found)?;
            storages.insert(key, (position + COUNT_BYTES, bytes));
            position += COUNT_BYTES + bytes as u64;
        }
        Ok(Self { input, storages })
    }
}

/// Whether there are `expected` bytes of elements at `position`, after their number.
fn check_storage(input: &mut Input, position: u64, element_size: usize, expected: usize) -> Result<()> {
    let Ok(count) = input.bytes(position, COUNT_BYTES) else {
        return Err(Error::msg("the file ends before it"));
    };
    let count = count.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte));
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(element_size)) != Some(expected) {
        let expected = expected / element_size;
        return Err(Error::msg(format!("expected {expected} elements, got {count}")));
    }
    let available = input.length() - position - COUNT_BYTES;
    if available < expected as u64 {
        return Err(Error::msg(format!("expected {expected} bytes, got the file's end after {available}")));
    }
    Ok(())
}

impl Storages for Legacy<'_, '_> {
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
