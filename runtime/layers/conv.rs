//! 2-d convolution.

use std::borrow::Cow;

use candle_core::{Shape, Tensor};
use candle_nn::VarBuilder;

use super::pair::{Padding, Pair};
use super::printed;
use super::weight::Weight;
use crate::config::Config;
use crate::init::within;
use crate::kernels::conv::ConvGeometry;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::{Convolution, Deferred, Signal, conv_label};
use crate::{Error, Result};

/// Convolves `[batch, in_channels, height, width]` to `[batch, out_channels, height', width']`.
///
/// `Conv2d::config(in_channels, out_channels, kernel_size)` with the setters `stride`, `padding`,
/// `dilation`, `groups` and `bias`, which start as in PyTorch. An input `[channels, height, width]`
/// stands for a batch of one. The bias, a batch norm in evaluation, a residual and an activation that
/// follow run inside the same kernel.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 16, (3, 5)).stride(2).padding((1, 2)).init(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// let y = conv.call(x.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [8, 16, 16, 16]);
/// # Ok(())
/// # }
/// ```
pub struct Conv2d {
    weight: Weight,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
    padding: Padding,
}

/// The arguments of a [`Conv2d`].
#[derive(Clone, Debug)]
pub struct Conv2dConfig {
    in_channels: usize,
    out_channels: usize,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
}

impl Conv2d {
    pub fn config(in_channels: usize, out_channels: usize, kernel_size: impl Into<Pair>) -> Conv2dConfig {
        Conv2dConfig {
            in_channels,
            out_channels,
            kernel_size: kernel_size.into().0,
            stride: [1; 2],
            padding: 0.into(),
            dilation: [1; 2],
            groups: 1,
            bias: true,
        }
    }

    /// `[out_channels, in_channels / groups, height, width]`
    pub fn weight(&self) -> &Tensor {
        self.weight.tensor()
    }

    /// `[out_channels]`
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    fn kernel_size(&self) -> [usize; 2] {
        let dims = self.weight.tensor().dims();
        [dims[2], dims[3]]
    }

    fn in_channels(&self) -> usize {
        self.weight.tensor().dims()[1] * self.geometry.groups
    }

    fn label(&self) -> String {
        conv_label(self.weight.tensor().dims(), self.geometry.groups)
    }

    /// The shape for an input `[batch, channels, height, width]`, or what is wrong with it.
    fn output_shape(&self, input: &[usize]) -> Result<Shape> {
        let expected = self.in_channels();
        let &[batch, channels, height, width] = input else {
            return Err(Error::msg(format!(
                "expected an input [batch, {expected}, height, width], got {input:?}"
            )));
        };
        if channels != expected {
            return Err(Error::msg(format!(
                "expected {expected} input channels, got {channels} (input {input:?})"
            )));
        }
        match self.geometry.output_size([height, width], self.kernel_size()) {
            Some([rows, columns]) => Ok(Shape::from((batch, self.weight.tensor().dims()[0], rows, columns))),
            None => Err(Error::msg(format!(
                "the padded input is smaller than the dilated kernel (input {input:?})"
            ))),
        }
    }

    fn defer(&self, x: Signal) -> Result<Signal> {
        let shape = self.output_shape(x.dims()?).map_err(|error| error.in_layer(self.label()))?;
        let convolution = Convolution {
            input: x.into_tensor()?,
            weight: self.weight.tensor().clone(),
            geometry: self.geometry,
            packed: self.weight.packed(),
        };
        Ok(Signal::deferred(Deferred::convolution(convolution, self.bias.clone(), shape)))
    }
}

impl Forward for Conv2d {
    type Output = Signal;

    fn call(&self, x: Signal, _: Mode) -> Signal {
        match x.rank() {
            Ok(3) => Signal::from(self.defer(x.unsqueeze(0))).squeeze(0),
            _ => self.defer(x).into(),
        }
    }
}

impl Conv2dConfig {
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into().0;
        self
    }

    /// Zeros around the input: a number, `(rows, columns)`, `"same"` or `"valid"`.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }

    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.dilation = dilation.into().0;
        self
    }

    /// Input and output channels fall into this many groups that do not mix.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    fn geometry(&self) -> Result<ConvGeometry> {
        let Self { in_channels, out_channels, kernel_size, stride, padding, dilation, groups, .. } = *self;
        if groups == 0 || in_channels % groups != 0 || out_channels % groups != 0 {
            return Err(Error::msg(format!(
                "groups = {groups} must divide the {in_channels} input and {out_channels} output channels"
            )));
        }
        for (name, pair) in [("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)] {
            if pair.contains(&0) {
                return Err(Error::msg(format!("{name} must be at least 1, got {}", Pair(pair))));
            }
        }
        let padding = match padding {
            Padding::Zeros(Pair([rows, columns])) => [[rows; 2], [columns; 2]],
            Padding::Same if stride == [1; 2] => [0, 1].map(|axis| {
                let total = dilation[axis] * (kernel_size[axis] - 1);
                [total / 2, total - total / 2]
            }),
            Padding::Same => return Err(Error::msg("padding = \"same\" needs stride 1")),
            Padding::Unknown(word) => {
                return Err(Error::msg(format!(
                    "padding = {word:?}: expected a number, \"same\" or \"valid\""
                )));
            }
        };
        Ok(ConvGeometry { stride, padding, dilation, groups })
    }
}

impl Config for Conv2dConfig {
    type Output = Conv2d;

    fn build(self, vb: VarBuilder) -> Result<Conv2d> {
        let label = format!("Conv2d {}→{}", self.in_channels, self.out_channels);
        let geometry = self.geometry().map_err(|error| error.in_layer(label))?;
        let [rows, columns] = self.kernel_size;
        let inputs = self.in_channels / self.groups;
        let bound = within(1. / ((inputs * rows * columns).max(1) as f64).sqrt());
        let shape = (self.out_channels, inputs, rows, columns);
        let weight = Weight::new(vb.get_with_hints(shape, "weight", bound)?);
        let bias = match self.bias {
            true => Some(vb.get_with_hints(self.out_channels, "bias", bound)?),
            false => None,
        };
        Ok(Conv2d { weight, bias, geometry, padding: self.padding })
    }
}

impl Module for Conv2d {
    fn kind(&self) -> Cow<'static, str> {
        "Conv2d".into()
    }

    fn extra(&self) -> String {
        let ConvGeometry { stride, dilation, groups, .. } = self.geometry;
        let (outputs, kernel) = (self.weight.tensor().dims()[0], Pair(self.kernel_size()));
        let stride = Pair(stride);
        let mut text = format!("{}, {outputs}, kernel_size={kernel}, stride={stride}", self.in_channels());
        match self.padding {
            Padding::Zeros(Pair([0, 0])) => {}
            Padding::Zeros(zeros) => text += &format!(", padding={zeros}"),
            _ => text += ", padding=same",
        }
        if dilation != [1; 2] {
            text += &format!(", dilation={}", Pair(dilation));
        }
        if groups != 1 {
            text += &format!(", groups={groups}");
        }
        if self.bias.is_none() {
            text += ", bias=False";
        }
        text
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.parameter("weight", self.weight.tensor());
        if let Some(bias) = &self.bias {
            visitor.parameter("bias", bias);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.weight.visit_mut("weight", visitor);
        if let Some(bias) = &mut self.bias {
            visitor.parameter("bias", bias);
        }
    }

    fn share(&self) -> Self {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        Self { weight, bias, geometry: self.geometry, padding: self.padding }
    }
}

printed!(Conv2d);
