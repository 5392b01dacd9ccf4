//! Instance normalization.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::graph::Op;
use crate::kernels::norm;
use crate::layers::{forward_methods, impl_fmt};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::{Batch, Recording, Signal, add_operands};
use crate::{Error, Result};

use super::channel_norm::{ChannelNorm, RunningStats, Settings, setters};

/// Normalizes each channel of each example (Ulyanov, Vedaldi and Lempitsky 2016, <https://arxiv.org/abs/1607.08022>).
/// [`InstanceNorm1d`], [`InstanceNorm2d`] and [`InstanceNorm3d`] are aliases with PyTorch's names.
///
/// - Config: `InstanceNorm2d::config(num_features)`; setters `eps` (1e-5), `momentum` (0.1), `affine` (false),
///   `track_running_stats` (false)
/// - Input, output: `[batch, num_features, …]` or `[num_features, …]`, with `AXES` dimensions after the channels
/// - Fails if the input has the wrong shape, or if its statistics are used and each channel has only one value
///
/// With running statistics, training uses the statistics of the input and averages them over the batch to update the
/// running statistics in place. Evaluation uses the running statistics.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = InstanceNorm2d::config(3).init(&Device::Cpu)?;
/// let x = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(norm.call(x.into(), Mode::Eval).into_tensor()?.dims(), [2, 3, 4, 5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct InstanceNorm<const AXES: usize>(ChannelNorm);

/// Instance norm for `[batch, channels, length]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = InstanceNorm1d::config(3).init(&Device::Cpu)?;
/// assert_eq!(norm.forward(Tensor::ones((2, 3, 8), DType::F32, &Device::Cpu)?)?.dims(), [2, 3, 8]);
/// # Ok(())
/// # }
/// ```
pub type InstanceNorm1d = InstanceNorm<1>;

/// Instance norm for `[batch, channels, height, width]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = InstanceNorm2d::config(3).init(&Device::Cpu)?;
/// assert_eq!(norm.forward(Tensor::ones((2, 3, 4, 5), DType::F32, &Device::Cpu)?)?.dims(), [2, 3, 4, 5]);
/// # Ok(())
/// # }
/// ```
pub type InstanceNorm2d = InstanceNorm<2>;

/// Instance norm for `[batch, channels, depth, height, width]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = InstanceNorm3d::config(3).init(&Device::Cpu)?;
/// assert_eq!(norm.forward(Tensor::ones((2, 3, 4, 5, 6), DType::F32, &Device::Cpu)?)?.dims(), [2, 3, 4, 5, 6]);
/// # Ok(())
/// # }
/// ```
pub type InstanceNorm3d = InstanceNorm<3>;

/// The config of [`InstanceNorm`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = InstanceNorm2d::config(3).affine(true).track_running_stats(true).init(&Device::Cpu)?;
/// let parameters: Vec<String> = norm.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(parameters, ["weight", "bias"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InstanceNormConfig<const AXES: usize>(Settings);

setters!(InstanceNormConfig<1> InstanceNormConfig<2> InstanceNormConfig<3>);

impl<const AXES: usize> InstanceNorm<AXES> {
    /// Creates the config with PyTorch's defaults.
    pub fn config(num_features: usize) -> InstanceNormConfig<AXES> {
        let eps = 1e-5;
        let momentum = Some(0.1);
        InstanceNormConfig(Settings {
            num_features,
            eps,
            momentum,
            affine: false,
            track_running_stats: false,
        })
    }

    fn label(&self) -> String {
        format!("InstanceNorm{AXES}d {}", self.0.settings.num_features)
    }

    /// Returns `true` if an input with these dimensions has a batch dimension. Fails if the dimensions are not
    /// supported.
    fn is_batch(&self, dims: &[usize]) -> Result<bool> {
        let channels = self.0.settings.num_features;
        let leading = dims.len().checked_sub(AXES);
        match leading.filter(|&leading| (1..=2).contains(&leading) && dims[leading - 1] == channels) {
            Some(leading) => Ok(leading == 2),
            None => {
                let axes = ["length", "height, width", "depth, height, width"];
                let axes = axes.get(AXES.wrapping_sub(1)).unwrap_or(&"…");
                Err(Error::msg(format!("expected an input [batch, {channels}, {axes}], found {dims:?}")))
            }
        }
    }

    /// Normalizes with the statistics of the input. Updates `running` unless `running` or the momentum is `None`.
    fn normalize(&self, x: &Tensor, running: Option<&RunningStats>) -> Result<Tensor> {
        let Settings { eps, momentum, .. } = self.0.settings;
        let (weight, bias) = self.0.parameters();
        let y = norm::instance_norm(x, weight, bias, eps)?;
        let values_per_channel: usize = x.dims().iter().skip(2).product();
        if let (Some(running), Some(momentum)) = (running, momentum)
            && RunningStats::accepts(values_per_channel)
            && x.elem_count() > 0
        {
            let (mean, var) = norm::instance_moments(x)?;
            running.update(&mean.mean(0)?, &var.mean(0)?, values_per_channel, momentum)?;
        }
        Ok(y)
    }
}

impl<const AXES: usize> Forward for InstanceNorm<AXES> {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let recording = Recording::start(&x);
        let description = match &self.0.running {
            // The descriptions are of inputs with a batch dimension.
            _ if x.rank().is_ok_and(|rank| rank != AXES + 2) => "instance_norm".into(),
            Some(running) if self.0.pinned.unwrap_or(mode) == Mode::Eval => self.0.describe(running),
            _ => {
                let (weight, bias) = self.0.parameters();
                ("instance_norm", Op::InstanceNorm { eps: self.0.settings.eps }, [weight, bias]).into()
            }
        };
        recording.finish(self.run(x, mode), description)
    }
}

impl<const AXES: usize> InstanceNorm<AXES> {
    fn run(&self, x: Signal, mode: Mode) -> Signal {
        let is_batch = match x.dims() {
            Ok(dims) => self.is_batch(dims),
            Err(_) => return x,
        };
        match is_batch {
            Err(error) => return Signal::fail(error.in_layer(self.label())),
            Ok(false) => return self.run(x.unsqueeze(0), mode).squeeze(0),
            Ok(true) => {}
        }
        match &self.0.running {
            Some(running) if self.0.pinned.unwrap_or(mode) == Mode::Eval => self.0.evaluate(x, running),
            running => {
                // A run without numbers does not change the running statistics.
                let running = running.as_ref().filter(|_| !x.is_meta());
                x.apply("instance_norm", Batch, |x| {
                    let (weight, bias) = self.0.parameters();
                    add_operands([weight, bias]);
                    self.normalize(&x, running).map_err(|error| error.in_layer(self.label()))
                })
            }
        }
    }
}

impl<const AXES: usize> Config for InstanceNormConfig<AXES> {
    type Output = InstanceNorm<AXES>;

    fn build(self, vb: VarBuilder) -> Result<InstanceNorm<AXES>> {
        ChannelNorm::build(self.0, &vb).map(InstanceNorm)
    }
}

impl<const AXES: usize> Module for InstanceNorm<AXES> {
    fn kind(&self) -> Cow<'static, str> {
        format!("InstanceNorm{AXES}d").into()
    }

    fn extra(&self) -> String {
        self.0.extra()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.0.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.0.visit_mut(visitor);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(InstanceNorm<AXES>, const AXES: usize);
forward_methods!(InstanceNorm<AXES>, const AXES: usize);
