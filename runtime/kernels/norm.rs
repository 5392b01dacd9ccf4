//! Batch normalisation, with the statistics of the batch (training) or with given ones (evaluation).

mod composed;
mod fold;

pub use fold::batch_norm_fold;

use super::channels::Channels;
use super::element::{
    Element, compute_dtype, elements, in_single, widened, with_element, with_elements, zeros,
};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, WithDType, bail};

const NAME: &str = "batch_norm";

/// Normalises each channel of `[batch, channels, ...]` by its own mean and variance over the batch and
/// all further dimensions, then applies `weight` and `bias` (`[channels]` each).
///
/// Returns the output, differentiable in `x`, `weight` and `bias`, and the `[channels]` mean and biased
/// variance, detached, in f32 (f64 for an input of f64). For an empty batch both are NaN: running
/// statistics should then stay as they are.
///
/// # Errors
/// The rank is below 2, a channel has a single value, or a parameter does not have one entry a channel.
pub fn batch_norm_train(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let view = Channels::of(NAME, x)?;
    if view.per_channel() == 1 {
        bail!("{NAME}: expected more than one value a channel to train on, got an input {:?}", x.dims());
    }
    let [weight, bias] = affine(x, view, weight, bias)?;
    if !x.device().is_cpu() {
        return composed::train(x, &weight, &bias, eps);
    }
    let wide = widened(x)?.contiguous()?;
    let moments = with_element!(NAME, wide.dtype(), E => with_elements::<E, _>(&wide, |x| moments(view, x)))?;
    let mean: Vec<f64> = moments.iter().map(|moments| moments.mean).collect();
    let variance: Vec<f64> = moments.iter().map(|moments| moments.squares / moments.count).collect();
    // An empty batch has no variance, and nothing that would be scaled by it.
    let spread = |variance: &f64| if view.per_channel() == 0 { 1.0 } else { (variance + eps).sqrt() };
    let inv_std = variance.iter().map(|variance| 1.0 / spread(variance)).collect();
    let op = Normalize { view, mean: mean.clone(), inv_std, of_batch: true };
    let y = wide.apply_op3(&weight, &bias, op)?.to_dtype(x.dtype())?;
    let statistic =
        |values| Tensor::from_vec(values, view.channels, x.device())?.to_dtype(compute_dtype(x.dtype()));
    Ok((y, statistic(mean)?, statistic(variance)?))
}

/// Normalises each channel of `[batch, channels, ...]` by the given `mean` and `var`, then applies
/// `weight` and `bias` (`[channels]` each). Differentiable in `x`, `weight` and `bias`.
///
/// # Errors
/// The rank is below 2, or a parameter or statistic does not have one entry a channel.
pub fn batch_norm_eval(
    x: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let view = Channels::of(NAME, x)?;
    let [weight, bias] = affine(x, view, weight, bias)?;
    check("mean", mean, view)?;
    check("variance", var, view)?;
    if !x.device().is_cpu() {
        return composed::eval(x, [mean, var], &weight, &bias, eps);
    }
    let mean = mean.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let variance = var.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let inv_std = variance.iter().map(|variance| 1.0 / (variance + eps).sqrt()).collect();
    let op = Normalize { view, mean, inv_std, of_batch: false };
    in_single(x, |x| x.contiguous()?.apply_op3(&weight, &bias, op))
}

/// Weight and bias in the dtype of the computation, constants where there are none.
fn affine(x: &Tensor, view: Channels, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<[Tensor; 2]> {
    let dtype = compute_dtype(x.dtype());
    let parameter = |name, given: Option<&Tensor>, default: f64| match given {
        Some(given) => {
            check(name, given, view)?;
            given.to_dtype(dtype)?.contiguous()
        }
        None => Tensor::full(default, view.channels, x.device())?.to_dtype(dtype),
    };
    Ok([parameter("weight", weight, 1.0)?, parameter("bias", bias, 0.0)?])
}

fn check(name: &str, given: &Tensor, view: Channels) -> Result<()> {
    if given.dims() != [view.channels] {
        bail!("{NAME}: expected a {name} of shape [{}], got {:?}", view.channels, given.dims());
    }
    Ok(())
}

/// Count, mean and sum of squared deviations of a set of numbers.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// The moments of two sets together, by the pairwise update of Chan, Golub and LeVeque (1979).
    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares + other.squares + apart * apart * self.count * other.count / count,
        }
    }
}

/// Each channel's moments, in one pass over memory: each block is read twice while it is in cache.
fn moments<E: Element>(view: Channels, x: &[E]) -> Vec<Moments> {
    let fold = |channel: usize, samples: std::ops::Range<usize>| {
        let count = (samples.len() * view.plane) as f64;
        let [sum] = view.fold_planes(x, x, channel, samples.clone(), |x, _| [x]);
        let mean = sum / count;
        let [squares] = view.fold_planes(x, x, channel, samples, |x, _| [(x - mean) * (x - mean)]);
        Moments { count, mean, squares }
    };
    view.reduce(fold, Moments::join)
}

/// `(x - mean) · inv_std · weight + bias`.
struct Normalize {
    view: Channels,
    mean: Vec<f64>,
    inv_std: Vec<f64>,
    /// Whether the statistics are those of `x` itself, and so depend on it.
    of_batch: bool,
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, x.dtype(), E => {
            let weight = elements::<E>(weight, weight_layout)?;
            let bias = elements::<E>(bias, bias_layout)?;
            let y = self.normalize::<E>(elements(x, x_layout)?, weight, bias);
            Ok((E::to_cpu_storage_owned(y), x_layout.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, sums) = with_element!(NAME, x.dtype(), E => {
            let weight = weight.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            let (dx, sums) = with_elements::<E, _>(x, |x| {
                with_elements(grad, |grad| {
                    let sums = self.sums::<E>(x, grad);
                    (self.gradient(x, grad, &weight, &sums), sums)
                })
            })??;
            Ok::<_, candle_core::Error>((Tensor::from_vec(dx, x.shape(), x.device())?, sums))
        })?;
        let parameter = |tensor: &Tensor, values: Vec<f64>| {
            Tensor::from_vec(values, tensor.shape(), tensor.device())?.to_dtype(tensor.dtype())
        };
        let scaled = sums.iter().zip(&self.inv_std).map(|([_, product], inv_std)| product * inv_std);
        let dw = parameter(weight, scaled.collect())?;
        let db = parameter(bias, sums.iter().map(|[sum, _]| *sum).collect())?;
        Ok((Some(dx), weight.track_op().then_some(dw), bias.track_op().then_some(db)))
    }
}

impl Normalize {
    fn normalize<E: Element>(&self, x: &[E], weight: &[E], bias: &[E]) -> Vec<E> {
        let mut y = zeros::<E>(x.len());
        self.view.for_each_plane(&mut y, |channel, range, y| {
            let mean = E::from_f64(self.mean[channel]);
            let scale = E::from_f64(self.inv_std[channel]) * weight[channel];
            for (y, x) in y.iter_mut().zip(&x[range]) {
                *y = (*x - mean) * scale + bias[channel];
            }
        });
        y
    }

    /// For each channel, the sum of the gradient and that of its product with `x - mean`.
    fn sums<E: Element>(&self, x: &[E], grad: &[E]) -> Vec<[f64; 2]> {
        self.view.sums(x, grad, |channel, x, grad| [grad, grad * (x - self.mean[channel])])
    }

    /// `weight · inv_std · (grad - mean(grad) - x̂ · mean(grad · x̂))`, without the means where the
    /// statistics are constants.
    fn gradient<E: Element>(&self, x: &[E], grad: &[E], weight: &[f64], sums: &[[f64; 2]]) -> Vec<E> {
        let count = self.view.per_channel() as f64;
        let mut dx = zeros::<E>(x.len());
        self.view.for_each_plane(&mut dx, |channel, range, dx| {
            let [sum, product] = if self.of_batch { sums[channel] } else { [0.0; 2] };
            let inv_std = self.inv_std[channel];
            let scale = E::from_f64(weight[channel] * inv_std);
            let mean = E::from_f64(self.mean[channel]);
            let shift = E::from_f64(sum / count);
            let slope = E::from_f64(product * inv_std * inv_std / count);
            for ((dx, x), grad) in dx.iter_mut().zip(&x[range.clone()]).zip(&grad[range]) {
                *dx = (*grad - shift - (*x - mean) * slope) * scale;
            }
        });
        dx
    }
}
