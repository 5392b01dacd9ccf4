//! Finds the names of a network in the checkpoint of a larger module.

use std::collections::{BTreeMap, HashSet};

use super::selection::Selection;
use super::signature::{Expected, Signature};
use super::wrapper::{is_wrapped, splits};

/// The tensors of a network that a checkpoint has under one prefix. Tied tensors count once, optional tensors do not
/// count.
#[derive(Default)]
pub(super) struct Found {
    /// The numbers of the tensors with equal names and shapes.
    equal: HashSet<usize>,
    /// The numbers of the tensors with equal names, whatever their shapes.
    named: HashSet<usize>,
}

impl Found {
    /// Returns how many tensors have equal shapes, and how many are found with any shape.
    fn score(&self) -> (usize, usize) {
        (self.equal.len(), self.named.len())
    }

    /// Returns `true` if at least half as many tensors as in `best` are found with equal shapes.
    fn rivals(&self, best: &Self) -> bool {
        !self.equal.is_empty() && 2 * self.equal.len() >= best.equal.len()
    }

    /// Returns `true` if all tensors of the network are found with equal shapes.
    pub fn is_complete(&self, signature: &Signature) -> bool {
        self.equal.len() == signature.required()
    }
}

/// Returns the prefix of the network's names in a checkpoint of a wrapped network. It is empty or ends with a dot.
///
/// Returns an empty prefix if the checkpoint has names of the network without a prefix. Otherwise, the prefix is the
/// one under which the most tensors of the network are found, under two conditions:
///
/// - Under any prefix that does not begin with this one, fewer than half as many tensors are found. Otherwise, that
///   prefix could be another version of the network, such as an average.
/// - The modules above the prefix only wrap the network, see [`is_wrapped`]. If the checkpoint had other modules beside
///   `backbone.`, a strict load of the backbone would silently ignore them.
pub(crate) fn wrapper<'s>(selection: &'s Selection, signature: &Signature) -> &'s str {
    if selection.names().any(|name| required(selection, signature, name).is_some()) {
        return "";
    }
    let found = prefixes(selection, signature);
    let Some((prefix, best)) = found.iter().max_by_key(|(_, found)| found.score()) else { return "" };
    let mut others = found.iter().filter(|(other, _)| *other != prefix);
    let is_ambiguous = others.any(|(other, found)| {
        found.score() == best.score() || (!other.starts_with(prefix) && found.rivals(best))
    });
    if is_ambiguous || !is_wrapped(prefix, selection.names()) { "" } else { prefix }
}

/// Returns the tensors of the network that are found under each prefix. A prefix without any is left out.
pub(super) fn prefixes<'s>(selection: &'s Selection, signature: &Signature) -> BTreeMap<&'s str, Found> {
    let mut prefixes = BTreeMap::<_, Found>::new();
    for (name, tensor) in selection.tensors() {
        for (prefix, rest) in splits(name) {
            let Some(expected) = required(selection, signature, rest) else { continue };
            let found = prefixes.entry(prefix).or_default();
            found.named.insert(expected.tensor);
            if tensor.dims() == expected.shape {
                found.equal.insert(expected.tensor);
            }
        }
    }
    prefixes
}

/// Returns the required tensor of the network with this name, given without prefixes.
fn required<'g>(selection: &Selection, signature: &'g Signature, name: &str) -> Option<&'g Expected> {
    let name = selection.name_in(signature, name)?;
    signature.get(name).filter(|expected| expected.required)
}
