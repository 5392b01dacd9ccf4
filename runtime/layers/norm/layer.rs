//! Layer normalization.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::Result;
use crate::config::Config;
use crate::display::{python_bool, python_float};
use crate::graph::Op;
use crate::kernels::norm;
use crate::layers::{forward_methods, impl_fmt};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::ops::NormalizedShape;
use crate::signal::{Leading, Signal, add_operands};

/// Normalizes over the last dimensions (Ba, Kiros and Hinton 2016, <https://arxiv.org/abs/1607.06450>).
///
/// - Config: `LayerNorm::config(normalized_shape)`, one size or several, as in `(4, 5)`; setters `eps` (1e-5),
///   `elementwise_affine` (true), `bias` (true)
/// - Input, output: `[…, normalized_shape]`
/// - Fails if `normalized_shape` is empty, or if the shape of the input does not end with `normalized_shape`
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = LayerNorm::config(4).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[1f32, 2., 3., 4.]], &Device::Cpu)?;
/// let y = norm.call(x.into(), Mode::Eval).into_tensor()?;
/// assert!(y.sum_all()?.to_scalar::<f32>()?.abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LayerNorm {
    normalized_shape: NormalizedShape,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    eps: f64,
}

/// The config of [`LayerNorm`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = LayerNorm::config((4, 5)).eps(1e-6).bias(false).init(&Device::Cpu)?;
/// assert_eq!(norm.num_parameters(), 20);
/// assert!(LayerNorm::config(vec![]).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LayerNormConfig {
    normalized_shape: NormalizedShape,
    eps: f64,
    elementwise_affine: bool,
    bias: bool,
}

impl LayerNorm {
    /// Creates the config with PyTorch's defaults.
    pub fn config(normalized_shape: impl Into<NormalizedShape>) -> LayerNormConfig {
        let normalized_shape = normalized_shape.into();
        LayerNormConfig { normalized_shape, eps: 1e-5, elementwise_affine: true, bias: true }
    }

    fn label(&self) -> String {
        format!("LayerNorm {}", self.normalized_shape)
    }
}

impl Forward for LayerNorm {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        let checked = match x.dims() {
            Ok(dims) => self.normalized_shape.check_input(dims),
            Err(_) => return x,
        };
        if let Err(error) = checked {
            return Signal::fail(error.in_layer(self.label()));
        }
        let NormalizedShape(shape) = &self.normalized_shape;
        let op = Op::LayerNorm { dims: shape.len(), eps: self.eps };
        let parameters = [self.weight.as_ref(), self.bias.as_ref()];
        x.apply(("layer_norm", op, parameters), Leading, |x| {
            add_operands(parameters);
            norm::layer_norm(&x, shape, self.weight.as_ref(), self.bias.as_ref(), self.eps)
        })
    }
}

impl LayerNormConfig {
    /// Sets the number that is added to the variance before the square root.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether the layer has a learned weight and bias per element. Default: `true`.
    pub fn elementwise_affine(mut self, affine: bool) -> Self {
        self.elementwise_affine = affine;
        self
    }

    /// Sets whether the layer has a bias if `elementwise_affine` is set. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

impl Config for LayerNormConfig {
    type Output = LayerNorm;

    fn build(self, vb: VarBuilder) -> Result<LayerNorm> {
        let Self { normalized_shape, eps, elementwise_affine, bias } = self;
        normalized_shape.check().map_err(|error| error.in_layer("LayerNorm"))?;
        let parameter = |name: &str, enabled: bool, value: f64| -> Result<Option<Tensor>> {
            let shape = normalized_shape.0.as_slice();
            Ok(if enabled { Some(vb.get_with_hints(shape, name, Init::Const(value))?) } else { None })
        };
        let weight = parameter("weight", elementwise_affine, 1.)?;
        let bias = parameter("bias", elementwise_affine && bias, 0.)?;
        Ok(LayerNorm { normalized_shape, weight, bias, eps })
    }
}

impl Module for LayerNorm {
    fn kind(&self) -> Cow<'static, str> {
        "LayerNorm".into()
    }

    fn extra(&self) -> String {
        let eps = python_float(self.eps);
        let affine = python_bool(self.weight.is_some());
        format!("{}, eps={eps}, elementwise_affine={affine}", self.normalized_shape)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        for (name, tensor) in [("weight", &self.weight), ("bias", &self.bias)] {
            if let Some(tensor) = tensor {
                visitor.parameter(name, tensor);
            }
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        for (name, tensor) in [("weight", &mut self.weight), ("bias", &mut self.bias)] {
            if let Some(tensor) = tensor {
                visitor.parameter(name, tensor);
            }
        }
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(LayerNorm);
forward_methods!(LayerNorm);
