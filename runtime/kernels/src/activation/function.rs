//! Differentiable elementwise functions.

use candle_core::{Result, Tensor};

use crate::number::Number;

/// A differentiable elementwise function: an entry of the table of activations.
pub(crate) trait Function: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// `[min, max]` if the function only clamps its input to `min..=max`, and `None` otherwise.
    const BOUNDS: Option<[f32; 2]> = None;

    /// `true` if computing the value is cheaper than a function call. Epilogues then apply the function to vectors in
    /// registers, before they store the results.
    const INLINE: bool = Self::BOUNDS.is_some();

    /// Returns the value at `x`.
    fn value<N: Number>(self, x: N) -> N;

    /// Returns `true` if [`gradient`](Self::gradient) reads the output, and `false` if it reads the input.
    fn saves_output(self) -> bool;

    /// Returns the gradient of the input from the `gradient` of the output and the `saved` input or output.
    fn gradient<N: Number>(self, gradient: N, saved: N) -> N;

    /// Computes the value of each element with candle's operations.
    fn composed(self, x: &Tensor) -> Result<Tensor>;
}
