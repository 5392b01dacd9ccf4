//! Finds the state dict in a saved object.

use crate::checkpoint::budget::Budget;
use crate::checkpoint::contents::Skipped;
use crate::{Error, Result};

use super::class::elided;
use super::heap::{Entry, Heap, Value};
use super::module::ModuleWalk;
use super::named::NamedTensors;
use super::pickle::Pickle;
use super::script::ScriptClasses;
use super::skipped::Listing;

/// The keys under which training scripts save the state dict, in the order in which they are tried.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// The maximum nesting depth of a state dict. Without a maximum, the search in a dictionary that contains itself would
/// never end.
const MAX_DEPTH: usize = 8;

/// The maximum number of values that a search for a dictionary of tensors visits.
const MAX_VISITS: usize = 1 << 16;

/// The state dict of a file, and what else the file contains.
pub(super) struct Selection<'a> {
    /// The names and tensors of the state dict, in the order of the pickle.
    pub tensors: Vec<(String, Value<'a>)>,
    pub skipped: Vec<Skipped>,
    pub warnings: Vec<String>,
}

/// Returns the state dict. If `key` is given, searches only the entry `key` of the top-level dictionary.
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
    let mut search = Search::new(&pickle.heap, classes);
    let mut dict = pickle.root;
    if let Some(key) = key {
        let position = search.position(dict, key).ok_or_else(|| missing_key(pickle, key))?;
        dict = search.enter(dict, position)?;
    }
    for _ in 0..MAX_DEPTH {
        if search.is_module(dict) {
            return search.finish_module(dict, budget);
        }
        match search.inner(dict)? {
            Some(position) => dict = search.enter(dict, position)?,
            None => return search.finish_dict(dict, budget),
        }
    }
    Err(Error::msg("the dictionaries in the file are nested too deeply for a state dict"))
}

struct Search<'p, 'a> {
    heap: &'p Heap<'a>,
    classes: &'p ScriptClasses,
    listing: Listing<'p, 'a>,
}

impl<'p, 'a> Search<'p, 'a> {
    fn new(heap: &'p Heap<'a>, classes: &'p ScriptClasses) -> Self {
        Self { heap, classes, listing: Listing::new(heap) }
    }

    fn is_module(&self, value: Value<'a>) -> bool {
        self.heap.is_module(value) || self.classes.of(self.heap, value).is_some()
    }

    /// Returns the position of the dictionary that contains the state dict, or `None` if it is `dict` itself.
    fn inner(&self, dict: Value<'a>) -> Result<Option<usize>> {
        let entries = self.heap.entries(dict)?;
        let known: Vec<usize> = KEYS.iter().filter_map(|key| self.position(dict, key)).collect();
        let mut visits = 0;
        let holds_tensors =
            |position: &&usize| self.holds_tensors(entries[**position].1, MAX_DEPTH, &mut visits);
        if let Some(position) = known.iter().find(holds_tensors) {
            return Ok(Some(*position));
        }
        let candidate = self.only_candidate(dict)?;
        // Without any tensors, a known key is an empty state dict.
        Ok(candidate.or_else(|| known.first().copied().filter(|_| !self.heap.has_tensors(dict))))
    }

    /// Returns `true` if `value` is a dictionary of tensors or a module, or contains one at most `depth` levels below.
    fn holds_tensors(&self, value: Value<'a>, depth: usize, visits: &mut usize) -> bool {
        if self.heap.has_tensors(value) || self.is_module(value) {
            return true;
        }
        let Ok(entries) = self.heap.entries(value) else { return false };
        if depth == 0 {
            return false;
        }
        for &(key, value) in entries {
            if *visits == MAX_VISITS {
                return false;
            }
            *visits += 1;
            if matches!(key, Value::Str(_)) && self.holds_tensors(value, depth - 1, visits) {
                return true;
            }
        }
        false
    }

    /// Returns the position of the dictionary under `key`, or `None` if `key` is missing or has another value.
    fn position(&self, dict: Value<'a>, key: &str) -> Option<usize> {
        let entries = self.heap.entries(dict).ok()?;
        let position =
            entries.iter().rposition(|entry| matches!(entry.0, Value::Str(name) if name == key))?;
        let value = entries[position].1;
        (self.heap.is_dict(value) || self.is_module(value)).then_some(position)
    }

    /// Returns the position of the only entry that is a dictionary of tensors or, if there is none, of the only entry
    /// that contains such a dictionary. Returns `None` if there are no such entries, or if `dict` itself contains
    /// tensors.
    fn only_candidate(&self, dict: Value<'a>) -> Result<Option<usize>> {
        let entries = self.heap.entries(dict)?;
        if self.heap.has_tensors(dict) {
            return Ok(None);
        }
        let candidates_within = |depth: usize| -> Vec<_> {
            let mut visits = 0;
            let all = entries.iter().enumerate();
            all.filter(|(_, entry)| self.holds_tensors(entry.1, depth, &mut visits)).take(10).collect()
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
                describe(self.heap, candidates.into_iter().map(|(_, entry)| entry))
            ))),
        }
    }

    /// Returns the value at `position` and lists all other entries.
    fn enter(&mut self, dict: Value<'a>, position: usize) -> Result<Value<'a>> {
        let entries = self.heap.entries(dict)?;
        for (i, &(key, value)) in entries.iter().enumerate() {
            if i != position {
                self.listing.skip(key, value);
            }
        }
        let (key, value) = entries[position];
        self.listing.enter(key);
        Ok(value)
    }

    /// Returns the tensors of `dict`, and lists its other entries.
    fn finish_dict(mut self, dict: Value<'a>, budget: &mut Budget) -> Result<Selection<'a>> {
        let entries = self.heap.entries(dict)?;
        if entries.is_empty() && matches!(dict, Value::Object(_)) {
            return Err(Error::msg(format!(
                "expected a dictionary of named tensors or a module, found an object of the class `{}`",
                self.heap.class_name(dict)
            )));
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
                describe(self.heap, entries.iter())
            )));
        }
        self.finish(tensors, budget)
    }

    /// Returns the tensors of a module.
    fn finish_module(mut self, module: Value<'a>, budget: &mut Budget) -> Result<Selection<'a>> {
        let walk = ModuleWalk::new(self.heap, self.classes, &mut self.listing, budget);
        let tensors = walk.collect(module)?;
        if tensors.is_empty() && self.classes.of(self.heap, module).is_some() {
            return Err(Error::msg(
                "expected a TorchScript module with parameters, found one without: `torch.jit.freeze` makes them \
                 constants of the program; save the module before freezing it",
            ));
        }
        self.finish(tensors, budget)
    }

    fn finish(self, tensors: NamedTensors<'a>, budget: &mut Budget) -> Result<Selection<'a>> {
        let (skipped, warning) = self.listing.finish(budget)?;
        Ok(Selection { tensors: tensors.into_entries(), skipped, warnings: warning.into_iter().collect() })
    }
}

fn missing_key(pickle: &Pickle, key: &str) -> Error {
    match pickle.heap.entries(pickle.root) {
        Ok(entries) => Error::msg(format!(
            "expected a dictionary under the key `{key}`, found {}",
            describe(&pickle.heap, entries.iter())
        )),
        Err(error) => error,
    }
}

/// Lists at most ten entries, each with its key and the kind of its value.
fn describe<'v, 'a: 'v>(heap: &Heap<'a>, entries: impl ExactSizeIterator<Item = &'v Entry<'a>>) -> String {
    let more = if entries.len() > 10 { ", …" } else { "" };
    let described = entries.take(10).map(|&(key, value)| {
        let kind = match value {
            Value::Object(_) => heap.class_name(value),
            other => other.kind().to_owned(),
        };
        match key {
            Value::Str(name) => format!("`{}` ({kind})", elided(name)),
            other => format!("{} ({kind})", other.kind()),
        }
    });
    described.collect::<Vec<_>>().join(", ") + more
}
