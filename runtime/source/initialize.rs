//! Initializes parameters.

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use candle_nn::Init;

use crate::kernels::internal::can_allocate;
use crate::random;

/// Initializes a tensor. A floating-point tensor is trainable.
///
/// # Errors
/// Fails if there is not enough memory.
pub(super) fn initialize(
    init: Init,
    shape: &Shape,
    name: &str,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    check_memory(shape, name)?;
    let tensor = match init {
        Init::Const(value) => Tensor::full(value, shape, device)?.to_dtype(dtype)?,
        Init::Uniform { lo, up } => random::uniform(shape, lo, up, dtype, device)?,
        Init::Randn { mean, stdev } => random::normal(shape, mean, stdev, dtype, device)?,
        Init::Kaiming { dist, fan, non_linearity } => {
            let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                candle_nn::init::NormalOrUniform::Normal => random::normal(shape, 0., std, dtype, device)?,
                candle_nn::init::NormalOrUniform::Uniform => {
                    let bound = 3f64.sqrt() * std;
                    random::uniform(shape, -bound, bound, dtype, device)?
                }
            }
        }
    };
    to_trainable(tensor)
}

/// Checks that an f64 tensor of this shape can be allocated on the CPU, where random values are drawn in f64. A failed
/// allocation would abort the process.
pub(super) fn check_memory(shape: &Shape, name: &str) -> Result<()> {
    if !can_allocate::<f64>(shape.dims()) {
        bail!("{name}: not enough memory for a tensor of shape {:?}", shape.dims())
    }
    Ok(())
}

/// Converts a floating-point tensor to a variable. Returns an integer tensor unchanged.
pub(super) fn to_trainable(tensor: Tensor) -> Result<Tensor> {
    Ok(if tensor.dtype().is_float() { Var::from_tensor(&tensor)?.into_inner() } else { tensor })
}
