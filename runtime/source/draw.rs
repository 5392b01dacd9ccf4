//! Draws the initial values of parameters.

use candle_core::{Device, Result, Shape, Tensor, Var, bail};
use candle_nn::Init;

use candle_core::DType;

use crate::kernels::internal::can_allocate;
use crate::random;

/// Draws a parameter; one of floats is trainable.
///
/// # Errors
/// There is no memory for it.
pub(super) fn draw(init: Init, shape: &Shape, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
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
    trainable(tensor)
}

/// Checks that there is memory for a tensor of f64 on the CPU: a failed allocation would abort the process.
pub(super) fn check_memory(shape: &Shape, name: &str) -> Result<()> {
    if !can_allocate::<f64>(shape.dims()) {
        bail!("{name}: there is no memory for a tensor of shape {:?}", shape.dims())
    }
    Ok(())
}

/// Makes a variable of a float tensor; returns an integer tensor unchanged.
pub(super) fn trainable(tensor: Tensor) -> Result<Tensor> {
    Ok(if tensor.dtype().is_float() { Var::from_tensor(&tensor)?.into_inner() } else { tensor })
}
