//! Finds tensors of a network in a checkpoint before all names of the network are known.

use std::collections::HashMap;

use candle_core::Tensor;

use crate::Result;
use crate::checkpoint::StateDict;

use super::selection::Selection;
use super::signature::Signature;
use super::wrapper::{without_inner_wrappers, wrapped_prefixes};

/// The maximum number of prefixes that are considered.
const MAX_CANDIDATES: usize = 16;

/// The names that the tensors of a checkpoint may have in a network: one candidate for each prefix of a wrapper.
pub(crate) struct Guesses(Vec<Candidate>);

struct Candidate {
    state: StateDict,
    /// The tensors by their names without inner wrappers.
    unwrapped: HashMap<String, Tensor>,
    /// How many tensors have been found with the requested shape.
    hits: usize,
}

impl Guesses {
    /// Lists the candidates, first the names without a prefix.
    ///
    /// # Errors
    /// Fails if two names without a prefix become equal.
    pub fn new(selection: &Selection) -> Result<Self> {
        let mut candidates = Vec::new();
        for prefix in wrapped_prefixes(selection.names(), MAX_CANDIDATES) {
            match selection.renamed(&prefix, &Signature::default()) {
                Ok(renamed) => candidates.push(Candidate::new(renamed.state)),
                Err(error) if prefix.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(Self(candidates))
    }

    /// Returns the tensor with this name and shape in the candidate in which most tensors have been found so far.
    pub fn find(&mut self, name: &str, shape: &[usize]) -> Option<Tensor> {
        let mut best: Option<(&mut Candidate, Tensor)> = None;
        for candidate in &mut self.0 {
            let tensor = candidate.get(name).filter(|tensor| tensor.dims() == shape).cloned();
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
        let found = self.0.iter().filter_map(|candidate| Some((candidate.hits, candidate.get(name)?)));
        // The first of several candidates with equal hits has the shortest prefix.
        let best = found.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, tensor)| tensor.dims().to_vec())
    }
}

impl Candidate {
    fn new(state: StateDict) -> Self {
        let unwrapped =
            state.iter().map(|(name, tensor)| (without_inner_wrappers(name).into_owned(), tensor.clone()));
        let unwrapped = unwrapped.collect();
        Self { state, unwrapped, hits: 0 }
    }

    fn get(&self, name: &str) -> Option<&Tensor> {
        self.state.get(name).or_else(|| self.unwrapped.get(&*without_inner_wrappers(name)))
    }
}
