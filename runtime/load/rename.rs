//! Renames the tensors of a checkpoint.

use std::collections::HashMap;

use candle_core::Tensor;
use regex::Regex;

use crate::checkpoint::StateDict;
use crate::{Error, Result};

/// Strips a prefix from each name, then applies the maps in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Renaming {
    pub prefix: Option<String>,
    /// Patterns and replacements.
    pub maps: Vec<(String, String)>,
}

impl Renaming {
    pub fn apply(&self, state: StateDict) -> Result<StateDict> {
        let maps = self.maps.iter().map(|(pattern, replacement)| {
            let regex = Regex::new(pattern);
            Ok((regex.map_err(|error| Error::msg(format!("map: {error}")))?, replacement.as_str()))
        });
        let maps = maps.collect::<Result<Vec<_>>>()?;
        let selected = self.select(state)?;
        if maps.is_empty() {
            return Ok(selected);
        }
        let renamed = selected.into_iter().map(|(old, tensor)| {
            let rename =
                |name: String, (regex, new): &(Regex, &str)| regex.replace_all(&name, *new).into_owned();
            let new = maps.iter().fold(old.clone(), rename);
            (old, new, tensor)
        });
        distinct(renamed)
    }

    /// Returns the tensors whose names have the prefix, with the prefix stripped.
    fn select(&self, state: StateDict) -> Result<StateDict> {
        let Some(prefix) = &self.prefix else { return Ok(state) };
        let first = state.keys().next().map(str::to_owned);
        let selected = state.into_iter().filter_map(|(name, tensor)| {
            let rest = name.strip_prefix(prefix.as_str())?;
            Some((rest.to_owned(), tensor))
        });
        let selected: StateDict = selected.collect();
        match first {
            Some(first) if selected.is_empty() => Err(Error::msg(format!(
                "expected names that begin with `{prefix}`, found none; the first name is `{first}`"
            ))),
            _ => Ok(selected),
        }
    }
}

/// Returns the tensors with their new names, or an error if two names are equal.
fn distinct(renamed: impl Iterator<Item = (String, String, Tensor)>) -> Result<StateDict> {
    let mut origins = HashMap::<String, String>::new();
    let mut conflicts = Vec::new();
    let mut entries = Vec::new();
    for (old, new, tensor) in renamed {
        match origins.get(&new) {
            Some(first) => conflicts.push(format!("`{first}` and `{old}` both become `{new}`")),
            None => {
                origins.insert(new.clone(), old);
                entries.push((new, tensor));
            }
        }
    }
    if conflicts.is_empty() {
        Ok(entries.into_iter().collect())
    } else {
        Err(Error::msg(conflicts.join("\n")))
    }
}
