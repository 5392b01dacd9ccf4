//! Cosine similarity and distance between pairs of vectors.

use candle_core::Tensor;

use crate::Result;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

use super::{self_config, without_tensors};

/// Computes the cosine of the angle between two vectors along one dimension: their inner product after each is divided
/// by the greater of its norm and `eps`.
///
/// - Config: `CosineSimilarity::config()`; setters `dim` (1), `eps` (1e-8)
/// - Input: `similarity(x1, x2)` in a forward closure; the shapes are broadcast to a common shape, of which `dim` is a
///   dimension
/// - Output: the common shape without `dim`
/// - Fails if the shapes cannot be broadcast, if `dim` is out of range, or if a dtype is not floating point
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x1 = Tensor::new(&[[3f32, 4.], [1., 0.]], &Device::Cpu)?;
/// let x2 = Tensor::new(&[[6f32, 8.], [0., 5.]], &Device::Cpu)?;
/// let y = CosineSimilarity::config().forward(&x1, &x2)?.to_vec1::<f32>()?;
/// assert!((y[0] - 1.).abs() < 1e-6 && y[1] == 0.); // parallel, perpendicular
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct CosineSimilarity {
    dim: isize,
    eps: f64,
}

/// Computes the p-norm of the difference between two vectors, `(Σ |x1 − x2 + eps|ᵖ)^(1/p)`, over the last dimension.
///
/// - Config: `PairwiseDistance::config()`; setters `p` (2; may be infinite), `eps` (1e-6), `keepdim` (false)
/// - Input: `distance(x1, x2)` in a forward closure, with `[…, features]` each; the shapes are broadcast to a common
///   shape
/// - Output: `[…]`, or `[…, 1]` with `keepdim`
/// - Fails if `p` is not positive, if the shapes cannot be broadcast, or if a dtype is not floating point
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x1 = Tensor::new(&[[1f32, 2.], [5., 5.]], &Device::Cpu)?;
/// let x2 = Tensor::new(&[[4f32, 6.], [5., 3.]], &Device::Cpu)?;
/// let y = PairwiseDistance::config().p(1.).eps(0.).forward(&x1, &x2)?;
/// assert_eq!(y.to_vec1::<f32>()?, [7., 2.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct PairwiseDistance {
    p: f64,
    eps: f64,
    keepdim: bool,
}

impl Default for CosineSimilarity {
    fn default() -> Self {
        Self { dim: 1, eps: 1e-8 }
    }
}

impl CosineSimilarity {
    /// Creates the layer with PyTorch's defaults.
    pub fn config() -> Self {
        Self::default()
    }

    /// Sets the dimension of the vectors. A negative number counts from the end. Default: 1.
    pub fn dim(mut self, dim: isize) -> Self {
        self.dim = dim;
        self
    }

    /// Sets the smallest number by which a vector is divided. Default: 1e-8.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    // `self_config!` calls this method. `ops::cosine_similarity` checks the dimension on each call.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }
}

impl Default for PairwiseDistance {
    fn default() -> Self {
        Self { p: 2., eps: 1e-6, keepdim: false }
    }
}

impl PairwiseDistance {
    /// Creates the layer with PyTorch's defaults.
    pub fn config() -> Self {
        Self::default()
    }

    /// Sets the exponent of the norm. Default: 2.
    pub fn p(mut self, p: f64) -> Self {
        self.p = p;
        self
    }

    /// Sets the number that is added to each difference. Default: 1e-6.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether the output keeps the last dimension with size 1. Default: `false`.
    pub fn keepdim(mut self, keepdim: bool) -> Self {
        self.keepdim = keepdim;
        self
    }

    fn checked(self) -> Result<Self> {
        ops::check_exponent(self.p).map_err(|error| error.in_layer("PairwiseDistance"))?;
        Ok(self)
    }
}

without_tensors!(CosineSimilarity, "CosineSimilarity");
self_config!(CosineSimilarity);
without_tensors!(PairwiseDistance, "PairwiseDistance");
self_config!(PairwiseDistance);

impl Forward<(Signal, Signal)> for CosineSimilarity {
    type Output = Signal;

    fn forward_pass(&self, (x1, x2): (Signal, Signal), _: Mode) -> Signal {
        ops::cosine_similarity(x1, x2, self.dim, self.eps)
    }
}

impl Forward<(Signal, Signal)> for PairwiseDistance {
    type Output = Signal;

    fn forward_pass(&self, (x1, x2): (Signal, Signal), _: Mode) -> Signal {
        ops::pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)
    }
}

macro_rules! forward {
    ($($layer:ty)*) => {$(
        impl $layer {
            /// Runs the layer.
            ///
            /// # Errors
            /// Fails if the inputs are invalid, as described above.
            pub fn forward(&self, x1: impl Into<Signal>, x2: impl Into<Signal>) -> Result<Tensor> {
                self.call((x1.into(), x2.into()), Mode::Eval).into_tensor()
            }
        }
    )*};
}

forward! { CosineSimilarity PairwiseDistance }
