//! 3-d convolution and transposed convolution. The frames of videos are treated as images.

use candle_core::{Result, Tensor, bail};

use super::axes::Axes;
use super::image_form::ImageForm;
use super::shape::check_geometry;
use super::{ConvGeometry, Epilogue, TransposeGeometry};

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
    let (channels, kernel) = sizes("conv3d", input, weight)?;
    check_geometry(geometry)?;
    if let Some(residual) = epilogue.residual.as_ref().filter(|residual| residual.rank() != 5) {
        bail!("conv3d: expected the residual to have 5 dimensions, found {:?}", residual.dims())
    }
    let (form, plane) = ImageForm::of_convolution(Axes::Three, kernel, geometry);
    let weight = weight.reshape(&form.weight_dims(channels, kernel))?;
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
    let (channels, kernel) = sizes(NAME, input, weight)?;
    geometry.check()?;
    let (_, _, depth, height, width) = input.dims5()?;
    let Some([depth, ..]) = geometry.output_size([depth, height, width], kernel) else {
        bail!(
            "{NAME}: expected an output that is not empty, found an input {:?} with {geometry:?}",
            input.dims()
        )
    };
    let (form, plane) = ImageForm::of_transposed(Axes::Three, kernel, geometry);
    let weight = weight.reshape(&form.weight_dims(channels, kernel))?;
    form.convolve_transposed(input, &weight, bias, &plane, depth)
}

/// Returns the first two dimensions of the weight and the size of the kernel. Fails unless the input and the weight
/// have five dimensions.
fn sizes(name: &str, input: &Tensor, weight: &Tensor) -> Result<([usize; 2], [usize; 3])> {
    match (input.dims(), weight.dims()) {
        ([_, _, _, _, _], &[first, second, depth, height, width]) if depth > 0 => {
            Ok(([first, second], [depth, height, width]))
        }
        (input, weight) => bail!(
            "{name}: expected an input and a weight with 5 dimensions, found an input {input:?} and a weight {weight:?}"
        ),
    }
}
