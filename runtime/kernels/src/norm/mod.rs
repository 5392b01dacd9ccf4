//! Batch normalization with the statistics of the batch (training) or with given statistics (evaluation).

mod composed;
pub(crate) mod cuda;
pub(crate) mod fold;
mod loops;
mod op;
pub(crate) mod ranks;

pub use crate::row_norm::{group_norm, instance_moments, instance_norm, layer_norm, rms_norm};
pub use fold::{batch_norm_fold, fold_bias, fold_scale};

use candle_core::{DType, Result, Tensor, bail};

use crate::activation::{self, Activation};
use crate::channels::Channels;
use crate::composed_path::has_cpu_kernels;
use crate::cuda::runs_on;
use crate::element::{Element, compute_dtype, in_f32, on_cpu_in_f64, widened, with_element, with_elements};
use crate::relay;

use op::Normalize;
use ranks::Ranks;

const NAME: &str = "batch_norm";

/// Normalizes each channel with the mean and variance of the batch, then applies `weight` and `bias`.
///
/// - `x`: `[batch, channels, ...]`
/// - `weight`, `bias`: `[channels]` each; 1 and 0 if `None`
/// - returns the output in the shape of `x`, the mean and the biased variance. The statistics are `[channels]`,
///   detached, and f32 (f64 for an f64 input). For an empty batch the statistics are NaN; do not
///   update running statistics with them.
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`, `weight` and `bias`. See Ioffe and Szegedy, 2015.
///
/// # Errors
/// Fails if the rank is below 2, a channel has a single value, or a parameter does not have one element per channel.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::batch_norm_train;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(3f32, 2., (8, 4, 5, 5), &Device::Cpu)?;
/// let (y, mean, variance) = batch_norm_train(&x, None, None, 1e-5)?;
/// assert_eq!((y.dims(), mean.dims(), variance.dims()), (x.dims(), &[4][..], &[4][..]));
/// assert!(y.mean_all()?.to_scalar::<f32>()?.abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
pub fn batch_norm_train(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    if !has_cpu_kernels(x) {
        if Ranks::current().is_some() {
            bail!(
                "{NAME}: statistics over several processes need a tensor on the CPU, found {:?}",
                x.device()
            );
        }
        let sizes = training_sizes(x)?;
        let [weight, bias] = affine(x, sizes, weight, bias)?;
        // An empty batch has no statistics. The composed path returns NaN for them.
        if runs_on(x.device()) && sizes.per_channel() > 0 {
            return cuda::batch_norm_train(x, sizes, &[weight, bias], eps);
        }
        return composed::train(x, &weight, &bias, eps);
    }
    let wide = widened(x)?.contiguous()?;
    let norm = BatchNorm::from_batch(&wide, weight, bias, eps)?;
    let y = norm.apply(&wide, None, Activation::Identity)?.to_dtype(x.dtype())?;
    let [mean, variance] = norm.statistics()?;
    Ok((y, mean, variance))
}

/// Returns the sizes of an input. Fails if the input has exactly one value per channel.
fn training_sizes(x: &Tensor) -> Result<Channels> {
    let sizes = Channels::new(NAME, x)?;
    // The batches of other processes may have more values.
    if sizes.per_channel() == 1 && Ranks::current().is_none() {
        bail!(
            "{NAME}: expected more than one value per channel in training, found an input of shape {:?}",
            x.dims()
        );
    }
    Ok(sizes)
}

/// The statistics of a batch, with a weight and a bias. [`apply`](Self::apply) normalizes the batch, adds a residual
/// and applies an activation.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Activation, norm::BatchNorm};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::randn(3f32, 2., (8, 4, 5, 5), &Device::Cpu)?;
/// let norm = BatchNorm::from_batch(&x, None, None, 1e-5)?;
/// // relu(norm(x) + x), in one pass.
/// let y = norm.apply(&x, Some(&x), Activation::Relu)?;
/// assert!(y.min_all()?.to_scalar::<f32>()? >= 0.);
/// # Ok(())
/// # }
/// ```
pub struct BatchNorm {
    sizes: Channels,
    mean: Vec<f64>,
    variance: Vec<f64>,
    /// The number of values of a channel from which the statistics were computed.
    count: f64,
    ranks: Option<Ranks>,
    eps: f64,
    weight: Tensor,
    bias: Tensor,
}

impl BatchNorm {
    /// Returns `true` if [`BatchNorm::from_batch`] supports this input: f32 or f64 on the CPU.
    pub fn supports(x: &Tensor) -> bool {
        x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64)
    }

    /// Computes the statistics of `x`, `[batch, channels, ...]`, in one pass over memory. `weight` and `bias` are
    /// `[channels]` each.
    ///
    /// # Errors
    /// Fails under the same conditions as [`batch_norm_train`], or if [`BatchNorm::supports`] is false for `x`.
    pub fn from_batch(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Self> {
        let sizes = training_sizes(x)?;
        let [weight, bias] = affine(x, sizes, weight, bias)?;
        let moments = with_element!(NAME, x.dtype(), E => with_elements::<E, _>(x, |x| moments(sizes, x)))?;
        let ranks = Ranks::current();
        let moments = match &ranks {
            Some(ranks) => ranks.combine(&moments)?,
            None => moments,
        };
        let count = moments.first().map_or(0., |moments| moments.count);
        let mean = moments.iter().map(|moments| moments.mean).collect();
        let variance = moments.iter().map(|moments| moments.squared_deviations / moments.count).collect();
        Ok(Self { sizes, mean, variance, count, ranks, eps, weight, bias })
    }

    /// Returns the number of values of a channel from which the statistics were computed.
    pub fn values_per_channel(&self) -> usize {
        self.count as usize
    }

    /// Returns the number of channels.
    pub fn channels(&self) -> usize {
        self.sizes.channels
    }

    /// Returns the mean and the biased variance, `[channels]` each.
    ///
    /// # Errors
    /// Fails if the conversion to tensors fails.
    pub fn statistics(&self) -> Result<[Tensor; 2]> {
        let tensor = |values: &Vec<f64>| {
            Tensor::from_slice(values, self.sizes.channels, self.weight.device())?
                .to_dtype(self.weight.dtype())
        };
        Ok([tensor(&self.mean)?, tensor(&self.variance)?])
    }

    /// Returns `activation(norm(x) + residual)`. `x` must be the batch that was passed to [`BatchNorm::from_batch`],
    /// and `residual` must have the shape of `x`. Runs in one pass if the activation
    /// [saves its output](Activation::saves_output), and in two passes otherwise. Differentiable in `x`, the residual,
    /// the weight and the bias.
    ///
    /// # Errors
    /// Fails if the shape or dtype of `x` or the residual does not match the batch.
    pub fn apply(&self, x: &Tensor, residual: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
        // The variance of an empty batch is NaN, which would reach the gradients of the weight and the bias.
        let empty = self.count == 0.;
        let std = |variance: &f64| if empty { 1.0 } else { (variance + self.eps).sqrt() };
        let fused = activation.saves_output();
        let op = Normalize {
            sizes: self.sizes,
            mean: self.mean.clone(),
            inv_std: self.variance.iter().map(|variance| 1.0 / std(variance)).collect(),
            training: true,
            count: self.count,
            ranks: self.ranks.clone(),
            activation: if fused { activation } else { Activation::Identity },
            residual: residual.is_some(),
        };
        let x = x.contiguous()?;
        let y = match residual {
            // An operation has at most three operands, so the weight and the bias are concatenated into one.
            Some(residual) => {
                let affine = Tensor::cat(&[&self.weight, &self.bias], 0)?;
                relay::apply([&x, &affine, &residual.contiguous()?], op)?
            }
            None => relay::apply([&x, &self.weight, &self.bias], op)?,
        };
        if fused { Ok(y) } else { activation::apply(activation, &y) }
    }
}

/// Normalizes each channel with the given `mean` and `var`, then applies `weight` and `bias`.
///
/// - `x`: `[batch, channels, ...]`
/// - `mean`, `var`: `[channels]` each
/// - `weight`, `bias`: `[channels]` each; 1 and 0 if `None`
/// - returns a tensor of the shape of `x`
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`, `weight` and `bias`. To fuse a batch norm into the preceding
/// convolution, see [`batch_norm_fold`].
///
/// # Errors
/// Fails if the rank is below 2, or a parameter or statistic does not have one element per channel.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::batch_norm_eval;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[3f32, 10.], [7., 30.]], &Device::Cpu)?;
/// let [mean, var] = [Tensor::new(&[5f32, 20.], &Device::Cpu)?, Tensor::new(&[4f32, 100.], &Device::Cpu)?];
/// let y = batch_norm_eval(&x, &mean, &var, None, None, 0.)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1., -1.], [1., 1.]]);
/// # Ok(())
/// # }
/// ```
pub fn batch_norm_eval(
    x: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let sizes = Channels::new(NAME, x)?;
    let [weight, bias] = affine(x, sizes, weight, bias)?;
    check_shape("mean", mean, sizes)?;
    check_shape("variance", var, sizes)?;
    if runs_on(x.device()) {
        return cuda::batch_norm_eval(x, sizes, [mean, var], &[weight, bias], eps);
    }
    if !has_cpu_kernels(x) {
        return composed::eval(x, [mean, var], &weight, &bias, eps);
    }
    let mean = on_cpu_in_f64(mean)?.to_vec1::<f64>()?;
    let variance = on_cpu_in_f64(var)?.to_vec1::<f64>()?;
    let inv_std = variance.iter().map(|variance| 1.0 / (variance + eps).sqrt()).collect();
    let activation = Activation::Identity;
    let count = sizes.per_channel() as f64;
    let op =
        Normalize { sizes, mean, inv_std, training: false, count, ranks: None, activation, residual: false };
    in_f32(x, |x| relay::apply([&x.contiguous()?, &weight, &bias], op))
}

/// Returns the weight and the bias in the dtype of the computation, with 1 and 0 for `None`.
fn affine(
    x: &Tensor,
    sizes: Channels,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<[Tensor; 2]> {
    let dtype = compute_dtype(x.dtype());
    let parameter = |name, tensor: Option<&Tensor>, default: f64| match tensor {
        Some(tensor) => {
            check_shape(name, tensor, sizes)?;
            tensor.to_dtype(dtype)?.contiguous()
        }
        None => Tensor::full(default, sizes.channels, x.device())?.to_dtype(dtype),
    };
    Ok([parameter("weight", weight, 1.0)?, parameter("bias", bias, 0.0)?])
}

/// Fails if a tensor does not have one element for each channel.
fn check_shape(name: &str, tensor: &Tensor, sizes: Channels) -> Result<()> {
    if tensor.dims() != [sizes.channels] {
        bail!("{NAME}: expected a {name} of shape [{}], found {:?}", sizes.channels, tensor.dims());
    }
    Ok(())
}

/// The count, the mean and the sum of squared deviations of a set of numbers.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squared_deviations: f64,
}

impl Moments {
    /// Returns the moments of the union of two sets, with the pairwise update of Chan, Golub and LeVeque (1979).
    fn combine(self, other: Self) -> Self {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * other.count / count,
            squared_deviations: self.squared_deviations
                + other.squared_deviations
                + delta * delta * self.count * other.count / count,
        }
    }
}

/// Returns the moments of each channel. Main memory is read once: for each range of samples, the first sum gives the
/// mean, and the second sum reads the same samples from the cache.
fn moments<E: Element>(sizes: Channels, x: &[E]) -> Vec<Moments> {
    let fold = |channel: usize, samples: std::ops::Range<usize>| {
        let count = (samples.len() * sizes.plane) as f64;
        let [sum] = sizes.fold_planes(x, x, channel, samples.clone(), |x, _| [x]);
        let mean = sum / count;
        let [squared_deviations] =
            sizes.fold_planes(x, x, channel, samples, |x, _| [(x - mean) * (x - mean)]);
        Moments { count, mean, squared_deviations }
    };
    sizes.reduce(fold, Moments::combine)
}
