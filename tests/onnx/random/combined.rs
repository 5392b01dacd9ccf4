//! Layers that a function calls.

use std::borrow::Cow;
use std::sync::Arc;

use sconce::prelude::*;
use sconce::{Visitor, VisitorMut};

type Function = dyn Fn(&[Sequential], Signal, Mode) -> Signal + Send + Sync;

/// A layer that consists of a function and the layers that the function calls.
pub struct Combined {
    name: &'static str,
    layers: Vec<Sequential>,
    function: Arc<Function>,
}

impl Combined {
    pub fn new(
        name: &'static str,
        layers: Vec<Sequential>,
        function: impl Fn(&[Sequential], Signal, Mode) -> Signal + Send + Sync + 'static,
    ) -> Self {
        Self { name, layers, function: Arc::new(function) }
    }
}

impl Module for Combined {
    fn kind(&self) -> Cow<'static, str> {
        self.name.into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.layers.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.layers.visit_mut(visitor);
    }

    fn share(&self) -> Self {
        Self { name: self.name, layers: self.layers.share(), function: self.function.clone() }
    }
}

impl Forward for Combined {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        (self.function)(&self.layers, x, mode)
    }
}
