//! The literals of protocols 0 and 1, which are lines of text.

use crate::{Error, Result};

use super::values::Value;

/// Parses the argument of the opcodes INT and LONG: `1`, `-7L`, or `00` and `01` for booleans.
pub(super) fn integer(line: &str) -> Result<Value<'_>> {
    if matches!(line, "00" | "01") {
        return Ok(Value::Bool);
    }
    let digits = line.strip_suffix('L').unwrap_or(line);
    let number = digits.strip_prefix('-').unwrap_or(digits);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::msg(format!("expected an integer, found `{}`", super::class::elided(line))));
    }
    Ok(digits.parse().map_or(Value::Decimal(digits), Value::Int))
}

/// Parses the argument of the opcode STRING: a quoted string of Python 2. A string with escapes is opaque.
pub(super) fn quoted(line: &[u8]) -> Result<Value<'_>> {
    match line {
        [b'\'', text @ .., b'\''] | [b'"', text @ .., b'"'] => Ok(unescaped(text)),
        _ => Err(Error::msg("expected a quoted string in the pickle")),
    }
}

/// Returns the string, or an opaque one if it has escapes or is not UTF-8.
pub(super) fn unescaped(text: &[u8]) -> Value<'_> {
    match std::str::from_utf8(text) {
        Ok(text) if !text.contains('\\') => Value::Str(text),
        _ => Value::Opaque("str"),
    }
}
