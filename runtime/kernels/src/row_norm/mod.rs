//! Layer, RMS, group and instance normalisation: rows of `[rows, elements]` are normalised each by
//! itself, then scaled and shifted by a weight and a bias for each element or for each channel.

mod composed;
mod loops;
mod op;
mod rows;

use self::op::RowNorm;
use self::rows::Rows;
use super::element::{compute_dtype, in_single, widened, with_element, with_elements};
use super::relay;
use candle_core::{Result, Shape, Tensor, bail};

/// Normalises over the last dimensions, which are `normalized_shape`, by their mean and variance, then
/// applies `weight` and `bias` of that shape: Ba, Kiros and Hinton 2016. Differentiable in all three.
///
/// # Errors
/// `normalized_shape` is empty or not what the shape of `x` ends in, or a parameter has another shape.
pub fn layer_norm(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let (name, centred) = ("layer_norm", true);
    let op = RowNorm { name, rows: Rows::trailing(name, x, normalized_shape)?, eps, centred };
    normalize(x, normalized_shape, weight, bias, op)
}

/// Divides by the root of the mean square over the last dimensions, which are `normalized_shape`, then
/// applies `weight` of that shape: Zhang and Sennrich 2019. Differentiable in both.
///
/// # Errors
/// As those of [`layer_norm`].
pub fn rms_norm(x: &Tensor, normalized_shape: &[usize], weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let (name, centred) = ("rms_norm", false);
    let op = RowNorm { name, rows: Rows::trailing(name, x, normalized_shape)?, eps, centred };
    normalize(x, normalized_shape, weight, None, op)
}

/// Normalises each of `groups` runs of channels of each sample of `[batch, channels, ...]`, then applies
/// `weight` and `bias` (`[channels]` each): Wu and He 2018. Differentiable in all three.
///
/// # Errors
/// The rank is below 2, the channels do not divide into the groups, a group of the whole batch has a
/// single value (whose variance is nothing), or a parameter does not have one entry a channel.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let rows = Rows::groups("group_norm", x, groups)?;
    if rows.rows == groups && rows.elements() == 1 {
        bail!("group_norm: expected more than one value a group, got an input {:?}", x.dims());
    }
    let op = RowNorm { name: "group_norm", rows, eps, centred: true };
    normalize(x, &[rows.parameters()], weight, bias, op)
}

/// Normalises each channel of each sample of `[batch, channels, length, ...]`, then applies `weight` and
/// `bias` (`[channels]` each): Ulyanov, Vedaldi and Lempitsky 2016. Differentiable in all three.
///
/// # Errors
/// The rank is below 3, a channel of a sample has a single value, or a parameter does not have one entry
/// a channel.
pub fn instance_norm(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let rows = instances(x)?;
    let op = RowNorm { name: "instance_norm", rows, eps, centred: true };
    normalize(x, &[rows.parameters()], weight, bias, op)
}

/// The mean and the biased variance of each channel of each sample of `[batch, channels, length, ...]`:
/// `[batch, channels]` each, detached, in f32 (f64 for an input of f64).
///
/// # Errors
/// As those of [`instance_norm`].
pub fn instance_moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let rows = instances(x)?;
    let shape = (rows.rows / rows.period.max(1), rows.period);
    if !x.device().is_cpu() {
        let (mean, variance) = composed::moments(&x.detach(), rows)?;
        return Ok((mean.reshape(shape)?, variance.reshape(shape)?));
    }
    let wide = widened(x)?;
    let (mean, variance) = with_element!("instance_norm", wide.dtype(), E => {
        with_elements::<E, _>(&wide, |x| rows.moments(x))
    })?;
    let statistic =
        |values: Vec<f64>| Tensor::from_vec(values, shape, x.device())?.to_dtype(compute_dtype(x.dtype()));
    Ok((statistic(mean)?, statistic(variance)?))
}

fn instances(x: &Tensor) -> Result<Rows> {
    let [_, channels, _, ..] = *x.dims() else {
        bail!(
            "instance_norm: expected an input [batch, channels, length, ...] of rank 3 or more, got {:?}",
            x.dims()
        );
    };
    let rows = Rows::groups("instance_norm", x, channels)?;
    if rows.elements() == 1 {
        bail!("instance_norm: expected more than one value a channel, got an input {:?}", x.dims());
    }
    Ok(rows)
}

/// Brings the parameters, constants where there are none, to one entry a run, and runs the operation.
fn normalize(
    x: &Tensor,
    shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    op: RowNorm,
) -> Result<Tensor> {
    let dtype = compute_dtype(x.dtype());
    let parameter = |name, given: Option<&Tensor>, default: f64| match given {
        Some(given) if given.dims() != shape => {
            bail!("{}: expected a {name} of shape {shape:?}, got {:?}", op.name, given.dims())
        }
        Some(given) => given.to_dtype(dtype)?.flatten_all()?.contiguous(),
        None => Tensor::full(default, Shape::from(op.rows.parameters()), x.device())?.to_dtype(dtype),
    };
    let (weight, bias) = (parameter("weight", weight, 1.0)?, parameter("bias", bias, 0.0)?);
    if !x.device().is_cpu() {
        return composed::normalize(x, &weight, &bias, &op);
    }
    in_single(x, |x| relay::apply([&x.contiguous()?, &weight, &bias], op))
}
