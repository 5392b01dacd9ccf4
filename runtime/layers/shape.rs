//! Layers that move no numbers: flatten and identity.

use super::{own_config, stateless};
use crate::Result;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

/// Joins the dimensions `start_dim..=end_dim` into one; by default all but the batch.
#[derive(Clone, Copy, Debug)]
pub struct Flatten {
    start_dim: isize,
    end_dim: isize,
}

impl Default for Flatten {
    fn default() -> Self {
        Self { start_dim: 1, end_dim: -1 }
    }
}

impl Flatten {
    pub fn config() -> Self {
        Self::default()
    }

    pub fn start_dim(mut self, dim: isize) -> Self {
        self.start_dim = dim;
        self
    }

    pub fn end_dim(mut self, dim: isize) -> Self {
        self.end_dim = dim;
        self
    }

    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(Flatten, "Flatten", |this| format!("start_dim={}, end_dim={}", this.start_dim, this.end_dim));
own_config!(Flatten);

impl Forward for Flatten {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        ops::flatten_range(x, self.start_dim, self.end_dim)
    }
}

/// Answers with its input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Identity {
    pub fn config() -> Self {
        Self
    }

    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

stateless!(Identity, "Identity");
own_config!(Identity);

impl Forward for Identity {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x
    }
}
