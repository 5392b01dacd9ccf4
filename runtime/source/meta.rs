//! Parameters that have a shape but no memory of their own.

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

/// Returns a builder of parameters that are views of a single zero.
pub(crate) fn meta(dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Meta), dtype, device.clone())
}

/// Returns `true` if a parameter is a view of a single number. A scalar has memory of its own.
pub(crate) fn is_meta(parameter: &Tensor) -> bool {
    parameter.rank() > 0 && parameter.stride().iter().all(|stride| *stride == 0)
}

/// Reshapes a parameter. A view of a single number stays one, whereas candle's `reshape` would copy it to memory.
///
/// # Errors
/// Fails if the shape has another number of elements.
pub(crate) fn reshape(parameter: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let elements = shape.iter().try_fold(1usize, |elements, size| elements.checked_mul(*size));
    if is_meta(parameter) && elements == Some(parameter.elem_count()) {
        return Tensor::zeros((), parameter.dtype(), parameter.device())?.broadcast_as(shape);
    }
    parameter.reshape(shape)
}

struct Meta;

impl SimpleBackend for Meta {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let sizes = shape.dims().iter().filter(|size| **size > 0);
        if sizes.fold(dtype.size_in_bytes(), |bytes, size| bytes.saturating_mul(*size)) == usize::MAX {
            bail!("{name}: the number of bytes of the shape {:?} is too large", shape.dims())
        }
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("{name}: expected a shape, because the parameter is not read from a checkpoint")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        // With this name missing, `initializes_every_tensor` is false, and no layer writes initial values to a view.
        !name.ends_with(super::UNKNOWN_NAME)
    }
}
