//! Loads a state dict into a network: the one definition of which checkpoints fit a network.
//!
//! The names of a network are those of its registry. Names of one tensor are tied: a state dict may have the
//! tensor under any of them, or under several with equal values.

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Tensor, TensorId};

use super::list::{Entry, all_names};
use super::replace::{Replacements, for_each_mut};
use crate::Result;
use crate::checkpoint::StateDict;
use crate::load::{LoadReport, CHUNK, converted, fill};
use crate::module::Module;
use crate::source::Requests;

/// What of a state dict fits a network.
pub(crate) struct Matching<'a> {
    pub report: LoadReport,
    /// The values for each name of the network that gets any.
    values: HashMap<String, &'a Tensor>,
    /// Tied names with different values.
    conflicts: Vec<String>,
}

impl<'a> Matching<'a> {
    /// Compares a network with a state dict, by name and shape. Tensors that the construction of the network
    /// asked for belong to the network even if its registry does not show them.
    pub fn new<M: Module + ?Sized>(network: &M, requests: &Requests, state: &'a StateDict) -> Result<Self> {
        let mut entries = all_names(network);
        let registered: HashSet<String> = entries.iter().map(|entry| entry.path.clone()).collect();
        let hidden = requests.tensors.iter().filter(|(name, _)| !registered.contains(*name));
        entries.extend(hidden.map(|(name, tensor)| Entry::hidden(name, tensor)));

        let mut report = LoadReport::default();
        let mut conflicts = Vec::new();
        let mut tensors = Tied::group(&entries);
        for Entry { path, tensor, optional, .. } in &entries {
            let Some(tied) = tensors.get_mut(&tensor.id()) else { continue };
            match state.get(path) {
                Some(found) if report.note_found(path, tensor.dims(), found.dims()) => {
                    conflicts.extend(tied.offer(path, found)?);
                }
                None if !optional && tied.is_missing(path, state) => report.note_missing(path, tensor.dims()),
                _ => {}
            }
        }
        let names: HashSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        report.note_unexpected(state, |name| names.contains(name));
        let values = tensors.into_values().flat_map(Tied::into_values).collect();
        Ok(Self { report, values, conflicts })
    }

    /// Checks that the state dict can be loaded: all of it, or what fits.
    ///
    /// # Errors
    /// Tied names have different values, or, unless `partial`, a tensor is missing, unexpected or mismatched.
    pub fn check(&self, partial: bool) -> Result<()> {
        let report = if partial { &LoadReport::default() } else { &self.report };
        report.check(&self.conflicts)
    }

    /// Copies the values into the network, except those in `filled`. If a conversion is not possible, nothing is
    /// changed.
    pub fn assign<M: Module + ?Sized>(&self, network: &mut M, filled: &HashSet<TensorId>) -> Result<()> {
        let values = |path: &str, tensor: &Tensor| {
            self.values.get(path).copied().filter(|_| !filled.contains(&tensor.id()))
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

/// The names of one tensor, and what the state dict has for it.
#[derive(Default)]
struct Tied<'n, 'a> {
    /// In the order of the registry.
    names: Vec<&'n str>,
    /// The values, and the first name that has them.
    found: Option<(&'n str, &'a Tensor)>,
}

impl<'n, 'a> Tied<'n, 'a> {
    fn group(entries: &'n [Entry<'_>]) -> HashMap<TensorId, Self> {
        let mut groups = HashMap::<_, Self>::new();
        for entry in entries {
            groups.entry(entry.tensor.id()).or_default().names.push(&entry.path);
        }
        groups
    }

    /// Returns whether `name` is to be reported as missing: the first name, if the state dict has none of them.
    fn is_missing(&self, name: &str, state: &StateDict) -> bool {
        self.names[0] == name && !self.names.iter().any(|name| state.contains_key(name))
    }

    /// Takes the values that the state dict has under `name`, or returns a description of their difference from
    /// those of another name.
    fn offer(&mut self, name: &'n str, values: &'a Tensor) -> Result<Option<String>> {
        let (first, expected) = *self.found.get_or_insert((name, values));
        let differ = first != name && !equal(expected, values)?;
        Ok(differ.then(|| format!("{first} and {name}")))
    }

    /// Returns the values for each name.
    fn into_values(self) -> impl Iterator<Item = (String, &'a Tensor)> {
        let values = self.found.map(|(_, values)| values);
        self.names.into_iter().filter_map(move |name| Some((name.to_owned(), values?)))
    }
}

/// Returns `old` with new values. A variable is changed in place, as optimizers and detached copies of the
/// network hold its storage; any other tensor is replaced, as packed copies of it would become stale.
fn assign(old: &Tensor, values: &Tensor) -> Result<Tensor> {
    if old.is_variable() {
        fill(old, values)?;
        return Ok(old.clone());
    }
    Ok(converted(values, old)?.copy()?.detach())
}

/// Converts the first element of `values` to the type and device of `tensor`.
fn check_conversion(values: &Tensor, tensor: &Tensor) -> Result<()> {
    let values = values.flatten_all()?;
    converted(&values.narrow(0, 0, values.elem_count().min(1))?, tensor)?;
    Ok(())
}

/// Returns whether two tensors of one shape are equal, rounded to the coarser of their types; NaN equals NaN.
fn equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    let types = [a.dtype(), b.dtype(), DType::F64];
    let (a, b) = (a.flatten_all()?, b.flatten_all()?);
    for start in (0..a.elem_count()).step_by(CHUNK) {
        let piece = |x: &Tensor| -> Result<Vec<f64>> {
            let piece = x.narrow(0, start, CHUNK.min(x.elem_count() - start))?;
            Ok(types.iter().try_fold(piece, |piece, dtype| piece.to_dtype(*dtype))?.to_vec1()?)
        };
        let equal = |(x, y): (&f64, &f64)| x == y || x.is_nan() && y.is_nan();
        if !piece(&a)?.iter().zip(&piece(&b)?).all(equal) {
            return Ok(false);
        }
    }
    Ok(true)
}
