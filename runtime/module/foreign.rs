//! Implementations of `Module` for candle-nn's layers, so that they can be fields of a derived network.
//!
//! Every type has a separate implementation, because a blanket implementation could not pass the mode to the layers
//! that need it. `GroupNorm` and `Sequential` are missing: their tensors are private and cannot be registered.

use std::borrow::Cow;

use candle_core::Tensor;

use crate::Error;
use crate::kernels::norm;
use crate::random::is_repeatable;
use crate::recompute::is_recomputing;
use crate::signal::{Leading, OneExample, SameShape, Signal, add_operands};

use super::{Forward, Mode, Module, Visitor, VisitorMut};

/// Implements `Forward` for layers whose forward pass is the same in training and evaluation.
macro_rules! mode_independent {
    ($($layer:ident)*) => {$(
        impl Forward for candle_nn::$layer {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
                x.apply(stringify!($layer), OneExample, |x| candle_core::Module::forward(self, &x))
            }
        }
    )*};
}

/// Implements `Module` for layers with a weight and an optional bias. `$rebuild` builds the layer with new tensors.
macro_rules! weighted {
    ($($layer:ident $kind:literal |$this:ident, $weight:ident, $bias:ident| $rebuild:expr;)*) => {$(
        impl Module for candle_nn::$layer {
            fn kind(&self) -> Cow<'static, str> {
                $kind.into()
            }

            fn extra(&self) -> String {
                format!("weight={:?}", self.weight().dims())
            }

            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                visitor.parameter("weight", self.weight());
                if let Some(bias) = self.bias() {
                    visitor.parameter("bias", bias);
                }
            }

            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                let (mut $weight, mut $bias) = (self.weight().clone(), self.bias().cloned());
                visitor.parameter("weight", &mut $weight);
                if let Some(bias) = &mut $bias {
                    visitor.parameter("bias", bias);
                }
                let $this = &*self;
                *self = $rebuild;
            }

            fn share(&self) -> Self {
                self.clone()
            }
        }
    )*};
}

weighted! {
    Linear "Linear" |_this, weight, bias| candle_nn::Linear::new(weight, bias);
    Conv1d "Conv1d" |this, weight, bias| candle_nn::Conv1d::new(weight, bias, *this.config());
    Conv2d "Conv2d" |this, weight, bias| candle_nn::Conv2d::new(weight, bias, *this.config());
    ConvTranspose1d "ConvTranspose1d" |this, weight, bias|
        candle_nn::ConvTranspose1d::new(weight, bias, *this.config());
    ConvTranspose2d "ConvTranspose2d" |this, weight, bias|
        candle_nn::ConvTranspose2d::new(weight, bias, *this.config());
    LayerNorm "LayerNorm" |this, weight, bias| match (bias, this.remove_mean()) {
        (Some(bias), _) => candle_nn::LayerNorm::new(weight, bias, this.eps()),
        (None, true) => candle_nn::LayerNorm::new_no_bias(weight, this.eps()),
        (None, false) => candle_nn::LayerNorm::rms_norm(weight, this.eps()),
    };
}
mode_independent! { Linear Conv1d Conv2d ConvTranspose1d ConvTranspose2d }

/// Runs this crate's kernel, because candle's kernel has no gradient.
impl Forward for candle_nn::LayerNorm {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let weight = Some(self.weight());
        let bias = self.bias();
        let shape = self.weight().dims();
        x.apply("layer_norm", Leading, |x| {
            add_operands([weight, bias]);
            match (self.remove_mean(), bias) {
                (true, bias) => norm::layer_norm(&x, shape, weight, bias, self.eps()),
                (false, None) => norm::rms_norm(&x, shape, weight, self.eps()),
                (false, Some(bias)) => norm::rms_norm(&x, shape, weight, self.eps())?.broadcast_add(bias),
            }
        })
    }
}

/// Runs this crate's kernel, because candle's kernel has no gradient.
impl Forward for candle_nn::RmsNorm {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let weight = self.weight();
        let eps = self.eps();
        x.apply("rms_norm", Leading, |x| {
            add_operands([weight]);
            norm::rms_norm(&x, weight.dims(), Some(weight), eps)
        })
    }
}

/// Implements `Module` for layers with one tensor: `$name` is the name of the tensor, `$tensor` reads it, and
/// `$rebuild` builds the layer with a new tensor.
macro_rules! single {
    ($($layer:ident $kind:literal $name:literal |$this:ident, $new:ident| $tensor:expr, $rebuild:expr;)*) => {$(
        impl Module for candle_nn::$layer {
            fn kind(&self) -> Cow<'static, str> {
                $kind.into()
            }

            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                let $this = self;
                visitor.parameter($name, $tensor);
            }

            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                let $this = &*self;
                let mut $new = $tensor.clone();
                visitor.parameter($name, &mut $new);
                *self = $rebuild;
            }

            fn share(&self) -> Self {
                self.clone()
            }
        }
    )*};
}

single! {
    Embedding "Embedding" "weight" |this, weight| this.embeddings(),
        candle_nn::Embedding::new(weight, this.hidden_size());
    RmsNorm "RMSNorm" "weight" |this, weight| this.weight(), candle_nn::RmsNorm::new(weight, this.eps());
    PReLU "PReLU" "weight" |this, weight| this.weight(), candle_nn::PReLU::new(weight, this.is_scalar());
}
mode_independent! { Embedding PReLU }

/// Implements `Module` for layers without tensors.
macro_rules! stateless {
    ($($layer:ident $kind:literal)*) => {$(
        impl Module for candle_nn::$layer {
            fn kind(&self) -> Cow<'static, str> {
                $kind.into()
            }

            fn visit<'a>(&'a self, _: &mut dyn Visitor<'a>) {}

            fn visit_mut(&mut self, _: &mut dyn VisitorMut) {}

            fn share(&self) -> Self {
                self.clone()
            }
        }
    )*};
}

stateless! { Activation "Activation" }
mode_independent! { Activation }

impl Module for candle_nn::Dropout {
    fn kind(&self) -> Cow<'static, str> {
        "Dropout".into()
    }

    fn visit<'a>(&'a self, _: &mut dyn Visitor<'a>) {}

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.cannot_pin();
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl Forward for candle_nn::Dropout {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        if mode.is_train() && is_repeatable() {
            return Signal::fail(Error::msg(
                "`candle_nn::Dropout` cannot be recomputed, because candle's random numbers cannot be repeated; use \
                 `sconce::Dropout`",
            ));
        }
        x.apply("dropout", SameShape, |x| candle_nn::Dropout::forward(self, &x, mode.is_train()))
    }
}

impl Module for candle_nn::BatchNorm {
    fn kind(&self) -> Cow<'static, str> {
        "BatchNorm".into()
    }

    fn extra(&self) -> String {
        self.running_mean().elem_count().to_string()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some((weight, bias)) = self.weight_and_bias() {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
        visitor.buffer("running_mean", self.running_mean());
        visitor.buffer("running_var", self.running_var());
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        let mut affine = self.weight_and_bias().map(|(weight, bias)| (weight.clone(), bias.clone()));
        let mut mean = self.running_mean().clone();
        let mut var = self.running_var().clone();
        if let Some((weight, bias)) = &mut affine {
            visitor.parameter("weight", weight);
            visitor.parameter("bias", bias);
        }
        visitor.buffer("running_mean", &mut mean);
        visitor.buffer("running_var", &mut var);
        if let Ok(rebuilt) = batch_norm(mean, var, affine, self.eps(), self.momentum()) {
            *self = rebuilt;
        }
        visitor.cannot_pin();
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

/// Builds candle's batch norm from its tensors. Fails if the visitor changed their shapes.
fn batch_norm(
    mean: Tensor,
    var: Tensor,
    affine: Option<(Tensor, Tensor)>,
    eps: f64,
    momentum: f64,
) -> candle_core::Result<candle_nn::BatchNorm> {
    let features = mean.elem_count();
    match affine {
        Some((weight, bias)) => {
            candle_nn::BatchNorm::new_with_momentum(features, mean, var, weight, bias, eps, momentum)
        }
        None => candle_nn::BatchNorm::new_no_bias_with_momentum(features, mean, var, eps, momentum),
    }
}

impl Forward for candle_nn::BatchNorm {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        // In training, a probe would change the running statistics.
        let mode = if x.is_meta() { Mode::Eval } else { mode };
        x.apply("batch_norm", OneExample, |x| {
            if !(mode.is_train() && is_recomputing()) {
                return candle_core::ModuleT::forward_t(self, &x, mode.is_train());
            }
            // The first run has updated the running statistics; the second run updates copies, which are dropped.
            let affine = self.weight_and_bias().map(|(weight, bias)| (weight.clone(), bias.clone()));
            let (mean, var) = (self.running_mean().copy()?, self.running_var().copy()?);
            let copy = batch_norm(mean, var, affine, self.eps(), self.momentum())?;
            candle_core::ModuleT::forward_t(&copy, &x, true)
        })
    }
}
