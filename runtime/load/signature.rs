//! The names and shapes that a network expects in a checkpoint.

use std::collections::{HashMap, HashSet};

use super::wrapper::without_inner_wrappers;

/// The tensors of a network, by name.
#[derive(Default)]
pub(crate) struct Signature {
    tensors: HashMap<String, Expected>,
    /// The network's names, keyed by their form without inner wrappers: `encoder.weight` for
    /// `encoder._orig_mod.weight`. `None` if several names have the same form.
    unwrapped: HashMap<String, Option<String>>,
    /// The ids ([`Expected::tensor`]) of the required tensors.
    required: HashSet<usize>,
}

/// A tensor of a network.
pub(crate) struct Expected {
    pub shape: Vec<usize>,
    /// The tensor's id. Tied names share one tensor, and therefore one id.
    pub tensor: usize,
    /// Whether a checkpoint without the tensor is incomplete.
    pub required: bool,
}

impl Signature {
    /// Adds a tensor. Each name must be added once.
    pub fn insert(&mut self, name: &str, expected: Expected) {
        if expected.required {
            self.required.insert(expected.tensor);
        }
        let unwrapped = self.unwrapped.entry(without_inner_wrappers(name).into_owned());
        unwrapped.and_modify(|several| *several = None).or_insert_with(|| Some(name.to_owned()));
        self.tensors.insert(name.to_owned(), expected);
    }

    pub fn get(&self, name: &str) -> Option<&Expected> {
        self.tensors.get(name)
    }

    /// Returns `name` if the network has it.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.tensors.get_key_value(name).map(|(name, _)| name.as_str())
    }

    /// Returns the only name of the network that differs from `name` at most by inner wrappers.
    pub fn find_unwrapped(&self, name: &str) -> Option<&str> {
        self.unwrapped.get(&*without_inner_wrappers(name))?.as_deref()
    }

    /// Returns how many tensors a complete checkpoint has, not counting optional tensors. Tied tensors count once.
    pub fn required(&self) -> usize {
        self.required.len()
    }
}
