//! Rotary position embedding.

use candle_core::Tensor;

use crate::Result;
use crate::graph::Op;
use crate::kernels::internal::check_rotary_embedding;
use crate::kernels::rotary_embedding as kernel;
use crate::signal::{NeedsNumbers, Recording, Signal, add_operands};

use super::operand::tensor_or_view;

/// Rotates pairs of the features of `x`, `[…, positions, features]`, by angles that depend on the position (Su et al.
/// 2021). `cos` and `sin` are the cosine and the sine of the angles, `[positions, pairs]` or
/// `[batch, positions, pairs]`.
///
/// Pair `i` consists of the features `2i` and `2i + 1` if `interleaved` is true, as in candle's `rope_i`, and of the
/// features `i` and `i + pairs` otherwise, as in `rope`. Further features are unchanged. The output is a failed signal
/// if the shapes do not match. [`RotaryEmbedding`](crate::layers::RotaryEmbedding) computes the angles.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2., 3., 4.]], &Device::Cpu)?; // [positions, features]
/// let cos = Tensor::new(&[[0f32, -1.]], &Device::Cpu)?; // a quarter turn and a half turn
/// let sin = Tensor::new(&[[1f32, 0.]], &Device::Cpu)?;
/// let y = rotary_embedding(&x, &cos, &sin, true).into_tensor()?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-2., 1., -3., -4.]]);
/// # Ok(())
/// # }
/// ```
pub fn rotary_embedding(
    x: impl Into<Signal>,
    cos: impl Into<Signal>,
    sin: impl Into<Signal>,
    interleaved: bool,
) -> Signal {
    let (x, cos, sin) = (x.into(), cos.into(), sin.into());
    if let Some(error) = [&x, &cos, &sin].into_iter().find_map(Signal::error) {
        return Signal::fail(error.clone());
    }
    let any_meta = [&x, &cos, &sin].into_iter().any(Signal::is_meta);
    if any_meta {
        let recording = Recording::start_all([&x, &cos, &sin]);
        let tables = tensor_or_view(cos).and_then(|cos| Ok((cos, tensor_or_view(sin)?)));
        let output = tables.and_then(|(cos, sin)| check_rotary(x, &cos, &sin)).into();
        return recording.finish(output, ("rotary_embedding", Op::Rotary { interleaved }));
    }
    match (cos.into_tensor(), sin.into_tensor()) {
        (Ok(cos), Ok(sin)) => x.apply("rotary_embedding", NeedsNumbers, |x| {
            add_operands([&cos, &sin]);
            kernel(&x, &cos, &sin, interleaved)
        }),
        (Err(error), _) | (_, Err(error)) => Signal::fail(error),
    }
}

/// Checks the shapes and the dtypes of the operands of [`rotary_embedding`]. Returns the shape of the result.
pub(crate) fn check_rotary(x: Signal, cos: &Tensor, sin: &Tensor) -> Result<Signal> {
    let output = x.to_meta()?;
    check_rotary_embedding(&tensor_or_view(x)?, cos, sin)?;
    Ok(output.into())
}
