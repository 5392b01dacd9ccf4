//! The implementation of [`ConvTranspose1d`](super::ConvTranspose1d),
//! [`ConvTranspose2d`](super::ConvTranspose2d), [`ConvTranspose3d`](super::ConvTranspose3d) and the corresponding
//! functions.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::graph::Op;
use crate::kernels::conv::TransposeGeometry;
use crate::kernels::internal::{Axes, ImageForm};
use crate::signal::{NeedsNumbers, Recording, Signal, add_multiply_adds, add_operands, convolution_products};
use crate::{Error, Result};

use super::conv_weight::ConvWeight;
use super::{
    Arguments, check_at_least_one, check_operands, format_extra, format_non_default, input_sizes, with_batch,
};

/// The implementation of a transposed convolution over one, two or three axes.
#[derive(Clone)]
pub(crate) struct ConvTransposeCore {
    axes: Axes,
    pub(super) weight: ConvWeight,
    pub(super) bias: Option<Tensor>,
    settings: TransposeGeometry<3>,
    /// The images that the kernel computes.
    form: ImageForm,
    /// The settings for these images.
    image_settings: TransposeGeometry,
}

impl ConvTransposeCore {
    /// Builds a transposed convolution with the tensors of a `VarBuilder`.
    pub(super) fn build(
        axes: Axes,
        arguments: &Arguments,
        settings: TransposeGeometry<3>,
        vb: &VarBuilder,
    ) -> Result<Self> {
        arguments.check(axes, settings.groups)?;
        check_settings(axes, &settings)?;
        let channels = [arguments.in_channels, arguments.out_channels / settings.groups];
        let (weight, bias) = arguments.parameters(axes, channels, vb)?;
        Ok(Self::new(axes, (channels, arguments.kernel_size), weight, bias, settings))
    }

    /// Creates a transposed convolution from the arguments of a functional call.
    pub(crate) fn from_tensors(
        axes: Axes,
        weight: &Tensor,
        bias: Option<&Tensor>,
        settings: TransposeGeometry<3>,
    ) -> Result<Self> {
        let check = || {
            let count_out_channels = |[in_channels, group_out_channels]: [usize; 2]| match in_channels
                .checked_rem(settings.groups)
            {
                Some(0) => group_out_channels.checked_mul(settings.groups),
                _ => None,
            };
            let sizes =
                check_operands(axes, weight, bias, "in_channels, out_channels / groups", count_out_channels)?;
            check_settings(axes, &settings)?;
            Ok(sizes)
        };
        let sizes = check().map_err(|error: Error| error.in_layer(operation_name(axes)))?;
        Ok(Self::new(axes, sizes, weight.clone(), bias.cloned(), settings))
    }

    /// Creates a transposed convolution whose operands and settings have been checked. The weight has the given
    /// channels and kernel size.
    fn new(
        axes: Axes,
        (channels, kernel): ([usize; 2], [usize; 3]),
        weight: Tensor,
        bias: Option<Tensor>,
        settings: TransposeGeometry<3>,
    ) -> Self {
        let (form, image_settings) = ImageForm::of_transposed(axes, kernel, &settings);
        let weight = ConvWeight::new(weight, form.weight_dims(channels, kernel));
        Self { axes, weight, bias, settings, form, image_settings }
    }

    pub(super) fn weight(&self) -> &Tensor {
        self.weight.tensor()
    }

    /// Returns `[in_channels, out_channels]` and the kernel size. The constructors check the weight's rank.
    fn sizes(&self) -> ([usize; 2], [usize; 3]) {
        let sizes = self.axes.sizes(self.weight.tensor().dims());
        sizes.map_or_else(Default::default, |(in_channels, group_out_channels, kernel)| {
            ([in_channels, group_out_channels * self.settings.groups], kernel)
        })
    }

    /// Returns the label of the layer in errors, such as `ConvTranspose2d 3→64, 7×7`.
    fn label(&self) -> String {
        let ([in_channels, out_channels], kernel) = self.sizes();
        let count = self.axes.count();
        let kernel = self.axes.format_size(kernel);
        format!("ConvTranspose{count}d {in_channels}→{out_channels}, {kernel}")
    }

    pub(crate) fn call(&self, x: Signal) -> Signal {
        let recording = Recording::start(&x);
        let y = with_batch(self.axes, x, |x| {
            let size = self.output_size(x.dims()?).map_err(|error| error.in_layer(self.label()))?;
            if x.is_meta() {
                let ([_, out_channels], _) = self.sizes();
                let shape = self.axes.shape(x.dim(0)?, out_channels, size);
                return self.weight.result_meta(x, shape, |probe| self.call(probe));
            }
            let [depth, ..] = size;
            Ok(x.apply(operation_name(self.axes), NeedsNumbers, |x| {
                add_multiply_adds(|| self.products(x.dims()));
                add_operands([Some(self.weight()), self.bias.as_ref()]);
                self.run(&x, depth).map_err(|error| Error::from(error).in_layer(self.label()))
            }))
        });
        let op = Op::ConvTranspose { axes: self.axes, geometry: self.settings };
        let description = (operation_name(self.axes), op, [Some(self.weight()), self.bias.as_ref()]);
        recording.finish_products(y, description, |x, _| self.products(x))
    }

    /// Returns the multiply-adds: each input is multiplied by the kernel of every output channel of its group. That is
    /// a convolution with input and output exchanged.
    fn products(&self, input: &[usize]) -> u64 {
        convolution_products(input, self.weight().dims())
    }

    /// Selects the output padding with which the output has the size `output`, and convolves.
    pub(super) fn call_with_output_size(&self, x: Signal, output: [usize; 3]) -> Signal {
        let Ok(dims) = x.dims() else { return x };
        match self.with_output_size(dims, output) {
            Ok(core) => core.call(x),
            Err(error) => Signal::fail(error.in_layer(self.label())),
        }
    }

    /// Returns this transposed convolution with the output padding for an output of the size `output`.
    fn with_output_size(&self, input: &[usize], output: [usize; 3]) -> Result<Self> {
        let (channels, kernel) = self.sizes();
        let has_batch = input.len() != self.axes.count() + 1;
        let batched = if has_batch { input.to_vec() } else { [&[1], input].concat() };
        let (_, size) = input_sizes(self.axes, &batched, channels[0])?;
        let output_padding = self.settings.output_padding_for(size, kernel, output).map_err(|range| {
            let [low, high] = [0, 1].map(|end| self.axes.format_setting(range.map(|range| range[end])));
            let found = self.axes.format_setting(output);
            Error::msg(format!(
                "expected an output_size between {low} and {high} for the input {input:?}, found {found}"
            ))
        })?;
        let settings = TransposeGeometry { output_padding, ..self.settings };
        let group_channels = [channels[0], channels[1] / settings.groups];
        let weight = self.weight.tensor().clone();
        Ok(Self::new(self.axes, (group_channels, kernel), weight, self.bias.clone(), settings))
    }

    /// Returns the `[depth, height, width]` of the output.
    fn output_size(&self, input: &[usize]) -> Result<[usize; 3]> {
        let ([in_channels, _], kernel) = self.sizes();
        let (_, size) = input_sizes(self.axes, input, in_channels)?;
        match self.settings.output_size(size, kernel) {
            Some(output) => Ok(output),
            None => Err(Error::msg(format!("the output would be empty (input {input:?})"))),
        }
    }

    fn run(&self, x: &Tensor, depth: usize) -> candle_core::Result<Tensor> {
        let weight = self.weight.tensor_4d();
        self.form.convolve_transposed(x, weight, self.bias.as_ref(), &self.image_settings, depth)
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
        Axes::Three => "conv_transpose3d",
    }
}

fn check_settings(axes: Axes, settings: &TransposeGeometry<3>) -> Result<()> {
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
