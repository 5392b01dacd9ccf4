//! PReLU: an activation that learns.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::Result;
use crate::config::Config;
use crate::kernels::activation as kernels;
use crate::layers::printed;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::Signal;

/// `x` where it is positive, else `weight · x` with a learned weight, one for all channels or one each.
///
/// `PRelu::config()` with the setters `num_parameters` (1) and `init` (0.25).
pub struct PRelu {
    weight: Tensor,
}

/// The arguments of a [`PRelu`].
#[derive(Clone, Copy, Debug)]
pub struct PReluConfig {
    num_parameters: usize,
    init: f64,
}

impl PRelu {
    pub fn config() -> PReluConfig {
        PReluConfig { num_parameters: 1, init: 0.25 }
    }

    /// `[num_parameters]`
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl PReluConfig {
    /// One slope, or as many as there are channels.
    pub fn num_parameters(mut self, number: usize) -> Self {
        self.num_parameters = number;
        self
    }

    /// The slopes' first value.
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
        Self { weight: self.weight.clone() }
    }
}

printed!(PRelu);

impl Forward for PRelu {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        x.apply("prelu", |x| kernels::prelu(&x, &self.weight))
    }
}
