//! From a checkpoint's names to a network's.

use std::collections::HashMap;

use regex::Regex;

use crate::checkpoint::StateDict;
use crate::{Error, Result};

/// What happens to each name: the prefix goes first, then one map after the other is applied.
#[derive(Clone, Debug, Default)]
pub(super) struct Renaming {
    pub prefix: Option<String>,
    /// Patterns and what replaces their matches.
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

    /// The tensors with the prefix, without it.
    fn select(&self, state: StateDict) -> Result<StateDict> {
        let Some(prefix) = &self.prefix else { return Ok(state) };
        let first = state.keys().next().map(str::to_owned);
        let inside = state.into_iter().filter_map(|(name, tensor)| {
            let rest = name.strip_prefix(prefix.as_str())?;
            Some((rest.to_owned(), tensor))
        });
        let inside: StateDict = inside.collect();
        match first {
            Some(first) if inside.is_empty() => Err(Error::msg(format!(
                "expected names that begin with `{prefix}`, got none; the first name is `{first}`"
            ))),
            _ => Ok(inside),
        }
    }
}

/// The tensors by their new names, unless two have one.
fn distinct<T>(renamed: impl Iterator<Item = (String, String, T)>) -> Result<StateDict>
where
    StateDict: FromIterator<(String, T)>,
{
    let mut origins = HashMap::<String, String>::new();
    let mut clashes = Vec::new();
    let mut kept = Vec::new();
    for (old, new, tensor) in renamed {
        match origins.get(&new) {
            Some(first) => clashes.push(format!("`{first}` and `{old}` both become `{new}`")),
            None => {
                origins.insert(new.clone(), old);
                kept.push((new, tensor));
            }
        }
    }
    if clashes.is_empty() { Ok(kept.into_iter().collect()) } else { Err(Error::msg(clashes.join("\n"))) }
}
