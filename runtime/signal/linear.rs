//! The matrix product of a linear layer, with its bias and activation.

use std::fmt;

use candle_core::{Result, Tensor};

use crate::kernels::conv::Epilogue;
use crate::kernels::linear::linear;

/// `input · weightᵀ` for an input `[…, in_features]` and a weight `[out_features, in_features]`.
pub(crate) struct Product {
    pub input: Tensor,
    pub weight: Tensor,
}

impl Product {
    /// The product with the epilogue's shift and activation.
    pub(super) fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        linear(&self.input, &self.weight, epilogue.shift.as_ref(), epilogue.activation)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight.dims() {
            [outputs, inputs] => write!(f, "Linear {inputs}→{outputs}"),
            _ => f.write_str("Linear"),
        }
    }
}
