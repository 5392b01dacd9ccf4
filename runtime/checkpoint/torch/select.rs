//! Finds the state dict in a saved object.

use std::collections::HashMap;

use crate::{Error, Result};

use super::heap::{TensorRecord, Value};
use super::pickle::Pickle;

/// The keys under which training scripts save the state dict, in the order in which they are tried.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// The maximum nesting depth of a state dict. Without a maximum, the search in a dictionary that contains itself would
/// never end.
const MAX_DEPTH: usize = 8;

type NamedRecords<'p, 'a> = Vec<(&'a str, &'p TensorRecord<'a>)>;

/// Returns the names and tensors of the state dict, in the order of the pickle. If `key` is given, searches only the
/// entry `key` of the top-level dictionary.
///
/// # Errors
///
/// Fails if there is no state dict or more than one candidate. The message lists the existing keys.
pub(super) fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>, key: Option<&str>) -> Result<NamedRecords<'p, 'a>> {
    let mut dict = match key {
        Some(key) => inner_dict(pickle, pickle.root, key).ok_or_else(|| missing_key(pickle, key))?,
        None => pickle.root,
    };
    for _ in 0..MAX_DEPTH {
        let named = KEYS.iter().find_map(|key| inner_dict(pickle, dict, key));
        match named.map_or_else(|| only_candidate(pickle, dict), |named| Ok(Some(named)))? {
            Some(inner) => dict = inner,
            None => return tensors(pickle, dict),
        }
    }
    Err(Error::msg("the dictionaries in the file are nested too deeply for a state dict"))
}

/// Returns the dictionary under `key`, or `None` if `key` is missing or its value is not a dictionary.
fn inner_dict<'a>(pickle: &Pickle<'a>, dict: Value<'a>, key: &str) -> Option<Value<'a>> {
    let entries = pickle.heap.entries(dict).ok()?;
    let entry = entries.iter().rev().find(|entry| matches!(entry.0, Value::Str(name) if name == key))?;
    matches!(entry.1, Value::Dict(_)).then_some(entry.1)
}

fn is_tensor(entry: &(Value, Value)) -> bool {
    matches!(entry, (Value::Str(_), Value::Tensor(_)))
}

/// Returns the only entry that is a dictionary of tensors. Returns `None` if no entry is a dictionary of tensors, or
/// if `dict` itself contains tensors.
fn only_candidate<'a>(pickle: &Pickle<'a>, dict: Value<'a>) -> Result<Option<Value<'a>>> {
    let entries = pickle.heap.entries(dict)?;
    if entries.iter().any(is_tensor) {
        return Ok(None);
    }
    let has_tensors = |value| pickle.heap.entries(value).is_ok_and(|entries| entries.iter().any(is_tensor));
    let candidates: Vec<_> = entries.iter().filter(|(_, value)| has_tensors(*value)).take(10).collect();
    match candidates[..] {
        [] => Ok(None),
        [&(_, only)] => Ok(Some(only)),
        _ => Err(Error::msg(format!(
            "expected one dictionary of tensors, found several: select one of {} with `Load::key`",
            describe(candidates.into_iter())
        ))),
    }
}

/// Returns the tensors of a dictionary by name.
fn tensors<'p, 'a>(pickle: &'p Pickle<'a>, dict: Value<'a>) -> Result<NamedRecords<'p, 'a>> {
    let entries = pickle.heap.entries(dict)?;
    let mut tensors = Vec::new();
    let mut positions = HashMap::new();
    for &(key, value) in entries {
        let (Value::Str(name), Value::Tensor(_)) = (key, value) else { continue };
        let record = pickle.heap.tensor_record(value)?;
        // As in Python, a repeated key keeps its position and has the last value.
        match positions.insert(name, tensors.len()) {
            None => tensors.push((name, record)),
            Some(position) => {
                positions.insert(name, position);
                tensors[position] = (name, record);
            }
        }
    }
    if tensors.is_empty() && !entries.is_empty() {
        return Err(Error::msg(format!(
            "expected a dictionary of named tensors, at the top level or under one of {KEYS:?}, found a dictionary \
             with the entries {}",
            describe(entries.iter())
        )));
    }
    Ok(tensors)
}

fn missing_key(pickle: &Pickle, key: &str) -> Error {
    match pickle.heap.entries(pickle.root) {
        Ok(entries) => Error::msg(format!(
            "expected a dictionary under the key `{key}`, found {}",
            describe(entries.iter())
        )),
        Err(error) => error,
    }
}

/// Lists at most ten entries, each with its key and the kind of its value.
fn describe<'v, 'a: 'v>(entries: impl ExactSizeIterator<Item = &'v (Value<'a>, Value<'a>)>) -> String {
    let more = if entries.len() > 10 { ", …" } else { "" };
    let described = entries.take(10).map(|(key, value)| match key {
        Value::Str(name) => format!("`{name}` ({})", value.kind()),
        other => format!("{} ({})", other.kind(), value.kind()),
    });
    described.collect::<Vec<_>>().join(", ") + more
}
