//! The matrix product of a linear layer, with its bias and activation.

use std::fmt;

use candle_core::{Result, Tensor};

use crate::kernels::activation;
use crate::kernels::conv::Epilogue;
use crate::kernels::internal::nothing;
use crate::kernels::linear;

/// `input · weightᵀ` for an input `[…, in_features]` and a weight `[out_features, in_features]`.
pub(crate) struct Product {
    pub input: Tensor,
    pub weight: Tensor,
}

impl Product {
    /// The product with the epilogue's shift and activation.
    pub(super) fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        let shape = self.shape()?;
        if shape.contains(&0) {
            let operands = [Some(&self.input), Some(&self.weight), epilogue.shift.as_ref()];
            return nothing(&operands.into_iter().flatten().collect::<Vec<_>>(), shape);
        }
        let operands = [&self.input, &self.weight].into_iter().chain(&epilogue.shift);
        if linear::takes(operands) {
            let (weight, bias) = (&self.weight, epilogue.shift.as_ref());
            return linear::linear(&self.rows()?, weight, bias, epilogue.activation)?.reshape(shape);
        }
        let mut output = self.rows()?.matmul(&self.weight.t()?)?.reshape(shape)?;
        if let Some(bias) = &epilogue.shift {
            output = output.broadcast_add(bias)?;
        }
        activation::apply(epilogue.activation, &output)
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

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight.dims() {
            [outputs, inputs] => write!(f, "Linear {inputs}→{outputs}"),
            _ => f.write_str("Linear"),
        }
    }
}
