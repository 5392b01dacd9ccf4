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
        let mut output = match self.is_empty() {
            true => self.zeros(epilogue.shift.as_ref())?,
            false => self.product()?,
        };
        if let Some(bias) = &epilogue.shift {
            output = output.broadcast_add(bias)?;
        }
        activation::apply(epilogue.activation, &output)
    }

    /// Whether there is nothing to multiply.
    fn is_empty(&self) -> bool {
        self.input.elem_count() == 0
    }

    /// `[…, out_features]`
    fn shape(&self) -> Result<Vec<usize>> {
        let mut shape = self.input.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        Ok(shape)
    }

    /// One matrix product over all leading dimensions.
    fn product(&self) -> Result<Tensor> {
        let inputs = self.weight.dim(1)?;
        let rows = self.input.elem_count() / inputs;
        self.input.reshape((rows, inputs))?.matmul(&self.weight.t()?)?.reshape(self.shape()?)
    }

    /// The sums over nothing, from which a gradient of zeros reaches every operand, as in PyTorch: candle's
    /// own operations let go of one operand where a tensor is empty.
    fn zeros(&self, bias: Option<&Tensor>) -> Result<Tensor> {
        let shape = self.shape()?;
        let mut sum = (self.input.sum_all()? + self.weight.sum_all()?)?;
        // Where there are rows, the bias is added to each of them.
        if let Some(bias) = bias.filter(|_| shape.contains(&0)) {
            sum = (sum + bias.sum_all()?)?;
        }
        // By a tensor, as candle takes a factor of zero for the end of the graph.
        sum.mul(&sum.zeros_like()?)?.broadcast_as(shape)?.contiguous()
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
