//! The transposed convolution. Its forward pass is the same computation as the input gradient of an ordinary
//! convolution.
//!
//! The gradient of the input is computed by the forward pass of the ordinary convolution. The gradient of the weight is
//! computed by the backward pass of the ordinary convolution. In this pass, the input is the gradient of the transposed
//! convolution's output, and the gradient of the output is the transposed convolution's input.

use candle_core::{CpuStorage, CudaStorage, Result, Shape, Tensor, bail};

use crate::activation::Activation;
use crate::channels::Channels;
use crate::composed_path::has_cpu_kernels;
use crate::cuda::{Operand as CudaOperand, runs_on};
use crate::element::{widened, with_element, with_elements};
use crate::operation::{CpuOperand, Operation};
use crate::relay;
use crate::simd;
use crate::trace;

use super::backward::{self, Needs, conv2d_backward};
use super::cpu::{self, Operand, Operands};
use super::geometry::each_axis;
use super::shape::check_dtype_and_device;
use super::{ConvGeometry, ConvShape, Epilogue, composed, cuda};

const NAME: &str = "conv_transpose2d";

/// The settings of a transposed convolution, per axis: `[height, width]`, or `[depth, height, width]` for videos.
///
/// The default is stride 1, no padding, dilation 1 and one group. The `with_…` methods set all axes to one
/// value.
///
/// # Examples
/// ```
/// use sconce_kernels::TransposeGeometry;
///
/// let geometry = TransposeGeometry::new().with_stride(2).with_padding(1).with_output_padding(1);
/// let expected =
///     TransposeGeometry { stride: [2; 2], padding: [1; 2], output_padding: [1; 2], ..Default::default() };
/// assert_eq!(geometry, expected);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransposeGeometry<const AXES: usize = 2> {
    /// The distance in the output between the windows of neighboring input elements.
    pub stride: [usize; AXES],
    /// The number of rows or columns removed at both ends of the output.
    pub padding: [usize; AXES],
    /// The number of rows or columns added at the end of the output. Must be smaller than the larger of the
    /// stride and the dilation.
    pub output_padding: [usize; AXES],
    /// The distance between neighboring elements of a window.
    pub dilation: [usize; AXES],
    /// The number of groups that the channels are divided into.
    pub groups: usize,
}

impl<const AXES: usize> Default for TransposeGeometry<AXES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const AXES: usize> TransposeGeometry<AXES> {
    /// Returns the default settings: stride 1, no padding, dilation 1, one group.
    pub const fn new() -> Self {
        Self {
            stride: [1; AXES],
            padding: [0; AXES],
            output_padding: [0; AXES],
            dilation: [1; AXES],
            groups: 1,
        }
    }

    /// Sets the stride of all axes.
    pub const fn with_stride(self, stride: usize) -> Self {
        Self { stride: [stride; AXES], ..self }
    }

    /// Sets the padding of all axes.
    pub const fn with_padding(self, padding: usize) -> Self {
        Self { padding: [padding; AXES], ..self }
    }

    /// Sets the output padding of all axes.
    pub const fn with_output_padding(self, output_padding: usize) -> Self {
        Self { output_padding: [output_padding; AXES], ..self }
    }

    /// Sets the dilation of all axes.
    pub const fn with_dilation(self, dilation: usize) -> Self {
        Self { dilation: [dilation; AXES], ..self }
    }

    /// Sets the number of groups.
    pub const fn with_groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Returns the size of the output for an input and a kernel of the given sizes, or `None` if the output would be
    /// empty.
    pub fn output_size(&self, input: [usize; AXES], kernel: [usize; AXES]) -> Option<[usize; AXES]> {
        let axis = |i: usize| {
            let padded = self.uncropped_size(i, input[i], kernel[i])?.checked_add(self.output_padding[i])?;
            padded.checked_sub(self.padding[i].checked_mul(2)?).filter(|size| *size > 0)
        };
        each_axis(axis)
    }

    /// Returns the size of the output along an axis before the padding is removed and the output padding is added, or
    /// `None` if a size is 0 or too large.
    fn uncropped_size(&self, axis: usize, input: usize, kernel: usize) -> Option<usize> {
        let steps = input.checked_sub(1)?.checked_mul(self.stride[axis])?;
        let reach = kernel.checked_sub(1)?.checked_mul(self.dilation[axis])?;
        steps.checked_add(reach)?.checked_add(1)
    }

    /// Returns the output padding with which the output has the size `output`, as PyTorch does for its argument
    /// `output_size`, or the range of possible sizes if there is none.
    ///
    /// # Examples
    /// ```
    /// use sconce_kernels::TransposeGeometry;
    ///
    /// let geometry = TransposeGeometry::<1>::new().with_stride(3).with_padding(1);
    /// assert_eq!(geometry.output_padding_for([4], [2], [10]), Ok([1]));
    /// assert_eq!(geometry.output_padding_for([4], [2], [12]), Err([[9, 11]]));
    /// ```
    pub fn output_padding_for(
        &self,
        input: [usize; AXES],
        kernel: [usize; AXES],
        output: [usize; AXES],
    ) -> std::result::Result<[usize; AXES], [[usize; 2]; AXES]> {
        let padding = each_axis(|i| {
            let uncropped = self.uncropped_size(i, input[i], kernel[i])?;
            let with_padding = output[i].checked_add(self.padding[i].checked_mul(2)?)?;
            with_padding.checked_sub(uncropped).filter(|padding| *padding < self.stride[i])
        });
        padding.ok_or_else(|| {
            std::array::from_fn(|i| {
                let uncropped = self.uncropped_size(i, input[i], kernel[i]).unwrap_or_default();
                let smallest = uncropped.saturating_sub(self.padding[i].saturating_mul(2));
                [smallest, smallest.saturating_add(self.stride[i].saturating_sub(1))]
            })
        })
    }

    /// Checks the settings alone, without an input or a weight.
    ///
    /// # Errors
    /// Fails if the stride, the dilation or the number of groups is 0, or if the output padding is not smaller than the
    /// larger of stride and dilation.
    pub fn check(&self) -> Result<()> {
        let Self { stride, output_padding, dilation, groups, .. } = self;
        for (name, sizes) in [("stride", stride), ("dilation", dilation)] {
            if sizes.contains(&0) {
                bail!("{NAME}: expected a {name} of at least 1, found {sizes:?}")
            }
        }
        if *groups == 0 {
            bail!("{NAME}: expected at least one group, found 0")
        }
        if (0..AXES).any(|i| output_padding[i] >= stride[i].max(dilation[i])) {
            bail!(
                "{NAME}: expected output padding smaller than the stride {stride:?} or the dilation {dilation:?}, \
                 found {output_padding:?}"
            )
        }
        Ok(())
    }
}

impl TransposeGeometry {
    /// Returns the settings of the ordinary convolution, which maps the output's size to the input's size.
    fn ordinary_geometry(&self) -> ConvGeometry {
        let padding = self.padding.map(|padding| [padding; 2]);
        ConvGeometry { stride: self.stride, padding, dilation: self.dilation, groups: self.groups }
    }
}

/// Computes the transposed convolution of `input` with `weight` and adds a bias.
///
/// - `input`: `[batch, in_channels, height, width]`
/// - `weight`: `[in_channels, out_channels / groups, kernel height, kernel width]`
/// - `bias`: `[out_channels]`
/// - returns `[batch, out_channels, height, width]`; the sizes are those of
///   [`TransposeGeometry::output_size`]
///
/// The definition is that of PyTorch's `conv_transpose2d`. Supports f32, f64, f16 and bf16 (16-bit types are summed in
/// f32). Tensors may have any memory strides. The result is differentiable with respect to all three tensors.
///
/// # Errors
/// Fails if the shapes, dtypes or devices do not match, if the output would be empty, or if
/// [`TransposeGeometry::check`] fails.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{TransposeGeometry, conv_transpose2d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(0f32, 1., (1, 8, 7, 7), &Device::Cpu)?;
/// let weight = Tensor::randn(0f32, 1., (8, 4, 2, 2), &Device::Cpu)?;
/// let y = conv_transpose2d(&x, &weight, None, &TransposeGeometry::new().with_stride(2))?;
/// assert_eq!(y.dims(), [1, 4, 14, 14]);
/// # Ok(())
/// # }
/// ```
pub fn conv_transpose2d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &TransposeGeometry,
) -> Result<Tensor> {
    let shape = ordinary_shape(input, weight, geometry)?;
    // The input of the ordinary convolution has the channels of the transposed convolution's output.
    check_bias(NAME, bias, input, shape.in_channels)?;
    if !has_cpu_kernels(input) && !runs_on(input.device()) {
        return composed::conv_transpose2d(input, weight, bias, geometry);
    }
    let input = pad_to_output(input, &shape)?;
    match bias {
        None => relay::apply([&input, weight], ConvTranspose2d { shape }),
        Some(bias) => relay::apply([&input, weight, bias], ConvTranspose2d { shape }),
    }
}

/// Checks the operands and returns the shape of the ordinary convolution whose input gradient is the transposed
/// convolution.
fn ordinary_shape(input: &Tensor, weight: &Tensor, geometry: &TransposeGeometry) -> Result<ConvShape> {
    geometry.check()?;
    let &[batch, _, height, width] = input.dims() else {
        bail!("{NAME}: expected an input [batch, channels, height, width], found {:?}", input.dims())
    };
    let &[_, group_out_channels, kernel_height, kernel_width] = weight.dims() else {
        bail!(
            "{NAME}: expected a weight [in_channels, out_channels / groups, height, width], found {:?}",
            weight.dims()
        )
    };
    check_dtype_and_device(NAME, "weight", weight, input)?;
    let groups = geometry.groups;
    check_channels(NAME, input.dims(), weight.dims(), groups)?;
    let size = geometry.output_size([height, width], [kernel_height, kernel_width]);
    let output = size.and_then(|[rows, columns]| {
        let dims = [batch, group_out_channels.checked_mul(groups)?, rows, columns];
        let elements = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        (elements <= isize::MAX as usize / 8).then_some(dims)
    });
    match output {
        Some(output) => ConvShape::new(&output, weight.dims(), &geometry.ordinary_geometry()),
        None => bail!(
            "{NAME}: expected an output that is not empty and fits in memory, found an input of {height}×{width} \
             with {geometry:?} for a {kernel_height}×{kernel_width} kernel"
        ),
    }
}

/// Checks the channels of an input `[batch, in_channels, …]` and a weight `[in_channels, out_channels / groups, …]`.
pub(super) fn check_channels(op: &str, input: &[usize], weight: &[usize], groups: usize) -> Result<()> {
    let ([_, channels, ..], [in_channels, ..]) = (input, weight) else {
        bail!("{op}: expected an input and a weight with channels, found {input:?} and {weight:?}")
    };
    if channels != in_channels {
        bail!(
            "{op}: expected {in_channels} input channels, found {channels} (input {input:?}, weight {weight:?})"
        )
    }
    if !channels.is_multiple_of(groups) {
        bail!("{op}: expected input channels divisible by {groups} groups, found {channels}")
    }
    Ok(())
}

/// Checks a bias `[out_channels]`.
pub(super) fn check_bias(op: &str, bias: Option<&Tensor>, input: &Tensor, out_channels: usize) -> Result<()> {
    let Some(bias) = bias else { return Ok(()) };
    check_dtype_and_device(op, "bias", bias, input)?;
    if bias.dims() != [out_channels] {
        bail!("{op}: expected a bias of shape [{out_channels}], found {:?}", bias.dims())
    }
    Ok(())
}

/// Appends rows and columns of zeros to the input until it has the size of the ordinary convolution's output. The sizes
/// differ only if the output padding is at least the stride.
fn pad_to_output(input: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let [rows, columns] = [0, 1].map(|axis| shape.output[axis].saturating_sub(input.dims()[axis + 2]));
    input.pad_with_zeros(2, 0, rows)?.pad_with_zeros(3, 0, columns)
}

/// The transposed convolution as a candle operation.
struct ConvTranspose2d {
    /// The ordinary convolution, whose output has the size of this operation's input.
    shape: ConvShape,
}

impl ConvTranspose2d {
    fn convolve<'a>(
        &self,
        input: Operand<'a>,
        weight: Operand<'a>,
        bias: Option<Operand<'a>>,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = Operands { input, weight, scale: None, shift: bias, residual: None };
        Ok((backward::input_gradient(&self.shape, &operands)?, self.output_shape()))
    }

    fn output_shape(&self) -> Shape {
        let ConvShape { batch, in_channels, input: [height, width], .. } = self.shape;
        (batch, in_channels, height, width).into()
    }

    /// Computes the gradients of the input, the weight and, if `needs_bias` is set, the bias.
    fn gradients(
        &self,
        input: &Tensor,
        weight: &Tensor,
        needs_bias: bool,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        // Launches of a backward pass have no path.
        let _launch = trace::begin(grad.device(), String::new, || format!("{NAME} backward"));
        let shape = &self.shape;
        let no_epilogue = Epilogue::default();
        let grad_input = if !input.track_op() {
            None
        } else if runs_on(grad.device()) {
            Some(cuda::conv2d(grad, weight, shape, &no_epilogue)?)
        } else {
            Some(cpu::conv2d(grad, weight, shape, &no_epilogue, None, simd::isa())?)
        };
        let needs = Needs { weight: weight.track_op(), ..Needs::default() };
        // The third argument, the output of the ordinary convolution, is used only for the slope of the activation. The
        // slope of the identity does not depend on it, so any tensor of the same shape can be passed: here `input`.
        let identity = Activation::Identity;
        let grad_weight =
            conv2d_backward(grad, weight, input, input, &shape.geometry, identity, needs)?.weight;
        let grad_bias = if needs_bias { Some(channel_sums(grad)?) } else { None };
        Ok([grad_input, grad_weight, grad_bias])
    }
}

/// Returns the sum of each channel over the batch and the pixels.
fn channel_sums(grad: &Tensor) -> Result<Tensor> {
    let channels = Channels::new(NAME, grad)?;
    let widened_grad = widened(grad)?;
    if !grad.device().is_cpu() {
        return widened_grad.sum((0, 2, 3))?.to_dtype(grad.dtype());
    }
    let sums = with_element!(NAME, widened_grad.dtype(), E => {
        with_elements::<E, _>(&widened_grad, |grad| channels.sums(grad, grad, |_, grad, _| [grad]))
    })?;
    let sums: Vec<f64> = sums.into_iter().map(|[sum]| sum).collect();
    Tensor::from_vec(sums, channels.channels, grad.device())?.to_dtype(grad.dtype())
}

impl Operation<2> for ConvTranspose2d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [input, weight]: [CpuOperand; 2]) -> Result<(CpuStorage, Shape)> {
        self.convolve(input.into(), weight.into(), None)
    }

    fn forward_on_cuda(&self, operands: [CudaOperand; 2]) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::conv_transpose2d(&self.shape, &operands)?, self.output_shape()))
    }

    fn backward(
        &self,
        [input, weight]: [&Tensor; 2],
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let [input, weight, _] = self.gradients(input, weight, false, grad)?;
        Ok([input, weight])
    }
}

impl Operation<3> for ConvTranspose2d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [input, weight, bias]: [CpuOperand; 3]) -> Result<(CpuStorage, Shape)> {
        self.convolve(input.into(), weight.into(), Some(bias.into()))
    }

    fn forward_on_cuda(&self, operands: [CudaOperand; 3]) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::conv_transpose2d(&self.shape, &operands)?, self.output_shape()))
    }

    fn backward(
        &self,
        [input, weight, bias]: [&Tensor; 3],
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        self.gradients(input, weight, bias.track_op(), grad)
    }
}
