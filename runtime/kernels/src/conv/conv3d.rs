//! 3-d convolution and transposed convolution. The frames of videos are treated as images.

use candle_core::{Result, Tensor, bail};

use crate::relay::reshape;

use super::axes::Axes;
use super::image_form::ImageForm;
use super::shape::{check_channels, check_dtype_and_device, check_epilogue, check_geometry};
use super::{ConvGeometry, Epilogue, TransposeGeometry, transposed};

/// Convolves videos and applies the epilogue in the same kernel.
///
/// - `input`: `[batch, in_channels, depth, height, width]`
/// - `weight`: `[out_channels, in_channels / groups, kernel depth, kernel height, kernel width]`
/// - the epilogue's residual and the result: `[batch, out_channels, depth, height, width]`; the sizes are those of
///   [`ConvGeometry::output_size`]
///
/// Behaves like [`conv2d`](super::conv2d) in all other respects. Unless the kernel covers a single pixel of each frame,
/// the frames of every window are first copied to the channels of an image, which takes `kernel depth` times the memory
/// of the input.
///
/// # Errors
/// Fails under the same conditions as [`conv2d`](super::conv2d).
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{ConvGeometry, Epilogue, conv3d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(0f32, 1., (2, 3, 8, 16, 16), &Device::Cpu)?;
/// let weight = Tensor::randn(0f32, 1., (16, 3, 3, 3, 3), &Device::Cpu)?;
/// let geometry = ConvGeometry { stride: [1, 2, 2], ..ConvGeometry::new().with_padding(1) };
/// let y = conv3d(&x, &weight, &geometry, &Epilogue::new())?;
/// assert_eq!(y.dims(), [2, 16, 8, 8, 8]);
/// # Ok(())
/// # }
/// ```
pub fn conv3d(
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry<3>,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    const NAME: &str = "conv3d";
    let Sizes { batch, input: size, channels, kernel } = sizes(NAME, input, weight)?;
    check_geometry(geometry)?;
    check_channels(NAME, input.dims(), weight.dims(), geometry.groups)?;
    check_dtype_and_device(NAME, "weight", weight, input)?;
    let Some([depth, height, width]) = geometry.output_size(size, kernel) else {
        bail!(
            "{NAME}: expected an input of at least the kernel's size, found {:?} with padding {:?} for a weight {:?} \
             with dilation {:?}",
            input.dims(),
            geometry.padding,
            weight.dims(),
            geometry.dilation
        )
    };
    check_epilogue(NAME, epilogue, input, &[batch, channels[0], depth, height, width])?;
    let (form, plane) = ImageForm::of_convolution(Axes::Three, kernel, geometry);
    let weight = reshape(weight, form.weight_dims(channels, kernel).to_vec())?;
    form.convolve(input, &weight, &plane, epilogue, None)
}

/// Computes the transposed convolution of videos and adds a bias.
///
/// - `input`: `[batch, in_channels, depth, height, width]`
/// - `weight`: `[in_channels, out_channels / groups, kernel depth, kernel height, kernel width]`
/// - `bias`: `[out_channels]`
/// - returns `[batch, out_channels, depth, height, width]`; the sizes are those of
///   [`TransposeGeometry::output_size`]
///
/// Behaves like [`conv_transpose2d`](super::conv_transpose2d) in all other respects.
///
/// # Errors
/// Fails under the same conditions as [`conv_transpose2d`](super::conv_transpose2d).
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{TransposeGeometry, conv_transpose3d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(0f32, 1., (1, 8, 4, 7, 7), &Device::Cpu)?;
/// let weight = Tensor::randn(0f32, 1., (8, 4, 2, 2, 2), &Device::Cpu)?;
/// let y = conv_transpose3d(&x, &weight, None, &TransposeGeometry::new().with_stride(2))?;
/// assert_eq!(y.dims(), [1, 4, 8, 14, 14]);
/// # Ok(())
/// # }
/// ```
pub fn conv_transpose3d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &TransposeGeometry<3>,
) -> Result<Tensor> {
    const NAME: &str = "conv_transpose3d";
    let Sizes { input: size, channels, kernel, .. } = sizes(NAME, input, weight)?;
    geometry.check()?;
    transposed::check_channels(NAME, input.dims(), weight.dims(), geometry.groups)?;
    check_dtype_and_device(NAME, "weight", weight, input)?;
    transposed::check_bias(NAME, bias, input, channels[1].saturating_mul(geometry.groups))?;
    let Some([depth, ..]) = geometry.output_size(size, kernel) else {
        bail!(
            "{NAME}: expected an output that is not empty, found an input {:?} with {geometry:?} for a weight {:?}",
            input.dims(),
            weight.dims()
        )
    };
    let (form, plane) = ImageForm::of_transposed(Axes::Three, kernel, geometry);
    let weight = reshape(weight, form.weight_dims(channels, kernel).to_vec())?;
    form.convolve_transposed(input, &weight, bias, &plane, depth)
}

/// The sizes of an input and a weight.
struct Sizes {
    batch: usize,
    /// `[depth, height, width]` of the input.
    input: [usize; 3],
    /// The first two dimensions of the weight.
    channels: [usize; 2],
    /// `[depth, height, width]` of the kernel.
    kernel: [usize; 3],
}

/// Fails unless the input and the weight have five dimensions and the kernel is not empty.
fn sizes(name: &str, input: &Tensor, weight: &Tensor) -> Result<Sizes> {
    match (Axes::Three.sizes(input.dims()), Axes::Three.sizes(weight.dims())) {
        (Some((batch, _, input)), Some((first, second, kernel))) if !kernel.contains(&0) => {
            Ok(Sizes { batch, input, channels: [first, second], kernel })
        }
        (Some(_), Some((_, _, kernel))) => {
            bail!("{name}: expected a kernel that is not empty, found {kernel:?}")
        }
        _ => bail!(
            "{name}: expected an input and a weight with 5 dimensions, found an input {:?} and a weight {:?}",
            input.dims(),
            weight.dims()
        ),
    }
}
