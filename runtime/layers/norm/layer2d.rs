//! Layer normalization over the channels of images.

use std::borrow::Cow;

use candle_nn::VarBuilder;

use crate::config::Config;
use crate::layers::{forward_methods, impl_fmt};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::Signal;
use crate::{Error, Result};

use super::layer::{LayerNorm, LayerNormConfig};

/// Normalizes over the channels at each pixel, like torchvision's `LayerNorm2d` in ConvNeXt.
///
/// - Config: `LayerNorm2d::config(num_channels)`; setters `eps` (1e-6), `elementwise_affine` (true), `bias` (true)
/// - Input, output: `[batch, num_channels, height, width]`
/// - Fails if the input has the wrong shape
///
/// torchvision's class has PyTorch's default `eps` of 1e-5; its networks set 1e-6.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = LayerNorm2d::config(2).init(&Device::Cpu)?;
/// let x = Tensor::new(&[[[[1f32, 3.]], [[3., 1.]]]], &Device::Cpu)?; // 2 channels, 1×2 pixels
/// let y = norm.forward(&x)?;
/// let expected = Tensor::new(&[[[[-1f32, 1.]], [[1., -1.]]]], &Device::Cpu)?;
/// assert!((y - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LayerNorm2d {
    num_channels: usize,
    norm: LayerNorm,
}

/// The config of [`LayerNorm2d`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let norm = LayerNorm2d::config(3).eps(1e-5).bias(false).init(&Device::Cpu)?;
/// assert_eq!(norm.to_string(), "LayerNorm2d((3,), eps=1e-05, elementwise_affine=True)");
/// assert_eq!(norm.num_parameters(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm2dConfig {
    num_channels: usize,
    norm: LayerNormConfig,
}

impl LayerNorm2d {
    /// Creates the config.
    pub fn config(num_channels: usize) -> LayerNorm2dConfig {
        LayerNorm2dConfig { num_channels, norm: LayerNorm::config(num_channels).eps(1e-6) }
    }
}

impl Forward for LayerNorm2d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        let channels = self.num_channels;
        match x.dims() {
            Ok([_, found, _, _]) if *found == channels => {}
            Ok(dims) => {
                let error = format!("expected an input [batch, {channels}, height, width], found {dims:?}");
                return Signal::fail(Error::msg(error).in_layer(format!("LayerNorm2d {channels}")));
            }
            Err(_) => return x,
        }
        self.norm.forward_pass(x.permute((0, 2, 3, 1)), mode).permute((0, 3, 1, 2))
    }
}

impl LayerNorm2dConfig {
    /// Sets the number that is added to the variance before the square root.
    pub fn eps(mut self, eps: f64) -> Self {
        self.norm = self.norm.eps(eps);
        self
    }

    /// Sets whether the layer has a learned weight and bias per channel. Default: `true`.
    pub fn elementwise_affine(mut self, affine: bool) -> Self {
        self.norm = self.norm.elementwise_affine(affine);
        self
    }

    /// Sets whether the layer has a bias if `elementwise_affine` is set. Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.norm = self.norm.bias(bias);
        self
    }
}

impl Config for LayerNorm2dConfig {
    type Output = LayerNorm2d;

    fn build(self, vb: VarBuilder) -> Result<LayerNorm2d> {
        Ok(LayerNorm2d { num_channels: self.num_channels, norm: self.norm.build(vb)? })
    }
}

impl Module for LayerNorm2d {
    fn kind(&self) -> Cow<'static, str> {
        "LayerNorm2d".into()
    }

    fn extra(&self) -> String {
        self.norm.extra()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.norm.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.norm.visit_mut(visitor);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(LayerNorm2d);
forward_methods!(LayerNorm2d);
