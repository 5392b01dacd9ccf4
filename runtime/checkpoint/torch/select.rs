//! Finds the state dict in a saved object.

use std::borrow::Cow;

use crate::checkpoint::budget::Budget;
use crate::checkpoint::contents::Skipped;
use crate::{Error, Result};

use super::class::elided;
use super::module::ModuleWalk;
use super::named::NamedTensors;
use super::pickle::Pickle;
use super::script::ScriptClasses;
use super::skipped::Listing;
use super::values::{Entry, LONG_LIST, PickledValues, Value};

/// The keys under which training scripts save the state dict, in the order in which they are tried.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// The maximum nesting depth of a state dict. Without a maximum, the search in a dictionary that contains itself would
/// never end.
const MAX_DEPTH: u8 = 8;

/// The state dict of a file, and what else the file contains.
pub(super) struct Selection<'a> {
    /// The names and tensors of the state dict, in the order of the pickle.
    pub tensors: Vec<(String, Value<'a>)>,
    pub skipped: Vec<Skipped>,
    pub warnings: Vec<String>,
    /// The error message for callers without a network, if the file has several candidates for the state dict.
    pub ambiguity: Option<String>,
}

/// Returns the state dict. If `key` is given, searches only the value under `key`, see [`Search::follow`].
///
/// # Errors
///
/// Fails if there is no state dict or more than one candidate. The message lists the existing keys.
pub(super) fn state_dict<'a>(
    pickle: &Pickle<'a>,
    classes: &ScriptClasses,
    key: Option<&str>,
    budget: &mut Budget,
) -> Result<Selection<'a>> {
    let mut search = Search::new(&pickle.values, classes);
    let mut value = pickle.root;
    if let Some(key) = key {
        value = search.follow(value, key)?;
        if search.values.has_tensors(value) {
            return search.finish_dict(value, budget);
        }
    }
    for _ in 0..MAX_DEPTH {
        if search.is_module(value) {
            return search.finish_module(value, budget);
        }
        match search.inner(value)? {
            Some(position) => value = search.enter(value, position)?,
            None => {
                let ambiguity = search.ambiguity(value);
                return Ok(Selection { ambiguity, ..search.finish_dict(value, budget)? });
            }
        }
    }
    Err(Error::msg("the dictionaries in the file are nested too deeply for a state dict"))
}

struct Search<'p, 'a> {
    values: &'p PickledValues<'a>,
    classes: &'p ScriptClasses,
    listing: Listing<'p, 'a>,
}

impl<'p, 'a> Search<'p, 'a> {
    fn new(values: &'p PickledValues<'a>, classes: &'p ScriptClasses) -> Self {
        Self { values, classes, listing: Listing::new(values) }
    }

    fn is_module(&self, value: Value<'a>) -> bool {
        self.values.is_module(value) || self.classes.module_class(self.values, value).is_some()
    }

    /// Returns the keys and values of a dictionary, or the indices and items of a tuple or a list.
    fn children(&self, value: Value<'a>) -> Result<Cow<'p, [Entry<'a>]>> {
        match value {
            Value::Tuple(_) | Value::List(_) => {
                Ok(self.values.numbered_items(value).take(LONG_LIST).collect())
            }
            _ => self.values.entries(value).map(Cow::Borrowed),
        }
    }

    /// Returns the value under `key`: a key of the top-level value, or several keys separated by dots. The keys of a
    /// tuple or a list are its indices. The empty key stands for the top-level value itself, unless that value has an
    /// entry with the empty key.
    fn follow(&mut self, mut value: Value<'a>, key: &str) -> Result<Value<'a>> {
        let mut rest = key;
        while !rest.is_empty() || self.position(value, rest).is_some() {
            // A key can contain dots, so try the longest key first.
            let ends = std::iter::once(rest.len()).chain(rest.rmatch_indices('.').map(|(dot, _)| dot));
            let mut positions = ends.filter_map(|end| Some((end, self.position(value, &rest[..end])?)));
            let (end, position) = positions.next().ok_or_else(|| self.missing_key(value, key))?;
            value = self.enter(value, position)?;
            match rest[end..].strip_prefix('.') {
                Some(after) => rest = after,
                None => break,
            }
        }
        Ok(value)
    }

    /// Returns the error for a key that leads to no container. `value` is the container in which a part of the key is
    /// missing.
    fn missing_key(&self, value: Value<'a>, key: &str) -> Error {
        match self.children(value) {
            Ok(entries) => Error::msg(format!(
                "expected a dictionary under the key `{key}`, found {}",
                describe(self.values, entries.iter())
            )),
            Err(error) => error,
        }
    }

    /// Returns the position of the entry of `dict` that is or contains the state dict. Returns `None` if `dict` itself
    /// is the state dict.
    fn inner(&self, dict: Value<'a>) -> Result<Option<usize>> {
        let Ok(entries) = self.children(dict) else { return Ok(None) };
        let known: Vec<usize> = KEYS.iter().filter_map(|key| self.position(dict, key)).collect();
        let mut tensors = TensorSearch::new(self);
        let holds_tensors = |position: &&usize| tensors.are_in(entries[**position].1, MAX_DEPTH);
        if let Some(position) = known.iter().find(holds_tensors) {
            return Ok(Some(*position));
        }
        let candidate = self.only_candidate(dict)?;
        // If there are no tensors anywhere, the value of a known key is an empty state dict.
        Ok(candidate.or_else(|| known.first().copied().filter(|_| !self.values.has_tensors(dict))))
    }

    /// Returns the position of the container or module under `key`. Returns `None` if `key` is missing or has another
    /// kind of value.
    fn position(&self, parent: Value<'a>, key: &str) -> Option<usize> {
        let entries = self.children(parent).ok()?;
        let position = entries.iter().rposition(|entry| match entry.0 {
            Value::Str(name) => name == key,
            Value::Int(number) => key.parse() == Ok(number),
            _ => false,
        })?;
        let value = entries[position].1;
        let is_container = self.values.is_dict(value) || matches!(value, Value::Tuple(_) | Value::List(_));
        (is_container || self.is_module(value)).then_some(position)
    }

    /// Returns the position of the only entry that is a dictionary of tensors or, if there is none, of the only entry
    /// that contains a dictionary of tensors. Returns `None` if there is neither, or if `dict` itself contains tensors.
    ///
    /// # Errors
    /// Fails if there are several entries of the first kind, or none of the first and several of the second.
    fn only_candidate(&self, dict: Value<'a>) -> Result<Option<usize>> {
        let entries = self.children(dict)?;
        if self.values.has_tensors(dict) {
            return Ok(None);
        }
        let candidates_within = |depth: u8| -> Vec<_> {
            let mut tensors = TensorSearch::new(self);
            let all = entries.iter().enumerate();
            all.filter(|(_, entry)| tensors.are_in(entry.1, depth)).take(10).collect()
        };
        let mut candidates = candidates_within(0);
        if candidates.is_empty() {
            candidates = candidates_within(MAX_DEPTH);
        }
        match candidates[..] {
            [] => Ok(None),
            [(position, _)] => Ok(Some(position)),
            _ => Err(Error::msg(format!(
                "expected one dictionary of tensors, found several: select one of {} with `Load::key`",
                describe(self.values, candidates.into_iter().map(|(_, entry)| entry))
            ))),
        }
    }

    /// Returns an error message if `dict` contains both a tensor and a dictionary of tensors, and `None` otherwise. The
    /// extra state of a module is not counted, although it may contain tensors.
    fn ambiguity(&self, dict: Value<'a>) -> Option<String> {
        let entries = self.values.entries(dict).ok().filter(|_| self.values.has_tensors(dict))?;
        let mut tensors = TensorSearch::new(self);
        let mut is_candidate = |&&(key, value): &&Entry<'a>| {
            matches!(key, Value::Str(name) if !name.ends_with("_extra_state"))
                && tensors.are_in(value, MAX_DEPTH)
        };
        let (inner, _) = entries.iter().find(&mut is_candidate)?;
        let (outer, _) =
            entries.iter().find(|(key, value)| matches!(key, Value::Str(_)) && value.is_tensor())?;
        let path = self.listing.path();
        let inner = self.listing.path_of(*inner);
        let outer = self.listing.path_of(*outer);
        Some(format!(
            "expected one dictionary of tensors, found the tensor `{outer}` beside the dictionary `{inner}`: \
             choose with `Load::key({path:?})` or `Load::key({inner:?})`"
        ))
    }

    /// Returns the value at `position` and lists all other entries as skipped.
    fn enter(&mut self, parent: Value<'a>, position: usize) -> Result<Value<'a>> {
        let entries = self.children(parent)?;
        for (i, &(key, value)) in entries.iter().enumerate() {
            if i != position {
                self.listing.skip(key, value);
            }
        }
        let (key, value) = entries[position];
        self.listing.enter(key);
        Ok(value)
    }

    /// Returns the tensors of `dict`, and lists its other entries as skipped.
    fn finish_dict(mut self, dict: Value<'a>, budget: &mut Budget) -> Result<Selection<'a>> {
        let entries = self.values.entries(dict).unwrap_or_default();
        if entries.is_empty() && !matches!(dict, Value::Dict(_)) {
            return Err(self.not_a_dictionary(dict));
        }
        let mut tensors = NamedTensors::default();
        for &(key, value) in entries {
            match key {
                Value::Str(name) if value.is_tensor() => tensors.insert(name, value, budget)?,
                _ => self.listing.skip(key, value),
            }
        }
        if tensors.is_empty() && !entries.is_empty() {
            return Err(Error::msg(format!(
                "expected a dictionary of named tensors, at the top level or under one of {KEYS:?}, found a \
                 dictionary with the entries {}",
                describe(self.values, entries.iter())
            )));
        }
        self.finish(tensors, budget)
    }

    /// Returns the error for a value that is neither a dictionary nor a module.
    fn not_a_dictionary(&self, value: Value<'a>) -> Error {
        let found = match value {
            Value::Object(_) => format!("an object of the class `{}`", self.values.class_name(value)),
            Value::Tuple(_) | Value::List(_) => {
                let items: Vec<_> = self.values.numbered_items(value).take(LONG_LIST).collect();
                format!("{} with the items {}", value.kind(), describe(self.values, items.iter()))
            }
            _ => value.kind().to_owned(),
        };
        Error::msg(format!(
            "expected a dictionary of named tensors or a module, found {found}; save `model.state_dict()`"
        ))
    }

    /// Returns the tensors of a module.
    fn finish_module(mut self, module: Value<'a>, budget: &mut Budget) -> Result<Selection<'a>> {
        let walk = ModuleWalk::new(self.values, self.classes, &mut self.listing, budget);
        let tensors = walk.collect(module)?;
        if tensors.is_empty() && self.classes.module_class(self.values, module).is_some() {
            return Err(Error::msg(
                "expected a TorchScript module with parameters, found one without: `torch.jit.freeze` makes them \
                 constants of the program; save the module before freezing it",
            ));
        }
        self.finish(tensors, budget)
    }

    fn finish(self, tensors: NamedTensors<'a>, budget: &mut Budget) -> Result<Selection<'a>> {
        let (skipped, warning) = self.listing.finish(budget)?;
        let warnings = warning.into_iter().collect();
        Ok(Selection { tensors: tensors.into_entries(), skipped, warnings, ambiguity: None })
    }
}

/// A search for dictionaries of tensors in containers.
struct TensorSearch<'s, 'p, 'a> {
    search: &'s Search<'p, 'a>,
    /// For each dictionary of the pickle, 0 if it was not searched. Otherwise the number of levels below it that were
    /// searched without result, plus 1. Dictionaries may be shared, and may contain themselves.
    searched: Vec<u8>,
}

impl<'s, 'p, 'a> TensorSearch<'s, 'p, 'a> {
    fn new(search: &'s Search<'p, 'a>) -> Self {
        Self { search, searched: vec![0; search.values.dict_count()] }
    }

    /// Returns `true` if `value` is a dictionary of tensors or a module, or contains one at most `depth` levels below.
    fn are_in(&mut self, value: Value<'a>, depth: u8) -> bool {
        let values = self.search.values;
        if values.has_tensors(value) || self.search.is_module(value) {
            return true;
        }
        let Some(index) = values.dict_index(value).filter(|_| depth > 0) else { return false };
        if self.searched[index] > depth {
            return false;
        }
        self.searched[index] = depth + 1;
        let entries = values.entries(value).unwrap_or_default();
        let found =
            entries.iter().any(|&(key, value)| matches!(key, Value::Str(_)) && self.are_in(value, depth - 1));
        if found {
            self.searched[index] = 0;
        }
        found
    }
}

/// Lists at most ten entries, each with its key and the kind of its value.
fn describe<'v, 'a: 'v>(
    values: &PickledValues<'a>,
    entries: impl ExactSizeIterator<Item = &'v Entry<'a>>,
) -> String {
    let more = if entries.len() > 10 { ", …" } else { "" };
    let described = entries.take(10).map(|&(key, value)| {
        let kind = match value {
            Value::Object(_) => values.class_name(value),
            other => other.kind().to_owned(),
        };
        match key {
            Value::Str(name) => format!("`{}` ({kind})", elided(name)),
            Value::Int(number) => format!("`{number}` ({kind})"),
            other => format!("{} ({kind})", other.kind()),
        }
    });
    described.collect::<Vec<_>>().join(", ") + more
}
