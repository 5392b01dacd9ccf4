//! Cosine similarity and distance between pairs of vectors.

use candle_core::{DType, Tensor};

use crate::dim::Dim;
use crate::graph::{Description, Op};
use crate::kernels::arithmetic::{Binary, Unary, binary, sum, sum_keepdim, unary};
use crate::signal::{Meta, Signal};
use crate::{Error, Result};

/// Returns the cosine of the angle between the vectors of `x1` and `x2` along one dimension: their inner product after
/// each is divided by the greater of its norm and `eps`.
///
/// The shapes of `x1` and `x2` are broadcast to a common shape, and `dim` is a dimension of that shape. A negative
/// `dim` counts from the end. The output has the common shape without `dim`. It is a failed signal if the shapes cannot
/// be broadcast, if `dim` is out of range, or if a dtype is not floating point. PyTorch's defaults are 1 for `dim` and
/// 1e-8 for `eps`. As in PyTorch, the gradient of a vector whose norm is less than `eps` includes the slope of the
/// norm.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x1 = Tensor::new(&[[3f32, 4.], [1., 0.]], &Device::Cpu)?;
/// let x2 = Tensor::new(&[[6f32, 8.], [0., 5.]], &Device::Cpu)?;
/// let y = cosine_similarity(&x1, &x2, 1, 1e-8).into_tensor()?.to_vec1::<f32>()?;
/// assert!((y[0] - 1.).abs() < 1e-6 && y[1] == 0.); // parallel, perpendicular
/// # Ok(())
/// # }
/// ```
pub fn cosine_similarity(x1: impl Into<Signal>, x2: impl Into<Signal>, dim: impl Dim, eps: f64) -> Signal {
    let without_dim = |mut dims: Vec<usize>| {
        dims.remove(dim.index(dims.len())?);
        Ok(dims)
    };
    let (x1, x2) = (x1.into(), x2.into());
    let rank = [&x1, &x2].map(|x| x.rank().unwrap_or_default()).into_iter().max();
    let op = dim.index(rank.unwrap_or_default()).ok().map(|dim| Op::CosineSimilarity { dim, eps });
    let description = Description { op, ..Description::from("cosine_similarity") };
    on_pair(description, x1, x2, without_dim, |x1, x2| {
        let shape = x1.shape().broadcast_shape_binary_op(x2.shape(), "cosine_similarity")?;
        let dim = dim.index(shape.rank())?;
        let direction = |x: &Tensor| -> Result<Tensor> {
            let x = x.broadcast_as(&shape)?;
            Ok(binary(Binary::Div, &x, &at_least(&norm(&x, dim)?, eps)?)?)
        };
        Ok(sum(&binary(Binary::Mul, &direction(x1)?, &direction(x2)?)?, dim)?)
    })
}

/// Returns the p-norm of `x1 − x2 + eps` over the last dimension, `(Σ |x1 − x2 + eps|ᵖ)^(1/p)`.
///
/// The shapes of `x1` and `x2` are broadcast to a common shape. The output has that shape without the last dimension,
/// or with size 1 in the last dimension if `keepdim` is set. `p` can be infinite, for the largest magnitude. The output
/// is a failed signal if `p` is not positive, if the shapes cannot be broadcast, or if a dtype is not floating point.
/// Unlike PyTorch's function, this function does not support `p ≤ 0`. PyTorch's defaults are 2 for `p`, 1e-6 for `eps`
/// and `false` for `keepdim`. The gradient at distance 0 is 0.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x1 = Tensor::new(&[[1f32, 2.], [5., 5.]], &Device::Cpu)?;
/// let x2 = Tensor::new(&[[4f32, 6.], [5., 3.]], &Device::Cpu)?;
/// let y = pairwise_distance(&x1, &x2, 2., 0., false).into_tensor()?;
/// assert_eq!(y.to_vec1::<f32>()?, [5., 2.]);
/// let y = pairwise_distance(&x1, &x2, f64::INFINITY, 0., true).into_tensor()?;
/// assert_eq!(y.to_vec2::<f32>()?, [[4.], [2.]]);
/// # Ok(())
/// # }
/// ```
pub fn pairwise_distance(
    x1: impl Into<Signal>,
    x2: impl Into<Signal>,
    p: f64,
    eps: f64,
    keepdim: bool,
) -> Signal {
    let distances = |mut dims: Vec<usize>| {
        dims.pop();
        dims.extend(keepdim.then_some(1));
        Ok(dims)
    };
    let op = Op::PairwiseDistance { p, eps, keep_dim: keepdim };
    on_pair(("pairwise_distance", op).into(), x1.into(), x2.into(), distances, |x1, x2| {
        check_exponent(p)?;
        let difference = binary(Binary::Sub, x1, x2)?;
        let difference = unary(Unary::Affine { factor: 1., offset: eps }, &difference)?;
        let Some(last) = difference.rank().checked_sub(1) else {
            return Err(Error::msg("pairwise_distance: expected inputs […, features], found two numbers"));
        };
        let distance = p_norm(&difference, last, p)?;
        Ok(if keepdim { distance } else { distance.squeeze(last)? })
    })
}

/// Checks the exponent of [`pairwise_distance`].
pub(crate) fn check_exponent(p: f64) -> Result<()> {
    if p > 0. { Ok(()) } else { Err(Error::msg(format!("expected a p greater than 0, found {p}"))) }
}

/// Applies an operation to two tensors. Converts f16 and bf16 to f32 for the operation, because squares overflow in
/// f16. `output` computes the shape of the result from the shape to which the inputs are broadcast.
fn on_pair(
    description: Description<'static>,
    x1: Signal,
    x2: Signal,
    output: impl FnOnce(Vec<usize>) -> Result<Vec<usize>>,
    operation: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Signal {
    let name = description.name;
    let on_tensors = |x1: &Tensor, x2: &Tensor| -> Result<Tensor> {
        let dtype = x1.dtype();
        if !dtype.is_float() || x2.dtype() != dtype {
            let found = x2.dtype();
            return Err(Error::msg(format!(
                "{name}: expected two inputs of one floating-point dtype, found {dtype:?} and {found:?}"
            )));
        }
        let compute = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        Ok(operation(&x1.to_dtype(compute)?, &x2.to_dtype(compute)?)?.to_dtype(dtype)?)
    };
    let rule = |a: &Meta, b: &Meta| {
        let shape = a.shape.broadcast_shape_binary_op(&b.shape, name)?;
        let probe = on_tensors(&a.ones()?, &b.ones()?)?;
        Ok(Meta::like(&probe, output(shape.into_dims())?))
    };
    x1.combine(description, x2, rule, on_tensors)
}

/// Returns the Euclidean norm over `dim`, which keeps size 1. The gradient at 0 is 0.
fn norm(x: &Tensor, dim: usize) -> Result<Tensor> {
    let squares = sum_keepdim(&unary(Unary::Sqr, x)?, dim)?;
    away_from_zero(&squares, |squares| unary(Unary::Sqrt, squares))
}

/// Returns the p-norm over `dim`, which keeps size 1. The gradient at 0 is 0.
fn p_norm(x: &Tensor, dim: usize, p: f64) -> Result<Tensor> {
    if p == 2. {
        return norm(x, dim);
    }
    let magnitudes = unary(Unary::Abs, x)?;
    if p == 1. {
        return Ok(sum_keepdim(&magnitudes, dim)?);
    }
    if p.is_infinite() {
        return maximum(&magnitudes, dim);
    }
    let powers = away_from_zero(&magnitudes, |x| unary(Unary::Powf { exponent: p }, x))?;
    away_from_zero(&sum_keepdim(&powers, dim)?, |x| unary(Unary::Powf { exponent: 1. / p }, x))
}

/// Applies a power to numbers that are not negative. Computes `0ᵏ` as `1ᵏ − 1`, because the slope at 0 may be infinite.
fn away_from_zero(x: &Tensor, power: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>) -> Result<Tensor> {
    let is_zero = x.eq(0f64)?.to_dtype(x.dtype())?;
    let shifted = power(&binary(Binary::Add, x, &is_zero)?)?;
    Ok(binary(Binary::Sub, &shifted, &is_zero)?)
}

/// Returns the maximum over `dim`, which keeps size 1. As in PyTorch, equal maxima share the gradient.
fn maximum(x: &Tensor, dim: usize) -> Result<Tensor> {
    let values = x.detach();
    let is_maximum = values.broadcast_eq(&values.max_keepdim(dim)?)?.to_dtype(x.dtype())?;
    let total = sum_keepdim(&binary(Binary::Mul, x, &is_maximum)?, dim)?;
    Ok(binary(Binary::Div, &total, &sum_keepdim(&is_maximum, dim)?)?)
}

/// Returns the greater of `norm` and `eps`. The slope is 1 everywhere.
fn at_least(norm: &Tensor, eps: f64) -> Result<Tensor> {
    let value = norm.detach();
    let missing = (value.maximum(eps)? - &value)?;
    Ok(binary(Binary::Add, norm, &missing)?)
}
