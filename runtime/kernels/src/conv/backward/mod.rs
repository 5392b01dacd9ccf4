//! The backward pass of the fused convolution.
//!
//! The activation's slope comes from the output, so nothing but the output is kept from the forward
//! pass. No im2col matrix is built, nothing is multiplied with the zeros between strided pixels, and
//! every sum is split by the shape alone: the result is bit-equal for any number of threads.

mod extent;
mod flipped;
mod input;
mod mask;
mod phases;
mod real;
mod scatter;
mod tasks;
mod weight;

use super::cpu::{Operands, Values};
use super::{ConvGeometry, ConvShape, cuda};
use crate::activation::Activation;
use crate::channels::Channels;
use crate::cuda::runs_on;
use crate::element;
use crate::memory::can_allocate;
use crate::simd::{self, Isa};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor, bail};
use extent::Extent;
use flipped::Flipped;
use half::{bf16, f16};
use mask::Planes;
use real::Real;
use scatter::Scatter;
use std::borrow::Cow;

/// The gradients that [`Needs`] asks for; `None` for the others.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// `[batch, input channels, height, width]`
    pub input: Option<Tensor>,
    /// `[output channels, input channels / groups, kernel height, kernel width]`
    pub weight: Option<Tensor>,
    /// `[output channels]`
    pub bias: Option<Tensor>,
    /// `[batch, output channels, height, width]`
    pub residual: Option<Tensor>,
}

/// The gradients that [`conv2d_backward`] is to compute.
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
/// All tensors are on the CPU or, with the feature `cuda`, on one CUDA device, of one dtype (f32, f64, f16 or
/// bf16) and of any strides. Halves are summed in f32 and rounded once. The derivative of the activation is
/// taken from the output, as in PyTorch, NaN included. An infinity or NaN in `grad_output` may reach the
/// neighbors of the elements that read it, because it is multiplied by the zeros of paddings and strides.
///
/// # Errors
/// The shapes, dtypes or devices do not fit together, or the derivative of the activation does not follow from
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
/// let (geometry, relu) = (ConvGeometry::new(), Activation::Relu);
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

/// Computes [`conv2d_backward`] with the instruction set `isa`; the tensors are `[input, weight, output, grad]`.
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
            "conv2d backward: expected an output of shape {:?}, got {:?}",
            shape.output_dims(),
            output.shape()
        )
    }
    let extent = Extent::of(&shape);
    if grad.dims() != output.dims() {
        bail!("conv2d backward: expected a gradient of shape {:?}, got {:?}", output.shape(), grad.shape())
    }
    let dtype = input.dtype();
    if let Some(other) = tensors.iter().find(|tensor| tensor.dtype() != dtype) {
        bail!("conv2d backward: expected tensors of one dtype, got {dtype:?} and {:?}", other.dtype())
    }
    if runs_on(input.device()) {
        return cuda::conv2d_backward(tensors, &shape, activation, needs);
    }
    if let Some(other) = tensors.iter().find(|tensor| !tensor.device().is_cpu()) {
        bail!("conv2d backward: expected tensors on the CPU, got one on {:?}", other.device().location())
    }
    if !activation.saves_output() {
        bail!("conv2d backward: the slope of {activation:?} does not follow from its output");
    }
    check_room(&shape)?;
    match dtype {
        DType::F32 => typed::<f32>(isa, tensors, &extent, activation, needs),
        DType::F64 => typed::<f64>(isa, tensors, &extent, activation, needs),
        DType::F16 | DType::BF16 => {
            let [input, weight, output, grad] = tensors.map(|tensor| tensor.to_dtype(DType::F32));
            let tensors = [&input?, &weight?, &output?, &grad?];
            typed::<f32>(isa, tensors, &extent, activation, needs)?.to_dtype(dtype)
        }
        other => bail!("conv2d backward: expected f32, f64, f16 or bf16, got {other:?}"),
    }
}

/// Refuses what there is no memory for: there are copies with the padding in them.
fn check_room(shape: &ConvShape) -> Result<()> {
    match can_allocate::<f64>(&[shape.padded_elements()]) {
        true => Ok(()),
        false => bail!("conv2d backward: there is no memory for the padding of {:?}", shape.geometry),
    }
}

/// The gradient of the input alone, for which the input's values are not needed, plus a bias a channel: the
/// forward pass of a transposed convolution. Of the operands, `input` is the output's gradient and `shift`
/// the bias `[input channels]`; their sizes are as `shape` says.
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
        other => bail!("conv2d backward: expected f32, f64, f16 or bf16, got {:?}", other.dtype()),
    })
}

fn input_values<R: Real>(shape: &ConvShape, values: &Values<R>) -> Result<Vec<R>> {
    check_room(shape)?;
    let (isa, extent) = (simd::isa(), Extent::of(shape));
    let (grad, weight) = (&values.input, &values.weight);
    let mut sums = if weight.is_empty() || grad.is_empty() {
        vec![R::default(); shape.batch * shape.in_channels * extent.input_plane()]
    } else if let Some(whole) = Whole::of(&extent) {
        whole.gradient(isa, &extent, weight, grad)?
    } else {
        let grad = mask::masked(isa, &extent, Activation::Identity, input::margin(&extent), grad, grad);
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

/// A way to the gradient of the input that takes the output's gradient as it is, without a margin.
enum Whole<R: Real> {
    Scatter(Scatter),
    Flipped(Flipped<R>),
}

impl<R: Real> Whole<R> {
    fn of(extent: &Extent) -> Option<Self> {
        let flipped = || Flipped::of(extent).map(Self::Flipped);
        Scatter::of(extent).map(Self::Scatter).or_else(flipped)
    }

    fn gradient(&self, isa: Isa, extent: &Extent, weight: &[R], grad: &[R]) -> Result<Vec<R>> {
        match self {
            Self::Scatter(scatter) => Ok(scatter.gradient(isa, extent, weight, grad)),
            Self::Flipped(flipped) => flipped.gradient(isa, extent, weight, grad),
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

fn typed<R: Real>(
    isa: Isa,
    tensors: [&Tensor; 4],
    extent: &Extent,
    activation: Activation,
    needs: Needs,
) -> Result<Gradients> {
    let channels = extent.groups * extent.outputs;
    let shapes = [tensors[0].dims(), tensors[1].dims(), &[channels], tensors[2].dims()];
    let wanted = [needs.input, needs.weight, needs.bias, needs.residual];
    let values = match tensors.iter().any(|tensor| tensor.elem_count() == 0) {
        // A sum over nothing.
        true => [0, 1, 2, 3].map(|i| wanted[i].then(|| vec![R::default(); shapes[i].iter().product()])),
        false => with_slices(tensors, |slices| computed::<R>(isa, slices, extent, activation, needs))??,
    };
    let mut results = values.into_iter().zip(shapes).map(|(values, shape)| {
        values.map(|values| Tensor::from_vec(values, shape, &Device::Cpu)).transpose()
    });
    let mut next = || results.next().unwrap_or(Ok(None));
    Ok(Gradients { input: next()?, weight: next()?, bias: next()?, residual: next()? })
}

/// The gradients of input, weight, bias and residual.
fn computed<R: Real>(
    isa: Isa,
    [input, weight, output, grad]: [&[R]; 4],
    extent: &Extent,
    activation: Activation,
    needs: Needs,
) -> Result<[Option<Vec<R>>; 4]> {
    let whole = Whole::of(extent).filter(|_| needs.input);
    let swept = needs.input && whole.is_none();
    let outer = weight::by_outer_products(extent);
    let mut margin = if swept { input::margin(extent) } else { mask::Margin::default() };
    if needs.weight && !outer {
        weight::dots::widen(extent, &mut margin);
    }
    let unused = activation == Activation::Identity && !swept && !needs.bias && (outer || !needs.weight);
    let masked = match unused {
        true => Planes::default(),
        false => mask::masked(isa, extent, activation, margin, output, grad),
    };
    let plain = if activation == Activation::Identity { Cow::Borrowed(grad) } else { masked.cropped(extent) };
    let of_input = || match whole {
        Some(whole) => whole.gradient(isa, extent, weight, &plain),
        None => Ok(input::gradient(isa, extent, weight, &masked)),
    };
    let of_weight = || match outer {
        true => weight::outer::gradient(isa, extent, input, &plain),
        false => weight::dots::gradient(isa, extent, input, &masked),
    };
    Ok([
        needs.input.then(of_input).transpose()?,
        needs.weight.then(of_weight),
        needs.bias.then(|| mask::bias(extent.groups * extent.outputs, &masked.sums)),
        needs.residual.then(|| plain.clone().into_owned()),
    ])
}

/// Calls `f` with the elements of the tensors in their logical order.
fn with_slices<R: Real, T>(tensors: [&Tensor; 4], f: impl FnOnce([&[R]; 4]) -> T) -> Result<T> {
    let [a, b, c, d] = tensors.map(|tensor| tensor.contiguous());
    let (a, b, c, d) = (a?, b?, c?, d?);
    let [a, b, c, d] = [&a, &b, &c, &d].map(|tensor| tensor.storage_and_layout());
    Ok(f([slice(&a.0, a.1)?, slice(&b.0, b.1)?, slice(&c.0, c.1)?, slice(&d.0, d.1)?]))
}

fn slice<'a, R: Real>(storage: &'a Storage, layout: &Layout) -> Result<&'a [R]> {
    match (storage, element::span(layout)) {
        (Storage::Cpu(storage), Some(span)) => Ok(&storage.as_slice::<R>()?[span]),
        _ => bail!("conv2d backward: expected a contiguous tensor on the CPU"),
    }
}
