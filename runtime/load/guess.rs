//! Finds tensors of a network in a checkpoint before all names of the network are known.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::selection::Selection;
use super::wrapper::{without_inner_wrappers, wrapped_prefixes};

/// The maximum number of prefixes that are considered.
const MAX_CANDIDATES: usize = 16;

/// The names that the tensors of a checkpoint may have in a network: one candidate for each prefix of a wrapper.
pub(crate) struct Guesses {
    selection: Arc<Selection>,
    candidates: Vec<Candidate>,
}

/// The names of the tensors after `prefix` is stripped.
struct Candidate {
    prefix: String,
    /// The tensors whose names a map changes, keyed by their new names.
    mapped: HashMap<String, Tensor>,
    /// The tensors whose names have inner wrappers, such as `_orig_mod` in `encoder._orig_mod.weight`, keyed by their
    /// names without these wrappers.
    unwrapped: HashMap<String, Tensor>,
    /// The number of tensors that [`Guesses::find`] has returned from this candidate.
    hits: usize,
}

impl Guesses {
    pub fn new(selection: Arc<Selection>) -> Self {
        let prefixes = wrapped_prefixes(selection.names(), MAX_CANDIDATES);
        let candidates = prefixes.into_iter().map(|prefix| Candidate::new(prefix, &selection)).collect();
        Self { selection, candidates }
    }

    /// Returns the tensor with this name and shape. If several candidates have such a tensor, chooses the candidate
    /// with the most hits so far.
    pub fn find(&mut self, name: &str, shape: &[usize]) -> Option<Tensor> {
        let mut best: Option<(&mut Candidate, Tensor)> = None;
        for candidate in &mut self.candidates {
            let tensor =
                candidate.get(name, &self.selection).filter(|tensor| tensor.dims() == shape).cloned();
            if let Some(tensor) = tensor
                && best.as_ref().is_none_or(|(best, _)| candidate.hits > best.hits)
            {
                best = Some((candidate, tensor));
            }
        }
        let (candidate, tensor) = best?;
        candidate.hits += 1;
        Some(tensor)
    }

    /// Returns the shape of the tensor with this name, or `None` if no candidate has the name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let get = |candidate: &Candidate| {
            Some((candidate.hits, candidate.get(name, &self.selection)?.dims().to_vec()))
        };
        // The first of several candidates with equal hits has the shortest prefix.
        let best = self
            .candidates
            .iter()
            .filter_map(get)
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, shape)| shape)
    }
}

impl Candidate {
    fn new(prefix: String, selection: &Selection) -> Self {
        let mut mapped = HashMap::new();
        let mut unwrapped = HashMap::new();
        for (name, tensor) in selection.tensors() {
            let Some(name) = name.strip_prefix(prefix.as_str()) else { continue };
            let new = selection.map(name.into());
            let without = without_inner_wrappers(&new);
            if without != new {
                unwrapped.insert(without.into_owned(), tensor.clone());
            }
            if new != name {
                mapped.insert(new.into_owned(), tensor.clone());
            }
        }
        Self { prefix, mapped, unwrapped, hits: 0 }
    }

    fn get<'t>(&'t self, name: &str, selection: &'t Selection) -> Option<&'t Tensor> {
        let unchanged = || {
            let tensor = selection.get(&format!("{}{name}", self.prefix))?;
            (selection.map(name.into()) == name).then_some(tensor)
        };
        let found = self.mapped.get(name).or_else(unchanged);
        found.or_else(|| self.unwrapped.get(&*without_inner_wrappers(name)))
    }
}
