//! The header of a `.npy` file: a Python dictionary literal with three entries.

use std::io::Read;

use crate::{Error, Result};

use super::super::archive::ALIGNMENT;
use super::super::element::ElementType;
use super::super::input::fill;
use super::super::strided::MAX_DIMENSIONS;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The maximum length of the header in bytes, the same as NumPy's default maximum.
const MAX_LENGTH: u32 = 10_000;

/// The number of digits that NumPy reserves for the first length of a shape.
const MAX_DIGITS: usize = 21;

/// The header of a `.npy` file.
#[derive(Debug)]
pub(super) struct Header {
    pub element: ElementType,
    pub shape: Vec<usize>,
    pub column_major: bool,
    /// The number of bytes before the elements.
    pub length: u64,
}

/// Reads the header at the start of `reader`.
pub(super) fn read(reader: &mut dyn Read) -> Result<Header> {
    let mut magic = [0; 6];
    fill(reader, &mut magic)?;
    if magic != *MAGIC {
        return Err(Error::msg("expected the header of a .npy file"));
    }
    let mut version = [0; 2];
    fill(reader, &mut version)?;
    let length_bytes = match version[0] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(Error::msg(format!("version {other} of the .npy format is not supported"))),
    };
    let mut length = [0; 4];
    fill(reader, &mut length[..length_bytes])?;
    let length = u32::from_le_bytes(length);
    if length > MAX_LENGTH {
        return Err(Error::msg(format!("expected a header of at most {MAX_LENGTH} bytes, found {length}")));
    }
    let mut text = vec![0; length as usize];
    fill(reader, &mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| malformed("it is not UTF-8"))?;
    let prefix_length = (MAGIC.len() + 2 + length_bytes) as u64;
    parse(text).map(|header| Header { length: prefix_length + u64::from(length), ..header })
}

/// Parses a header such as `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`. The caller must set the
/// `length` of the result, which is 0.
fn parse(text: &str) -> Result<Header> {
    let mut rest = Tokens(text.trim());
    let mut element = None;
    let mut column_major = None;
    let mut shape = None;
    rest.expect("{")?;
    while !rest.take("}") {
        let key = rest.string()?;
        rest.expect(":")?;
        match key {
            "descr" if rest.0.starts_with('[') => {
                return Err(Error::msg("structured arrays are not supported"));
            }
            "descr" => element = Some(parse_element(rest.string()?)?),
            "fortran_order" => column_major = Some(rest.boolean()?),
            "shape" => shape = Some(rest.tuple()?),
            other => return Err(malformed(&format!("unexpected entry `{}`", other.escape_default()))),
        }
        if !rest.take(",") && !rest.0.starts_with('}') {
            return Err(malformed("a comma is missing"));
        }
    }
    match (element, column_major, shape) {
        (Some(element), Some(column_major), Some(shape)) if rest.0.is_empty() => {
            Ok(Header { element, shape, column_major, length: 0 })
        }
        _ => Err(malformed("expected `descr`, `fortran_order` and `shape`")),
    }
}

/// Parses an element type such as `<f4`: byte order, kind, size in bytes.
fn parse_element(descr: &str) -> Result<ElementType> {
    let kind = descr.trim_start_matches(['<', '=', '|']);
    Ok(match kind {
        "b1" => ElementType::Bool,
        "u1" => ElementType::U8,
        "i1" => ElementType::I8,
        "i2" => ElementType::I16,
        "u2" => ElementType::U16,
        "i4" => ElementType::I32,
        "u4" => ElementType::U32,
        "i8" => ElementType::I64,
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        kind if kind.starts_with('O') => {
            return Err(Error::msg("arrays of Python objects are not supported"));
        }
        kind if kind.starts_with('>') => {
            return Err(Error::msg(format!(
                "expected little-endian elements, found `{}`",
                kind.escape_default()
            )));
        }
        _ => {
            let descr = descr.escape_default();
            return Err(Error::msg(format!("candle has no dtype for elements of type `{descr}`")));
        }
    })
}

/// Returns the header of an array in row-major order, as NumPy writes it. Its length is a multiple of [`ALIGNMENT`].
pub(super) fn bytes(descr: &str, shape: &[usize]) -> Vec<u8> {
    let lengths = match shape {
        [only] => format!("{only},"),
        _ => shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({lengths}), }}");
    if let Some(first) = shape.first() {
        // NumPy leaves space so that an array can grow in place along its first axis.
        text.extend(std::iter::repeat_n(' ', MAX_DIGITS - first.to_string().len()));
    }
    // The magic bytes, the version and the length of the text, the text, and a line break.
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(ALIGNMENT as usize) - unpadded));
    text.push('\n');
    let version_and_length = [&[1, 0][..], &(text.len() as u16).to_le_bytes()].concat();
    [MAGIC, &version_and_length[..], text.as_bytes()].concat()
}

/// A tokenizer of the remaining text.
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    /// Consumes `token` and returns `true` if the text starts with `token`.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0).trim_start();
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(malformed(&format!("a `{token}` is missing"))) }
    }

    fn string(&mut self) -> Result<&'a str> {
        let quote = if self.0.starts_with('"') { '"' } else { '\'' };
        let inner = self.0.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
        let (string, rest) = inner.ok_or_else(|| malformed("a string is missing"))?;
        self.0 = rest.trim_start();
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool> {
        let value = self.take("True");
        if value || self.take("False") { Ok(value) } else { Err(malformed("True or False is missing")) }
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        let mut lengths = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.0.split_at(digits);
            lengths.push(number.parse().map_err(|error| malformed(&format!("its shape: {error}")))?);
            // Python 2 writes long integers with the suffix `L`.
            self.0 = rest.strip_prefix('L').unwrap_or(rest).trim_start();
            if !self.take(",") && !self.0.starts_with(')') {
                return Err(malformed("a comma is missing in its shape"));
            }
        }
        if lengths.len() > MAX_DIMENSIONS {
            return Err(malformed("its shape has too many dimensions"));
        }
        Ok(lengths)
    }
}

fn malformed(reason: &str) -> Error {
    Error::msg(format!("not a valid .npy header: {reason}"))
}
