//! Candle's convolution, with gradients that are composed here.
//!
//! On GPUs, candle reads a kernel that is not contiguous at wrong places (candle#3836, candle#3853). Its own gradient
//! of the weight is a convolution with such a kernel: the transposed gradient of the output. Its gradient of the input
//! has a wrong shape if rows and columns are left over in different numbers.

use candle_core::{Result, Tensor};

use crate::function::function;

/// The settings of candle's convolution, the same for rows and columns.
#[derive(Clone, Copy)]
pub(super) struct CandleConvolution {
    pub padding: usize,
    pub stride: usize,
    pub dilation: usize,
    pub groups: usize,
}

impl CandleConvolution {
    /// Convolves `[batch, in_channels, height, width]` with a weight `[out_channels, in_channels / groups, rows,
    /// columns]`. Differentiable in both.
    pub fn run(self, input: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let weight = weight.contiguous()?;
        let Self { padding, stride, dilation, groups } = self;
        let output = input.detach().conv2d(&weight.detach(), padding, stride, dilation, groups)?;
        let operands: Vec<Tensor> =
            [input, &weight].into_iter().filter(|operand| operand.track_op()).cloned().collect();
        if operands.is_empty() {
            return Ok(output);
        }
        let (input, weight) = (input.clone(), weight.clone());
        function(&operands, output, move |grad| {
            let mut gradients = Vec::new();
            if input.track_op() {
                gradients.push(Some(self.input_gradient(&input, &weight.detach(), grad)?));
            }
            if weight.track_op() {
                gradients.push(Some(self.weight_gradient(&input.detach(), &weight, grad)?));
            }
            Ok(gradients)
        })
    }

    fn input_gradient(self, input: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let groups = grad.chunk(self.groups, 1)?.into_iter().zip(weight.chunk(self.groups, 0)?);
        let gradients = groups.map(|(grad, weight)| {
            let (grad, weight) = (grad.contiguous()?, weight.contiguous()?);
            let padded = grad.conv_transpose2d(&weight, 0, 0, self.stride, self.dilation)?;
            let rows = without_padding(&padded, 2, self.padding, input.dim(2)?)?;
            without_padding(&rows, 3, self.padding, input.dim(3)?)
        });
        Tensor::cat(&gradients.collect::<Result<Vec<_>>>()?, 1)
    }

    fn weight_gradient(self, input: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let groups = input.chunk(self.groups, 1)?.into_iter().zip(grad.chunk(self.groups, 1)?);
        let gradients = groups.map(|(input, grad)| {
            let channels_first = |x: Tensor| x.transpose(0, 1)?.contiguous();
            let (input, grad) = (channels_first(input)?, channels_first(grad)?);
            // The stride of the convolution is the distance of the gradient's taps, and the reverse.
            let gradient = input.conv2d(&grad, self.padding, self.dilation, self.stride, 1)?;
            // Rows and columns of the input that no window reads lead to further taps.
            gradient.narrow(2, 0, weight.dim(2)?)?.narrow(3, 0, weight.dim(3)?)?.transpose(0, 1)
        });
        Tensor::cat(&gradients.collect::<Result<Vec<_>>>()?, 0)
    }
}

/// Returns the `size` elements after the padding along a dimension. Elements that no window has read are zero.
fn without_padding(padded: &Tensor, dim: usize, padding: usize, size: usize) -> Result<Tensor> {
    let missing = (padding + size).saturating_sub(padded.dim(dim)?);
    padded.pad_with_zeros(dim, 0, missing)?.narrow(dim, padding, size)
}
