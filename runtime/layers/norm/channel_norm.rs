//! The common part of batch and instance norm: a weight, a bias and running statistics per channel.

use candle_core::{DType, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::Result;
use crate::display::{python_bool, python_float};
use crate::graph::{Description, Op};
use crate::kernels::internal::{descent, is_finite, on_cpu_in_f64};
use crate::kernels::norm;
use crate::module::{Mode, Visitor, VisitorMut};
use crate::recompute::is_recomputing;
use crate::scope::NotFusedKind;
use crate::signal::{Batch, EpilogueOp, Fusion, Signal, add_operands};

/// The settings of batch and instance norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub num_features: usize,
    pub eps: f64,
    pub momentum: Option<f64>,
    pub affine: bool,
    pub track_running_stats: bool,
}

/// The settings and tensors of batch and instance norm.
#[derive(Clone)]
pub(super) struct ChannelNorm {
    pub settings: Settings,
    pub affine: Option<(Tensor, Tensor)>,
    pub running: Option<RunningStats>,
    /// The mode to which the layer is pinned.
    pub pinned: Option<Mode>,
}

/// The statistics that training accumulates over the batches.
#[derive(Clone)]
pub(super) struct RunningStats {
    mean: Tensor,
    var: Tensor,
    num_batches_tracked: Tensor,
}

/// Defines the setters of configs that hold [`Settings`].
macro_rules! setters {
    ($($config:ty)*) => {$(
        impl $config {
            /// Sets the number that is added to the variance before the square root.
            pub fn eps(mut self, eps: f64) -> Self {
                self.0.eps = eps;
                self
            }

            /// Sets the share of the newest batch in the running statistics. With `None`, batch norm averages over
            /// all batches, and instance norm does not update its statistics, as in PyTorch.
            pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> Self {
                self.0.momentum = momentum.into();
                self
            }

            /// Sets whether the layer has a learned weight and bias per channel. Default: `true` for batch norm,
            /// `false` for instance norm.
            pub fn affine(mut self, affine: bool) -> Self {
                self.0.affine = affine;
                self
            }

            /// Sets whether to keep running statistics, which evaluation uses instead of the statistics of the input.
            /// Default: `true` for batch norm, `false` for instance norm.
            pub fn track_running_stats(mut self, track: bool) -> Self {
                self.0.track_running_stats = track;
                self
            }
        }
    )*};
}
pub(super) use setters;

/// Creates a weight of ones and a bias of zeros per channel, or returns `None` if `enabled` is `false`.
pub(super) fn affine_parameters(
    vb: &VarBuilder,
    channels: usize,
    enabled: bool,
) -> Result<Option<(Tensor, Tensor)>> {
    if !enabled {
        return Ok(None);
    }
    let parameter = |name: &str, value: f64| vb.get_with_hints(channels, name, Init::Const(value));
    Ok(Some((parameter("weight", 1.)?, parameter("bias", 0.)?)))
}

impl ChannelNorm {
    pub fn build(settings: Settings, vb: &VarBuilder) -> Result<Self> {
        let affine = affine_parameters(vb, settings.num_features, settings.affine)?;
        let running = if settings.track_running_stats {
            Some(RunningStats::build(settings.num_features, vb)?)
        } else {
            None
        };
        Ok(Self { settings, affine, running, pinned: None })
    }

    /// Returns the weight and bias.
    pub fn parameters(&self) -> (Option<&Tensor>, Option<&Tensor>) {
        self.affine.as_ref().map(|(weight, bias)| (weight, bias)).unzip()
    }

    /// Returns the description of a normalization with the running statistics.
    pub fn describe<'a>(&'a self, running: &'a RunningStats) -> Description<'a> {
        let (weight, bias) = self.parameters();
        let op = Op::BatchNorm { eps: self.settings.eps };
        ("batch_norm", op, [Some(&running.mean), Some(&running.var), weight, bias]).into()
    }

    /// Normalizes with the running statistics. Fuses the norm into a preceding convolution if possible.
    pub fn evaluate(&self, x: Signal, running: &RunningStats) -> Signal {
        let x = match self.fold(&x, running) {
            Ok(Some(op)) => match x.fuse_batch_norm(op) {
                Fusion::Fused(y) => return y,
                Fusion::Separate(x, _) => x,
            },
            Ok(None) => {
                let has_dtype = x.dtype().is_ok_and(|dtype| dtype == running.mean.dtype());
                x.record_not_fused(if has_dtype {
                    NotFusedKind::NotFinite
                } else {
                    NotFusedKind::DtypeMismatch
                });
                x
            }
            Err(error) => return Signal::fail(error),
        };
        let (weight, bias) = self.parameters();
        x.apply(self.describe(running), Batch, |x| {
            add_operands([Some(&running.mean), Some(&running.var), weight, bias]);
            norm::batch_norm_eval(&x, &running.mean, &running.var, weight, bias, self.settings.eps)
        })
    }

    /// Returns the norm as a scale and a shift. Returns `None` if `x` and the running statistics have different dtypes,
    /// or if the scale or the shift is not finite in this dtype.
    ///
    /// If a statistic is infinite, or if the scale overflows in half precision, `x · scale + shift` is NaN for some
    /// inputs for which the norm returns a number.
    fn fold(&self, x: &Signal, running: &RunningStats) -> Result<Option<EpilogueOp>> {
        let statistics = [&running.mean, &running.var];
        let (scale, shift) = norm::batch_norm_fold(statistics, self.affine.as_ref(), self.settings.eps)?;
        let dtype = running.mean.dtype();
        let fits =
            x.dtype()? == dtype && is_finite(&scale.to_dtype(dtype)?)? && is_finite(&shift.to_dtype(dtype)?)?;
        Ok(fits.then_some(EpilogueOp::Affine { scale, shift }))
    }

    /// Formats the settings like PyTorch.
    pub fn extra(&self) -> String {
        let Settings { num_features, eps, momentum, .. } = self.settings;
        let momentum = momentum.map_or("None".to_string(), python_float);
        let affine = python_bool(self.affine.is_some());
        let running = python_bool(self.running.is_some());
        let eps = python_float(eps);
        format!(
            "{num_features}, eps={eps}, momentum={momentum}, affine={affine}, track_running_stats={running}"
        )
    }

    pub fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some((weight, bias)) = &self.affine {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
        if let Some(running) = &self.running {
            visitor.buffer("running_mean", &running.mean);
            visitor.buffer("running_var", &running.var);
            // Optional, because checkpoints from before PyTorch 0.4.1 lack this buffer.
            visitor.optional_buffer("num_batches_tracked", &running.num_batches_tracked);
        }
    }

    pub fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        if let Some((weight, bias)) = &mut self.affine {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
        if let Some(running) = &mut self.running {
            visitor.buffer("running_mean", &mut running.mean);
            visitor.buffer("running_var", &mut running.var);
            visitor.buffer("num_batches_tracked", &mut running.num_batches_tracked);
        }
        visitor.pinned_mode(&mut self.pinned);
    }
}

impl RunningStats {
    fn build(channels: usize, vb: &VarBuilder) -> Result<Self> {
        let buffer = |name: &str, value: f64| -> Result<Tensor> {
            Ok(vb.get_with_hints(channels, name, Init::Const(value))?.detach())
        };
        Ok(Self {
            mean: buffer("running_mean", 0.)?,
            var: buffer("running_var", 1.)?,
            num_batches_tracked: batches_tracked(vb)?,
        })
    }

    /// Sets the statistics to a mean of 0 and a variance of 1 over no batches, in place.
    pub fn reset(&self) -> Result<()> {
        self.mean.slice_set(&self.mean.zeros_like()?, 0, 0)?;
        self.var.slice_set(&self.var.ones_like()?, 0, 0)?;
        let count = self.num_batches_tracked.reshape(1)?;
        Ok(count.slice_set(&count.zeros_like()?, 0, 0)?)
    }

    /// Returns `true` if a batch with this number of values per channel updates the statistics. A single value has no
    /// variance. A call that the backward pass repeats ([`is_recomputing`]) has already updated the statistics.
    pub fn accepts(values_per_channel: usize) -> bool {
        values_per_channel > 1 && !is_recomputing()
    }

    /// Increments the number of batches in place.
    pub fn increment_batch_count(&self) -> Result<()> {
        let incremented = (&self.num_batches_tracked + self.num_batches_tracked.ones_like()?)?.reshape(1)?;
        Ok(self.num_batches_tracked.reshape(1)?.slice_set(&incremented, 0, 0)?)
    }

    /// Returns the number of batches. Synchronizes with the device.
    pub fn batch_count(&self) -> Result<f64> {
        Ok(on_cpu_in_f64(&self.num_batches_tracked)?.to_scalar()?)
    }

    /// Computes `running = (1 − momentum) · running + momentum · batch` in place, so that networks that share the
    /// tensors see the new values. `var` is the biased variance of `values_per_channel` values; more than one is
    /// required.
    pub fn update(
        &self,
        mean: &Tensor,
        var: &Tensor,
        values_per_channel: usize,
        momentum: f64,
    ) -> Result<()> {
        let unbiased = (var * (values_per_channel as f64 / (values_per_channel as f64 - 1.)))?;
        for (running, batch) in [(&self.mean, mean), (&self.var, &unbiased)] {
            let batch = batch.to_dtype(running.dtype())?;
            if descent::cuda::supports(&[running]) {
                descent::cuda::blend(running, &batch, momentum)?;
                continue;
            }
            let updated = ((running * (1. - momentum))? + (batch * momentum)?)?;
            running.slice_set(&updated, 0, 0)?;
        }
        Ok(())
    }
}

/// Returns the number of batches, or 0 if the checkpoint lacks this number, as do checkpoints of candle and of PyTorch
/// before version 0.4.1.
fn batches_tracked(vb: &VarBuilder) -> candle_core::Result<Tensor> {
    const NAME: &str = "num_batches_tracked";
    if vb.contains_tensor(NAME) {
        Ok(vb.get_with_hints_dtype((), NAME, Init::Const(0.), DType::I64)?.detach())
    } else {
        Tensor::zeros((), DType::I64, vb.device())
    }
}
