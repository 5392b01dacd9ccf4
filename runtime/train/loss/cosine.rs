//! Cosine embedding loss.

use candle_core::Tensor;

use crate::{Error, Result};

use super::{Reduction, in_full_precision};

/// Returns the mean [`CosineEmbeddingLoss`] with a margin of 0.
///
/// # Errors
/// Fails under the same conditions as [`CosineEmbeddingLoss::forward`].
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 0.], [1., 0.]], &Device::Cpu)?;
/// let y = Tensor::new(&[[2f32, 0.], [3., 0.]], &Device::Cpu)?;
/// let target = Tensor::new(&[1i64, -1], &Device::Cpu)?;
/// let loss = cosine_embedding_loss(&x, &y, &target)?.to_scalar::<f32>()?;
/// assert!((loss - 0.5).abs() < 1e-6); // 0 for the similar pair, 1 for the dissimilar pair
/// # Ok(())
/// # }
/// ```
pub fn cosine_embedding_loss(input1: &Tensor, input2: &Tensor, target: &Tensor) -> Result<Tensor> {
    CosineEmbeddingLoss::new().forward(input1, input2, target)
}

/// A loss for pairs of vectors, like `torch.nn.CosineEmbeddingLoss`. It is `1 − cos` for a pair that should be similar
/// (target 1), and `max(0, cos − margin)` for a pair that should be dissimilar (target −1). `cos` is the cosine of the
/// angle between the two vectors.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 0.], [1., 0.]], &Device::Cpu)?;
/// let y = Tensor::new(&[[2f32, 0.], [0., 3.]], &Device::Cpu)?;
/// let target = Tensor::new(&[1i64, -1], &Device::Cpu)?;
/// let loss = CosineEmbeddingLoss::new().margin(0.2).forward(&x, &y, &target)?;
/// assert!(loss.to_scalar::<f32>()? < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CosineEmbeddingLoss {
    margin: f64,
    reduction: Reduction,
}

impl CosineEmbeddingLoss {
    /// Creates the loss with PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the margin, by default 0. If the cosine of a dissimilar pair is below the margin, its loss is 0.
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the reduction, by default [`Reduction::Mean`].
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Returns the loss of two inputs `[batch, features]` and a target `[batch]`, or of two vectors `[features]`
    /// and a scalar target. The loss of a pair whose target is neither 1 nor −1 is 0.
    ///
    /// # Errors
    /// Fails if the shapes do not match or the inputs are not floating point.
    pub fn forward(&self, input1: &Tensor, input2: &Tensor, target: &Tensor) -> Result<Tensor> {
        let loss = in_full_precision(input1, |x| {
            check(x, input2, target)?;
            let y = input2.to_dtype(x.dtype())?;
            let target = target.to_dtype(x.dtype())?;
            let cosine = cosine(x, &y)?;
            let dissimilar_losses = (&cosine - self.margin)?.relu()?;
            let zeros = cosine.zeros_like()?;
            let dissimilar_losses = target.eq(-1f64)?.where_cond(&dissimilar_losses, &zeros)?;
            let similar_losses = cosine.affine(-1., 1.)?;
            let losses = target.eq(1f64)?.where_cond(&similar_losses, &dissimilar_losses)?;
            self.reduction.apply(&losses)
        });
        loss.map_err(|e| e.in_layer("CosineEmbeddingLoss"))
    }
}

/// Returns the cosine of the angle between vectors along the last dimension, or 0 if either vector is 0.
fn cosine(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    const EPSILON: f64 = 1e-12;
    let last = candle_core::D::Minus1;
    let square = |x: &Tensor| x.sqr()?.sum(last)? + EPSILON;
    Ok(((x * y)?.sum(last)? / (square(x)? * square(y)?)?.sqrt()?)?)
}

/// Returns an error unless the shapes match.
fn check(x: &Tensor, y: &Tensor, target: &Tensor) -> Result<()> {
    let [x, y, target] = [x.dims(), y.dims(), target.dims()];
    let fits = matches!((x, target), ([_], []) | ([_, _], [_])) && x == y && x[..x.len() - 1] == *target;
    if fits {
        return Ok(());
    }
    Err(Error::msg(format!(
        "expected two inputs [batch, features] and a target [batch], found {x:?}, {y:?} and {target:?}"
    )))
}
