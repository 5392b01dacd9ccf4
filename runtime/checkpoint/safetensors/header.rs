//! The JSON header: an object that maps the name of each tensor to its type, shape and offsets. Its entry
//! `__metadata__` is an object of strings.
//!
//! Some programs write numbers or nested objects as metadata. The `safetensors` crate rejects such files, so the header
//! is parsed here.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use ::safetensors::tensor::{Metadata, TensorInfo};
use serde_core::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::{Error, Result};

use super::METADATA;

/// The tensors and the metadata of a file.
#[derive(Default)]
pub(super) struct Header {
    tensors: HashMap<String, TensorInfo>,
    metadata: BTreeMap<String, Value>,
    /// The kind of `__metadata__` if it is not an object.
    invalid_metadata: Option<&'static str>,
}

/// A value in the metadata.
#[derive(Debug, PartialEq)]
enum Value {
    String(String),
    /// A number or a boolean, as JSON.
    Scalar(String),
    /// A value that is ignored, with its kind, such as `a list`.
    Ignored(&'static str),
}

/// The memory, in bytes, that the parsed header needs per byte of JSON inside strings. Names are stored three times.
const PER_STRING_BYTE: usize = 3;

/// The memory, in bytes, that the parsed header needs per byte of JSON outside strings: for numbers, and for the nodes
/// of the maps. This is the maximum of several measurements.
const PER_OTHER_BYTE: usize = 32;

impl Header {
    /// Returns an upper bound of the memory, in bytes, that [`parse`](Self::parse) and
    /// [`into_tensors`](Self::into_tensors) allocate.
    pub fn parsed_size(json: &[u8]) -> usize {
        let mut size = 0usize;
        let mut in_string = false;
        let mut escaped = false;
        for &byte in json {
            let is_quote = byte == b'"' && !escaped;
            in_string ^= is_quote;
            escaped = in_string && byte == b'\\' && !escaped;
            let cost = if in_string && !is_quote { PER_STRING_BYTE } else { PER_OTHER_BYTE };
            size = size.saturating_add(cost);
        }
        size
    }

    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// Returns the metadata: strings, and numbers and booleans as text. Omits other values.
    pub fn into_metadata(self) -> BTreeMap<String, String> {
        let text = self.metadata.into_iter().filter_map(|(key, value)| match value {
            Value::String(text) | Value::Scalar(text) => Some((key, text)),
            Value::Ignored(_) => None,
        });
        text.collect()
    }

    /// Checks the offsets of the tensors. Returns the tensors, and a warning if the metadata contains values that are
    /// not strings.
    pub fn into_tensors(self) -> Result<(Metadata, Option<String>)> {
        let warning = self.warning();
        let mut tensors: Vec<_> = self.tensors.into_iter().collect();
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let tensors = Metadata::new(None, tensors).map_err(|error| Error::msg(error.to_string()))?;
        Ok((tensors, warning))
    }

    fn warning(&self) -> Option<String> {
        if let Some(kind) = self.invalid_metadata {
            return Some(format!("expected an object as `{METADATA}`, found {kind}"));
        }
        let kinds = self.metadata.iter().filter_map(|(key, value)| match value {
            Value::String(_) => None,
            Value::Scalar(json) => Some(format!("{json} for `{key}`")),
            Value::Ignored(kind) => Some(format!("{kind} for `{key}`")),
        });
        let mut listed: Vec<_> = kinds.take(MAX_LISTED + 1).collect();
        if listed.len() > MAX_LISTED {
            listed[MAX_LISTED] = "…".into();
        }
        let found = listed.join(", ");
        (!found.is_empty()).then(|| format!("expected strings in `{METADATA}`, found {found}"))
    }
}

/// The maximum number of entries in a warning.
const MAX_LISTED: usize = 10;

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                match map.next_value::<Entries>()?.0 {
                    Ok(metadata) => header.metadata = metadata,
                    Err(kind) => header.invalid_metadata = kind,
                }
                continue;
            }
            match header.tensors.entry(name) {
                Entry::Vacant(entry) => _ = entry.insert(map.next_value()?),
                Entry::Occupied(entry) => {
                    let name = entry.key();
                    return Err(A::Error::custom(format_args!("tensor `{name}` occurs twice")));
                }
            }
        }
        Ok(header)
    }
}

/// The entries of the metadata. If the metadata is not an object, its kind is the error. `null` counts as absent
/// metadata: its kind is `None`.
struct Entries(Result<BTreeMap<String, Value>, Option<&'static str>>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(Entries(Ok(entries)))
    }

    fn visit_unit<E>(self) -> Result<Entries, E> {
        Ok(Entries(Err(None)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Entries, E> {
        Ok(Entries(Err(Some("a boolean"))))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Entries, E> {
        Ok(Entries(Err(Some("a number"))))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Entries, E> {
        Ok(Entries(Err(Some("a number"))))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Entries, E> {
        Ok(Entries(Err(Some("a number"))))
    }

    fn visit_str<E>(self, _: &str) -> Result<Entries, E> {
        Ok(Entries(Err(Some("a string"))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Entries, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Entries(Err(Some("a list"))))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the metadata")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        let json = Number::from_f64(number).map(|number| number.to_string());
        Ok(Value::Scalar(json.unwrap_or_else(|| number.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Ignored("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Value::Ignored("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Value::Ignored("an object"))
    }
}
