//! The classes of a TorchScript archive, which `torch.jit.save` writes.
//!
//! Its pickle has the attributes of each TorchScript module, and its source code tells which of them are parameters and
//! buffers.

use std::collections::HashMap;

use crate::checkpoint::budget::Budget;
use crate::{Error, Result};

use super::archive::TorchArchive;
use super::class::Class;
use super::values::{PickledValues, Value};

/// The first component of the names of all TorchScript classes.
const ROOT: &str = "__torch__";

/// The maximum length in bytes of the names of a class and of its Python module. Without a limit, a file with one long
/// module name and many classes would be slow to read, because the reader hashes the module name for each class.
const MAX_NAME: usize = 1 << 9;

/// The memory per class that the pickle names, in bytes.
const PER_CLASS: usize = 64;

/// The memory of the parsed classes per byte of source, in bytes. The shortest entry of a list, `"", `, has 4 bytes. It
/// becomes a `String` of 24 bytes, in a vector that may have twice the capacity that it needs.
const PER_SOURCE_BYTE: usize = 12;

/// The classes of the TorchScript modules in an archive.
#[derive(Debug, Default)]
pub(super) struct ScriptClasses {
    classes: Vec<ScriptClass>,
    /// For each class in [`PickledValues::classes`], its index in `classes`, or `None` if its instances are not
    /// TorchScript modules.
    indices: Vec<Option<usize>>,
}

/// The names of a module's tensors.
#[derive(Debug, Default)]
pub(super) struct ScriptClass {
    pub parameters: Vec<String>,
    /// `None` if the archive does not name the buffers. Every tensor that is not a parameter is then read as a buffer.
    pub buffers: Option<Vec<String>>,
}

impl ScriptClasses {
    /// Reads the source of all TorchScript classes that the pickle names.
    pub fn read(values: &PickledValues, archive: &mut TorchArchive, budget: &mut Budget) -> Result<Self> {
        budget.spend(values.classes().len().checked_mul(PER_CLASS))?;
        let mut all = Self::default();
        // The archive of a mobile model has no source that names the parameters, so all tensors are read as buffers.
        let unknown = all.add(ScriptClass::default());
        let mut sources = HashMap::new();
        for class in values.classes() {
            if !is_script(class) {
                all.indices.push(None);
                continue;
            }
            if !sources.contains_key(class.module) {
                sources.insert(class.module, all.read_source(class.module, archive, budget)?);
            }
            let index = match &sources[class.module] {
                Some(modules) => modules.get(class.name).copied(),
                None => Some(unknown),
            };
            all.indices.push(index);
        }
        Ok(all)
    }

    /// Reads the source file of the classes in the Python module `module`. Returns the indices of the classes by name,
    /// or `None` if there is no source file.
    fn read_source(
        &mut self,
        module: &str,
        archive: &mut TorchArchive,
        budget: &mut Budget,
    ) -> Result<Option<HashMap<String, usize>>> {
        let Some(source) = archive.source(module, budget)? else { return Ok(None) };
        budget.spend(source.len().checked_mul(PER_SOURCE_BYTE))?;
        let source = std::str::from_utf8(&source)
            .map_err(|error| Error::msg(format!("the TorchScript source of `{module}`: {error}")))?;
        let parsed = parse(source).into_iter().map(|(name, class)| (name.to_owned(), self.add(class)));
        Ok(Some(parsed.collect()))
    }

    fn add(&mut self, class: ScriptClass) -> usize {
        self.classes.push(class);
        self.classes.len() - 1
    }

    /// Returns the class of a TorchScript module, or `None` for other values.
    pub fn module_class(&self, values: &PickledValues, value: Value<'_>) -> Option<&ScriptClass> {
        let Value::Object(object) = value else { return None };
        let index = *self.indices.get(values.class_index(object))?;
        index.map(|index| &self.classes[index])
    }
}

/// Returns `true` for a TorchScript class, unless one of its names is longer than [`MAX_NAME`].
fn is_script(class: &Class) -> bool {
    let in_root =
        class.module.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    in_root && class.module.len() <= MAX_NAME && class.name.len() <= MAX_NAME
}

/// Returns the classes of TorchScript modules in a source file, by name.
fn parse(source: &str) -> Vec<(&str, ScriptClass)> {
    let mut classes: Vec<(&str, ScriptClass)> = Vec::new();
    let mut is_module = false;
    for line in source.lines() {
        if let Some(class) = line.strip_prefix("class ") {
            let name = class.strip_suffix("(Module):");
            is_module = name.is_some();
            classes.extend(name.map(|name| (name, ScriptClass::default())));
        } else if let (true, Some((_, class))) = (is_module, classes.last_mut()) {
            if let Some(list) = line.strip_prefix("  __parameters__ = ") {
                class.parameters = quoted(list);
            } else if let Some(list) = line.strip_prefix("  __buffers__ = ") {
                class.buffers = Some(quoted(list));
            }
        }
    }
    classes
}

/// Returns the strings in a list such as `["weight", "bias", ]`.
fn quoted(list: &str) -> Vec<String> {
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}
