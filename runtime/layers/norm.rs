//! Batch normalisation.

use std::borrow::Cow;

use candle_core::{DType, Tensor};
use candle_nn::{Init, VarBuilder};

use super::printed;
use crate::config::Config;
use crate::display::{python_bool, python_float};
use crate::kernels::norm;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::{Signal, Step};
use crate::{Error, Result};

/// Normalises each channel of `[batch, channels, …]`: Ioffe and Szegedy 2015.
///
/// `BatchNorm::config(num_features)` with the setters `eps`, `momentum`, `affine` and
/// `track_running_stats`, as PyTorch's `BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d`. In training it
/// uses the batch's own statistics and updates the running ones in place; in evaluation it uses the
/// running ones, and runs inside the kernel of the convolution before it.
pub struct BatchNorm {
    affine: Option<(Tensor, Tensor)>,
    running: Option<Running>,
    num_features: usize,
    eps: f64,
    momentum: Option<f64>,
}

/// What training remembers of all batches.
#[derive(Clone)]
struct Running {
    mean: Tensor,
    var: Tensor,
    num_batches_tracked: Tensor,
}

/// The arguments of a [`BatchNorm`].
#[derive(Clone, Copy, Debug)]
pub struct BatchNormConfig {
    num_features: usize,
    eps: f64,
    momentum: Option<f64>,
    affine: bool,
    track_running_stats: bool,
}

impl BatchNorm {
    pub fn config(num_features: usize) -> BatchNormConfig {
        let (eps, momentum) = (1e-5, Some(0.1));
        BatchNormConfig { num_features, eps, momentum, affine: true, track_running_stats: true }
    }

    fn label(&self) -> String {
        format!("BatchNorm {}", self.num_features)
    }

    fn check(&self, dims: &[usize]) -> Result<()> {
        if dims.len() >= 2 && dims[1] == self.num_features {
            return Ok(());
        }
        Err(Error::msg(format!("expected an input [batch, {}, …], got {dims:?}", self.num_features)))
    }

    /// The batch's own statistics, which training blends into the running ones.
    fn train(&self, x: &Tensor) -> Result<Tensor> {
        let values = x.elem_count() / self.num_features.max(1);
        if values == 1 {
            let shape = x.dims();
            return Err(Error::msg(format!(
                "training needs more than one value a channel, got an input of shape {shape:?}"
            )));
        }
        let (weight, bias) = self.affine.as_ref().map(|(w, b)| (w, b)).unzip();
        let (y, mean, var) = norm::batch_norm_train(x, weight, bias, self.eps)?;
        if let Some(running) = &self.running
            && values > 1
        {
            let unbiased = (var * (values as f64 / (values as f64 - 1.)))?;
            running.blend(&mean, &unbiased, self.momentum)?;
        }
        Ok(y)
    }

    /// `y = x * scale[c] + shift[c]` by the running statistics.
    fn affine_map(&self, running: &Running) -> candle_core::Result<(Tensor, Tensor)> {
        let inverse = (&running.var + self.eps)?.sqrt()?.recip()?;
        match &self.affine {
            Some((weight, bias)) => {
                let scale = (weight * inverse)?;
                let shift = (bias - (&running.mean * &scale)?)?;
                Ok((scale, shift))
            }
            None => {
                let shift = (&running.mean * &inverse)?.neg()?;
                Ok((inverse, shift))
            }
        }
    }

    fn evaluate(&self, x: Signal, running: &Running) -> Signal {
        let (scale, shift) = match self.affine_map(running) {
            Ok(map) => map,
            Err(error) => return Signal::fail(Error::from(error).in_layer(self.label())),
        };
        x.fuse(Step::Affine { scale, shift }).unwrap_or_else(|(x, _)| {
            let (weight, bias) = self.affine.as_ref().map(|(w, b)| (w, b)).unzip();
            x.apply("batch_norm", |x| {
                norm::batch_norm_eval(&x, &running.mean, &running.var, weight, bias, self.eps)
            })
        })
    }
}

impl Running {
    /// `running = (1 − momentum) · running + momentum · batch`, in place: twins of the network see it.
    fn blend(&self, mean: &Tensor, var: &Tensor, momentum: Option<f64>) -> Result<()> {
        let batches = self.num_batches_tracked.to_dtype(DType::I64)?.to_scalar::<i64>()? + 1;
        let momentum = momentum.unwrap_or(1. / batches as f64);
        for (running, batch) in [(&self.mean, mean), (&self.var, var)] {
            let batch = batch.to_dtype(running.dtype())?;
            let blended = ((running * (1. - momentum))? + (batch * momentum)?)?;
            running.slice_set(&blended, 0, 0)?;
        }
        let batches = Tensor::new(&[batches], self.num_batches_tracked.device())?;
        let batches = batches.to_dtype(self.num_batches_tracked.dtype())?;
        self.num_batches_tracked.reshape(1)?.slice_set(&batches, 0, 0)?;
        Ok(())
    }
}

impl Forward for BatchNorm {
    type Output = Signal;

    fn call(&self, x: Signal, mode: Mode) -> Signal {
        let checked = match x.dims() {
            Ok(dims) => self.check(dims),
            Err(_) => return x,
        };
        if let Err(error) = checked {
            return Signal::fail(error.in_layer(self.label()));
        }
        match &self.running {
            Some(running) if mode == Mode::Eval => self.evaluate(x, running),
            _ => x.apply("batch_norm", |x| self.train(&x).map_err(|error| error.in_layer(self.label()))),
        }
    }
}

impl BatchNormConfig {
    /// Added to the variance before the root.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// The weight of the newest batch in the running statistics; `None`: the average of all batches.
    pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> Self {
        self.momentum = momentum.into();
        self
    }

    /// Whether there are a learned weight and bias a channel.
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// Without running statistics the batch's own are used in evaluation as well.
    pub fn track_running_stats(mut self, track: bool) -> Self {
        self.track_running_stats = track;
        self
    }
}

impl Config for BatchNormConfig {
    type Output = BatchNorm;

    fn build(self, vb: VarBuilder) -> Result<BatchNorm> {
        let channels =
            |name: &str, value: f64| vb.get_with_hints(self.num_features, name, Init::Const(value));
        let affine = match self.affine {
            true => Some((channels("weight", 1.)?, channels("bias", 0.)?)),
            false => None,
        };
        let running = match self.track_running_stats {
            true => Some(Running {
                mean: channels("running_mean", 0.)?.detach(),
                var: channels("running_var", 1.)?.detach(),
                num_batches_tracked: batches_tracked(&vb)?,
            }),
            false => None,
        };
        let Self { num_features, eps, momentum, .. } = self;
        Ok(BatchNorm { affine, running, num_features, eps, momentum })
    }
}

/// The counter, which checkpoints older than PyTorch 0.4.1 and candle's own lack.
fn batches_tracked(vb: &VarBuilder) -> candle_core::Result<Tensor> {
    const NAME: &str = "num_batches_tracked";
    if vb.contains_tensor(NAME) {
        Ok(vb.get_with_hints_dtype((), NAME, Init::Const(0.), DType::I64)?.detach())
    } else {
        Tensor::zeros((), DType::I64, vb.device())
    }
}

impl Module for BatchNorm {
    fn kind(&self) -> Cow<'static, str> {
        "BatchNorm".into()
    }

    fn extra(&self) -> String {
        let Self { num_features, eps, momentum, .. } = self;
        let momentum = momentum.map_or("None".to_string(), python_float);
        let (affine, running) = (python_bool(self.affine.is_some()), python_bool(self.running.is_some()));
        let eps = python_float(*eps);
        format!(
            "{num_features}, eps={eps}, momentum={momentum}, affine={affine}, track_running_stats={running}"
        )
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some((weight, bias)) = &self.affine {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
        if let Some(running) = &self.running {
            visitor.buffer("running_mean", &running.mean);
            visitor.buffer("running_var", &running.var);
            visitor.buffer("num_batches_tracked", &running.num_batches_tracked);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        if let Some((weight, bias)) = &mut self.affine {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
        if let Some(running) = &mut self.running {
            visitor.buffer("running_mean", &mut running.mean);
            visitor.buffer("running_var", &mut running.var);
            visitor.buffer("num_batches_tracked", &mut running.num_batches_tracked);
        }
    }

    fn share(&self) -> Self {
        let Self { num_features, eps, momentum, .. } = *self;
        Self { affine: self.affine.clone(), running: self.running.clone(), num_features, eps, momentum }
    }
}

printed!(BatchNorm);
