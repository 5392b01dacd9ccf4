//! Root mean square normalization.

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
use crate::ops::{NormalizedShape, epsilon};
use crate::signal::{Leading, Signal, add_operands};

/// Divides the input by its root mean square over the last dimensions (Zhang and Sennrich 2019,
/// <https://arxiv.org/abs/1910.07467>).
///
/// - Config: `RmsNorm::config(normalized_shape)`, one size or several, as in `(4, 5)`; setters `eps` (`None`),
///   `elementwise_affine` (true)
/// - Input, output: `[…, normalized_shape]`
/// - Fails if `normalized_shape` is empty, or if the shape of the input does not end with `normalized_shape`
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = RmsNorm::config(2).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[3f32, 3.], [-5., 5.]], &Device::Cpu)?;
/// let y = norm.call(x.into(), Mode::Eval).into_tensor()?;
/// let expected = Tensor::new(&[[1f32, 1.], [-1., 1.]], &Device::Cpu)?;
/// assert!((y - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "RMSNorm")]
#[derive(Clone)]
pub struct RmsNorm {
    normalized_shape: NormalizedShape,
    weight: Option<Tensor>,
    eps: Option<f64>,
}

/// The config of [`RmsNorm`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = RmsNorm::config(8).eps(1e-6).elementwise_affine(false).init(&Device::Cpu)?;
/// assert_eq!(norm.num_parameters(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RmsNormConfig {
    normalized_shape: NormalizedShape,
    eps: Option<f64>,
    elementwise_affine: bool,
}

impl RmsNorm {
    /// Creates the config with PyTorch's defaults.
    pub fn config(normalized_shape: impl Into<NormalizedShape>) -> RmsNormConfig {
        RmsNormConfig { normalized_shape: normalized_shape.into(), eps: None, elementwise_affine: true }
    }

    fn label(&self) -> String {
        format!("RMSNorm {}", self.normalized_shape)
    }
}

impl Forward for RmsNorm {
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
        let Ok(dtype) = x.dtype() else { return x };
        let eps = self.eps.unwrap_or_else(|| epsilon(dtype));
        let op = Op::RmsNorm { dims: shape.len(), eps };
        let weight = self.weight.as_ref();
        x.apply(("rms_norm", op, [weight]), Leading, |x| {
            add_operands(weight);
            norm::rms_norm(&x, shape, weight, eps)
        })
    }
}

impl RmsNormConfig {
    /// Sets the number that is added to the mean square before the square root. `None` means the machine epsilon of the
    /// input's dtype.
    pub fn eps(mut self, eps: impl Into<Option<f64>>) -> Self {
        self.eps = eps.into();
        self
    }

    /// Sets whether the layer has a learned weight per element. Default: `true`.
    pub fn elementwise_affine(mut self, affine: bool) -> Self {
        self.elementwise_affine = affine;
        self
    }
}

impl Config for RmsNormConfig {
    type Output = RmsNorm;

    fn build(self, vb: VarBuilder) -> Result<RmsNorm> {
        let Self { normalized_shape, eps, elementwise_affine } = self;
        normalized_shape.check().map_err(|error| error.in_layer("RMSNorm"))?;
        let weight = if elementwise_affine {
            Some(vb.get_with_hints(normalized_shape.0.as_slice(), "weight", Init::Const(1.))?)
        } else {
            None
        };
        Ok(RmsNorm { normalized_shape, weight, eps })
    }
}

impl Module for RmsNorm {
    fn kind(&self) -> Cow<'static, str> {
        "RMSNorm".into()
    }

    fn extra(&self) -> String {
        let eps = self.eps.map_or("None".to_string(), python_float);
        let affine = python_bool(self.weight.is_some());
        format!("{}, eps={eps}, elementwise_affine={affine}", self.normalized_shape)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some(weight) = &self.weight {
            visitor.parameter("weight", weight);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        if let Some(weight) = &mut self.weight {
            visitor.parameter("weight", weight);
        }
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(RmsNorm);
forward_methods!(RmsNorm);
