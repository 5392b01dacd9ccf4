//! The implementation of [`ConvTranspose1d`](super::ConvTranspose1d),
//! [`ConvTranspose2d`](super::ConvTranspose2d) and the corresponding functions.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::kernels::conv::{TransposeGeometry, conv_transpose2d};
use crate::kernels::internal::Axes;
use crate::layers::weight::Weight;
use crate::signal::{Batch, Signal};
use crate::{Error, Result};

use super::{
    Arguments, check_at_least_one, check_operands, format_extra, format_non_default, input_sizes, with_batch,
};

/// The implementation of a transposed convolution over one or two axes.
#[derive(Clone)]
pub(crate) struct ConvTransposeCore {
    axes: Axes,
    pub(super) weight: Weight,
    pub(super) bias: Option<Tensor>,
    settings: TransposeGeometry,
}

impl ConvTransposeCore {
    /// Builds a transposed convolution with the tensors of a `VarBuilder`.
    pub(super) fn build(
        axes: Axes,
        arguments: &Arguments,
        settings: TransposeGeometry,
        vb: &VarBuilder,
    ) -> Result<Self> {
        arguments.check(axes, settings.groups)?;
        check_settings(axes, &settings)?;
        let channels = [arguments.in_channels, arguments.out_channels / settings.groups];
        let (weight, bias) = arguments.parameters(axes, channels, vb)?;
        Ok(Self { axes, weight: Weight::new(weight), bias, settings })
    }

    /// Creates a transposed convolution from the arguments of a functional call.
    pub(crate) fn from_tensors(
        axes: Axes,
        weight: &Tensor,
        bias: Option<&Tensor>,
        settings: TransposeGeometry,
    ) -> Result<Self> {
        let check = || {
            let count_out_channels = |[in_channels, group_out_channels]: [usize; 2]| match in_channels
                .checked_rem(settings.groups)
            {
                Some(0) => group_out_channels.checked_mul(settings.groups),
                _ => None,
            };
            check_operands(axes, weight, bias, "in_channels, out_channels / groups", count_out_channels)?;
            check_settings(axes, &settings)
        };
        check().map_err(|error| error.in_layer(operation_name(axes)))?;
        let weight = Weight::new(weight.clone());
        Ok(Self { axes, weight, bias: bias.cloned(), settings })
    }

    pub(super) fn weight(&self) -> &Tensor {
        self.weight.tensor()
    }

    /// Returns `[in_channels, out_channels]` and the kernel size. The constructors check the weight's rank.
    fn sizes(&self) -> ([usize; 2], [usize; 2]) {
        let dims = self.weight.tensor_4d().dims();
        ([dims[0], dims[1] * self.settings.groups], [dims[2], dims[3]])
    }

    /// Returns the label of the layer in errors, such as `ConvTranspose2d 3→64, 7×7`.
    fn label(&self) -> String {
        let ([in_channels, out_channels], kernel) = self.sizes();
        let count = self.axes.count();
        let kernel = self.axes.format_size(kernel);
        format!("ConvTranspose{count}d {in_channels}→{out_channels}, {kernel}")
    }

    pub(crate) fn call(&self, x: Signal) -> Signal {
        with_batch(self.axes, x, |x| {
            self.check_input(x.dims()?).map_err(|error| error.in_layer(self.label()))?;
            Ok(x.apply(operation_name(self.axes), Batch, |x| {
                self.run(&x).map_err(|error| Error::from(error).in_layer(self.label()))
            }))
        })
    }

    fn check_input(&self, input: &[usize]) -> Result<()> {
        let ([in_channels, _], kernel) = self.sizes();
        let (_, size) = input_sizes(self.axes, input, in_channels)?;
        match self.settings.output_size(size, kernel) {
            Some(_) => Ok(()),
            None => Err(Error::msg(format!("the output would be empty (input {input:?})"))),
        }
    }

    fn run(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.axes.to_image(x)?;
        let weight = self.weight.tensor_4d();
        self.axes.from_image(conv_transpose2d(&x, weight, self.bias.as_ref(), &self.settings)?)
    }

    pub(super) fn extra(&self) -> String {
        let (channels, kernel) = self.sizes();
        let axes = self.axes;
        let TransposeGeometry { stride, padding, output_padding, dilation, groups } = self.settings;
        let settings = [
            ("padding", format_non_default(axes, padding, 0)),
            ("dilation", format_non_default(axes, dilation, 1)),
            ("output_padding", format_non_default(axes, output_padding, 0)),
            ("groups", (groups != 1).then(|| groups.to_string())),
            ("bias", self.bias.is_none().then(|| "False".to_string())),
        ];
        format_extra(axes, channels, [kernel, stride], &settings)
    }
}

/// Returns the name of the operation in traces and errors.
fn operation_name(axes: Axes) -> &'static str {
    match axes {
        Axes::One => "conv_transpose1d",
        Axes::Two => "conv_transpose2d",
    }
}

fn check_settings(axes: Axes, settings: &TransposeGeometry) -> Result<()> {
    let TransposeGeometry { stride, output_padding, dilation, .. } = *settings;
    check_at_least_one(axes, [("stride", stride), ("dilation", dilation)])?;
    if settings.check().is_ok() {
        return Ok(());
    }
    let [output_padding, stride, dilation] =
        [output_padding, stride, dilation].map(|sizes| axes.format_setting(sizes));
    Err(Error::msg(format!(
        "expected output_padding smaller than stride or dilation, found output_padding = {output_padding} with \
         stride = {stride} and dilation = {dilation}"
    )))
}
