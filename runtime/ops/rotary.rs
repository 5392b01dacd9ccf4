//! Rotary position embedding.

use crate::kernels::rotary_embedding as kernel;
use crate::signal::{Leading, Signal};

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
    match (cos.into().into_tensor(), sin.into().into_tensor()) {
        (Ok(cos), Ok(sin)) => {
            x.into().apply("rotary_embedding", Leading, |x| kernel(&x, &cos, &sin, interleaved))
        }
        (Err(error), _) | (_, Err(error)) => Signal::fail(error),
    }
}
