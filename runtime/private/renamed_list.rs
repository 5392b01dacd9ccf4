//! Visits a list of layers whose names in checkpoints are not their indices.

use candle_core::Tensor;

use crate::layers::BatchNorm;
use crate::module::{Mode, Module, Visitor, VisitorMut};

/// Visits a list of layers under new names. `name` returns the new name of the layer at an index.
pub fn visit_renamed<'a>(
    list: &'a dyn Module,
    visitor: &mut dyn Visitor<'a>,
    name: &dyn Fn(usize) -> String,
) {
    list.visit(&mut RenamingVisitor { visitor, name });
}

/// Like [`visit_renamed`], with a visitor that may replace tensors.
pub fn visit_renamed_mut(
    list: &mut dyn Module,
    visitor: &mut dyn VisitorMut,
    name: &dyn Fn(usize) -> String,
) {
    list.visit_mut(&mut RenamingVisitor { visitor, name });
}

/// A visitor of a list that passes each layer to `visitor` under the name that `name` returns.
struct RenamingVisitor<'v, V: ?Sized> {
    visitor: &'v mut V,
    name: &'v dyn Fn(usize) -> String,
}

impl<V: ?Sized> RenamingVisitor<'_, V> {
    /// Returns the new name of the layer whose name in the list is `index`.
    fn rename(&self, index: &str) -> String {
        index.parse().map_or_else(|_| index.to_string(), self.name)
    }
}

impl<'a> Visitor<'a> for RenamingVisitor<'_, dyn Visitor<'a> + '_> {
    fn parameter(&mut self, name: &str, tensor: &'a Tensor) {
        self.visitor.parameter(&self.rename(name), tensor);
    }

    fn buffer(&mut self, name: &str, tensor: &'a Tensor) {
        self.visitor.buffer(&self.rename(name), tensor);
    }

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        self.visitor.child(&self.rename(name), child);
    }

    fn optional_buffer(&mut self, name: &str, tensor: &'a Tensor) {
        self.visitor.optional_buffer(&self.rename(name), tensor);
    }
}

impl VisitorMut for RenamingVisitor<'_, dyn VisitorMut + '_> {
    fn parameter(&mut self, name: &str, tensor: &mut Tensor) {
        self.visitor.parameter(&self.rename(name), tensor);
    }

    fn buffer(&mut self, name: &str, tensor: &mut Tensor) {
        self.visitor.buffer(&self.rename(name), tensor);
    }

    fn pinned_mode(&mut self, pinned: &mut Option<Mode>) {
        self.visitor.pinned_mode(pinned);
    }

    fn cannot_pin(&mut self) {
        self.visitor.cannot_pin();
    }

    fn batch_norm(&mut self, norm: &mut BatchNorm) {
        self.visitor.batch_norm(norm);
    }

    fn child(&mut self, name: &str, child: &mut dyn Module) {
        self.visitor.child(&self.rename(name), child);
    }
}
