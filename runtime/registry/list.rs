//! Lists a network's tensors and modules with their dotted paths.

use std::collections::HashSet;

use candle_core::{Tensor, TensorId};

use crate::module::{Module, Visitor};

/// Whether a tensor is a parameter or a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TensorKind {
    Parameter,
    Buffer,
}

/// A tensor of a network.
pub(super) struct Entry<'a> {
    pub path: String,
    pub kind: TensorKind,
    pub tensor: &'a Tensor,
    /// Whether the tensor may be missing from a checkpoint.
    pub optional: bool,
}

impl<'a> Entry<'a> {
    /// Returns an entry for a tensor that the network uses but its registry does not list.
    pub fn unregistered(path: &str, tensor: &'a Tensor) -> Self {
        Self { path: path.to_owned(), kind: TensorKind::Buffer, tensor, optional: false }
    }
}

/// Lists every tensor under each of its paths.
pub(super) fn all_paths<M: Module + ?Sized>(network: &M) -> Vec<Entry<'_>> {
    let mut lister = TensorLister::default();
    network.visit(&mut lister);
    lister.found
}

/// Lists the parameters or the buffers, each under its first path.
pub(super) fn first_paths<M: Module + ?Sized>(network: &M, kind: TensorKind) -> Vec<(String, Tensor)> {
    let mut seen = HashSet::<TensorId>::new();
    let mut entries = all_paths(network);
    entries.retain(|entry| seen.insert(entry.tensor.id()));
    let matching = entries.into_iter().filter(|entry| entry.kind == kind);
    matching.map(|entry| (entry.path, entry.tensor.clone())).collect()
}

/// Lists every module with its path: first the network itself, whose path is empty, then the modules in it. A module
/// precedes its child modules.
pub(super) fn modules(network: &dyn Module) -> Vec<(String, &dyn Module)> {
    let mut lister = ModuleLister { path: String::new(), found: vec![(String::new(), network)] };
    network.visit(&mut lister);
    lister.found
}

/// Returns `prefix.name`, or `name` if the prefix is empty.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}

/// A visitor that lists every tensor.
#[derive(Default)]
struct TensorLister<'a> {
    path: String,
    found: Vec<Entry<'a>>,
}

impl<'a> TensorLister<'a> {
    fn push(&mut self, name: &str, kind: TensorKind, tensor: &'a Tensor, optional: bool) {
        self.found.push(Entry { path: join(&self.path, name), kind, tensor, optional });
    }
}

impl<'a> Visitor<'a> for TensorLister<'a> {
    fn parameter(&mut self, name: &str, tensor: &'a Tensor) {
        self.push(name, TensorKind::Parameter, tensor, false);
    }

    fn buffer(&mut self, name: &str, tensor: &'a Tensor) {
        self.push(name, TensorKind::Buffer, tensor, false);
    }

    fn optional_buffer(&mut self, name: &str, tensor: &'a Tensor) {
        self.push(name, TensorKind::Buffer, tensor, true);
    }

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        let path = join(&self.path, name);
        let outer = std::mem::replace(&mut self.path, path);
        child.visit(self);
        self.path = outer;
    }
}

/// A visitor that lists every module.
struct ModuleLister<'a> {
    path: String,
    found: Vec<(String, &'a dyn Module)>,
}

impl<'a> Visitor<'a> for ModuleLister<'a> {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        // A field that is `None` is no module of the network.
        if !child.is_present() {
            return;
        }
        let path = join(&self.path, name);
        self.found.push((path.clone(), child));
        let outer = std::mem::replace(&mut self.path, path);
        child.visit(self);
        self.path = outer;
    }
}
