//! PReLU: ReLU with a learned slope for negative inputs.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::Result;
use crate::config::Config;
use crate::graph::Op;
use crate::kernels::activation as kernels;
use crate::layers::{forward_methods, impl_fmt};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::{Batch, Signal, add_operands};

/// Computes `x` if `x > 0`, else `weight · x`. The learned weight has one element for all channels, or one for each.
///
/// - Config: `PRelu::config()`; setters `num_parameters` (1), `init_value` (0.25)
/// - Input, output: any shape; `[batch, channels, …]` with a weight per channel
/// - Fails if `num_parameters` is neither 1 nor the number of channels, or if input and weight have different dtypes
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let prelu = PRelu::config().init_value(0.5).init(&Device::Cpu)?;
/// let x = Tensor::new(&[-4f32, 4.], &Device::Cpu)?;
/// assert_eq!(prelu.call(x.into(), Mode::Eval).into_tensor()?.to_vec1::<f32>()?, [-2., 4.]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "PReLU")]
#[derive(Clone)]
pub struct PRelu {
    weight: Tensor,
}

/// The config of [`PRelu`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let prelu = PRelu::config().num_parameters(3).init_value(0.1).init(&Device::Cpu)?;
/// assert_eq!(prelu.weight().to_vec1::<f32>()?, [0.1; 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PReluConfig {
    num_parameters: usize,
    init: f64,
}

impl PRelu {
    /// Creates the config with PyTorch's defaults.
    pub fn config() -> PReluConfig {
        PReluConfig { num_parameters: 1, init: 0.25 }
    }

    /// Returns the weight, `[num_parameters]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl PReluConfig {
    /// Sets the number of weights: 1, or the number of channels.
    pub fn num_parameters(mut self, number: usize) -> Self {
        self.num_parameters = number;
        self
    }

    /// Sets the initial value of the weights.
    pub fn init_value(mut self, value: f64) -> Self {
        self.init = value;
        self
    }
}

impl Config for PReluConfig {
    type Output = PRelu;

    fn build(self, vb: VarBuilder) -> Result<PRelu> {
        Ok(PRelu { weight: vb.get_with_hints(self.num_parameters, "weight", Init::Const(self.init))? })
    }
}

impl Module for PRelu {
    fn kind(&self) -> Cow<'static, str> {
        "PReLU".into()
    }

    fn extra(&self) -> String {
        format!("num_parameters={}", self.weight.elem_count())
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.parameter("weight", &self.weight);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.parameter("weight", &mut self.weight);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(PRelu);
forward_methods!(PRelu);

impl Forward for PRelu {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.apply(("prelu", Op::PRelu, [Some(&self.weight)]), Batch, |x| {
            add_operands([&self.weight]);
            kernels::prelu(&x, &self.weight)
        })
    }
}
