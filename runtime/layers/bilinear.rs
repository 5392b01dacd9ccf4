//! The bilinear layer.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::display::python_bool;
use crate::init::symmetric_uniform;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::ops;
use crate::signal::Signal;
use crate::{Error, Result};

use super::impl_fmt;

/// Computes `x1ᵀ · weight[o] · x2 + bias[o]` for each output feature `o`.
///
/// - Config: `Bilinear::config(in1_features, in2_features, out_features)`; setter `bias` (true)
/// - Input: `bilinear(x1, x2)` in a forward closure, with `x1: […, in1_features]` and `x2: […, in2_features]`
/// - Output: `[…, out_features]`
/// - Fails if `in1_features` is 0, or if an input has the wrong shape
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let bilinear = Bilinear::config(4, 3, 2).init(&Device::Cpu)?;
/// let x1 = Tensor::ones((5, 4), DType::F32, &Device::Cpu)?;
/// let x2 = Tensor::ones((5, 3), DType::F32, &Device::Cpu)?;
/// let y = bilinear.call((x1.into(), x2.into()), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [5, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bilinear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// The config of [`Bilinear`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let bilinear = Bilinear::config(4, 3, 2).bias(false).init(&Device::Cpu)?;
/// assert_eq!(bilinear.weight().dims(), [2, 4, 3]);
/// assert!(bilinear.bias().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BilinearConfig {
    in1_features: usize,
    in2_features: usize,
    out_features: usize,
    bias: bool,
}

impl Bilinear {
    /// Creates the config with PyTorch's defaults.
    pub fn config(in1_features: usize, in2_features: usize, out_features: usize) -> BilinearConfig {
        BilinearConfig { in1_features, in2_features, out_features, bias: true }
    }

    /// Returns the weight, `[out_features, in1_features, in2_features]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Returns the bias, `[out_features]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Runs the layer.
    ///
    /// # Errors
    /// Fails if the inputs are invalid, as described above.
    pub fn forward(&self, x1: impl Into<Signal>, x2: impl Into<Signal>) -> Result<Tensor> {
        self.call((x1.into(), x2.into()), Mode::Eval).into_tensor()
    }

    /// Returns the shape of the weight. The constructor guarantees that the weight has three dimensions.
    fn features(&self) -> [usize; 3] {
        let dims = self.weight.dims();
        [dims[0], dims[1], dims[2]]
    }
}

impl Forward<(Signal, Signal)> for Bilinear {
    type Output = Signal;

    fn forward_pass(&self, (x1, x2): (Signal, Signal), _: Mode) -> Signal {
        ops::bilinear(x1, x2, &self.weight, self.bias.clone())
    }
}

impl BilinearConfig {
    /// Sets whether the layer has a learned bias. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

impl Config for BilinearConfig {
    type Output = Bilinear;

    fn build(self, vb: VarBuilder) -> Result<Bilinear> {
        let Self { in1_features, in2_features, out_features, bias } = self;
        if in1_features == 0 {
            return Err(Error::msg("expected in1_features of at least 1, found 0").in_layer("Bilinear"));
        }
        let init = symmetric_uniform(1. / (in1_features as f64).sqrt());
        let weight = vb.get_with_hints((out_features, in1_features, in2_features), "weight", init)?;
        let bias = if bias { Some(vb.get_with_hints(out_features, "bias", init)?) } else { None };
        Ok(Bilinear { weight, bias })
    }
}

impl Module for Bilinear {
    fn kind(&self) -> Cow<'static, str> {
        "Bilinear".into()
    }

    fn extra(&self) -> String {
        let [out_features, in1_features, in2_features] = self.features();
        let bias = python_bool(self.bias.is_some());
        format!(
            "in1_features={in1_features}, in2_features={in2_features}, out_features={out_features}, bias={bias}"
        )
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.parameter("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visitor.parameter("bias", bias);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.parameter("weight", &mut self.weight);
        if let Some(bias) = &mut self.bias {
            visitor.parameter("bias", bias);
        }
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(Bilinear);
