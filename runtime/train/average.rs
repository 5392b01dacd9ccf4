//! Averages of a network's weights over the steps of training.

use candle_core::{DType, Device, Tensor};

use crate::checkpoint::StateDict;
use crate::kernels::internal::{descent, on_cpu_in_f64};
use crate::module::Module;
use crate::registry::{Network, Replacements, TensorKind, for_each_mut};
use crate::{Error, Result};

/// The key of the number of updates in the state dict of an average.
const UPDATES: &str = "n_averaged";
/// The prefix of the averaged network in the state dict of an average.
const PREFIX: &str = "module.";

/// How an [`AveragedModel`] weights the values of each update. [`Exponential`] and [`Equal`] implement it.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::{AveragedModel, Weighting};
///
/// /// Keeps the values of the last update.
/// struct Latest;
///
/// impl Weighting for Latest {
///     fn share(&self, _updates: u64) -> f64 {
///         1.
///     }
/// }
/// # fn main() -> Result<()> {
/// let net = Linear::config(2, 1).init(&Device::Cpu)?;
/// let mut average = AveragedModel::with_weighting(&net, Latest)?;
/// average.update(&net)?;
/// assert_eq!(average.network().weight().to_vec2::<f32>()?, net.weight().to_vec2::<f32>()?);
/// # Ok(())
/// # }
/// ```
pub trait Weighting {
    /// Returns the share of the newest values in the average, from 0 to 1, after `updates` earlier updates. `updates`
    /// is at least 1: the first update always copies the values.
    fn share(&self, updates: u64) -> f64;
}

/// The weighting of an exponential moving average; see [`Ema`].
///
/// ```
/// use sconce::train::{Exponential, Weighting};
///
/// assert_eq!(Exponential { decay: 0.75 }.share(10), 0.25);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    /// The factor of the previous average in each update.
    pub decay: f64,
}

/// The weighting of an arithmetic mean; see [`Swa`].
///
/// ```
/// use sconce::train::{Equal, Weighting};
///
/// assert_eq!(Equal.share(3), 0.25);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Equal;

impl Weighting for Exponential {
    fn share(&self, _updates: u64) -> f64 {
        1. - self.decay
    }
}

impl Weighting for Equal {
    fn share(&self, updates: u64) -> f64 {
        1. / (updates as f64 + 1.)
    }
}

/// The exponential moving average of a network's weights, like PyTorch's `AveragedModel` with
/// `get_ema_multi_avg_fn(decay)` (Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992).
///
/// The first [`update`](AveragedModel::update) copies the weights. Each later one computes
/// `average = decay · average + (1 − decay) · weight`.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::Ema;
/// # fn main() -> Result<()> {
/// let net = Linear::config(2, 1).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[1f32, 2.], [3., 5.]], &Device::Cpu)?;
/// let y = Tensor::new(&[[1f32], [2.]], &Device::Cpu)?;
/// let mut optimizer = Sgd::new(0.01).build(net.trainable_parameters())?;
/// let mut ema = Ema::new(&net, 0.99)?;
/// for _ in 0..10 {
///     let loss = mse_loss(&net.forward_t(&x, true)?, &y)?;
///     optimizer.step(&sconce::backward(&loss)?)?;
///     ema.update(&net)?;
/// }
/// let averaged = ema.network().forward(&x)?;
/// assert_eq!(averaged.dims(), [2, 1]);
/// # Ok(())
/// # }
/// ```
pub type Ema<M> = AveragedModel<M, Exponential>;

/// The mean of a network's weights, like PyTorch's `AveragedModel` (Izmailov et al., "Averaging Weights Leads to Wider
/// Optima and Better Generalization", 2018). Each [`update`](AveragedModel::update) counts equally.
///
/// With batch norm, call [`update_bn`](super::update_bn) at the end of training.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::{Swa, update_bn};
/// # fn main() -> Result<()> {
/// let net = BatchNorm::config(2).init(&Device::Cpu)?;
/// let mut swa = Swa::new(&net)?;
/// swa.update(&net)?; // after each epoch
/// let x = Tensor::new(&[[1f32, 2.], [3., 5.]], &Device::Cpu)?;
/// let data = vec![(x.clone(), x)];
/// update_bn(swa.network(), &data)?;
/// let (_, mean) = &swa.network().buffers()[0];
/// assert_eq!(mean.to_vec1::<f32>()?, [2., 3.5]);
/// # Ok(())
/// # }
/// ```
pub type Swa<M> = AveragedModel<M, Equal>;

/// A copy of a network whose weights are averages, like `torch.optim.swa_utils.AveragedModel`. [`Ema`] and [`Swa`] have
/// PyTorch's weightings; [`with_weighting`](Self::with_weighting) accepts any other.
///
/// The average is a network of its own, with separate storage. Tied tensors of the network are tied in the average.
/// Frozen parameters are averaged too. Buffers, such as running statistics, have the values of the last update, unless
/// [`use_buffers`](Self::use_buffers) is set. Integer tensors are copied, never averaged.
///
/// The average keeps the dtype and the device of the network from which it was created. In f16 and bf16, small changes
/// are lost by rounding: create the average from a copy of the network in f32, and update the average with the original
/// network.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::Ema;
/// # fn main() -> Result<()> {
/// let mut net = Linear::config(2, 1).init(&Device::Cpu)?;
/// let mut ema = Ema::new(&net, 0.99)?;
/// ema.update(&net)?;
/// ema.swap(&mut net)?; // `net` has the average
/// ema.swap(&mut net)?; // `net` has its own weights again
/// // Resume.
/// let mut resumed = Ema::new(&net, 0.99)?;
/// resumed.load_state_dict(&ema.state_dict()?)?;
/// assert_eq!(resumed.updates(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AveragedModel<M, W> {
    network: M,
    weighting: W,
    use_buffers: bool,
    updates: u64,
}

impl<M: Module> Ema<M> {
    /// Creates the exponential moving average of `network`. Until the first update, the average has the current
    /// weights.
    ///
    /// # Errors
    /// Fails if `decay` is not between 0 and 1, or if a tensor cannot be copied.
    pub fn new(network: &M, decay: f64) -> Result<Self> {
        if !(0. ..=1.).contains(&decay) {
            return Err(
                Error::msg(format!("expected a decay between 0 and 1, found {decay}")).in_layer("Ema")
            );
        }
        Self::with_weighting(network, Exponential { decay })
    }
}

impl<M: Module> Swa<M> {
    /// Creates the mean of the weights of `network` over all updates. Until the first update, the mean has the current
    /// weights. The first update replaces them.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied.
    pub fn new(network: &M) -> Result<Self> {
        Self::with_weighting(network, Equal)
    }
}

impl<M: Module, W: Weighting> AveragedModel<M, W> {
    /// Creates an average of the weights of `network` with any weighting.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied.
    pub fn with_weighting(network: &M, weighting: W) -> Result<Self> {
        Ok(Self { network: network.deep_clone()?, weighting, use_buffers: false, updates: 0 })
    }

    /// Sets whether to average floating-point buffers as well. Default: `false`, so that updates copy all buffers.
    pub fn use_buffers(mut self, average: bool) -> Self {
        self.use_buffers = average;
        self
    }

    /// Returns the averaged network.
    pub fn network(&self) -> &M {
        &self.network
    }

    /// Returns the number of updates.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Updates the average with the current parameters and buffers of `network`. Call this method after each step of
    /// the optimizer for [`Ema`], and for example after each epoch for [`Swa`].
    ///
    /// # Errors
    /// Fails, and changes nothing, if the tensors of `network` and of the average differ in their names or shapes, or
    /// if the weighting returns a share that is not between 0 and 1. Also fails if a tensor operation fails.
    pub fn update(&mut self, network: &M) -> Result<()> {
        let values = network.state_dict();
        check_same_tensors(&self.network.state_dict(), &values)
            .map_err(|error| error.in_layer(network.kind()))?;
        let share = if self.updates == 0 { 1. } else { self.weighting.share(self.updates) };
        if !(0. ..=1.).contains(&share) {
            let message = format!("expected a share between 0 and 1 from the weighting, found {share}");
            return Err(Error::msg(message).in_layer(network.kind()));
        }
        let mut averaged = Replacements::default();
        for_each_mut(&mut self.network, &mut |path, kind, average| {
            let Some(value) = values.get(path) else { return Ok(()) };
            let is_averaged =
                average.dtype().is_float() && (kind == TensorKind::Parameter || self.use_buffers);
            let share = if is_averaged { share } else { 1. };
            *average = averaged.get_or_make(average, |average| blend(average, value, share))?;
            Ok(())
        })?;
        self.updates += 1;
        Ok(())
    }

    /// Copies the average into `network`. The trainable parameters of `network` keep their storage.
    ///
    /// # Errors
    /// Fails, and changes nothing, if the tensors of `network` and of the average differ in their names or shapes.
    pub fn copy_to(&self, network: &mut M) -> Result<()> {
        network.load_state_dict(&self.network.state_dict())
    }

    /// Exchanges the parameters and buffers of the average and of `network`, for example to evaluate or save `network`
    /// with the averaged weights. A second call exchanges them back. Do not call [`update`](Self::update) between the
    /// two calls.
    ///
    /// # Errors
    /// Fails, and changes nothing, if the tensors of `network` and of the average differ in their names, shapes or
    /// dtypes. Also fails if a tensor cannot be copied.
    pub fn swap(&mut self, network: &mut M) -> Result<()> {
        check_same_dtypes(&self.network.state_dict(), &network.state_dict())
            .map_err(|error| error.in_layer(network.kind()))?;
        let copy = |(name, tensor): (&str, &Tensor)| Ok((name.to_owned(), tensor.copy()?));
        let values = network.state_dict().iter().map(copy).collect::<Result<StateDict>>()?;
        self.copy_to(network)?;
        self.network.load_state_dict(&values)
    }

    /// Returns copies of the averaged tensors, and the number of updates, under the names of PyTorch's `AveragedModel`:
    /// `n_averaged` and `module.fc.weight`. A checkpoint with these names can be loaded into a network with
    /// [`Load`](crate::Load).
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied.
    pub fn state_dict(&self) -> Result<StateDict> {
        let mut state = StateDict::new();
        state.insert(UPDATES, Tensor::new(self.updates as i64, &Device::Cpu)?);
        for (name, tensor) in self.network.state_dict().iter() {
            state.insert(format!("{PREFIX}{name}"), tensor.copy()?);
        }
        Ok(state)
    }

    /// Restores a state returned by [`state_dict`](Self::state_dict), or saved by PyTorch's `AveragedModel`.
    ///
    /// # Errors
    /// Fails, and changes nothing, if `n_averaged` is missing or negative, or if the tensors do not fit the network.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let missing = || Error::msg(format!("`{UPDATES}` is missing from the state of the average"));
        let updates = state.get(UPDATES).ok_or_else(missing)?;
        let updates = match on_cpu_in_f64(updates)?.flatten_all()?.to_vec1::<f64>()?[..] {
            [updates] if updates >= 0. && updates.fract() == 0. => updates as u64,
            ref found => {
                let message = format!("expected one integer of at least 0 as `{UPDATES}`, found {found:?}");
                return Err(Error::msg(message));
            }
        };
        let tensors = state.iter().filter(|(name, _)| *name != UPDATES).map(|(name, tensor)| {
            let unknown =
                || Error::msg(format!("expected a name that starts with `{PREFIX}`, found `{name}`"));
            Ok((name.strip_prefix(PREFIX).ok_or_else(unknown)?.to_owned(), tensor.clone()))
        });
        let tensors = tensors.collect::<Result<StateDict>>()?;
        self.network.load_state_dict(&tensors)?;
        self.updates = updates;
        Ok(())
    }
}

/// Returns an error unless both networks have tensors of the same names and shapes.
fn check_same_tensors(average: &StateDict, network: &StateDict) -> Result<()> {
    for (name, tensor) in average.iter() {
        let Some(found) = network.get(name) else {
            return Err(Error::msg(format!("`{name}` is in the average, but not in the network")));
        };
        if found.dims() != tensor.dims() {
            let expected = tensor.dims();
            let found = found.dims();
            return Err(Error::msg(format!(
                "expected `{name}` of shape {expected:?} as in the average, found {found:?}"
            )));
        }
    }
    match network.keys().find(|name| !average.contains_key(name)) {
        Some(name) => Err(Error::msg(format!("`{name}` is in the network, but not in the average"))),
        None => Ok(()),
    }
}

/// Returns an error if a tensor has different dtypes in the average and in the network. An exchange would round the
/// more precise one.
fn check_same_dtypes(average: &StateDict, network: &StateDict) -> Result<()> {
    for (name, tensor) in average.iter() {
        let expected = tensor.dtype();
        let found = network.get(name).map_or(expected, Tensor::dtype);
        if found != expected {
            return Err(Error::msg(format!(
                "expected `{name}` of dtype {expected:?} as in the average, found {found:?}; use `copy_to` with a copy \
                 of the network"
            )));
        }
    }
    Ok(())
}

/// Returns `average + share · (value − average)`. A variable is changed in place. Any other tensor is replaced, because
/// layers may keep packed copies of it, which would become stale. No layer keeps packed copies of a variable.
fn blend(average: &Tensor, value: &Tensor, share: f64) -> Result<Tensor> {
    let old = average.detach();
    let value = value.to_device(old.device())?.to_dtype(old.dtype())?;
    // If `share` is 1, the result is `value` itself, which the kernel's `old + (value − old)` could miss by a rounding
    // error.
    if share != 1. && average.is_variable() && descent::cuda::supports(&[&old]) {
        descent::cuda::blend(&old, &value, share)?;
        return Ok(average.clone());
    }
    // If `average` and `value` are equal, this form does not round, unlike `(1 − share) · average + share · value`.
    let blended = if share == 1. {
        value
    } else {
        // In f16 and bf16, each operation would round.
        let dtype = if old.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let wide = old.to_dtype(dtype)?;
        (&wide + ((value.to_dtype(dtype)? - &wide)? * share)?)?.to_dtype(old.dtype())?
    };
    if average.is_variable() {
        candle_core::Var::from_tensor(average)?.set(&blended)?;
        return Ok(average.clone());
    }
    // `copy`, because `value` may share its storage with the network.
    Ok(if share == 1. { blended.copy()? } else { blended })
}
