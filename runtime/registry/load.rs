//! Loads a checkpoint into a network. This module alone defines which checkpoints fit a network.
//!
//! The names of a tensor are its paths in the network's registry. If a tensor has several names, they are tied: a state
//! dict may contain the tensor under any of the names, or under several names with equal values.

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Tensor, TensorId};

use crate::Result;
use crate::checkpoint::{CHUNK, StateDict, to_dtype};
use crate::load::{Expected, LoadReport, Selection, Signature, converted, fill, propose, wrapper};
use crate::module::Module;

use super::list::{Entry, all_paths};
use super::replace::{Replacements, for_each_mut};

/// The result of comparing a checkpoint with a network that it fits.
pub(crate) struct Matching {
    pub report: LoadReport,
    /// The new values, by the names of the network's tensors.
    values: HashMap<String, Tensor>,
    /// Pairs of tied names with different values.
    conflicts: Vec<(String, String)>,
}

impl Matching {
    /// Compares a network with the selected tensors of a checkpoint, by name and shape. `requested` has the tensors
    /// that the network requested while it was built. They belong to it even if its registry does not list them.
    ///
    /// # Errors
    /// Fails if tied names have different values, or if renaming makes two names of the checkpoint equal. Unless
    /// `partial` is set, also fails if a tensor is missing, unexpected or mismatched, or if candle cannot represent it.
    pub fn new<M: Module + ?Sized>(
        network: &M,
        requested: &StateDict,
        selection: &Selection,
        partial: bool,
    ) -> Result<Self> {
        let mut entries = all_paths(network);
        let registered: HashSet<String> = entries.iter().map(|entry| entry.path.clone()).collect();
        let unregistered = requested.iter().filter(|(name, _)| !registered.contains(*name));
        entries.extend(unregistered.map(|(name, tensor)| Entry::unregistered(name, tensor)));
        let signature = signature(&entries);
        let mut matching = Self::without_wrapper(&entries, &signature, selection)?;
        let Self { report, conflicts, .. } = &matching;
        let is_complete = report.is_complete();
        if !partial {
            check_supported(selection, &signature, is_complete)?;
        }
        let fits = if partial { !report.loaded.is_empty() } else { is_complete };
        let advice = if fits { Vec::new() } else { advice(&entries, &signature, selection, report) };
        // With `partial`, differences between the network and the checkpoint are not errors.
        let required = if partial { &LoadReport::default() } else { report };
        if !required.is_complete() || !conflicts.is_empty() {
            return Err(required.error(conflicts, &advice));
        }
        matching.report.warnings.extend(advice);
        Ok(matching)
    }

    /// Strips the prefix of a wrapper from the names of the checkpoint, and compares the network with the tensors.
    fn without_wrapper(entries: &[Entry<'_>], signature: &Signature, selection: &Selection) -> Result<Self> {
        let renamed = selection.renamed(wrapper(selection, signature), signature)?;
        let mut matching = Self::compare(entries, &renamed.state)?;
        matching.report.note_renamed(selection, renamed);
        Ok(matching)
    }

    /// Compares a network with tensors, by name and shape.
    fn compare(entries: &[Entry<'_>], state: &StateDict) -> Result<Self> {
        let mut report = LoadReport::default();
        let mut conflicts = Vec::new();
        let mut tensors = TiedNames::by_tensor(entries);
        for Entry { path, tensor, optional, .. } in entries {
            let Some(tied) = tensors.get_mut(&tensor.id()) else { continue };
            match state.get(path) {
                Some(found) if report.note_found(path, tensor.dims(), found.dims()) => {
                    conflicts.extend(tied.add(path, found)?);
                }
                None if !optional && tied.is_missing(path, state) => report.note_missing(path, tensor.dims()),
                _ => {}
            }
        }
        let names: HashSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        report.note_unexpected(state, |name| names.contains(name));
        let values = tensors.into_values().flat_map(TiedNames::into_values).collect();
        Ok(Self { report, values, conflicts })
    }

    /// Returns the values for the tensor `name` of the network, or `None` if the checkpoint has none.
    pub fn values(&self, name: &str) -> Option<&Tensor> {
        self.values.get(name)
    }

    /// Copies the values into the network's tensors. Skips the tensors whose ids are in `already_assigned`: they got
    /// their values during the construction. If a conversion fails, the network is left unchanged.
    pub fn assign<M: Module + ?Sized>(
        &self,
        network: &mut M,
        already_assigned: &HashSet<TensorId>,
    ) -> Result<()> {
        let values = |path: &str, tensor: &Tensor| {
            self.values.get(path).filter(|_| !already_assigned.contains(&tensor.id()))
        };
        for_each_mut(network, &mut |path, _, tensor| match values(path, tensor) {
            Some(values) => check_conversion(values, tensor),
            None => Ok(()),
        })?;
        let mut assigned = Replacements::default();
        for_each_mut(network, &mut |path, _, tensor| {
            if let Some(values) = values(path, tensor) {
                *tensor = assigned.get_or_make(tensor, |tensor| assign(tensor, values))?;
            }
            Ok(())
        })
    }
}

/// Checks that candle can represent the network's tensors in the checkpoint. If the checkpoint otherwise fits exactly
/// (`is_complete`), also fails if candle cannot represent any other tensor of the checkpoint, because the network does
/// not expect this tensor.
fn check_supported(selection: &Selection, signature: &Signature, is_complete: bool) -> Result<()> {
    let wrapper = wrapper(selection, signature);
    selection.check_supported(|name| {
        let name = name.strip_prefix(wrapper);
        name.is_some_and(|name| is_complete || selection.name_in(signature, name).is_some())
    })
}

/// Returns proposals for loading more tensors than in `report`, one line each.
fn advice(
    entries: &[Entry<'_>],
    signature: &Signature,
    selection: &Selection,
    report: &LoadReport,
) -> Vec<String> {
    propose(selection, signature, report, &|selection| {
        let matching = Matching::without_wrapper(entries, signature, selection).ok()?;
        matching.conflicts.is_empty().then_some(matching.report)
    })
}

/// Returns the names and shapes of the tensors.
fn signature(entries: &[Entry<'_>]) -> Signature {
    let mut ids = HashMap::new();
    let mut signature = Signature::default();
    for Entry { path, tensor, optional, .. } in entries {
        let next = ids.len();
        let id = *ids.entry(tensor.id()).or_insert(next);
        let expected = Expected { shape: tensor.dims().to_vec(), tensor: id, required: !optional };
        signature.insert(path, expected);
    }
    signature
}

/// The names of one tensor, and its values in the state dict.
#[derive(Default)]
struct TiedNames<'n, 'a> {
    /// The names, in the order of the registry.
    names: Vec<&'n str>,
    /// The first name under which the state dict has values for the tensor, and these values.
    found: Option<(&'n str, &'a Tensor)>,
}

impl<'n, 'a> TiedNames<'n, 'a> {
    /// Collects the names of each tensor.
    fn by_tensor(entries: &'n [Entry<'_>]) -> HashMap<TensorId, Self> {
        let mut tensors = HashMap::<_, Self>::new();
        for entry in entries {
            tensors.entry(entry.tensor.id()).or_default().names.push(&entry.path);
        }
        tensors
    }

    /// Returns `true` if the tensor must be reported as missing under `name`: `name` is its first name, and the state
    /// dict contains none of its names.
    fn is_missing(&self, name: &str, state: &StateDict) -> bool {
        self.names[0] == name && !self.names.iter().any(|name| state.contains_key(name))
    }

    /// Records the values that the state dict has under `name`. If they differ from the values found first, returns the
    /// first name and `name`.
    fn add(&mut self, name: &'n str, values: &'a Tensor) -> Result<Option<(String, String)>> {
        let (first, expected) = *self.found.get_or_insert((name, values));
        let differ = first != name && !equal(expected, values)?;
        Ok(differ.then(|| (first.to_owned(), name.to_owned())))
    }

    /// Returns every name with the values of the tensor. Returns nothing if the state dict has no values for the
    /// tensor.
    fn into_values(self) -> impl Iterator<Item = (String, Tensor)> {
        let values = self.found.map(|(_, values)| values);
        self.names.into_iter().filter_map(move |name| Some((name.to_owned(), values?.clone())))
    }
}

/// Returns `old` with new values. A variable is changed in place, because optimizers and detached copies of the network
/// share its storage. Any other tensor is replaced, because layers may keep packed copies of it, which would become
/// stale. No layer keeps packed copies of a variable.
fn assign(old: &Tensor, values: &Tensor) -> Result<Tensor> {
    if old.is_variable() {
        fill(old, values)?;
        return Ok(old.clone());
    }
    Ok(converted(values, old)?.copy()?.detach())
}

/// Checks that `values` can be converted to the dtype and device of `tensor`, by converting one element.
fn check_conversion(values: &Tensor, tensor: &Tensor) -> Result<()> {
    let values = values.flatten_all()?;
    converted(&values.narrow(0, 0, values.elem_count().min(1))?, tensor)?;
    Ok(())
}

/// Returns `true` if two tensors of the same shape have equal values. Converts both to the dtype of `a` and then to the
/// dtype of `b`, so that a difference in precision does not count. NaN equals NaN.
fn equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    let types = [a.dtype(), b.dtype(), DType::F64];
    let a = a.flatten_all()?;
    let b = b.flatten_all()?;
    for start in (0..a.elem_count()).step_by(CHUNK) {
        let chunk = |x: &Tensor| -> Result<Vec<f64>> {
            let chunk = x.narrow(0, start, CHUNK.min(x.elem_count() - start))?;
            Ok(types.iter().try_fold(chunk, |chunk, dtype| to_dtype(&chunk, *dtype))?.to_vec1()?)
        };
        let equal = |(x, y): (&f64, &f64)| x == y || x.is_nan() && y.is_nan();
        if !chunk(&a)?.iter().zip(&chunk(&b)?).all(equal) {
            return Ok(false);
        }
    }
    Ok(true)
}
