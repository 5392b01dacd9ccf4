//! Finds the names of a network in the checkpoint of a larger module.

use std::collections::{BTreeMap, HashSet};

use super::selection::Selection;
use super::signature::{Expected, Signature};
use super::wrapper::{is_wrapped, splits};

/// The required tensors of a network that a checkpoint has under one prefix, by their ids ([`Expected::tensor`]). Tied
/// tensors have one id.
#[derive(Default)]
pub(super) struct Found {
    /// The ids of the tensors that have the same name and shape in the checkpoint.
    matching: HashSet<usize>,
    /// The ids of the tensors that have the same name in the checkpoint, and any shape.
    named: HashSet<usize>,
}

impl Found {
    /// Returns the number of tensors with the same name and shape, and the number of tensors with the same name.
    fn score(&self) -> (usize, usize) {
        (self.matching.len(), self.named.len())
    }

    /// Returns `true` if `matching` has at least one tensor, and at least half as many tensors as the `matching` of
    /// `best`.
    fn rivals(&self, best: &Self) -> bool {
        !self.matching.is_empty() && 2 * self.matching.len() >= best.matching.len()
    }

    /// Returns `true` if all required tensors of the network have the same name and shape in the checkpoint.
    pub fn is_complete(&self, signature: &Signature) -> bool {
        self.matching.len() == signature.required()
    }
}

/// Returns the prefix of the network's names in a checkpoint of a wrapped network. It is empty or ends with a dot.
///
/// Returns an empty prefix if the checkpoint has names of the network without a prefix. Otherwise, returns the prefix
/// with the most tensors of the network if two conditions hold, and an empty prefix if not:
///
/// - No other prefix has as many tensors, and every prefix that does not begin with this one has fewer than half as
///   many tensors with the same name and shape. Otherwise, the other prefix could belong to a different version of
///   the network, such as its average (EMA).
/// - Every module that contains the network is only a wrapper, see [`is_wrapped`]. If the checkpoint had other modules
///   beside `backbone.`, a strict load of the backbone would silently ignore them.
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

/// Returns the tensors of the network that are found under each prefix. Leaves out prefixes without tensors.
pub(super) fn prefixes<'s>(selection: &'s Selection, signature: &Signature) -> BTreeMap<&'s str, Found> {
    let mut prefixes = BTreeMap::<_, Found>::new();
    for (name, tensor) in selection.tensors() {
        for (prefix, rest) in splits(name) {
            let Some(expected) = required(selection, signature, rest) else { continue };
            let found = prefixes.entry(prefix).or_default();
            found.named.insert(expected.tensor);
            if tensor.dims() == expected.shape {
                found.matching.insert(expected.tensor);
            }
        }
    }
    prefixes
}

/// Returns the network's tensor for `name`, a name in the checkpoint without prefixes. Returns `None` if the network
/// lacks the tensor, or if the tensor is optional.
fn required<'g>(selection: &Selection, signature: &'g Signature, name: &str) -> Option<&'g Expected> {
    let name = selection.name_in(signature, name)?;
    signature.get(name).filter(|expected| expected.required)
}
