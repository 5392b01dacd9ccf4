//! The matrix product of a linear layer, with its bias and activation.

use std::fmt;

use candle_core::{Result, Tensor};

use super::epilogue::{EpilogueOp, NotFused, fuse_activation, write_rest};
use crate::kernels::activation::{self, Activation};
use crate::kernels::empty::nothing;
use crate::kernels::linear;

/// `activation(input · weightᵀ + bias)` for an input `[…, in_features]` and a weight
/// `[out_features, in_features]`.
pub(crate) struct Product {
    pub input: Tensor,
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    activation: Activation,
}

impl Product {
    pub(crate) fn new(input: Tensor, weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { input, weight, bias, activation: Activation::Identity }
    }

    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), NotFused> {
        fuse_activation(&mut self.activation, op)
    }

    pub(super) fn run(&self) -> Result<Tensor> {
        let (shape, bias) = (self.shape()?, self.bias.as_ref());
        let operands = || [Some(&self.input), Some(&self.weight), bias].into_iter().flatten();
        if shape.contains(&0) {
            return nothing(&operands().collect::<Vec<_>>(), shape);
        }
        if linear::takes(operands()) {
            return linear::linear(&self.rows()?, &self.weight, bias, self.activation)?.reshape(shape);
        }
        let mut output = self.rows()?.matmul(&self.weight.t()?)?.reshape(shape)?;
        if let Some(bias) = bias {
            output = output.broadcast_add(bias)?;
        }
        activation::apply(self.activation, &output)
    }

    /// The layer, as errors name it.
    pub(super) fn label(&self) -> String {
        match self.weight.dims() {
            [outputs, inputs] => format!("Linear {inputs}→{outputs}"),
            _ => "Linear".to_string(),
        }
    }

    /// `[…, out_features]`
    fn shape(&self) -> Result<Vec<usize>> {
        let mut shape = self.input.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        Ok(shape)
    }

    /// The input as one matrix `[rows, in_features]` of all leading dimensions.
    fn rows(&self) -> Result<Tensor> {
        let rows = self.input.dims().iter().rev().skip(1).product::<usize>();
        self.input.reshape((rows, self.weight.dim(1)?))
    }
}

/// As traces name it: `linear + bias + relu`.
impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("linear")?;
        if self.bias.is_some() {
            f.write_str(" + bias")?;
        }
        write_rest(f, None, self.activation)
    }
}
