//! 1-d convolution. A sequence is treated as an image of height 1.

use candle_core::{Result, Tensor, bail};

use crate::relay::reshape;

use super::image_form::ImageForm;
use super::{ConvGeometry, Epilogue};

/// Convolves sequences and applies the epilogue in the same kernel.
///
/// - `input`: `[batch, in_channels, length]`
/// - `weight`: `[out_channels, in_channels / groups, kernel length]`
/// - the epilogue's residual and the result: `[batch, out_channels, length]`
///
/// Uses the groups of `geometry` and its settings for the second axis (width). Ignores the settings for the first axis.
/// Behaves like [`conv2d`](super::conv2d) in all other respects. To keep a packed weight between calls, call
/// [`conv2d`](super::conv2d) on `[batch, in_channels, 1, length]` with a weight that has been reshaped once.
///
/// # Errors
/// Fails under the same conditions as [`conv2d`](super::conv2d).
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{ConvGeometry, Epilogue, conv1d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(0f32, 1., (2, 8, 100), &Device::Cpu)?;
/// let weight = Tensor::randn(0f32, 1., (16, 8, 5), &Device::Cpu)?;
/// let y = conv1d(&x, &weight, &ConvGeometry::new().with_stride(2).with_padding(2), &Epilogue::new())?;
/// assert_eq!(y.dims(), [2, 16, 50]);
/// # Ok(())
/// # }
/// ```
pub fn conv1d(
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    for (name, tensor) in
        [("input", Some(input)), ("weight", Some(weight)), ("residual", epilogue.residual.as_ref())]
    {
        if let Some(tensor) = tensor.filter(|tensor| tensor.rank() != 3) {
            bail!("conv1d: expected the {name} to have 3 dimensions, found {:?}", tensor.dims())
        }
    }
    let geometry = ConvGeometry {
        stride: [1, geometry.stride[1]],
        padding: [[0; 2], geometry.padding[1]],
        dilation: [1, geometry.dilation[1]],
        groups: geometry.groups,
    };
    let (out_channels, in_channels, kernel) = weight.dims3()?;
    let weight = reshape(weight, (out_channels, in_channels, 1, kernel))?;
    ImageForm::Row.convolve(input, &weight, &geometry, epilogue, None)
}
