//! The linear layer `activation(x · weightᵀ + bias)`.

mod cache;
mod op;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;

use candle_core::{DType, Result, Tensor, bail};

use super::activation::{self, Activation};
use super::arithmetic::{Binary, binary};
use super::composed_path::has_cpu_kernels;
use super::element::with_elements;
use super::empty::empty_output;
use super::gemm::{BiasActivation, Matrix, multiply, multiply_by_packed, packs_b};
use super::matmul::matmul;
use super::relay::reshape;
use super::simd::{Isa, isa};

pub use cache::LinearCache;

/// Computes `activation(x · weightᵀ + bias)`.
///
/// - `x`: `[..., in_features]`
/// - `weight`: `[out_features, in_features]`
/// - `bias`: `[out_features]`
/// - returns `[..., out_features]`
///
/// f32 on the CPU runs as one kernel. Other dtypes and devices fall back to [`matmul`](crate::matmul()), followed by
/// bias and activation. Differentiable in `x`, `weight` and `bias`.
///
/// `cache` keeps the packed weight between calls. [`LinearCache`] documents when a cache may be used; `None` is always
/// correct. Calls with fewer than 64 rows, and calls that track gradients, do not use the cache.
///
/// # Errors
/// Fails if the shapes, dtypes or devices do not match.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Activation, linear};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[1f32, 1.], [-1., -1.]], &Device::Cpu)?;
/// let bias = Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?;
/// let y = linear(&x, &weight, Some(&bias), Activation::Relu, None)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[3.5, 0.], [7.5, 0.]]);
/// # Ok(())
/// # }
/// ```
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    cache: Option<&LinearCache>,
) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let in_features = dims.pop();
    let rows = dims.iter().product::<usize>();
    let sizes = check_shapes(&[rows, in_features.unwrap_or(0)], weight.dims(), bias.map(Tensor::dims));
    let Ok(Sizes { in_features, out_features, .. }) = sizes else {
        let (x, weight, bias) = (x.dims(), weight.dims(), bias.map(Tensor::dims));
        bail!(
            "linear: expected an input [..., in_features], a weight [out_features, in_features] and a bias \
             [out_features], found {x:?}, {weight:?} and {bias:?}"
        )
    };
    dims.push(out_features);
    let operands: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if dims.contains(&0) {
        return empty_output(&operands, dims);
    }
    let x = reshape(x, (rows, in_features))?;
    if !operands.iter().all(|operand| operand.dtype() == DType::F32 && has_cpu_kernels(operand)) {
        return composed(&x, weight, bias, activation)?.reshape(dims);
    }
    let y = if operands.into_iter().any(Tensor::track_op) {
        op::linear(&x, weight, bias, activation)
    } else {
        forward(isa(), &x, weight, bias, activation, cache)
    };
    Ok(reshape(&y?, dims)?.into_tensor())
}

/// Computes [`linear`] with separate operations.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let mut y = matmul(x, &weight.t()?)?;
    if let Some(bias) = bias {
        y = binary(Binary::Add, &y, bias)?;
    }
    activation::apply(activation, &y)
}

/// Computes [`linear`] with the given instruction set, without gradients.
fn forward(
    isa: Isa,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    cache: Option<&LinearCache>,
) -> Result<Tensor> {
    let sizes = check_shapes(x.dims(), weight.dims(), bias.map(Tensor::dims))?;
    let cache = cache.filter(|_| sizes.packs_weight() && !weight.is_variable());
    let run = |bias: Option<&[f32]>| match cache {
        Some(cache) => {
            let weight = cache.packed(isa, weight)?;
            let epilogue = BiasActivation { bias, activation };
            with_elements(x, |x| multiply_by_packed(isa, sizes.input(x), &weight, epilogue))
        }
        None => with_elements(x, |x| {
            with_elements(weight, |weight| linear_slices(isa, sizes, x, weight, bias, activation))
        })?,
    };
    let y = match bias {
        Some(bias) => with_elements(bias, |bias| run(Some(bias)))??,
        None => run(None)?,
    };
    Tensor::from_vec(y, (sizes.rows, sizes.out_features), x.device())
}

/// Returns the gradient of `x`: `grad · weight`.
fn grad_x(isa: Isa, weight: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (rows, out_features) = grad.dims2()?;
    let in_features = weight.dim(1)?;
    let values = with_elements(grad, |grad| {
        let grad = Matrix::new(grad, rows, out_features);
        with_elements(weight, |weight| {
            multiply(isa, grad, Matrix::new(weight, out_features, in_features), BiasActivation::NONE)
        })
    })??;
    Tensor::from_vec(values, (rows, in_features), grad.device())
}

/// Returns the gradient of `weight`: `gradᵀ · x`.
fn grad_weight(isa: Isa, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (rows, out_features) = grad.dims2()?;
    let in_features = x.dim(1)?;
    let values = with_elements(grad, |grad| {
        let grad = Matrix::new(grad, rows, out_features).t();
        with_elements(x, |x| multiply(isa, grad, Matrix::new(x, rows, in_features), BiasActivation::NONE))
    })??;
    Tensor::from_vec(values, (out_features, in_features), grad.device())
}

/// The sizes of a linear layer.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    in_features: usize,
    out_features: usize,
}

impl Sizes {
    /// Returns `true` if the layer multiplies by a packed weight.
    fn packs_weight(self) -> bool {
        packs_b([self.rows, self.in_features, self.out_features])
    }

    /// Returns the input as a matrix.
    fn input(self, x: &[f32]) -> Matrix<'_> {
        Matrix::new(x, self.rows, self.in_features)
    }
}

/// Checks the shapes and returns the sizes.
fn check_shapes(x: &[usize], weight: &[usize], bias: Option<&[usize]>) -> Result<Sizes> {
    match (x, weight) {
        (&[rows, in_features], &[out_features, columns])
            if columns == in_features && bias.is_none_or(|bias| *bias == [out_features]) =>
        {
            Ok(Sizes { rows, in_features, out_features })
        }
        _ => bail!(
            "linear: expected an input [rows, in_features], a weight [out_features, in_features] and a bias \
             [out_features], found {x:?}, {weight:?} and {bias:?}"
        ),
    }
}

/// Computes [`linear`] for operands given as slices in row-major order.
fn linear_slices(
    isa: Isa,
    sizes: Sizes,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
) -> Vec<f32> {
    let weight = Matrix::new(weight, sizes.out_features, sizes.in_features);
    multiply(isa, sizes.input(x), weight.t(), BiasActivation { bias, activation })
}
