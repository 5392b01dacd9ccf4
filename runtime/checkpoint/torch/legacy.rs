//! The container before PyTorch 1.6: five pickles, then the storages one after the other.

use std::borrow::Cow;
use std::collections::HashMap;

use super::heap::{Value, unexpected};
use super::pickle::Pickle;
use super::{Storages, wrong_size};
use crate::checkpoint::within;
use crate::{Error, Result};

/// `0x1950a86a20f9469cfc6c`, little-endian as a pickle has it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// Each storage begins with the number of its elements.
const COUNT_BYTES: usize = size_of::<u64>();

/// The description of the tensors, and the storages by their keys.
pub(super) fn open(file: &[u8]) -> Result<(Pickle<'_>, Legacy<'_>)> {
    let mut rest = file;
    match next(&mut rest, "magic number")?.root {
        Value::Long(magic) if magic == MAGIC => {}
        other => return Err(unexpected("the magic number of torch.save", other)),
    }
    match next(&mut rest, "protocol version")?.root {
        Value::Int(PROTOCOL) => {}
        Value::Int(other) => {
            return Err(Error::msg(format!("expected protocol version {PROTOCOL}, got {other}")));
        }
        other => return Err(unexpected("the protocol version of torch.save", other)),
    }
    // The machine that it was written on; whatever it was, elements are little-endian.
    next(&mut rest, "system information")?;
    let description = next(&mut rest, "object")?;
    let keys = next(&mut rest, "storage keys")?;
    let storages = Legacy::locate(rest, &description, &keys)?;
    Ok((description, storages))
}

/// Reads the pickle that `rest` begins with, and moves behind it.
fn next<'a>(rest: &mut &'a [u8], part: &str) -> Result<Pickle<'a>> {
    let pickle = within(format_args!("pickle of the {part}"), Pickle::load(rest))?;
    *rest = &rest[pickle.length..];
    Ok(pickle)
}

/// Storages by their keys, in the file's bytes.
pub(super) struct Legacy<'a> {
    storages: HashMap<&'a str, &'a [u8]>,
}

impl<'a> Legacy<'a> {
    /// Goes through the storages in the order of `keys`.
    fn locate(mut rest: &'a [u8], description: &Pickle<'a>, keys: &Pickle<'a>) -> Result<Self> {
        let sizes: HashMap<_, _> = description
            .heap
            .storages()
            .iter()
            .map(|storage| (storage.key, (storage.element.size(), storage.bytes)))
            .collect();
        let mut storages = HashMap::new();
        for &key in keys.heap.items(keys.root)? {
            let Value::Str(key) = key else {
                return Err(unexpected("the key of a storage", key));
            };
            let Some(&(element_size, bytes)) = sizes.get(key) else {
                return Err(Error::msg(format!("no tensor tells the element type of storage `{key}`")));
            };
            let storage = next_storage(&mut rest, element_size, bytes);
            storages.insert(key, within(format_args!("storage `{key}`"), storage)?);
        }
        Ok(Self { storages })
    }
}

/// The elements that `rest` begins with, of which there must be `expected` bytes, after their number.
fn next_storage<'a>(rest: &mut &'a [u8], element_size: usize, expected: usize) -> Result<&'a [u8]> {
    let Some((count, data)) = rest.split_first_chunk::<COUNT_BYTES>() else {
        return Err(Error::msg("the file ends before it"));
    };
    let count = u64::from_le_bytes(*count);
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(element_size)) != Some(expected) {
        let expected = expected / element_size;
        return Err(Error::msg(format!("expected {expected} elements, got {count}")));
    }
    let Some((storage, rest_of_file)) = data.split_at_checked(expected) else {
        return Err(Error::msg(format!(
            "expected {expected} bytes, got the file's end after {}",
            data.len()
        )));
    };
    *rest = rest_of_file;
    Ok(storage)
}

impl<'a> Storages<'a> for Legacy<'a> {
    fn bytes(&mut self, key: &str, expected: usize) -> Result<Cow<'a, [u8]>> {
        match self.storages.get(key) {
            Some(bytes) if bytes.len() == expected => Ok(Cow::Borrowed(bytes)),
            Some(bytes) => Err(wrong_size(key, expected, bytes.len())),
            None => Err(Error::msg(format!("the file does not contain storage `{key}`"))),
        }
    }
}
