//! The angle between two vectors.

use candle_core::Tensor;

use super::{Reduction, in_full_precision};
use crate::{Error, Result};

/// [`CosineEmbeddingLoss`] with its defaults.
pub fn cosine_embedding_loss(input1: &Tensor, input2: &Tensor, target: &Tensor) -> Result<Tensor> {
    CosineEmbeddingLoss::new().forward(input1, input2, target)
}

/// Draws together the directions of vectors that belong together (target 1) and those of others (target −1)
/// apart, as `torch.nn.CosineEmbeddingLoss`: `1 − cos` and `max(0, cos − margin)`.
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
    /// The loss with PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cosine below which vectors that do not belong together are left alone, by default 0.
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// How the pairs' losses become one, by default their mean.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss of two inputs `[batch, features]` and a target `[batch]` of 1 and −1; or of two vectors
    /// `[features]` and one number. A target that is neither counts nothing.
    ///
    /// # Errors
    /// Shapes that do not fit, or inputs that are not floating point.
    pub fn forward(&self, input1: &Tensor, input2: &Tensor, target: &Tensor) -> Result<Tensor> {
        let loss = in_full_precision(input1, |x| {
            check(x, input2, target)?;
            let (y, target) = (input2.to_dtype(x.dtype())?, target.to_dtype(x.dtype())?);
            let cosine = cosine(x, &y)?;
            let apart = (&cosine - self.margin)?.relu()?;
            let zeros = cosine.zeros_like()?;
            let apart = target.eq(-1f64)?.where_cond(&apart, &zeros)?;
            let losses = target.eq(1f64)?.where_cond(&cosine.affine(-1., 1.)?, &apart)?;
            self.reduction.apply(&losses)
        });
        loss.map_err(|e| e.in_layer("CosineEmbeddingLoss"))
    }
}

/// The cosine of the angle between the vectors of the last dimension; 0 where one of them is 0.
fn cosine(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    const EPSILON: f64 = 1e-12;
    let last = candle_core::D::Minus1;
    let square = |x: &Tensor| x.sqr()?.sum(last)? + EPSILON;
    Ok(((x * y)?.sum(last)? / (square(x)? * square(y)?)?.sqrt()?)?)
}

fn check(x: &Tensor, y: &Tensor, target: &Tensor) -> Result<()> {
    let [x, y, target] = [x.dims(), y.dims(), target.dims()];
    let fits = matches!((x, target), ([_], []) | ([_, _], [_])) && x == y && x[..x.len() - 1] == *target;
    if fits {
        return Ok(());
    }
    Err(Error::msg(format!(
        "expected two inputs [batch, features] and a target [batch], got {x:?}, {y:?} and {target:?}"
    )))
}
