//! The operands of a convolution that has not run.

use std::fmt;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernels::conv::{self, Axes, ConvGeometry, Epilogue, PackedCache};

/// The operands of a convolution; the weight always as the kernels take it, with a height and a width.
pub(crate) struct Convolution {
    pub axes: Axes,
    pub input: Tensor,
    pub weight: Tensor,
    pub geometry: ConvGeometry,
    pub packed: Option<Arc<PackedCache>>,
}

impl Convolution {
    /// The convolution with its epilogue, in one kernel.
    pub(super) fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        let Self { axes, input, weight, geometry, packed } = self;
        let packed = packed.as_deref();
        if *axes == Axes::Two {
            return conv::conv2d(input, weight, geometry, epilogue, packed);
        }
        let residual = epilogue.residual.as_ref().map(|residual| axes.lift(residual)).transpose()?;
        let epilogue = Epilogue { residual, ..epilogue.clone() };
        axes.lower(conv::conv2d(&axes.lift(input)?, weight, geometry, &epilogue, packed)?)
    }

    /// What traces call it.
    pub(super) fn name(&self) -> &'static str {
        match self.axes {
            Axes::One => "conv1d",
            Axes::Two => "conv2d",
        }
    }
}

/// The layer, as errors name it.
impl fmt::Display for Convolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&conv_label(self.axes, self.weight.dims(), self.geometry.groups))
    }
}

/// `Conv2d 3→64, 7×7`, from a weight `[out_channels, in_channels / groups, height, width]`.
pub(crate) fn conv_label(axes: Axes, weight: &[usize], groups: usize) -> String {
    let count = axes.count();
    match *weight {
        [outputs, inputs, height, width] => {
            format!("Conv{count}d {}→{outputs}, {}", inputs * groups, axes.product([height, width]))
        }
        _ => format!("Conv{count}d"),
    }
}
