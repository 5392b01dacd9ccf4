//! The tensors of a module, as `torch.save(model)` or `torch.jit.save` writes it: those that its `state_dict()`
//! returns.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::budget::Budget;
use crate::{Error, Result};

use super::class::elided;
use super::named::{NamedTensors, check_name};
use super::script::{ScriptClass, ScriptClasses};
use super::skipped::Listing;
use super::values::{Entry, PickledValues, Value};

/// The maximum nesting depth of modules. A module may contain itself.
const MAX_DEPTH: usize = 128;

/// The lowest limit on the number of visits to attributes and entries. Above it, the limit is the number of bytes that
/// the objects occupy, which allows about fifty visits to each attribute. Without a limit, the time could grow
/// exponentially with the depth of the modules: if every module contains its only submodule under two names, the number
/// of paths doubles at each level.
const MIN_VISITS: usize = 1 << 16;

/// Collects the parameters and persistent buffers of a module and its submodules, in PyTorch's order.
pub(super) struct ModuleWalk<'w, 'p, 'a> {
    values: &'p PickledValues<'a>,
    classes: &'p ScriptClasses,
    listing: &'w mut Listing<'p, 'a>,
    budget: &'w mut Budget,
    tensors: NamedTensors<'a>,
    /// The path of the current module, with a trailing dot.
    prefix: String,
    visits_left: usize,
}

/// The attributes of a module that hold its tensors and submodules.
#[derive(Default)]
struct Parts<'a> {
    parameters: Option<Value<'a>>,
    buffers: Option<Value<'a>>,
    /// The names of the buffers that are not saved.
    transient: Option<Value<'a>>,
    modules: Option<Value<'a>>,
}

impl<'w, 'p, 'a> ModuleWalk<'w, 'p, 'a> {
    pub fn new(
        values: &'p PickledValues<'a>,
        classes: &'p ScriptClasses,
        listing: &'w mut Listing<'p, 'a>,
        budget: &'w mut Budget,
    ) -> Self {
        let visits_left = values.memory().max(MIN_VISITS);
        Self {
            values,
            classes,
            listing,
            budget,
            tensors: NamedTensors::default(),
            prefix: String::new(),
            visits_left,
        }
    }

    /// Returns the tensors of `module`. The tensors of a submodule with several names occur under each of them.
    ///
    /// # Errors
    ///
    /// Fails if the modules are nested too deeply, if a module occurs too often, or if the names need more memory than
    /// the budget has left.
    pub fn collect(mut self, module: Value<'a>) -> Result<NamedTensors<'a>> {
        self.add_module(module, 0)?;
        Ok(self.tensors)
    }

    fn add_module(&mut self, module: Value<'a>, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            return Err(Error::msg(format!(
                "expected at most {MAX_DEPTH} levels of modules, found more: does `{}` contain itself?",
                elided(&self.prefix)
            )));
        }
        match self.classes.module_class(self.values, module) {
            Some(class) => self.add_script(module, class, depth),
            None => self.add_python(module, depth),
        }
    }

    fn add_python(&mut self, module: Value<'a>, depth: usize) -> Result<()> {
        let parts = self.parts(module)?;
        let transient = self.names(parts.transient)?;
        for &(name, tensor) in self.entries(parts.parameters)? {
            self.add_tensor(name, tensor)?;
        }
        for &(name, tensor) in self.entries(parts.buffers)? {
            if !matches!(name, Value::Str(name) if transient.contains(name)) {
                self.add_tensor(name, tensor)?;
            }
        }
        for &(name, child) in self.entries(parts.modules)? {
            self.add_child(name, child, depth)?;
        }
        Ok(())
    }

    /// Adds the tensors of a TorchScript module. All of its tensors and submodules are attributes.
    fn add_script(&mut self, module: Value<'a>, class: &ScriptClass, depth: usize) -> Result<()> {
        let attributes = self.values.attributes(module);
        let buffers = class.buffers.as_deref().unwrap_or_default();
        self.visit(attributes.len() + class.parameters.len() + buffers.len())?;
        let mut by_name = HashMap::new();
        for (name, tensor) in attributes.iter().filter_map(tensor) {
            check_name(name.len())?;
            by_name.insert(name, tensor);
        }
        for name in class.parameters.iter().chain(buffers) {
            if let Some(&tensor) = by_name.get(name.as_str()) {
                self.add_named(name, tensor)?;
            }
        }
        // Adding a parameter again changes nothing, so add all tensors.
        if class.buffers.is_none() {
            for (name, tensor) in attributes.iter().filter_map(tensor) {
                self.add_named(name, tensor)?;
            }
        }
        for &(name, value) in attributes {
            if self.classes.module_class(self.values, value).is_some() {
                self.add_child(name, value, depth)?;
            }
        }
        Ok(())
    }

    fn add_child(&mut self, name: Value<'a>, child: Value<'a>, depth: usize) -> Result<()> {
        match name {
            Value::Str(name) if self.is_module(child) => {
                let length = self.prefix.len();
                check_name(length + name.len())?;
                self.prefix.push_str(name);
                self.prefix.push('.');
                let added = self.add_module(child, depth + 1);
                self.prefix.truncate(length);
                added
            }
            _ => {
                self.skip(name, child);
                Ok(())
            }
        }
    }

    fn add_tensor(&mut self, name: Value<'a>, tensor: Value<'a>) -> Result<()> {
        match name {
            Value::Str(name) if tensor.is_tensor() => self.add_named(name, tensor),
            _ => {
                self.skip(name, tensor);
                Ok(())
            }
        }
    }

    fn add_named(&mut self, name: &str, tensor: Value<'a>) -> Result<()> {
        check_name(self.prefix.len() + name.len())?;
        let name = format!("{}{name}", self.prefix);
        self.tensors.insert(&name, tensor, self.budget)
    }

    fn is_module(&self, value: Value<'a>) -> bool {
        self.values.is_module(value) || self.classes.module_class(self.values, value).is_some()
    }

    /// Lists an object that is not a tensor or a module. `None` stands for an absent parameter, buffer or module.
    fn skip(&mut self, name: Value<'a>, value: Value<'a>) {
        if !matches!(value, Value::None) {
            self.listing.skip_in(&self.prefix, name, value);
        }
    }

    fn parts(&mut self, module: Value<'a>) -> Result<Parts<'a>> {
        let attributes = self.values.attributes(module);
        self.visit(attributes.len())?;
        let mut parts = Parts::default();
        for &(name, value) in attributes {
            match name {
                Value::Str("_parameters") => parts.parameters = Some(value),
                Value::Str("_buffers") => parts.buffers = Some(value),
                Value::Str("_non_persistent_buffers_set") => parts.transient = Some(value),
                Value::Str("_modules") => parts.modules = Some(value),
                _ => {}
            }
        }
        Ok(parts)
    }

    fn entries(&mut self, dict: Option<Value<'a>>) -> Result<&'p [Entry<'a>]> {
        let entries = dict.and_then(|dict| self.values.entries(dict).ok()).unwrap_or_default();
        self.visit(entries.len()).map(|()| entries)
    }

    fn names(&mut self, set: Option<Value<'a>>) -> Result<HashSet<&'a str>> {
        let items = set.and_then(|set| self.values.items(set).ok()).unwrap_or_default();
        self.visit(items.len())?;
        let mut names = HashSet::new();
        for item in items {
            if let Value::Str(name) = item {
                check_name(name.len())?;
                names.insert(*name);
            }
        }
        Ok(names)
    }

    fn visit(&mut self, count: usize) -> Result<()> {
        self.visits_left = self.visits_left.checked_sub(count).ok_or_else(|| {
            Error::msg(
                "expected a module that contains each submodule only a few times, found too many paths to submodules",
            )
        })?;
        Ok(())
    }
}

/// Returns the name and the tensor of an attribute, or `None` if the attribute is not a tensor.
fn tensor<'a>(entry: &Entry<'a>) -> Option<(&'a str, Value<'a>)> {
    match *entry {
        (Value::Str(name), value) if value.is_tensor() => Some((name, value)),
        _ => None,
    }
}
