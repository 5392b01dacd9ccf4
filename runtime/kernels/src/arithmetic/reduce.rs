//! Sums and means over dimensions.

use candle_core::shape::Dims;
use candle_core::{CpuStorage, Result, Shape, Tensor};

use crate::operation::{CpuOperand, Operation};
use crate::relay;
use crate::strided::{self, Identity, map_tensors};

use super::has_kernels;
use super::unary::Unary;

/// Sums over `dims` and removes these dimensions.
///
/// Supports f32, f64, f16 and bf16; partial sums are f64. Integers are summed with candle's operation. Differentiable
/// in `x`.
///
/// # Errors
/// Fails if a dimension is out of range or is listed twice.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::sum;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// assert_eq!(sum(&x, 0)?.to_vec1::<f32>()?, [4., 6.]);
/// assert_eq!(sum(&x, (0, 1))?.to_scalar::<f32>()?, 10.);
/// # Ok(())
/// # }
/// ```
pub fn sum(x: &Tensor, dims: impl Dims) -> Result<Tensor> {
    reduce(x, dims, Reduction { is_mean: false, keeps_dims: false })
}

/// Sums over `dims`, as [`sum`] does, and keeps these dimensions with size 1.
///
/// # Errors
/// Fails under the same conditions as [`sum`].
pub fn sum_keepdim(x: &Tensor, dims: impl Dims) -> Result<Tensor> {
    reduce(x, dims, Reduction { is_mean: false, keeps_dims: true })
}

/// Averages over `dims` and removes these dimensions. The mean of no elements is NaN.
///
/// Supports f32, f64, f16 and bf16; partial sums are f64. Differentiable in `x`.
///
/// # Errors
/// Fails if a dimension is out of range or is listed twice.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{mean, mean_keepdim};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// assert_eq!(mean(&x, 1)?.to_vec1::<f32>()?, [1.5, 3.5]);
/// assert_eq!(mean_keepdim(&x, 1)?.to_vec2::<f32>()?, [[1.5], [3.5]]);
/// # Ok(())
/// # }
/// ```
pub fn mean(x: &Tensor, dims: impl Dims) -> Result<Tensor> {
    reduce(x, dims, Reduction { is_mean: true, keeps_dims: false })
}

/// Averages over `dims`, as [`mean`] does, and keeps these dimensions with size 1.
///
/// # Errors
/// Fails under the same conditions as [`mean`].
pub fn mean_keepdim(x: &Tensor, dims: impl Dims) -> Result<Tensor> {
    reduce(x, dims, Reduction { is_mean: true, keeps_dims: true })
}

#[derive(Clone, Copy)]
struct Reduction {
    is_mean: bool,
    keeps_dims: bool,
}

impl Reduction {
    fn name(self) -> &'static str {
        if self.is_mean { "mean" } else { "sum" }
    }

    /// Computes the reduction with candle's operations.
    fn composed(self, x: &Tensor, dims: Vec<usize>) -> Result<Tensor> {
        match self {
            Self { is_mean: false, keeps_dims: false } => x.sum(dims),
            Self { is_mean: false, keeps_dims: true } => x.sum_keepdim(dims),
            Self { is_mean: true, keeps_dims: false } => x.mean(dims),
            Self { is_mean: true, keeps_dims: true } => x.mean_keepdim(dims),
        }
    }
}

fn reduce(x: &Tensor, dims: impl Dims, reduction: Reduction) -> Result<Tensor> {
    let dims = dims.to_indexes(x.shape(), reduction.name())?;
    if !has_kernels(x) {
        return reduction.composed(x, dims);
    }
    let mut keepdim_shape = x.dims().to_vec();
    let mut count = 1;
    for dim in &dims {
        count *= keepdim_shape[*dim];
        keepdim_shape[*dim] = 1;
    }
    let mut output = keepdim_shape.clone();
    if !reduction.keeps_dims {
        let mut dim = 0;
        output.retain(|_| {
            dim += 1;
            !dims.contains(&(dim - 1))
        });
    }
    let scale = if reduction.is_mean { 1. / count as f64 } else { 1. };
    let [keepdim_shape, output] = [keepdim_shape, output].map(Shape::from);
    relay::apply([x], Sum { name: reduction.name(), scale, keepdim_shape, output })
}

/// The sum over some dimensions, times `scale`.
struct Sum {
    name: &'static str,
    /// 1 for a sum, and 1 / (the number of summed elements) for a mean.
    scale: f64,
    /// The shape of the input, with size 1 in the summed dimensions.
    keepdim_shape: Shape,
    /// The shape of the output: `keepdim_shape`, with or without the summed dimensions.
    output: Shape,
}

impl Operation<1> for Sum {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, [x]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let shapes = [x.1.shape(), &self.keepdim_shape];
        Ok((strided::sum(self.name, [x], shapes, self.scale, &Identity)?, self.output.clone()))
    }

    fn backward(&self, [x]: [&Tensor; 1], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let grad = grad.detach().reshape(&self.keepdim_shape)?;
        let factor = Unary::Affine { factor: self.scale, offset: 0. };
        Ok([Some(map_tensors(self.name, [&grad], x.shape(), &factor)?)])
    }
}
