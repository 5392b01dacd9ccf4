//! Convolutions and transposed convolutions of sequences, images and videos.
//!
//! Each public layer wraps [`ConvCore`] or [`ConvTransposeCore`]. In both, sequences and images have a depth of 1: the
//! setters convert all sizes to `[depth, height, width]`.

mod conv1d;
mod conv2d;
mod conv3d;
mod conv_core;
mod conv_transpose;
mod conv_transpose3d;
mod conv_transpose_core;
mod conv_weight;

pub(crate) use conv_core::ConvCore;
pub use conv_transpose::{
    ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose1dOptions, ConvTranspose2d, ConvTranspose2dConfig,
    ConvTranspose2dOptions,
};
pub(crate) use conv_transpose_core::ConvTransposeCore;
pub use conv_transpose3d::{ConvTranspose3d, ConvTranspose3dConfig, ConvTranspose3dOptions};
pub use conv1d::{Conv1d, Conv1dConfig, Conv1dOptions};
pub use conv2d::{Conv2d, Conv2dConfig, Conv2dOptions};
pub use conv3d::{Conv3d, Conv3dConfig, Conv3dOptions};

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::init::symmetric_uniform;
use crate::kernels::internal::Axes;
use crate::ops::Triple;
use crate::signal::Signal;
use crate::{Error, Result};

/// The arguments of a convolution's `config`, and whether the convolution has a bias.
#[derive(Clone, Debug)]
struct Arguments {
    in_channels: usize,
    out_channels: usize,
    kernel_size: [usize; 3],
    bias: bool,
}

impl Arguments {
    fn new(in_channels: usize, out_channels: usize, Triple(kernel_size): Triple) -> Self {
        Self { in_channels, out_channels, kernel_size, bias: true }
    }

    /// Returns the label of the layer in errors, such as `Conv2d 3→16`.
    fn label(&self, kind: &str) -> String {
        format!("{kind} {}→{}", self.in_channels, self.out_channels)
    }

    fn check(&self, axes: Axes, groups: usize) -> Result<()> {
        let Self { in_channels, out_channels, kernel_size, .. } = *self;
        if groups == 0 || in_channels % groups != 0 || out_channels % groups != 0 {
            return Err(Error::msg(format!(
                "expected groups to divide the {in_channels} input and {out_channels} output channels, found {groups}"
            )));
        }
        check_at_least_one(axes, [("kernel_size", kernel_size)])
    }

    /// Returns the weight, whose first two dimensions are `channels`, and the bias.
    ///
    /// New values are drawn uniformly between `±1 / √fan_in`, like those of PyTorch's `kaiming_uniform_(a=√5)`.
    fn parameters(
        &self,
        axes: Axes,
        channels: [usize; 2],
        vb: &VarBuilder,
    ) -> Result<(Tensor, Option<Tensor>)> {
        // The product is a float, because arbitrary sizes could overflow an integer.
        let fan_in = self.kernel_size.iter().fold(channels[1] as f64, |count, size| count * *size as f64);
        let init = symmetric_uniform(1. / fan_in.max(1.).sqrt());
        let shape = axes.shape(channels[0], channels[1], self.kernel_size);
        let weight = vb.get_with_hints(shape, "weight", init)?;
        let bias = if self.bias { Some(vb.get_with_hints(self.out_channels, "bias", init)?) } else { None };
        Ok((weight, bias))
    }
}

/// Returns an error if a setting is 0 on an axis.
fn check_at_least_one<const N: usize>(axes: Axes, settings: [(&str, [usize; 3]); N]) -> Result<()> {
    match settings.into_iter().find(|(_, sizes)| sizes.contains(&0)) {
        None => Ok(()),
        Some((name, sizes)) => {
            Err(Error::msg(format!("expected {name} of at least 1, found {}", axes.format_setting(sizes))))
        }
    }
}

/// Checks the weight and bias of a functional call. Returns the first two dimensions of the weight and the kernel size.
///
/// `layout` names these two dimensions in errors. `out_channels` computes the number of output channels from them, or
/// returns `None` if the groups do not divide the channels.
fn check_operands(
    axes: Axes,
    weight: &Tensor,
    bias: Option<&Tensor>,
    layout: &str,
    out_channels: impl FnOnce([usize; 2]) -> Option<usize>,
) -> Result<([usize; 2], [usize; 3])> {
    let dims = weight.dims();
    let Some((first, second, kernel)) = axes.sizes(dims) else {
        let names = axes.names();
        return Err(Error::msg(format!("expected a weight [{layout}, {names}], found {dims:?}")));
    };
    check_at_least_one(axes, [("kernel_size", kernel)])?;
    let Some(out_channels) = out_channels([first, second]) else {
        return Err(Error::msg(format!("groups do not divide the channels of the weight {dims:?}")));
    };
    match bias {
        Some(bias) if bias.dims() != [out_channels] => {
            Err(Error::msg(format!("expected a bias [{out_channels}], found {:?}", bias.dims())))
        }
        _ => Ok(([first, second], kernel)),
    }
}

/// Calls `run` with a batch. Adds a batch dimension of 1 to an input that has none, and removes this dimension from the
/// result.
fn with_batch(axes: Axes, x: Signal, run: impl FnOnce(Signal) -> Result<Signal>) -> Signal {
    match x.rank() {
        Ok(rank) if rank == axes.count() + 1 => Signal::from(run(x.unsqueeze(0))).squeeze(0),
        _ => run(x).into(),
    }
}

/// Returns the batch size and the `[depth, height, width]` of an input, or an error if it does not have `channels`
/// channels.
fn input_sizes(axes: Axes, input: &[usize], channels: usize) -> Result<(usize, [usize; 3])> {
    match axes.sizes(input) {
        Some((batch, found, size)) if found == channels => Ok((batch, size)),
        Some((_, found, _)) => {
            Err(Error::msg(format!("expected {channels} input channels, found {found} (input {input:?})")))
        }
        None => Err(Error::msg(format!(
            "expected an input [batch, {channels}, {}], found {input:?}",
            axes.names()
        ))),
    }
}

/// Formats a setting. Returns `None` if the setting has its default value on every axis.
fn format_non_default(axes: Axes, sizes: [usize; 3], default: usize) -> Option<String> {
    (sizes != [default; 3]).then(|| axes.format_setting(sizes))
}

/// Formats a convolution like PyTorch, without the settings that are `None`.
fn format_extra(
    axes: Axes,
    [in_channels, out_channels]: [usize; 2],
    [kernel, stride]: [[usize; 3]; 2],
    settings: &[(&str, Option<String>)],
) -> String {
    let kernel = axes.format_setting(kernel);
    let stride = axes.format_setting(stride);
    let mut text = format!("{in_channels}, {out_channels}, kernel_size={kernel}, stride={stride}");
    for (name, setting) in settings {
        if let Some(setting) = setting {
            text += &format!(", {name}={setting}");
        }
    }
    text
}

/// Defines the same setters for several types. Each setter sets the field of `settings` with the same name.
macro_rules! setters {
    ($($type:ident),+: $setters:tt) => {
        $(crate::layers::conv::setters!(@impl $type $setters);)+
    };
    (@impl $type:ident { $($(#[$doc:meta])* $name:ident($argument:ident: $size:ty) => $value:expr;)+ }) => {
        impl $type {$(
            $(#[$doc])*
            pub fn $name(mut self, $argument: $size) -> Self {
                self.settings.$name = $value;
                self
            }
        )+}
    };
}

/// Implements the methods and traits of a layer that wraps a core, and of its config.
macro_rules! layer {
    ($layer:ident($core:ident, $axes:expr), $config:ident, $weight:literal) => {
        impl $layer {
            #[doc = concat!("Returns the weight, ", $weight, ".")]
            pub fn weight(&self) -> &candle_core::Tensor {
                self.0.weight()
            }

            /// Returns the bias, `[out_channels]`.
            pub fn bias(&self) -> Option<&candle_core::Tensor> {
                self.0.bias.as_ref()
            }
        }

        impl $config {
            /// Sets whether the layer has a learned bias. Default: `true`.
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

            fn forward_pass(
                &self,
                x: crate::signal::Signal,
                _: crate::module::Mode,
            ) -> crate::signal::Signal {
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
                self.clone()
            }
        }

        crate::layers::impl_fmt!($layer);
        crate::layers::forward_methods!($layer);
    };
}

/// Implements the call of a transposed convolution with the size of the output. `$sizes` converts the size to one for
/// three axes.
macro_rules! output_size {
    ($layer:ident, $size:ty => $sizes:expr) => {
        /// Called with the size of the output, PyTorch's `output_size`.
        #[diagnostic::do_not_recommend]
        impl crate::module::ForwardWith<(crate::signal::Signal, $size)> for $layer {
            type Output = crate::signal::Signal;

            fn forward_pass_with(
                &self,
                (x, size): (crate::signal::Signal, $size),
                _: crate::module::Mode,
            ) -> crate::signal::Signal {
                let crate::ops::Triple(size) = $sizes(size);
                self.0.call_with_output_size(x, size)
            }
        }
    };
}

use layer;
use output_size;
use setters;
