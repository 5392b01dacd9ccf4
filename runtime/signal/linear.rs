//! The matrix product of a linear layer, with its bias and activation.

use std::fmt;

use candle_core::{Result, Tensor};

use crate::kernels::activation;
use crate::kernels::conv::Epilogue;

/// `input · weightᵀ` for an input `[…, in_features]` and a weight `[out_features, in_features]`.
pub(crate) struct Product {
    pub input: Tensor,
    pub weight: Tensor,
}

impl Product {
    /// The product with the epilogue's shift and activation.
    pub(super) fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        let mut output = self.product()?;
        if let Some(bias) = &epilogue.shift {
            output = output.broadcast_add(bias)?;
        }
        activation::apply(epilogue.activation, &output)
    }

    /// One matrix product over all leading dimensions.
    fn product(&self) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let mut shape = self.input.dims().to_vec();
        let rows = shape.iter().rev().skip(1).product::<usize>();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        if rows == 0 || inputs == 0 {
            return Tensor::zeros(shape, self.input.dtype(), self.input.device());
        }
        self.input.reshape((rows, inputs))?.matmul(&self.weight.t()?)?.reshape(shape)
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
