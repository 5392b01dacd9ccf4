//! Group normalization.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::display::{python_bool, python_float};
use crate::graph::Op;
use crate::kernels::norm;
use crate::layers::{forward_methods, impl_fmt};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::{Batch, Signal, add_operands};
use crate::{Error, Result};

use super::channel_norm::affine_parameters;

/// Normalizes each group of channels of each example (Wu and He 2018, <https://arxiv.org/abs/1803.08494>).
///
/// - Config: `GroupNorm::config(num_groups, num_channels)`; setters `eps` (1e-5), `affine` (true)
/// - Input, output: `[batch, num_channels, …]`
/// - Fails if `num_groups` does not divide `num_channels`, if the input has the wrong shape, or if the batch size is 1
///   and each group has only one value
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = GroupNorm::config(2, 6).init(&Device::Cpu)?;
/// let x = Tensor::zeros((1, 6, 4, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(norm.call(x.into(), Mode::Eval).into_tensor()?.dims(), [1, 6, 4, 4]);
/// assert!(GroupNorm::config(4, 6).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct GroupNorm {
    affine: Option<(Tensor, Tensor)>,
    num_groups: usize,
    num_channels: usize,
    eps: f64,
}

/// The config of [`GroupNorm`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = GroupNorm::config(2, 6).eps(1e-6).affine(false).init(&Device::Cpu)?;
/// assert_eq!(norm.num_parameters(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GroupNormConfig {
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    affine: bool,
}

impl GroupNorm {
    /// Creates the config with PyTorch's defaults.
    pub fn config(num_groups: usize, num_channels: usize) -> GroupNormConfig {
        GroupNormConfig { num_groups, num_channels, eps: 1e-5, affine: true }
    }
}

fn label(num_groups: usize, num_channels: usize) -> String {
    format!("GroupNorm {num_channels} channels in {num_groups} groups")
}

impl Forward for GroupNorm {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let Ok(dims) = x.dims() else { return x };
        let label = label(self.num_groups, self.num_channels);
        if dims.get(1) != Some(&self.num_channels) {
            let error = format!("expected an input [batch, {}, …], found {dims:?}", self.num_channels);
            return Signal::fail(Error::msg(error).in_layer(&label));
        }
        let (weight, bias) = self.affine.as_ref().map(|(w, b)| (w, b)).unzip();
        let op = Op::GroupNorm { groups: self.num_groups, eps: self.eps };
        x.apply(("group_norm", op, [weight, bias]), Batch, |x| {
            add_operands([weight, bias]);
            norm::group_norm(&x, self.num_groups, weight, bias, self.eps)
                .map_err(|error| Error::from(error).in_layer(&label))
        })
    }
}

impl GroupNormConfig {
    /// Sets the number that is added to the variance before the square root.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether the layer has a learned weight and bias per channel. Default: `true`.
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }
}

impl Config for GroupNormConfig {
    type Output = GroupNorm;

    fn build(self, vb: VarBuilder) -> Result<GroupNorm> {
        let Self { num_groups, num_channels, eps, .. } = self;
        if num_groups == 0 || num_channels % num_groups != 0 {
            let error =
                format!("expected num_groups to divide the {num_channels} channels, found {num_groups}");
            return Err(Error::msg(error).in_layer(label(num_groups, num_channels)));
        }
        let affine = affine_parameters(&vb, num_channels, self.affine)?;
        Ok(GroupNorm { affine, num_groups, num_channels, eps })
    }
}

impl Module for GroupNorm {
    fn kind(&self) -> Cow<'static, str> {
        "GroupNorm".into()
    }

    fn extra(&self) -> String {
        let Self { num_groups, num_channels, .. } = self;
        let eps = python_float(self.eps);
        let affine = python_bool(self.affine.is_some());
        format!("{num_groups}, {num_channels}, eps={eps}, affine={affine}")
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some((weight, bias)) = &self.affine {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        if let Some((weight, bias)) = &mut self.affine {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(GroupNorm);
forward_methods!(GroupNorm);
