//! The backward pass of the fused convolution.
//!
//! The activation's derivative is computed from the output, so the forward pass saves only its operands and its
//! output. No im2col matrix is built, and the zeros between strided pixels are never multiplied. How sums are split
//! does not depend on the number of threads, so results are bit-identical for any number of threads.

mod extent;
mod flipped;
mod input;
mod mask;
mod phases;
mod real;
mod scatter;
mod tasks;
mod weight;
mod windows;

use std::borrow::Cow;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor, bail};
use half::{bf16, f16};

use crate::activation::Activation;
use crate::channels::Channels;
use crate::cuda::runs_on;
use crate::element;
use crate::memory::can_allocate;
use crate::simd::{self, Isa};

use super::cpu::{Operands, Values};
use super::{ConvGeometry, ConvShape, cuda};
use extent::Extent;
use flipped::Flipped;
use mask::MaskedGrad;
use real::Real;
use scatter::Scatter;
use windows::Windows;

/// The gradients of a convolution; `None` for those that [`Needs`] does not request.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::conv::backward::{Needs, conv2d_backward};
/// use sconce_kernels::{Activation, ConvGeometry, Epilogue, conv2d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((1, 3, 8, 8), candle_core::DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((4, 3, 3, 3), candle_core::DType::F32, &Device::Cpu)?;
/// let geometry = ConvGeometry::new();
/// let y = conv2d(&x, &weight, &geometry, &Epilogue::new(), None)?;
///
/// let needs = Needs { input: true, bias: true, ..Needs::default() };
/// let ones = y.ones_like()?;
/// let gradients = conv2d_backward(&x, &weight, &y, &ones, &geometry, Activation::Identity, needs)?;
/// assert_eq!(gradients.input.unwrap().dims(), x.dims());
/// assert_eq!(gradients.bias.unwrap().to_vec1::<f32>()?, [36.; 4]); // one for each of 6 · 6 outputs
/// assert!(gradients.weight.is_none() && gradients.residual.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// `[batch, in_channels, height, width]`
    pub input: Option<Tensor>,
    /// `[out_channels, in_channels / groups, kernel height, kernel width]`
    pub weight: Option<Tensor>,
    /// `[out_channels]`
    pub bias: Option<Tensor>,
    /// `[batch, out_channels, height, width]`
    pub residual: Option<Tensor>,
}

/// The gradients that [`conv2d_backward`] must compute.
///
/// # Examples
/// ```
/// use sconce_kernels::conv::backward::Needs;
///
/// let needs = Needs { weight: true, bias: true, ..Needs::default() };
/// assert!(!needs.input && !needs.residual);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The gradient of the input.
    pub input: bool,
    /// The gradient of the weight.
    pub weight: bool,
    /// The gradient of the bias.
    pub bias: bool,
    /// The gradient of the residual.
    pub residual: bool,
}

/// Computes the gradients of `output = activation(conv(input, weight) + bias + residual)` without candle's graph.
///
/// - `input`: `[batch, in_channels, height, width]`
/// - `weight`: `[out_channels, in_channels / groups, kernel height, kernel width]`
/// - `output`, `grad_output`: `[batch, out_channels, height, width]`
///
/// All tensors must be on the CPU or, with the feature `cuda`, on one CUDA device. They must have one dtype (f32, f64,
/// f16 or bf16) and may have any memory strides. 16-bit types are summed in f32 and rounded once. The derivative of the
/// activation is computed from the output, as in PyTorch, even if the output is NaN. If `grad_output` contains an
/// infinity or NaN, the results can contain NaN where the exact gradients are finite, because the kernels multiply
/// infinity and NaN by zeros of the padding.
///
/// # Errors
/// Fails if the shapes, dtypes or devices do not match, or if the derivative of the activation cannot be computed from
/// its output (SiLU, GELU, hard swish, leaky ReLU with a negative slope).
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::conv::backward::{Needs, conv2d_backward};
/// use sconce_kernels::{Activation, ConvGeometry, Epilogue, conv2d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(0f32, 1., (1, 3, 8, 8), &Device::Cpu)?;
/// let weight = Tensor::randn(0f32, 1., (4, 3, 3, 3), &Device::Cpu)?;
/// let geometry = ConvGeometry::new();
/// let relu = Activation::Relu;
/// let y = conv2d(&x, &weight, &geometry, &Epilogue::new().with_activation(relu), None)?;
///
/// let needs = Needs { weight: true, ..Needs::default() };
/// let gradients = conv2d_backward(&x, &weight, &y, &y.ones_like()?, &geometry, relu, needs)?;
/// assert_eq!(gradients.weight.unwrap().dims(), weight.dims());
/// assert!(gradients.input.is_none());
/// # Ok(())
/// # }
/// ```
pub fn conv2d_backward(
    input: &Tensor,
    weight: &Tensor,
    output: &Tensor,
    grad_output: &Tensor,
    geometry: &ConvGeometry,
    activation: Activation,
    needs: Needs,
) -> Result<Gradients> {
    let tensors = [input, weight, output, grad_output];
    gradients(simd::isa(), tensors, geometry, activation, needs)
}

/// Computes [`conv2d_backward`] with the instruction set `isa`. The tensors are `[input, weight, output, grad_output]`.
pub(super) fn gradients(
    isa: Isa,
    tensors: [&Tensor; 4],
    geometry: &ConvGeometry,
    activation: Activation,
    needs: Needs,
) -> Result<Gradients> {
    let [input, weight, output, grad] = tensors;
    let shape = ConvShape::new(input.dims(), weight.dims(), geometry)?;
    if output.dims() != shape.output_dims() {
        bail!(
            "conv2d backward: expected an output of shape {:?}, found {:?}",
            shape.output_dims(),
            output.shape()
        )
    }
    let extent = Extent::of(&shape);
    if grad.dims() != output.dims() {
        bail!("conv2d backward: expected a gradient of shape {:?}, found {:?}", output.shape(), grad.shape())
    }
    let dtype = input.dtype();
    if let Some(other) = tensors.iter().find(|tensor| tensor.dtype() != dtype) {
        bail!("conv2d backward: expected tensors of one dtype, found {dtype:?} and {:?}", other.dtype())
    }
    if runs_on(input.device()) {
        return cuda::conv2d_backward(tensors, &shape, activation, needs);
    }
    if let Some(other) = tensors.iter().find(|tensor| !tensor.device().is_cpu()) {
        bail!("conv2d backward: expected tensors on the CPU, found one on {:?}", other.device().location())
    }
    if !activation.saves_output() {
        bail!("conv2d backward: the derivative of {activation:?} cannot be computed from its output");
    }
    check_memory(&shape)?;
    match dtype {
        DType::F32 => compute::<f32>(isa, tensors, &extent, activation, needs),
        DType::F64 => compute::<f64>(isa, tensors, &extent, activation, needs),
        DType::F16 | DType::BF16 => {
            let [input, weight, output, grad] = tensors.map(|tensor| tensor.to_dtype(DType::F32));
            let tensors = [&input?, &weight?, &output?, &grad?];
            compute::<f32>(isa, tensors, &extent, activation, needs)?.to_dtype(dtype)
        }
        other => bail!("conv2d backward: expected f32, f64, f16 or bf16, found {other:?}"),
    }
}

/// Checks that the padded copies of input and output fit in memory.
fn check_memory(shape: &ConvShape) -> Result<()> {
    if !can_allocate::<f64>(&[shape.padded_elements()]) {
        bail!("conv2d backward: with {:?}, the padded input or output does not fit in memory", shape.geometry)
    }
    Ok(())
}

/// Computes the gradient of the input of the convolution `shape` and adds a bias per channel. This is the forward pass
/// of a transposed convolution.
///
/// `operands.input` is the gradient of the convolution's output, and `operands.shift` is the bias `[in_channels]`. The
/// values of the convolution's input are not needed.
pub(super) fn input_gradient(shape: &ConvShape, operands: &Operands) -> Result<CpuStorage> {
    Ok(match operands.input.storage {
        CpuStorage::F32(_) => CpuStorage::F32(input_values(shape, &operands.values()?)?),
        CpuStorage::F64(_) => CpuStorage::F64(input_values(shape, &operands.values()?)?),
        CpuStorage::F16(_) => {
            let sums = input_values(shape, &operands.widened(f16::to_f32)?)?;
            CpuStorage::F16(sums.into_iter().map(f16::from_f32).collect())
        }
        CpuStorage::BF16(_) => {
            let sums = input_values(shape, &operands.widened(bf16::to_f32)?)?;
            CpuStorage::BF16(sums.into_iter().map(bf16::from_f32).collect())
        }
        other => bail!("conv2d backward: expected f32, f64, f16 or bf16, found {:?}", other.dtype()),
    })
}

/// Returns the elements of the result of [`input_gradient`].
fn input_values<R: Real>(shape: &ConvShape, values: &Values<R>) -> Result<Vec<R>> {
    check_memory(shape)?;
    let isa = simd::isa();
    let extent = Extent::of(shape);
    let grad = &values.input;
    let weight = &values.weight;
    let mut sums = if weight.is_empty() || grad.is_empty() {
        vec![R::default(); shape.batch * shape.in_channels * extent.input_plane()]
    } else if let Some(algorithm) = UnpaddedAlgorithm::select(&extent) {
        algorithm.gradient(isa, &extent, weight, grad)?
    } else {
        let grad = mask::masked_grad(isa, &extent, Activation::Identity, input::margin(&extent), grad, grad);
        input::gradient(isa, &extent, weight, &grad)
    };
    if let Some(bias) = &values.shift {
        let planes =
            Channels { samples: shape.batch, channels: shape.in_channels, plane: extent.input_plane() };
        planes.for_each_plane(&mut sums, |channel, _, plane| {
            plane.iter_mut().for_each(|sum| *sum += bias[channel]);
        });
    }
    Ok(sums)
}

/// An algorithm for the gradient of the input that reads the output's gradient without a margin.
enum UnpaddedAlgorithm<R: Real> {
    /// See [`scatter`].
    Scatter(Scatter),
    /// See [`flipped`].
    Flipped(Flipped<R>),
    /// See [`windows`].
    Windows(Windows<R>),
}

impl<R: Real> UnpaddedAlgorithm<R> {
    /// Returns the algorithm that suits the convolution, or `None` if none does. In this case, use
    /// [`input::gradient`], which reads a margin.
    fn select(extent: &Extent) -> Option<Self> {
        let flipped = || Flipped::of(extent).map(Self::Flipped);
        let scatter = || Scatter::of(extent).map(Self::Scatter);
        Windows::of(extent).map(Self::Windows).or_else(scatter).or_else(flipped)
    }

    fn gradient(&self, isa: Isa, extent: &Extent, weight: &[R], grad: &[R]) -> Result<Vec<R>> {
        match self {
            Self::Scatter(scatter) => Ok(scatter.gradient(isa, extent, weight, grad)),
            Self::Flipped(flipped) => flipped.gradient(isa, extent, weight, grad),
            Self::Windows(windows) => Ok(windows.input_gradient(isa, extent, weight, grad)),
        }
    }
}

impl Gradients {
    fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let convert = |tensor: &Option<Tensor>| tensor.as_ref().map(|t| t.to_dtype(dtype)).transpose();
        Ok(Self {
            input: convert(&self.input)?,
            weight: convert(&self.weight)?,
            bias: convert(&self.bias)?,
            residual: convert(&self.residual)?,
        })
    }
}

/// Computes the gradients in `R`, the dtype of the tensors `[input, weight, output, grad_output]`.
fn compute<R: Real>(
    isa: Isa,
    tensors: [&Tensor; 4],
    extent: &Extent,
    activation: Activation,
    needs: Needs,
) -> Result<Gradients> {
    let channels = extent.groups * extent.group_out_channels;
    let shapes = [tensors[0].dims(), tensors[1].dims(), &[channels], tensors[2].dims()];
    let wanted = [needs.input, needs.weight, needs.bias, needs.residual];
    let values = if tensors.iter().any(|tensor| tensor.elem_count() == 0) {
        // Empty sums are zero.
        [0, 1, 2, 3].map(|i| wanted[i].then(|| vec![R::default(); shapes[i].iter().product()]))
    } else {
        with_slices(tensors, |slices| compute_values::<R>(isa, slices, extent, activation, needs))??
    };
    let mut results = values.into_iter().zip(shapes).map(|(values, shape)| {
        values.map(|values| Tensor::from_vec(values, shape, &Device::Cpu)).transpose()
    });
    let mut next = || results.next().unwrap_or(Ok(None));
    Ok(Gradients { input: next()?, weight: next()?, bias: next()?, residual: next()? })
}

/// Returns the gradients of the input, the weight, the bias and the residual, or `None` for those that `needs` does not
/// request.
fn compute_values<R: Real>(
    isa: Isa,
    [input, weight, output, grad]: [&[R]; 4],
    extent: &Extent,
    activation: Activation,
    needs: Needs,
) -> Result<[Option<Vec<R>>; 4]> {
    let unpadded = UnpaddedAlgorithm::select(extent).filter(|_| needs.input);
    let needs_input_margin = needs.input && unpadded.is_none();
    let use_outer_products = weight::use_outer_products(extent);
    let mut margin = if needs_input_margin { input::margin(extent) } else { mask::Margin::default() };
    if needs.weight && !use_outer_products {
        weight::dots::extend_margin(extent, &mut margin);
    }
    let is_identity = activation == Activation::Identity;
    let needs_masked =
        !is_identity || needs_input_margin || needs.bias || (needs.weight && !use_outer_products);
    let masked = if needs_masked {
        mask::masked_grad(isa, extent, activation, margin, output, grad)
    } else {
        MaskedGrad::default()
    };
    let cropped = if is_identity { Cow::Borrowed(grad) } else { masked.cropped(extent) };
    let grad_input = || match unpadded {
        Some(algorithm) => algorithm.gradient(isa, extent, weight, &cropped),
        None => Ok(input::gradient(isa, extent, weight, &masked)),
    };
    let grad_weight = || {
        if let Some(windows) = Windows::of(extent) {
            windows.weight_gradient(isa, extent, input, &cropped)
        } else if use_outer_products {
            weight::outer::gradient(isa, extent, input, &cropped)
        } else {
            weight::dots::gradient(isa, extent, input, &masked)
        }
    };
    Ok([
        needs.input.then(grad_input).transpose()?,
        needs.weight.then(grad_weight),
        needs.bias.then(|| mask::bias_gradient(extent.groups * extent.group_out_channels, &masked.sums)),
        needs.residual.then(|| cropped.clone().into_owned()),
    ])
}

/// Calls `f` with the elements of the tensors in row-major order.
fn with_slices<R: Real, T>(tensors: [&Tensor; 4], f: impl FnOnce([&[R]; 4]) -> T) -> Result<T> {
    let [a, b, c, d] = tensors.map(|tensor| tensor.contiguous());
    let (a, b, c, d) = (a?, b?, c?, d?);
    let [a, b, c, d] = [&a, &b, &c, &d].map(|tensor| tensor.storage_and_layout());
    Ok(f([slice(&a.0, a.1)?, slice(&b.0, b.1)?, slice(&c.0, c.1)?, slice(&d.0, d.1)?]))
}

/// Returns the elements of a contiguous tensor on the CPU.
fn slice<'a, R: Real>(storage: &'a Storage, layout: &Layout) -> Result<&'a [R]> {
    match (storage, element::span(layout)) {
        (Storage::Cpu(storage), Some(span)) => Ok(&storage.as_slice::<R>()?[span]),
        _ => bail!("conv2d backward: expected a contiguous tensor on the CPU"),
    }
}
