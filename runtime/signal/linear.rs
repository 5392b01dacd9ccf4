//! The matrix product of a linear layer, with its bias and activation.

use std::fmt;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernels::activation::Activation;
use crate::kernels::linear::{LinearCache, linear};
use crate::kernels::trace::Work;

use super::epilogue::{EpilogueOp, FuseError, fuse_activation, write_residual_and_activation};
use super::launch_work::tensor_bytes;
use super::{Value, matrix_products};

/// `activation(input · weightᵀ + bias)`, with an input `[…, in_features]` and a weight
/// `[out_features, in_features]`.
#[derive(Clone)]
pub(crate) struct Product {
    pub input: Tensor,
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    activation: Activation,
    /// The cache for the packed weight, if the values of the weight cannot change.
    cache: Option<Arc<LinearCache>>,
}

impl Product {
    pub(crate) fn new(
        input: Tensor,
        weight: Tensor,
        bias: Option<Tensor>,
        cache: Option<Arc<LinearCache>>,
    ) -> Self {
        Self { input, weight, bias, activation: Activation::Identity, cache }
    }

    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), FuseError> {
        fuse_activation(&mut self.activation, op)
    }

    pub(super) fn run(&self) -> Result<Tensor> {
        linear(&self.input, &self.weight, self.bias.as_ref(), self.activation, self.cache.as_deref())
    }

    /// Returns the multiply-adds and the bytes of this launch, whose result is `output`.
    pub(super) fn work(&self, output: &Value) -> Work {
        let operands = [Some(&self.input), Some(&self.weight), self.bias.as_ref()];
        Work {
            multiply_adds: matrix_products(self.input.dims(), output.shape().dims()),
            bytes_read: operands.into_iter().flatten().map(tensor_bytes).fold(0, u64::saturating_add),
            bytes_written: output.byte_size(),
        }
    }

    /// Returns the layer in the form used in errors.
    pub(super) fn label(&self) -> String {
        match self.weight.dims() {
            [out_features, in_features] => format!("Linear {in_features}→{out_features}"),
            _ => "Linear".to_string(),
        }
    }
}

/// Writes the operations in the form used in traces: `linear + bias + relu`.
impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("linear")?;
        if self.bias.is_some() {
            f.write_str(" + bias")?;
        }
        write_residual_and_activation(f, None, self.activation)
    }
}
