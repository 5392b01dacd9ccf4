//! Replaces a network's tensors.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId};

use crate::Result;
use crate::module::{Module, VisitorMut};

use super::list::{TensorKind, join};

/// A function that may replace a tensor, given its path and kind.
type ChangeTensor<'a> = &'a mut dyn FnMut(&str, TensorKind, &mut Tensor) -> Result<()>;

/// Passes every tensor to `change`, once for each of its names, until `change` fails.
///
/// # Errors
/// Returns the error of `change`, with the tensor's path.
pub(crate) fn for_each_mut<M: Module + ?Sized>(network: &mut M, change: ChangeTensor<'_>) -> Result<()> {
    let mut visitor = TensorVisitor { path: String::new(), change, result: Ok(()) };
    network.visit_mut(&mut visitor);
    visitor.result
}

/// Maps old tensors to new ones, so that a tensor with several names is replaced with one new tensor.
#[derive(Default)]
pub(crate) struct Replacements(HashMap<TensorId, Tensor>);

impl Replacements {
    /// Returns the replacement of `old`. The first call for `old` calls `make` to create it.
    pub fn get_or_make(
        &mut self,
        old: &Tensor,
        make: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if let Some(new) = self.get(old) {
            return Ok(new.clone());
        }
        let new = make(old)?;
        self.0.insert(old.id(), new.clone());
        Ok(new)
    }

    pub fn get(&self, old: &Tensor) -> Option<&Tensor> {
        self.0.get(&old.id())
    }
}

/// A visitor that passes each tensor to `change`, until `change` fails.
struct TensorVisitor<'a> {
    path: String,
    change: ChangeTensor<'a>,
    result: Result<()>,
}

impl TensorVisitor<'_> {
    fn change(&mut self, name: &str, kind: TensorKind, tensor: &mut Tensor) {
        if self.result.is_ok() {
            let path = join(&self.path, name);
            self.result = (self.change)(&path, kind, tensor).map_err(|error| error.at(&path));
        }
    }
}

impl VisitorMut for TensorVisitor<'_> {
    fn parameter(&mut self, name: &str, tensor: &mut Tensor) {
        self.change(name, TensorKind::Parameter, tensor);
    }

    fn buffer(&mut self, name: &str, tensor: &mut Tensor) {
        self.change(name, TensorKind::Buffer, tensor);
    }

    fn child(&mut self, name: &str, child: &mut dyn Module) {
        let path = join(&self.path, name);
        let outer = std::mem::replace(&mut self.path, path);
        child.visit_mut(self);
        self.path = outer;
    }
}
