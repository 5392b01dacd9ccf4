//! A convolution whose input and output are candle tensors, in the layout `Nchw`.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernels::conv::{ConvGeometry, PackedCache};
use crate::kernels::internal::ImageForm;
use crate::kernels::internal::blocked::policy::Refusal;
use crate::signal::epilogue::Epilogue;

/// The operands of a convolution whose input and output are candle tensors.
#[derive(Clone)]
pub(crate) struct NchwConvolution {
    /// The images that are convolved.
    pub form: ImageForm,
    pub input: Tensor,
    /// The weight for these images.
    pub weight: Tensor,
    /// The geometry for these images.
    pub geometry: ConvGeometry,
    pub packed: Option<Arc<PackedCache>>,
    /// Why the channel-blocked kernels do not compute this convolution.
    pub refusal: Refusal,
}

impl NchwConvolution {
    /// Computes the convolution and its epilogue in one launch.
    pub fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        let Self { form, input, weight, geometry, packed, refusal: _ } = self;
        form.convolve(input, weight, geometry, &epilogue.tensors()?, packed.as_deref())
    }
}
