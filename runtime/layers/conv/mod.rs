//! Convolutions and transposed convolutions, of signals and of images.
//!
//! Each public layer is a name around one of two cores, [`Plain`] and [`Transposed`], which treat a signal
//! as an image of height 1: sizes and settings are `[height, width]` everywhere behind the setters.

mod conv1d;
mod conv2d;
mod conv_transpose;
mod plain;
mod transposed;

pub use conv_transpose::{
    ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose1dOptions, ConvTranspose2d, ConvTranspose2dConfig,
    ConvTranspose2dOptions,
};
pub use conv1d::{Conv1d, Conv1dConfig, Conv1dOptions};
pub use conv2d::{Conv2d, Conv2dConfig, Conv2dOptions};
pub(crate) use plain::Plain;
pub(crate) use transposed::Transposed;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::init::within;
use crate::kernels::internal::Axes;
use crate::signal::Signal;
use crate::{Error, Result};

/// What a convolution is built from, beside its settings.
#[derive(Clone, Debug)]
struct Arguments {
    in_channels: usize,
    out_channels: usize,
    kernel_size: [usize; 2],
    bias: bool,
}

impl Arguments {
    fn new(in_channels: usize, out_channels: usize, kernel_size: [usize; 2]) -> Self {
        Self { in_channels, out_channels, kernel_size, bias: true }
    }

    /// `Conv2d 3→16`
    fn label(&self, kind: &str) -> String {
        format!("{kind} {}→{}", self.in_channels, self.out_channels)
    }

    fn check(&self, axes: Axes, groups: usize) -> Result<()> {
        let Self { in_channels, out_channels, kernel_size, .. } = *self;
        if groups == 0 || in_channels % groups != 0 || out_channels % groups != 0 {
            return Err(Error::msg(format!(
                "groups = {groups} must divide the {in_channels} input and {out_channels} output channels"
            )));
        }
        at_least_one(axes, [("kernel_size", kernel_size)])
    }

    /// The weight, its first dimensions `channels`, and the bias; fresh ones as PyTorch draws them,
    /// `kaiming_uniform(a = √5)`: evenly within `1 / √fan_in`.
    fn parameters(
        &self,
        axes: Axes,
        channels: [usize; 2],
        vb: &VarBuilder,
    ) -> Result<(Tensor, Option<Tensor>)> {
        // In floats, as the sizes are anybody's.
        let fan_in = self.kernel_size.iter().fold(channels[1] as f64, |count, size| count * *size as f64);
        let bound = within(1. / fan_in.max(1.).sqrt());
        let shape = axes.shape(channels[0], channels[1], self.kernel_size);
        let weight = vb.get_with_hints(shape, "weight", bound)?;
        let bias = match self.bias {
            true => Some(vb.get_with_hints(self.out_channels, "bias", bound)?),
            false => None,
        };
        Ok((weight, bias))
    }
}

fn at_least_one<const N: usize>(axes: Axes, settings: [(&str, [usize; 2]); N]) -> Result<()> {
    match settings.into_iter().find(|(_, sizes)| sizes.contains(&0)) {
        None => Ok(()),
        Some((name, sizes)) => {
            Err(Error::msg(format!("{name} must be at least 1, got {}", axes.tuple(sizes))))
        }
    }
}

/// Checks what a function is given where a layer draws it itself: the weight's dimensions, which it returns
/// (two channel counts and the kernel), and the length of the bias.
fn operands(
    axes: Axes,
    weight: &Tensor,
    bias: Option<&Tensor>,
    layout: &str,
    out_channels: impl FnOnce([usize; 2]) -> Option<usize>,
) -> Result<([usize; 2], [usize; 2])> {
    let dims = weight.dims();
    let Some((first, second, kernel)) = axes.sizes(dims) else {
        let names = axes.names();
        return Err(Error::msg(format!("expected a weight [{layout}, {names}], got {dims:?}")));
    };
    at_least_one(axes, [("kernel_size", kernel)])?;
    let Some(outputs) = out_channels([first, second]) else {
        return Err(Error::msg(format!("the groups do not divide the channels of the weight {dims:?}")));
    };
    match bias {
        Some(bias) if bias.dims() != [outputs] => {
            Err(Error::msg(format!("expected a bias [{outputs}], got {:?}", bias.dims())))
        }
        _ => Ok(([first, second], kernel)),
    }
}

/// Calls `run` with a batch; an input without one stands for a batch of one.
fn batched(axes: Axes, x: Signal, run: impl FnOnce(Signal) -> Result<Signal>) -> Signal {
    match x.rank() {
        Ok(rank) if rank == axes.count() + 1 => Signal::from(run(x.unsqueeze(0))).squeeze(0),
        _ => run(x).into(),
    }
}

/// The batch and the `[height, width]` of an input that has the expected channels.
fn input_sizes(axes: Axes, input: &[usize], channels: usize) -> Result<(usize, [usize; 2])> {
    match axes.sizes(input) {
        Some((batch, given, size)) if given == channels => Ok((batch, size)),
        Some((_, given, _)) => {
            Err(Error::msg(format!("expected {channels} input channels, got {given} (input {input:?})")))
        }
        None => {
            Err(Error::msg(format!("expected an input [batch, {channels}, {}], got {input:?}", axes.names())))
        }
    }
}

/// A setting as it is printed, unless it has its default on every axis.
fn unless(axes: Axes, sizes: [usize; 2], default: usize) -> Option<String> {
    (sizes != [default; 2]).then(|| axes.tuple(sizes))
}

/// What PyTorch prints of a convolution; of `settings`, those that are there.
fn extra(
    axes: Axes,
    [inputs, outputs]: [usize; 2],
    [kernel, stride]: [[usize; 2]; 2],
    settings: &[(&str, Option<String>)],
) -> String {
    let (kernel, stride) = (axes.tuple(kernel), axes.tuple(stride));
    let mut text = format!("{inputs}, {outputs}, kernel_size={kernel}, stride={stride}");
    for (name, setting) in settings {
        if let Some(setting) = setting {
            text += &format!(", {name}={setting}");
        }
    }
    text
}

/// Setters of one name for several types, each of a field of `settings`.
macro_rules! setters {
    ($($type:ident),+: $setters:tt) => {
        $(crate::layers::conv::setters!(@of $type $setters);)+
    };
    (@of $type:ident { $($(#[$doc:meta])* $name:ident($given:ident: $size:ty) => $value:expr;)+ }) => {
        impl $type {$(
            $(#[$doc])*
            pub fn $name(mut self, $given: $size) -> Self {
                self.settings.$name = $value;
                self
            }
        )+}
    };
}

/// A layer that is a name around a core, and its config.
macro_rules! layer {
    ($layer:ident($core:ident, $axes:expr), $config:ident, $weight:literal) => {
        impl $layer {
            #[doc = $weight]
            pub fn weight(&self) -> &candle_core::Tensor {
                self.0.weight()
            }

            /// `[out_channels]`
            pub fn bias(&self) -> Option<&candle_core::Tensor> {
                self.0.bias.as_ref()
            }
        }

        impl $config {
            pub fn bias(mut self, bias: bool) -> Self {
                self.arguments.bias = bias;
                self
            }
        }

        impl crate::config::Config for $config {
            type Output = $layer;

            fn build(self, vb: candle_nn::VarBuilder) -> crate::Result<$layer> {
                let label = self.arguments.label(stringify!($layer));
                let core = $core::build($axes, &self.arguments, self.settings, &vb);
                core.map($layer).map_err(|error| error.in_layer(label))
            }
        }

        impl crate::module::Forward for $layer {
            type Output = crate::signal::Signal;

            fn call(&self, x: crate::signal::Signal, _: crate::module::Mode) -> crate::signal::Signal {
                self.0.call(x)
            }
        }

        impl crate::module::Module for $layer {
            fn kind(&self) -> std::borrow::Cow<'static, str> {
                stringify!($layer).into()
            }

            fn extra(&self) -> String {
                self.0.extra()
            }

            fn visit<'a>(&'a self, visitor: &mut dyn crate::module::Visitor<'a>) {
                visitor.parameter("weight", self.weight());
                if let Some(bias) = self.bias() {
                    visitor.parameter("bias", bias);
                }
            }

            fn visit_mut(&mut self, visitor: &mut dyn crate::module::VisitorMut) {
                self.0.weight.visit_mut("weight", visitor);
                if let Some(bias) = &mut self.0.bias {
                    visitor.parameter("bias", bias);
                }
            }

            fn share(&self) -> Self {
                Self(self.0.clone())
            }
        }

        crate::layers::printed!($layer);
    };
}

use layer;
use setters;
