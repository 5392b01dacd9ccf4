//! Reading of opcodes and their arguments from a pickle.

use crate::{Error, Result};

use super::opcode;
use super::values::Value;

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
                "expected {length} more bytes of the pickle, found its end after {} bytes",
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

    /// Reads a string. Python can pickle strings that are not valid Unicode, such as some file names. They become
    /// opaque values.
    pub fn text(&mut self, length: u64) -> Result<Value<'a>> {
        let bytes = self.take(length)?;
        Ok(std::str::from_utf8(bytes).map_or(Value::Opaque("str"), Value::Str))
    }

    /// Skips `length` bytes and returns a value of the builtin class `class`.
    pub fn skip(&mut self, length: u64, class: &'static str) -> Result<Value<'a>> {
        self.take(length).map(|_| Value::Opaque(class))
    }

    /// Reads a line of UTF-8.
    pub fn line(&mut self) -> Result<&'a str> {
        let line = std::str::from_utf8(self.line_bytes()?);
        line.map_err(|error| Error::msg(format!("a name in the pickle: {error}")))
    }

    /// Reads an index into the memo from a line.
    pub fn index(&mut self) -> Result<u32> {
        let line = self.line()?;
        line.parse().map_err(|error| Error::msg(format!("an index into the memo: {error}")))
    }

    /// Reads up to the end of the line and skips the line break.
    pub fn line_bytes(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| Error::msg("the pickle ends within a line"))?;
        self.position += length + 1;
        Ok(&rest[..length])
    }
}

/// Returns a string, or opaque bytes if the bytes are not UTF-8.
pub(super) fn text_or_bytes(bytes: &[u8]) -> Value<'_> {
    std::str::from_utf8(bytes).map_or(Value::Opaque("bytes"), Value::Str)
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
            opcode::STOP => return Some(input.position),
            opcode::MARK | opcode::POP | opcode::POP_MARK | opcode::DUP | opcode::MEMOIZE => Ok(()),
            opcode::NONE | opcode::NEWTRUE | opcode::NEWFALSE => Ok(()),
            opcode::EMPTY_TUPLE | opcode::EMPTY_LIST | opcode::EMPTY_DICT | opcode::EMPTY_SET => Ok(()),
            opcode::TUPLE
            | opcode::TUPLE1..=opcode::TUPLE3
            | opcode::LIST
            | opcode::DICT
            | opcode::FROZENSET => Ok(()),
            opcode::APPEND | opcode::APPENDS | opcode::ADDITEMS | opcode::SETITEM | opcode::SETITEMS => {
                Ok(())
            }
            opcode::STACK_GLOBAL
            | opcode::REDUCE
            | opcode::NEWOBJ
            | opcode::NEWOBJ_EX
            | opcode::OBJ
            | opcode::BUILD
            | opcode::BINPERSID => Ok(()),
            opcode::INT | opcode::LONG | opcode::FLOAT | opcode::STRING | opcode::UNICODE => {
                input.line_bytes().map(drop)
            }
            opcode::GET | opcode::PUT | opcode::PERSID => input.line_bytes().map(drop),
            opcode::EXT1 | opcode::PROTO | opcode::BININT1 | opcode::BINPUT | opcode::BINGET => {
                input.take(1).map(drop)
            }
            opcode::BININT2 | opcode::EXT2 => input.take(2).map(drop),
            opcode::BININT | opcode::LONG_BINPUT | opcode::LONG_BINGET | opcode::EXT4 => {
                input.take(4).map(drop)
            }
            opcode::BINFLOAT | opcode::FRAME => input.take(8).map(drop),
            opcode::LONG1 | opcode::SHORT_BINUNICODE | opcode::SHORT_BINSTRING | opcode::SHORT_BINBYTES => {
                input.byte().and_then(|length| input.take(length.into())).map(drop)
            }
            opcode::LONG4 | opcode::BINUNICODE | opcode::BINSTRING | opcode::BINBYTES => {
                input.u32().and_then(|length| input.take(length.into())).map(drop)
            }
            opcode::BINUNICODE8 | opcode::BINBYTES8 | opcode::BYTEARRAY8 => {
                input.u64().and_then(|length| input.take(length)).map(drop)
            }
            opcode::GLOBAL | opcode::INST => input.line_bytes().and_then(|_| input.line_bytes()).map(drop),
            _ => return Some(input.position),
        };
        skipped.ok()?;
    }
}
