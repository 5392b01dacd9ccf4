//! The fully connected layer.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::display::python_bool;
use crate::init::symmetric_uniform;
use crate::kernels::linear::LinearCache;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::Signal;
use crate::{Result, ops};

use super::weight::Weight;
use super::{forward_methods, impl_fmt};

/// Computes `x · weightᵀ + bias`.
///
/// - Config: `Linear::config(in_features, out_features)`; setter `bias` (true)
/// - Input: `[…, in_features]`
/// - Output: `[…, out_features]`
/// - Fails if the last dimension of the input is not `in_features`, or if input and weight have different dtypes
///
/// A following activation is fused into the layer. After [`inference`](crate::Network::inference), the layer keeps a
/// second copy of its weight, in the kernel's order, once an input has had 64 rows or more.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let linear = Linear::config(4, 2).init(&Device::Cpu)?;
/// let x = Tensor::ones((5, 3, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(relu(linear.call(x.into(), Mode::Eval)).into_tensor()?.dims(), [5, 3, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Linear {
    weight: Weight<LinearCache>,
    bias: Option<Tensor>,
}

/// The config of [`Linear`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let linear = Linear::config(4, 2).bias(false).init(&Device::Cpu)?;
/// assert_eq!(linear.weight().dims(), [2, 4]);
/// assert!(linear.bias().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LinearConfig {
    in_features: usize,
    out_features: usize,
    bias: bool,
}

impl Linear {
    /// Creates the config with PyTorch's defaults.
    pub fn config(in_features: usize, out_features: usize) -> LinearConfig {
        LinearConfig { in_features, out_features, bias: true }
    }

    /// Creates a layer from a weight `[out_features, in_features]` and a bias `[out_features]`.
    pub(super) fn from_parts(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::new(weight), bias }
    }

    /// Returns the weight, `[out_features, in_features]`.
    pub fn weight(&self) -> &Tensor {
        self.weight.tensor()
    }

    /// Returns the bias, `[out_features]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Returns `(out_features, in_features)`. The constructor guarantees that the weight has two dimensions.
    fn features(&self) -> (usize, usize) {
        let dims = self.weight().dims();
        (dims[0], dims[1])
    }
}

impl Forward for Linear {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        ops::cached_linear(x, self.weight(), self.bias(), self.weight.cache())
    }
}

impl LinearConfig {
    /// Sets whether the layer has a learned bias. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

impl Config for LinearConfig {
    type Output = Linear;

    fn build(self, vb: VarBuilder) -> Result<Linear> {
        let init = symmetric_uniform(1. / (self.in_features.max(1) as f64).sqrt());
        let weight = vb.get_with_hints((self.out_features, self.in_features), "weight", init)?;
        let bias = if self.bias { Some(vb.get_with_hints(self.out_features, "bias", init)?) } else { None };
        Ok(Linear::from_parts(weight, bias))
    }
}

impl Module for Linear {
    fn kind(&self) -> Cow<'static, str> {
        "Linear".into()
    }

    fn extra(&self) -> String {
        let (outputs, inputs) = self.features();
        let bias = python_bool(self.bias.is_some());
        format!("in_features={inputs}, out_features={outputs}, bias={bias}")
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.parameter("weight", self.weight());
        if let Some(bias) = &self.bias {
            visitor.parameter("bias", bias);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.weight.visit_mut("weight", visitor);
        if let Some(bias) = &mut self.bias {
            visitor.parameter("bias", bias);
        }
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(Linear);
forward_methods!(Linear);
