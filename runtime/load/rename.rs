//! Renames the tensors of a checkpoint.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use regex::Regex;

use crate::checkpoint::{Contents, StateDict};
use crate::{Error, Result};

use super::selection::Selection;
use super::table::bounded;
use super::wrapper::wrapped_prefixes;

/// The maximum number of wrapper prefixes that are tried in front of the requested prefix.
const MAX_WRAPPERS: usize = 16;

/// The maximum number of conflicts that an error lists: pairs of tensors that get the same name.
const MAX_CONFLICTS: usize = 20;

/// Strips a prefix from each name, then applies the maps in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Renaming {
    pub prefix: Option<String>,
    /// Patterns and replacements.
    pub maps: Vec<(String, String)>,
}

impl Renaming {
    /// Returns the tensors that this renaming selects.
    ///
    /// # Errors
    /// Fails if no name has the prefix or if a pattern is invalid.
    pub fn select(&self, contents: Contents) -> Result<Selection> {
        let maps = self.maps.iter().map(|(pattern, replacement)| {
            let regex = Regex::new(pattern);
            Ok((regex.map_err(|error| Error::msg(format!("map: {error}")))?, replacement.clone()))
        });
        let maps = maps.collect::<Result<Vec<_>>>()?;
        let prefix = self.prefix_in(&contents.state)?;
        Ok(Selection::new(contents, prefix, maps))
    }

    /// Returns the prefix of the selected names in the file. If no name begins with the requested prefix, it may follow
    /// the prefix of a wrapper: `backbone.` then selects `module.backbone.`.
    ///
    /// # Errors
    /// Fails if no name has the prefix, or if the prefix follows the prefixes of different wrappers.
    fn prefix_in(&self, state: &StateDict) -> Result<String> {
        let Some(prefix) = &self.prefix else { return Ok(String::new()) };
        let exists = |prefix: &String| state.keys().any(|name| name.starts_with(prefix));
        if state.is_empty() || exists(prefix) {
            return Ok(prefix.clone());
        }
        let wrappers = wrapped_prefixes(state.keys(), MAX_WRAPPERS);
        let prefixes = wrappers.iter().map(|wrapper| format!("{wrapper}{prefix}")).filter(exists);
        let found: Vec<String> = prefixes.collect();
        let wrong = match &found[..] {
            [] => format!(
                "found none; the first name is `{}`",
                state.keys().next().map(bounded).unwrap_or_default()
            ),
            [only] => return Ok(only.clone()),
            [first, second, ..] => format!("found names that begin with `{first}` and with `{second}`"),
        };
        Err(Error::msg(format!("expected names that begin with `{prefix}`, {wrong}")))
    }
}

/// The possible names of a tensor.
pub(super) struct NameChange<'n> {
    /// The name in the file.
    pub old: &'n str,
    /// The name without prefixes and after the maps.
    pub mapped: Cow<'n, str>,
    /// The network's name for the tensor: equal to `mapped`, or equal apart from inner wrappers, such as
    /// `_orig_mod` in `encoder._orig_mod.weight`.
    pub in_network: Option<&'n str>,
}

/// Returns the old and the new name of each tensor. A name keeps its inner wrappers if another tensor has the name
/// without these wrappers.
///
/// # Errors
/// Fails if two new names are equal.
pub(super) fn distinct<'n>(changes: &[NameChange<'n>]) -> Result<Vec<(&'n str, String)>> {
    let is_exact = |change: &&NameChange| change.in_network == Some(&*change.mapped);
    let exact: HashSet<&str> =
        changes.iter().filter(is_exact).filter_map(|change| change.in_network).collect();
    let mut origins = HashMap::<String, &str>::new();
    let mut conflicts = Vec::new();
    let mut names = Vec::new();
    for change in changes {
        let unwrapped = change.in_network.filter(|name| !exact.contains(name));
        let new = unwrapped.unwrap_or(&change.mapped).to_owned();
        let first = *origins.entry(new.clone()).or_insert(change.old);
        if first == change.old {
            names.push((change.old, new));
        } else {
            let [first, second, new] = [first, change.old, &new].map(bounded);
            conflicts.push(format!("`{first}` and `{second}` both become `{new}`"));
        }
    }
    if conflicts.is_empty() {
        return Ok(names);
    }
    let more = conflicts.len().saturating_sub(MAX_CONFLICTS);
    conflicts.truncate(MAX_CONFLICTS);
    conflicts.extend((more > 0).then(|| format!("… and {more} more")));
    Err(Error::msg(conflicts.join("\n")))
}
