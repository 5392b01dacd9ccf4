//! The tensors of a checkpoint that a load uses.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use regex::Regex;

use crate::Result;
use crate::checkpoint::{Contents, Skipped, StateDict};

use super::Load;
use super::rename::{NameChange, distinct};
use super::signature::Signature;
use super::wrapper::without_inner_wrappers;

/// [`Selection::with_other_keys`] reads at most this many dictionaries.
const MAX_KEYS: usize = 8;

/// The tensors of a checkpoint with the prefix that a load requests, and the maps for their names.
#[derive(Clone)]
pub(crate) struct Selection {
    contents: Contents,
    prefix: String,
    /// Patterns and replacements.
    maps: Vec<(Regex, String)>,
    /// The load that read the contents, and its device.
    origin: Option<(Box<Load>, Device)>,
}

impl Selection {
    /// Selects the tensors of `contents` whose names begin with `prefix`.
    pub fn new(contents: Contents, prefix: String, maps: Vec<(Regex, String)>) -> Self {
        Self { contents, prefix, maps, origin: None }
    }

    /// Selects all tensors of `state`.
    pub fn all(state: &StateDict) -> Self {
        Self::new(state.clone().into(), String::new(), Vec::new())
    }

    /// Records that `load` read the contents to `device`.
    pub fn read_by(self, load: &Load, device: &Device) -> Self {
        Self { origin: Some((Box::new(load.clone()), device.clone())), ..self }
    }

    /// Reads the dictionaries of the file that the reader skipped, as if [`Load::key`] had selected each of them.
    /// Returns a selection for each dictionary that is a state dict, with its key.
    pub fn with_other_keys(&self) -> impl Iterator<Item = (&str, Self)> {
        let origin = self.origin.as_ref().filter(|(load, _)| load.requested_key().is_none());
        origin.into_iter().flat_map(|(load, device)| {
            let dictionaries = self.contents.skipped.iter().filter(|skipped| skipped.kind == "dict");
            let keys = dictionaries.map(|skipped| skipped.path.as_str()).take(MAX_KEYS);
            keys.filter_map(|key| Some((key, Load::clone(load).key(key).select(device).ok()?)))
        })
    }

    /// Returns the selection with a longer prefix: the present one followed by `prefix`.
    pub fn with_prefix(&self, prefix: &str) -> Self {
        Self { prefix: format!("{}{prefix}", self.prefix), ..self.clone() }
    }

    /// Returns the selection with another map, which is applied last.
    pub fn with_map(mut self, pattern: Regex, replacement: String) -> Self {
        self.maps.push((pattern, replacement));
        self
    }

    /// Returns the prefix of the selected names in the file.
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

    /// Returns the selected tensor whose name without the prefix is `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.contents.state.get(&format!("{}{name}", self.prefix))
    }

    /// Applies the maps to a name.
    pub fn map<'n>(&self, name: Cow<'n, str>) -> Cow<'n, str> {
        self.maps.iter().fold(name, |name, (regex, new)| match regex.replace_all(&name, new) {
            Cow::Borrowed(_) => name,
            Cow::Owned(replaced) => replaced.into(),
        })
    }

    /// Returns the network's name for the tensor whose name without prefixes is `name`. If the network lacks that name,
    /// inner wrappers are removed, as in `encoder._orig_mod.weight`. Returns `None` if the network has neither name.
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

    /// Checks that the file has only one candidate for the state dict.
    ///
    /// # Errors
    /// Fails otherwise. The message names the candidates.
    pub fn check_unambiguous(&self) -> Result<()> {
        self.contents.check_unambiguous()
    }

    /// Checks that candle can represent all selected tensors for whose names `is_needed` returns `true`.
    ///
    /// # Errors
    /// Fails otherwise. The message lists the tensors that candle cannot represent.
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

/// Describes a tensor that a load ignores because its name does not begin with `prefix`.
fn skip_outside(name: &str, tensor: &Tensor, prefix: &str) -> Skipped {
    Skipped { path: name.to_owned(), kind: format!("tensor {:?} outside `{prefix}`", tensor.dims()) }
}
