//! Finding the state dict among what a training script has saved beside it.

use std::collections::HashMap;

use super::heap::{TensorRecord, Value};
use super::pickle::Pickle;
use crate::{Error, Result};

/// Under these names training scripts keep the state dict, in the order in which they are tried.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// A state dict in a dictionary in a dictionary; deeper than this is a loop.
const MAX_DEPTH: usize = 8;

/// What `torch.nn.DataParallel` puts before every name.
const PARALLEL: &str = "module.";

type Named<'p, 'a> = Vec<(&'a str, &'p TensorRecord<'a>)>;

/// The names and tensors of the state dict, in the pickle's order: that under `key`, where one is given.
///
/// # Errors
///
/// When there is none, or several could be meant; the message has the keys that there are.
pub(super) fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>, key: Option<&str>) -> Result<Named<'p, 'a>> {
    let mut dict = match key {
        Some(key) => inner(pickle, pickle.root, key).ok_or_else(|| no_such_key(pickle, key))?,
        None => pickle.root,
    };
    for _ in 0..MAX_DEPTH {
        let named = KEYS.iter().find_map(|key| inner(pickle, dict, key));
        match named.map_or_else(|| only_choice(pickle, dict), |named| Ok(Some(named)))? {
            Some(inner) => dict = inner,
            None => return tensors(pickle, dict).map(without_parallel_prefix),
        }
    }
    Err(Error::msg("the dictionaries of the file lie too deep in each other to hold a state dict"))
}

/// The dictionary under `key`, if there is one.
fn inner<'a>(pickle: &Pickle<'a>, dict: Value<'a>, key: &str) -> Option<Value<'a>> {
    let entries = pickle.heap.entries(dict).ok()?;
    let entry = entries.iter().rev().find(|entry| matches!(entry.0, Value::Str(name) if name == key))?;
    matches!(entry.1, Value::Dict(_)).then_some(entry.1)
}

fn is_tensor(entry: &(Value, Value)) -> bool {
    matches!(entry, (Value::Str(_), Value::Tensor(_)))
}

/// Of a dictionary that has no tensors itself, the one dictionary in it that has.
fn only_choice<'a>(pickle: &Pickle<'a>, dict: Value<'a>) -> Result<Option<Value<'a>>> {
    let entries = pickle.heap.entries(dict)?;
    if entries.iter().any(is_tensor) {
        return Ok(None);
    }
    let has_tensors = |value| pickle.heap.entries(value).is_ok_and(|entries| entries.iter().any(is_tensor));
    let choices: Vec<_> = entries.iter().filter(|(_, value)| has_tensors(*value)).take(10).collect();
    match choices[..] {
        [] => Ok(None),
        [&(_, only)] => Ok(Some(only)),
        _ => Err(Error::msg(format!(
            "expected one dictionary of tensors, got several: choose one by `Load::key` among {}",
            described(choices.into_iter())
        ))),
    }
}

fn tensors<'p, 'a>(pickle: &'p Pickle<'a>, dict: Value<'a>) -> Result<Named<'p, 'a>> {
    let entries = pickle.heap.entries(dict)?;
    let mut tensors = Vec::new();
    let mut places = HashMap::new();
    for &(key, value) in entries {
        let (Value::Str(name), Value::Tensor(_)) = (key, value) else { continue };
        let record = pickle.heap.tensor_record(value)?;
        // As in Python a key keeps its place and takes the later value.
        match places.insert(name, tensors.len()) {
            None => tensors.push((name, record)),
            Some(place) => {
                places.insert(name, place);
                tensors[place] = (name, record);
            }
        }
    }
    if tensors.is_empty() && !entries.is_empty() {
        return Err(Error::msg(format!(
            "expected tensors by name, at the top or under one of {KEYS:?}, got a dictionary of {}",
            described(entries.iter())
        )));
    }
    Ok(tensors)
}

fn no_such_key(pickle: &Pickle, key: &str) -> Error {
    match pickle.heap.entries(pickle.root) {
        Ok(entries) => Error::msg(format!(
            "expected a dictionary under the key `{key}`, got {}",
            described(entries.iter())
        )),
        Err(error) => error,
    }
}

/// The keys and what is under them, of ten entries at most.
fn described<'v, 'a: 'v>(entries: impl ExactSizeIterator<Item = &'v (Value<'a>, Value<'a>)>) -> String {
    let more = if entries.len() > 10 { ", …" } else { "" };
    let described = entries.take(10).map(|(key, value)| match key {
        Value::Str(name) => format!("`{name}` ({})", value.kind()),
        other => format!("{} ({})", other.kind(), value.kind()),
    });
    described.collect::<Vec<_>>().join(", ") + more
}

/// Takes the prefix off if all names have it: one alone may well be a field called `module`.
fn without_parallel_prefix<T>(mut tensors: Vec<(&str, T)>) -> Vec<(&str, T)> {
    if tensors.iter().all(|(name, _)| name.starts_with(PARALLEL)) {
        for (name, _) in &mut tensors {
            *name = &name[PARALLEL.len()..];
        }
    }
    tensors
}
