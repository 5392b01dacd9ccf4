//! Renames the tensors of a checkpoint.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use candle_core::Tensor;
use regex::Regex;

use crate::checkpoint::{Contents, Skipped, StateDict};
use crate::{Error, Result};

use super::signature::Signature;
use super::wrapper::{without_inner_wrappers, wrapped_prefixes};

/// The maximum number of wrappers before the requested prefix that are tried.
const MAX_WRAPPERS: usize = 16;

/// The maximum number of tensors with equal names that an error lists.
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
        Ok(Selection { contents, prefix, maps })
    }

    /// Returns the prefix of the selected names in the file. If no name begins with the requested prefix, it may follow
    /// the prefix of a wrapper: `backbone.` then selects `module.backbone.`.
    fn prefix_in(&self, state: &StateDict) -> Result<String> {
        let Some(prefix) = &self.prefix else { return Ok(String::new()) };
        let wrappers = wrapped_prefixes(state.keys(), MAX_WRAPPERS);
        let mut prefixes = wrappers.iter().map(|wrapper| format!("{wrapper}{prefix}"));
        let found = prefixes.find(|prefix| state.keys().any(|name| name.starts_with(prefix)));
        match (found, state.keys().next()) {
            (Some(found), _) => Ok(found),
            (None, None) => Ok(prefix.clone()),
            (None, Some(first)) => Err(Error::msg(format!(
                "expected names that begin with `{prefix}`, found none; the first name is `{first}`"
            ))),
        }
    }
}

/// The tensors of a checkpoint with the prefix that a load requests, and the maps for their names.
#[derive(Clone)]
pub(crate) struct Selection {
    contents: Contents,
    prefix: String,
    maps: Vec<(Regex, String)>,
}

impl Selection {
    /// Selects all tensors of `state`.
    pub fn all(state: &StateDict) -> Self {
        Self { contents: state.clone().into(), prefix: String::new(), maps: Vec::new() }
    }

    /// Returns the selection of the tensors whose names without the prefix begin with `prefix`.
    pub fn with_prefix(&self, prefix: &str) -> Self {
        Self { prefix: format!("{}{prefix}", self.prefix), ..self.clone() }
    }

    /// Returns the selection with another map, which is applied last.
    pub fn with_map(mut self, pattern: Regex, replacement: String) -> Self {
        self.maps.push((pattern, replacement));
        self
    }

    /// The prefix of the selected names in the file.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the names of the selected tensors without the prefix, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.contents.state.keys().filter_map(|name| name.strip_prefix(self.prefix.as_str()))
    }

    /// Returns the selected tensors with their names without the prefix, in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let tensors = self.contents.state.iter();
        tensors.filter_map(|(name, tensor)| Some((name.strip_prefix(self.prefix.as_str())?, tensor)))
    }

    /// Applies the maps to a name.
    pub fn map<'n>(&self, name: Cow<'n, str>) -> Cow<'n, str> {
        self.maps.iter().fold(name, |name, (regex, new)| match regex.replace_all(&name, new) {
            Cow::Borrowed(_) => name,
            Cow::Owned(replaced) => replaced.into(),
        })
    }

    /// Returns the name of the network that a tensor has, given its name without prefixes. Inner wrappers, as in
    /// `encoder._orig_mod.weight`, are removed if the network lacks the name. Returns `None` if the network has neither.
    pub fn name_in<'s>(&self, signature: &'s Signature, name: &str) -> Option<&'s str> {
        let exact = signature.find(&self.map(name.into()));
        exact.or_else(|| signature.find_unwrapped(&self.map(without_inner_wrappers(name))))
    }

    /// Returns the tensors whose names begin with `wrapper`, under their names in the network.
    ///
    /// # Errors
    /// Fails if two names become equal.
    pub fn renamed(&self, wrapper: &str, signature: &Signature) -> Result<Renamed> {
        let prefix = format!("{}{wrapper}", self.prefix);
        let mut names = Vec::new();
        let mut outside = Vec::new();
        for (old, tensor) in &self.contents.state {
            match old.strip_prefix(prefix.as_str()) {
                Some(rest) => names.push(NameChange {
                    old,
                    mapped: self.map(rest.into()),
                    in_network: self.name_in(signature, rest),
                }),
                None => outside.push(skip_outside(old, tensor, &prefix)),
            }
        }
        let names = distinct(&names)?;
        let tensors =
            names.iter().filter_map(|(old, new)| Some((new.as_str(), self.contents.state.get(old)?)));
        let state = tensors.map(|(name, tensor)| (name, tensor.clone())).collect();
        let names = names.into_iter().filter(|(old, new)| old != new);
        Ok(Renamed { state, names: names.map(|(old, new)| (old.to_owned(), new)).collect(), outside })
    }

    /// Checks that candle can represent all selected tensors for whose names `is_needed` returns `true`.
    ///
    /// # Errors
    /// Fails otherwise. The message lists these tensors.
    pub fn check_supported(&self, is_needed: impl Fn(&str) -> bool) -> Result<()> {
        self.contents.check_supported(|name| name.strip_prefix(self.prefix.as_str()).is_some_and(&is_needed))
    }

    /// Returns what the reader skipped: objects, and tensors that candle cannot represent.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.contents.skipped.iter().chain(&self.contents.unsupported)
    }

    /// Returns the warnings of the reader.
    pub fn warnings(&self) -> &[String] {
        &self.contents.warnings
    }
}

/// The tensors of a checkpoint under their names in the network.
pub(crate) struct Renamed {
    pub state: StateDict,
    /// The old and the new names of the renamed tensors.
    pub names: Vec<(String, String)>,
    /// The tensors whose names lack the prefix.
    pub outside: Vec<Skipped>,
}

/// The possible names of a tensor.
struct NameChange<'n> {
    /// The name in the file.
    old: &'n str,
    /// The name without prefixes and after the maps.
    mapped: Cow<'n, str>,
    /// The name of the network that is equal, or is equal without inner wrappers.
    in_network: Option<&'n str>,
}

/// Returns the old and the new name of each tensor. Inner wrappers are not removed if another tensor has the same name
/// without them.
///
/// # Errors
/// Fails if two new names are equal.
fn distinct<'n>(changes: &[NameChange<'n>]) -> Result<Vec<(&'n str, String)>> {
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
            conflicts.push(format!("`{first}` and `{}` both become `{new}`", change.old));
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

/// Describes a tensor that a load ignores because its name does not begin with `prefix`.
fn skip_outside(name: &str, tensor: &Tensor, prefix: &str) -> Skipped {
    Skipped { path: name.to_owned(), kind: format!("tensor {:?} outside `{prefix}`", tensor.dims()) }
}
