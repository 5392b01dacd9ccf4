//! Layer, RMS, group and instance normalization: each row of `[rows, elements]` is normalized independently, then
//! scaled and shifted by a weight and a bias for each element or each channel.

mod composed;
mod loops;
mod op;
mod rows;

use candle_core::{Result, Shape, Tensor, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{compute_dtype, in_f32, widened, with_element, with_elements};
use crate::relay;

use self::op::RowNorm;
use self::rows::RowShape;

/// Normalizes over the last dimensions with their mean and variance, then applies `weight` and `bias`.
///
/// - `x`: `[..., normalized_shape...]`
/// - `weight`, `bias`: tensors of shape `normalized_shape`; 1 and 0 if `None`
/// - returns a tensor of the shape of `x`
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`, `weight` and `bias`. See Ba, Kiros and Hinton, 2016.
///
/// # Errors
/// Fails if `normalized_shape` is empty, the shape of `x` does not end in it, or a parameter has a different shape.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::layer_norm;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 3.], [10., 30.]], &Device::Cpu)?;
/// let y = layer_norm(&x, &[2], None, None, 0.)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1., 1.], [-1., 1.]]);
/// # Ok(())
/// # }
/// ```
pub fn layer_norm(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let name = "layer_norm";
    let op = RowNorm { name, shape: RowShape::trailing(name, x, normalized_shape)?, eps, centered: true };
    normalize(x, normalized_shape, weight, bias, op)
}

/// Divides by the root mean square over the last dimensions, then multiplies by `weight`.
///
/// - `x`: `[..., normalized_shape...]`
/// - `weight`: a tensor of shape `normalized_shape`; 1 if `None`
/// - returns a tensor of the shape of `x`
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x` and `weight`. See Zhang and Sennrich, 2019.
///
/// # Errors
/// Fails under the same conditions as [`layer_norm`].
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::rms_norm;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[3f32, -3.], [20., 20.]], &Device::Cpu)?;
/// let y = rms_norm(&x, &[2], None, 0.)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[1., -1.], [1., 1.]]);
/// # Ok(())
/// # }
/// ```
pub fn rms_norm(x: &Tensor, normalized_shape: &[usize], weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let name = "rms_norm";
    let op = RowNorm { name, shape: RowShape::trailing(name, x, normalized_shape)?, eps, centered: false };
    normalize(x, normalized_shape, weight, None, op)
}

/// Splits the channels of each sample into `groups` groups of neighboring channels and normalizes each group, then
/// applies `weight` and `bias`.
///
/// - `x`: `[batch, channels, ...]`
/// - `weight`, `bias`: `[channels]` each; 1 and 0 if `None`
/// - returns a tensor of the shape of `x`
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`, `weight` and `bias`. See Wu and He, 2018.
///
/// # Errors
/// Fails if the rank is below 2, the channels are not divisible by the groups, the batch has one sample whose groups
/// have a single value each (so that the variance is always 0), or a parameter does not have one element per channel.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::group_norm;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(3f32, 2., (2, 6, 4, 4), &Device::Cpu)?;
/// assert_eq!(group_norm(&x, 3, None, None, 1e-5)?.dims(), x.dims());
/// # Ok(())
/// # }
/// ```
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let row_shape = RowShape::groups("group_norm", x, groups)?;
    if row_shape.rows == groups && row_shape.row_len() == 1 {
        bail!("group_norm: expected more than one value per group, found an input of shape {:?}", x.dims());
    }
    let op = RowNorm { name: "group_norm", shape: row_shape, eps, centered: true };
    normalize(x, &[row_shape.parameters()], weight, bias, op)
}

/// Normalizes each channel of each sample, then applies `weight` and `bias`.
///
/// - `x`: `[batch, channels, length, ...]`
/// - `weight`, `bias`: `[channels]` each; 1 and 0 if `None`
/// - returns a tensor of the shape of `x`
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`, `weight` and `bias`. See Ulyanov, Vedaldi and
/// Lempitsky, 2016.
///
/// # Errors
/// Fails if the rank is below 3, a channel of a sample has a single value, or a parameter does not have one element per
/// channel.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::instance_norm;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(3f32, 2., (2, 6, 4, 4), &Device::Cpu)?;
/// assert_eq!(instance_norm(&x, None, None, 1e-5)?.dims(), x.dims());
/// # Ok(())
/// # }
/// ```
pub fn instance_norm(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let row_shape = instance_rows(x)?;
    let op = RowNorm { name: "instance_norm", shape: row_shape, eps, centered: true };
    normalize(x, &[row_shape.parameters()], weight, bias, op)
}

/// Returns the mean and the biased variance of each channel of each sample of `[batch, channels, length, ...]`. Both
/// are `[batch, channels]`, detached, and f32 (f64 for an f64 input).
///
/// # Errors
/// Fails under the same conditions as [`instance_norm`].
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::norm::instance_moments;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32, 3.]]], &Device::Cpu)?;
/// let (mean, variance) = instance_moments(&x)?;
/// assert_eq!((mean.to_vec2::<f32>()?, variance.to_vec2::<f32>()?), (vec![vec![2.]], vec![vec![1.]]));
/// # Ok(())
/// # }
/// ```
pub fn instance_moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let row_shape = instance_rows(x)?;
    let shape = (row_shape.rows / row_shape.period.max(1), row_shape.period);
    if !has_cpu_kernels(x) {
        let (mean, variance) = composed::moments(&x.detach(), row_shape)?;
        return Ok((mean.reshape(shape)?, variance.reshape(shape)?));
    }
    let wide = widened(x)?;
    let (mean, variance) = with_element!("instance_norm", wide.dtype(), E => {
        with_elements::<E, _>(&wide, |x| row_shape.moments(x))
    })?;
    let statistic =
        |values: Vec<f64>| Tensor::from_vec(values, shape, x.device())?.to_dtype(compute_dtype(x.dtype()));
    Ok((statistic(mean)?, statistic(variance)?))
}

/// Divides `x` into one row for each channel of each sample.
fn instance_rows(x: &Tensor) -> Result<RowShape> {
    let [_, channels, _, ..] = *x.dims() else {
        bail!(
            "instance_norm: expected an input [batch, channels, length, ...] of rank 3 or more, found {:?}",
            x.dims()
        );
    };
    let row_shape = RowShape::groups("instance_norm", x, channels)?;
    if row_shape.row_len() == 1 {
        bail!(
            "instance_norm: expected more than one value per channel, found an input of shape {:?}",
            x.dims()
        );
    }
    Ok(row_shape)
}

/// Flattens the parameters, with 1 and 0 for `None`, and runs the operation.
fn normalize(
    x: &Tensor,
    shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    op: RowNorm,
) -> Result<Tensor> {
    let dtype = compute_dtype(x.dtype());
    let parameter = |name, tensor: Option<&Tensor>, default: f64| match tensor {
        Some(tensor) if tensor.dims() != shape => {
            bail!("{}: expected a {name} of shape {shape:?}, found {:?}", op.name, tensor.dims())
        }
        Some(tensor) => tensor.to_dtype(dtype)?.flatten_all()?.contiguous(),
        None => Tensor::full(default, Shape::from(op.shape.parameters()), x.device())?.to_dtype(dtype),
    };
    let (weight, bias) = (parameter("weight", weight, 1.0)?, parameter("bias", bias, 0.0)?);
    if !has_cpu_kernels(x) {
        return composed::normalize(x, &weight, &bias, &op);
    }
    in_f32(x, |x| relay::apply([&x.contiguous()?, &weight, &bias], op))
}
