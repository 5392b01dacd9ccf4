//! The implementation of [`Conv1d`](super::Conv1d), [`Conv2d`](super::Conv2d), [`Conv3d`](super::Conv3d) and the
//! corresponding functions.

use candle_core::{Shape, Tensor};
use candle_nn::VarBuilder;

use crate::graph::{Description, Op};
use crate::kernels::conv::ConvGeometry;
use crate::kernels::internal::blocked::policy::{self, Refusal};
use crate::kernels::internal::{Axes, ConvShape, ImageForm};
use crate::kernels::pad::{self, PadMode};
use crate::ops::{Padding, Triple};
use crate::signal::{
    Batch, BlockedConvolution, BlockedParameters, Convolution, Deferred, FusedPair, NchwConvolution,
    NeedsNumbers, Recording, Signal, conv_label, convolution_products,
};
use crate::{Error, Result};

use super::conv_weight::ConvWeight;
use super::{
    Arguments, check_at_least_one, check_operands, format_extra, format_non_default, input_sizes, with_batch,
};

/// The settings of a convolution, per axis `[depth, height, width]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub stride: [usize; 3],
    pub padding: Padding<Triple>,
    pub dilation: [usize; 3],
    pub groups: usize,
    pub padding_mode: PadMode,
}

impl Default for Settings {
    fn default() -> Self {
        Self { stride: [1; 3], padding: 0.into(), dilation: [1; 3], groups: 1, padding_mode: PadMode::ZEROS }
    }
}

impl Settings {
    fn geometry(&self, axes: Axes, kernel: [usize; 3]) -> Result<ConvGeometry<3>> {
        let Self { stride, padding, dilation, groups, padding_mode } = *self;
        check_at_least_one(axes, [("stride", stride), ("dilation", dilation)])?;
        if let PadMode::Unknown(word) = padding_mode {
            return Err(Error::msg(format!(
                "expected padding_mode \"zeros\", \"reflect\", \"replicate\" or \"circular\", found {word:?}"
            )));
        }
        let padding = match padding {
            Padding::Each(Triple(sizes)) => sizes.map(|size| [size; 2]),
            Padding::Same if stride == [1; 3] => [0, 1, 2].map(|axis| {
                let total = dilation[axis].saturating_mul(kernel[axis] - 1);
                [total / 2, total - total / 2]
            }),
            Padding::Same => {
                let stride = axes.format_setting(stride);
                return Err(Error::msg(format!("padding = \"same\" requires stride 1, found {stride}")));
            }
            Padding::Unknown(word) => {
                return Err(Error::msg(format!(
                    "expected padding as a number, \"same\" or \"valid\", found {word:?}"
                )));
            }
        };
        Ok(ConvGeometry { stride, padding, dilation, groups })
    }
}

/// The implementation of a convolution over one, two or three axes.
#[derive(Clone)]
pub(crate) struct ConvCore {
    axes: Axes,
    pub(super) weight: ConvWeight,
    pub(super) bias: Option<Tensor>,
    settings: Settings,
    /// The geometry with the padding of `settings`, whatever the padding mode is.
    geometry: ConvGeometry<3>,
    /// The images that the kernel convolves.
    form: ImageForm,
    /// The geometry for these images. It has no padding if [`ConvCore::pad`] pads the input.
    image_geometry: ConvGeometry,
}

impl ConvCore {
    /// Builds a convolution with the tensors of a `VarBuilder`.
    pub(super) fn build(
        axes: Axes,
        arguments: &Arguments,
        settings: Settings,
        vb: &VarBuilder,
    ) -> Result<Self> {
        arguments.check(axes, settings.groups)?;
        let geometry = settings.geometry(axes, arguments.kernel_size)?;
        let channels = [arguments.out_channels, arguments.in_channels / settings.groups];
        let (weight, bias) = arguments.parameters(axes, channels, vb)?;
        Ok(Self::new(axes, (channels, arguments.kernel_size), weight, bias, (settings, geometry)))
    }

    /// Creates a convolution from the arguments of a functional call.
    pub(crate) fn from_tensors(
        axes: Axes,
        weight: &Tensor,
        bias: Option<&Tensor>,
        settings: Settings,
    ) -> Result<Self> {
        let check = || {
            let count_out_channels = |[out_channels, _]: [usize; 2]| {
                (out_channels.checked_rem(settings.groups) == Some(0)).then_some(out_channels)
            };
            let sizes =
                check_operands(axes, weight, bias, "out_channels, in_channels / groups", count_out_channels)?;
            Ok((sizes, settings.geometry(axes, sizes.1)?))
        };
        let (sizes, geometry) =
            check().map_err(|error: Error| error.in_layer(format!("conv{}d", axes.count())))?;
        Ok(Self::new(axes, sizes, weight.clone(), bias.cloned(), (settings, geometry)))
    }

    /// Creates a convolution whose operands and settings have been checked. The weight has the given channels and
    /// kernel size.
    fn new(
        axes: Axes,
        (channels, kernel): ([usize; 2], [usize; 3]),
        weight: Tensor,
        bias: Option<Tensor>,
        (settings, geometry): (Settings, ConvGeometry<3>),
    ) -> Self {
        let padding = if settings.padding_mode == PadMode::ZEROS { geometry.padding } else { [[0; 2]; 3] };
        let (form, image_geometry) =
            ImageForm::of_convolution(axes, kernel, &ConvGeometry { padding, ..geometry });
        let weight = ConvWeight::new(weight, form.weight_dims(channels, kernel));
        Self { axes, weight, bias, settings, geometry, form, image_geometry }
    }

    pub(super) fn weight(&self) -> &Tensor {
        self.weight.tensor()
    }

    /// Returns `[out_channels, in_channels / groups]` and the kernel size. The constructors check the weight's rank.
    fn sizes(&self) -> ([usize; 2], [usize; 3]) {
        let sizes = self.axes.sizes(self.weight.tensor().dims());
        sizes.map_or_else(Default::default, |(first, second, kernel)| ([first, second], kernel))
    }

    fn label(&self) -> String {
        conv_label(self.form, self.weight.tensor_4d().dims(), self.geometry.groups)
    }

    /// Returns the shape of the output for an input with a batch dimension.
    fn output_shape(&self, input: &[usize]) -> Result<Shape> {
        let ([out_channels, group_in_channels], kernel) = self.sizes();
        let (batch, size) = input_sizes(self.axes, input, group_in_channels * self.geometry.groups)?;
        match self.geometry.output_size(size, kernel) {
            Some(output) => Ok(Shape::from(self.axes.shape(batch, out_channels, output))),
            None => Err(Error::msg(format!(
                "the padded input is smaller than the dilated kernel (input {input:?})"
            ))),
        }
    }

    pub(crate) fn call(&self, x: Signal) -> Signal {
        let recording = Recording::start(&x);
        let y = with_batch(self.axes, x, |x| self.defer(x));
        recording.finish_products(y, self.describe(), |_, y| convolution_products(y, self.weight().dims()))
    }

    fn defer(&self, x: Signal) -> Result<Signal> {
        let shape = self.output_shape(x.dims()?).map_err(|error| error.in_layer(self.label()))?;
        if x.is_meta() {
            if self.settings.padding_mode == PadMode::ZEROS {
                return self.weight.result_meta(x, shape, |probe| self.call(probe));
            }
            // The padding checks its sizes.
            return Ok(x.through(Batch, |probe| self.call(probe)));
        }
        let x = self.pad(x);
        match self.blocked_parameters(&x)? {
            Ok(parameters) => self.defer_blocked(x, parameters, shape),
            Err(refusal) => {
                if self.is_depthwise() {
                    x.record_not_fused(refusal.into());
                }
                let convolution = self.nchw_convolution(x.into_tensor()?, self.image_geometry, refusal);
                Ok(self.defer_convolution(Convolution::Nchw(convolution), shape))
            }
        }
    }

    /// Returns `true` if each input channel has a group, with one output channel.
    fn is_depthwise(&self) -> bool {
        let ([out_channels, group_in_channels], _) = self.sizes();
        group_in_channels == 1 && self.geometry.groups > 1 && out_channels == self.geometry.groups
    }

    /// Returns the parameters for the channel-blocked kernels, or the reason why the convolution uses different
    /// kernels.
    fn blocked_parameters(&self, x: &Signal) -> Result<std::result::Result<BlockedParameters, Refusal>> {
        let weight = self.weight.tensor_4d();
        let packed = self.weight.packed();
        if self.axes != Axes::Two {
            return Ok(Err(Refusal::Layout));
        }
        let checked = policy::check_parameters(weight, self.bias.as_ref(), packed.as_deref());
        let (layout, packed) = match (checked.and_then(|()| x.input_layout()), packed) {
            (Ok(layout), Some(packed)) => (layout, packed),
            (Err(refusal), _) => return Ok(Err(refusal)),
            (Ok(_), None) => return Ok(Err(Refusal::NotPacked)),
        };
        let shape = ConvShape::new(x.dims()?, weight.dims(), &self.image_geometry)?;
        let parameters = BlockedParameters { shape, weight: weight.clone(), packed };
        Ok(parameters.check_nchwc(layout).map(|()| parameters))
    }

    /// Defers a convolution that prefers the channel-blocked layout. If possible, fuses it with the preceding deferred
    /// convolution. Otherwise, runs the preceding operation and selects the layout again, based on the layout of the
    /// operation's result.
    fn defer_blocked(&self, x: Signal, parameters: BlockedParameters, output: Shape) -> Result<Signal> {
        let x = if policy::is_fused_consumer(&parameters.shape) {
            match x.into_producer() {
                Ok(producer) => {
                    let pair = FusedPair::depthwise(producer, parameters, self.bias.clone());
                    return Ok(Signal::deferred(Deferred::fused_pair(pair, output)));
                }
                Err(x) => x,
            }
        } else {
            x
        };
        let input = x.into_blocked()?;
        let convolution = match parameters.check_nchwc(input.layout()) {
            Ok(()) => Convolution::Either(BlockedConvolution { input, parameters }),
            Err(refusal) => {
                let geometry = parameters.shape.geometry;
                Convolution::Nchw(self.nchw_convolution(input.tensor()?, geometry, refusal))
            }
        };
        Ok(self.defer_convolution(convolution, output))
    }

    fn nchw_convolution(&self, input: Tensor, geometry: ConvGeometry, refusal: Refusal) -> NchwConvolution {
        let weight = self.weight.tensor_4d().clone();
        let packed = self.weight.packed();
        NchwConvolution { form: self.form, input, weight, geometry, packed, refusal }
    }

    fn defer_convolution(&self, convolution: Convolution, output: Shape) -> Signal {
        Signal::deferred(Deferred::convolution(convolution, self.bias.clone(), output))
    }

    fn describe(&self) -> Description<'_> {
        let op = Op::Conv { axes: self.axes, geometry: self.geometry, mode: self.settings.padding_mode };
        let name = match self.axes {
            Axes::One => "conv1d",
            Axes::Two => "conv2d",
            Axes::Three => "conv3d",
        };
        (name, op, [Some(self.weight()), self.bias.as_ref()]).into()
    }

    /// Pads the input in every padding mode except `"zeros"`, which the convolution kernel supports.
    fn pad(&self, x: Signal) -> Signal {
        let mode = self.settings.padding_mode;
        if mode == PadMode::ZEROS || self.geometry.padding == [[0; 2]; 3] {
            return x;
        }
        let side = |side: usize| isize::try_from(side).unwrap_or(isize::MAX);
        let [[front, back], [top, bottom], [left, right]] =
            self.geometry.padding.map(|sides| sides.map(side));
        x.apply("pad", NeedsNumbers, |x| {
            let padded = match self.axes {
                Axes::One | Axes::Two => pad::pad(&x, [left, right, top, bottom], mode),
                Axes::Three => pad::pad3d(&x, [left, right, top, bottom, front, back], mode),
            };
            padded.map_err(|error| Error::from(error).in_layer(self.label()))
        })
    }

    pub(super) fn extra(&self) -> String {
        let ([out_channels, group_in_channels], kernel) = self.sizes();
        let axes = self.axes;
        let Settings { stride, padding, dilation, groups, padding_mode } = self.settings;
        let padding = match padding {
            Padding::Each(Triple(sizes)) => format_non_default(axes, sizes, 0),
            _ => Some("same".to_string()),
        };
        let settings = [
            ("padding", padding),
            ("dilation", format_non_default(axes, dilation, 1)),
            ("groups", (groups != 1).then(|| groups.to_string())),
            ("bias", self.bias.is_none().then(|| "False".to_string())),
            ("padding_mode", (padding_mode != PadMode::ZEROS).then(|| padding_mode.to_string())),
        ];
        format_extra(axes, [group_in_channels * groups, out_channels], [kernel, stride], &settings)
    }
}
