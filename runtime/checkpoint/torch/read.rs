//! Reading of opcodes and their arguments from a pickle.

use crate::{Error, Result};

use super::heap::Value;

/// The bytes of a pickle and the current position. Reading past the end is an error.
pub(super) struct PickleInput<'a> {
    pub bytes: &'a [u8],
    pub position: usize,
}

impl<'a> PickleInput<'a> {
    pub fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let bytes = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
            Error::msg(format!(
                "expected {length} more bytes of the pickle, found its end after {}",
                rest.len()
            ))
        })?;
        self.position += bytes.len();
        Ok(bytes)
    }

    pub fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH]> {
        let mut array = [0; LENGTH];
        array.copy_from_slice(self.take(LENGTH as u64)?);
        Ok(array)
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn text(&mut self, length: u64) -> Result<Value<'a>> {
        self.take(length).and_then(utf8).map(Value::Str)
    }

    /// Reads up to the end of the line and skips the line break.
    pub fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| Error::msg("the pickle ends within a name"))?;
        self.position += length + 1;
        utf8(&rest[..length])
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| Error::msg(format!("a string of the pickle: {error}")))
}

/// Returns a string, or [`Value::Other`] if the bytes are not UTF-8.
pub(super) fn text_or_bytes(bytes: &[u8]) -> Value<'_> {
    std::str::from_utf8(bytes).map_or(Value::Other, Value::Str)
}

/// Decodes a little-endian two's complement integer. An empty slice is 0.
pub(super) fn integer(bytes: &[u8]) -> Value<'_> {
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut extended = [if negative { 0xff } else { 0 }; 8];
    extended[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(extended))
}

/// Returns the length of the pickle at the start of `bytes`, or `None` if `bytes` ends before the pickle does.
///
/// An unknown opcode counts as the end, because [`Pickle::load`](super::pickle::Pickle::load) stops there with an
/// error.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let mut input = PickleInput { bytes, position: 0 };
    loop {
        let skipped = match input.byte().ok()? {
            b'.' => return Some(input.position),
            b'N' | 0x81 | 0x85..=0x89 | 0x8f..=0x91 | 0x93 | 0x94 => Ok(()),
            b')' | b']' | b'}' | b'(' | b'0'..=b'2' | b't' | b'l' | b'd' => Ok(()),
            b'R' | b'Q' | b'a' | b'e' | b's' | b'u' | b'b' => Ok(()),
            0x80 | b'K' | b'q' | b'h' => input.take(1).map(drop),
            b'M' => input.take(2).map(drop),
            b'J' | b'r' | b'j' => input.take(4).map(drop),
            b'G' | 0x95 => input.take(8).map(drop),
            0x8a | 0x8c | b'U' | b'C' => input.byte().and_then(|length| input.take(length.into())).map(drop),
            0x8b | b'X' | b'T' | b'B' => input.u32().and_then(|length| input.take(length.into())).map(drop),
            0x8d | 0x8e | 0x96 => input.u64().and_then(|length| input.take(length)).map(drop),
            b'c' => input.line().and_then(|_| input.line()).map(drop),
            _ => return Some(input.position),
        };
        skipped.ok()?;
    }
}
