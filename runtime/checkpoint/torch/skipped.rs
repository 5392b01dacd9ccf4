//! Lists the objects of a file that are not tensors of its state dict.

use crate::Result;
use crate::checkpoint::budget::Budget;
use crate::checkpoint::contents::Skipped;

use super::class::elided;
use super::globals::Global;
use super::values::{PickledValues, Value};

/// The maximum number of objects that are listed.
const MAX_LISTED: usize = 1000;

/// The maximum depth of the containers in which objects are searched for.
const MAX_DEPTH: usize = 8;

/// Lists the entries beside a state dict and the objects in them.
pub(super) struct Listing<'p, 'a> {
    values: &'p PickledValues<'a>,
    /// For each container of the pickle, whether it was listed. Containers may contain each other, and themselves.
    visited: Vec<bool>,
    path: String,
    skipped: Vec<Skipped>,
    /// The number of objects that are not listed.
    omitted: usize,
}

impl<'p, 'a> Listing<'p, 'a> {
    pub fn new(values: &'p PickledValues<'a>) -> Self {
        let visited = vec![false; values.container_count()];
        Self { values, visited, path: String::new(), skipped: Vec::new(), omitted: 0 }
    }

    /// Returns the keys of the current dictionary, separated by dots.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the path of the entry `key` of the current dictionary.
    pub fn path_of(&self, key: Value<'_>) -> String {
        let mut path = self.path.clone();
        push_key(&mut path, key);
        path
    }

    /// Makes the value under `key` the current dictionary.
    pub fn enter(&mut self, key: Value<'_>) {
        push_key(&mut self.path, key);
    }

    /// Lists the entry `key` of the current dictionary as skipped.
    pub fn skip(&mut self, key: Value<'a>, value: Value<'a>) {
        self.skip_at_depth(key, value, 0);
    }

    /// Lists the object `name` of a module as skipped. `prefix` is the path of the module, with a trailing dot.
    pub fn skip_in(&mut self, prefix: &str, name: Value<'a>, value: Value<'a>) {
        let length = self.path.len();
        if let Some(module) = prefix.strip_suffix('.') {
            self.enter(Value::Str(module));
        }
        self.skip(name, value);
        self.path.truncate(length);
    }

    fn skip_at_depth(&mut self, key: Value<'a>, value: Value<'a>, depth: usize) {
        let length = self.path.len();
        self.enter(key);
        if depth == 0 || matches!(value, Value::Object(_)) {
            self.push(self.values.class_name(value));
        }
        self.skip_items(value, depth);
        self.path.truncate(length);
    }

    /// Lists the objects in a container of a builtin class as skipped.
    fn skip_items(&mut self, container: Value<'a>, depth: usize) {
        let values = self.values;
        let Some(index) = values.container_index(container) else { return };
        if depth == MAX_DEPTH || std::mem::replace(&mut self.visited[index], true) {
            return;
        }
        match container {
            Value::Dict(_) => {
                for &(key, value) in values.entries(container).unwrap_or_default() {
                    self.skip_at_depth(key, value, depth + 1);
                }
            }
            _ => {
                for (position, item) in values.numbered_items(container) {
                    self.skip_at_depth(position, item, depth + 1);
                }
            }
        }
    }

    fn push(&mut self, kind: String) {
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push(Skipped { path: self.path.clone(), kind });
        } else {
            self.omitted += 1;
        }
    }

    /// Returns the list, and a warning if it is not complete.
    pub fn finish(self, budget: &mut Budget) -> Result<(Vec<Skipped>, Option<String>)> {
        let bytes = self.skipped.iter().map(|Skipped { path, kind }| path.len() + kind.len());
        budget.spend(Some(bytes.sum::<usize>() + self.skipped.len() * size_of::<Skipped>()))?;
        let warning = (self.omitted > 0).then(|| {
            format!("the file has {} more objects that are not tensors and are not listed", self.omitted)
        });
        Ok((self.skipped, warning))
    }
}

/// Appends a key to a path.
fn push_key(path: &mut String, key: Value<'_>) {
    if !path.is_empty() {
        path.push('.');
    }
    match key {
        Value::Str(name) => *path += &elided(name),
        Value::Int(number) => *path += &number.to_string(),
        other => *path += other.kind(),
    }
}

/// Returns the description of a tensor that candle cannot represent, such as `sparse tensor`.
pub(super) fn unsupported_tensor(kind: &str) -> String {
    format!("{} tensor", elided(kind))
}

impl<'a> PickledValues<'a> {
    /// Returns the name of a value's class in Python.
    pub fn class_name(&self, value: Value<'a>) -> String {
        let name = match value {
            Value::None => "NoneType",
            Value::Bool => "bool",
            Value::Int(_) | Value::Long(_) | Value::Decimal(_) => "int",
            Value::Str(_) => "str",
            Value::Opaque(class) => class,
            Value::Tuple(_) => "tuple",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Dict(_) => "dict",
            Value::Storage(_) => "torch.storage.TypedStorage",
            Value::Tensor(_) => "torch.Tensor",
            Value::UnsupportedTensor(kind) => return unsupported_tensor(kind),
            Value::Global(Global::Type(_)) => "torch.dtype",
            Value::Global(Global::Foreign(class)) => {
                return format!("class or function {}", self.foreign_class(class));
            }
            Value::Global(_) => "class or function",
            Value::Elided(_) => "items of a long list",
            Value::Object(object) => return self.class(object).to_string(),
        };
        name.to_owned()
    }
}
