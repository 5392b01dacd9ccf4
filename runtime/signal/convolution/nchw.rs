//! A convolution whose input and output are candle tensors, in the layout `Nchw`.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernels::conv::{self, ConvGeometry, PackedCache};
use crate::kernels::internal::Axes;
use crate::signal::epilogue::Epilogue;

/// The operands of a convolution whose input and output are candle tensors.
#[derive(Clone)]
pub(crate) struct NchwConvolution {
    pub axes: Axes,
    pub input: Tensor,
    /// The weight `[out_channels, in_channels / groups, height, width]`, even if `axes` is [`Axes::One`].
    pub weight: Tensor,
    pub geometry: ConvGeometry,
    pub packed: Option<Arc<PackedCache>>,
}

impl NchwConvolution {
    /// Computes the convolution and its epilogue in one launch.
    pub fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        let Self { axes, input, weight, geometry, packed } = self;
        let epilogue = epilogue.tensors()?;
        let packed = packed.as_deref();
        if *axes == Axes::Two {
            return conv::conv2d(input, weight, geometry, &epilogue, packed);
        }
        let residual = epilogue.residual.as_ref().map(|residual| axes.to_image(residual)).transpose()?;
        let epilogue = conv::Epilogue { residual, ..epilogue };
        axes.from_image(conv::conv2d(&axes.to_image(input)?, weight, geometry, &epilogue, packed)?)
    }
}
