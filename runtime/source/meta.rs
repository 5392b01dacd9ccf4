//! Parameters that have a shape but no memory of their own.

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

/// Returns a builder of parameters that are views of a single zero.
pub(crate) fn meta(dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Meta), dtype, device.clone())
}

struct Meta;

impl SimpleBackend for Meta {
    fn get(&self, shape: Shape, _: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("{name}: expected a shape, because the parameter is not read from a checkpoint")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        // A layer must not write initial values to a view. A source that has not every tensor is not initialized.
        !name.ends_with(super::UNKNOWN_NAME)
    }
}
