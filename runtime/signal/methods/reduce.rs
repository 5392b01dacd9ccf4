//! Sums, means and variances over dimensions. Elements of f16 and bf16 are added in f32.

use candle_core::{DType, Tensor};

use crate::Result;
use crate::dim::Dims;
use crate::graph::{Op, Reduction};
use crate::kernels::arithmetic::{self, Binary, Unary};
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::signal::Layout;

use super::{Meta, NeedsNumbers, Recording, ShapeRule, Signal, check_float};

/// The shape of a reduction over dimensions: they are removed, or their size becomes 1.
struct Reduced<'a> {
    dims: &'a [usize],
    keep_dims: bool,
}

impl<Op: FnOnce(Tensor) -> Result<Tensor>> ShapeRule<Op> for Reduced<'_> {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        // A tensor whose sizes are 1 has the same checks and dtypes.
        let probe = operation(input.ones()?)?;
        let sizes = input.shape.dims().iter().enumerate().filter_map(|(dim, size)| {
            match (self.dims.contains(&dim), self.keep_dims) {
                (false, _) => Some(*size),
                (true, true) => Some(1),
                (true, false) => None,
            }
        });
        Ok(Meta::like(&probe, sizes.collect::<Vec<_>>()))
    }
}

impl Signal {
    /// Sums over `dims` and removes these dimensions.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.sum((0, -1)).into_tensor()?.to_vec1::<f32>()?, [8.; 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sum(&self, dims: impl Dims) -> Self {
        self.reduce("sum", Reduction::Sum, dims, false, |t, dims| Ok(arithmetic::sum(t, dims)?))
    }

    /// Sums over `dims` and keeps these dimensions with size 1.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.sum_keepdim((0, -1)).dims()?, [1, 3, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sum_keepdim(&self, dims: impl Dims) -> Self {
        self.reduce("sum", Reduction::Sum, dims, true, |t, dims| Ok(arithmetic::sum_keepdim(t, dims)?))
    }

    /// Averages over `dims` and removes these dimensions.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?);
    /// assert_eq!(x.mean(-1).into_tensor()?.to_vec1::<f32>()?, [1.5, 3.5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mean(&self, dims: impl Dims) -> Self {
        self.average(dims, false)
    }

    /// Averages over `dims` and keeps these dimensions with size 1.
    ///
    /// The result is a failed signal if a dimension is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?);
    /// let centered = &x - x.mean_keepdim(-1);
    /// assert_eq!(centered.into_tensor()?.to_vec2::<f32>()?, [[-0.5, 0.5], [-0.5, 0.5]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mean_keepdim(&self, dims: impl Dims) -> Self {
        self.average(dims, true)
    }

    /// Computes the variance over `dims` and removes these dimensions. Divides by `n - 1`, where `n` is the number of
    /// elements, as PyTorch does by default. See [`var_with`](Self::var_with) for another divisor.
    ///
    /// The result is a failed signal if a dimension is out of range, or if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 3.], [3., 7.]], &Device::Cpu)?);
    /// assert_eq!(x.var(-1).into_tensor()?.to_vec1::<f32>()?, [2., 8.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn var(&self, dims: impl Dims) -> Self {
        self.var_with(dims, 1.)
    }

    /// Computes the variance over `dims` and removes these dimensions. Divides by `n - correction`, where `n` is the
    /// number of elements. The result is NaN or infinite unless `n` is greater than `correction`.
    ///
    /// The result is a failed signal if a dimension is out of range, or if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 3.], [3., 7.]], &Device::Cpu)?);
    /// assert_eq!(x.var_with(-1, 0.).into_tensor()?.to_vec1::<f32>()?, [1., 4.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn var_with(&self, dims: impl Dims, correction: f64) -> Self {
        self.reduce("var", Reduction::Variance { correction }, dims, false, |t, dims| {
            Ok(variance(t, dims, correction)?.to_dtype(t.dtype())?)
        })
    }

    /// Computes the standard deviation over `dims`, the square root of [`var`](Self::var), and removes these
    /// dimensions.
    ///
    /// The result is a failed signal if a dimension is out of range, or if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 1.], [3., 7.]], &Device::Cpu)?);
    /// assert_eq!(x.std(-1).sqr().into_tensor()?.to_vec1::<f32>()?[0], 0.);
    /// # Ok(())
    /// # }
    /// ```
    pub fn std(&self, dims: impl Dims) -> Self {
        self.reduce("std", Reduction::StandardDeviation, dims, false, |t, dims| {
            Ok(arithmetic::unary(Unary::Sqrt, &variance(t, dims, 1.)?)?.to_dtype(t.dtype())?)
        })
    }

    /// Runs a reduction over dimensions.
    fn reduce(
        &self,
        name: &'static str,
        reduction: Reduction,
        dims: impl Dims,
        keep_dims: bool,
        operation: impl FnOnce(&Tensor, Vec<usize>) -> Result<Tensor>,
    ) -> Self {
        let Ok(rank) = self.rank() else { return self.clone() };
        let dims = match dims.indices(rank) {
            Ok(dims) => dims,
            Err(error) => return Self::fail(error),
        };
        let op = Op::Reduce { reduction, dims: dims.clone(), keep_dims };
        self.clone().apply((name, op), Reduced { dims: &dims, keep_dims }, |t| operation(&t, dims.clone()))
    }

    /// Averages over `dims`. Averaging over height and width reads a channel-blocked signal without reordering it.
    fn average(&self, dims: impl Dims, keep_dims: bool) -> Self {
        let Ok(rank) = self.rank() else { return self.clone() };
        let mut dims = match dims.indices(rank) {
            Ok(dims) => dims,
            Err(error) => return Self::fail(error),
        };
        dims.sort_unstable();
        let is_over_pixels = rank == 4 && dims == [2, 3];
        let on_tensor = |t: &Tensor, dims: Vec<usize>| {
            Ok(if keep_dims { arithmetic::mean_keepdim(t, dims)? } else { arithmetic::mean(t, dims)? })
        };
        if !is_over_pixels || self.is_meta() {
            return self.reduce("mean", Reduction::Mean, dims, keep_dims, on_tensor);
        }
        let recording = Recording::start(self);
        let on_blocked = |x: &BlockedTensor| blocked::adaptive_avg_pool2d(x, [Some(1); 2]);
        let mean = self
            .clone()
            .apply_either("mean", Layout::Nchwc, NeedsNumbers, on_blocked, |t| on_tensor(&t, dims));
        // `on_blocked` keeps the dimensions of the pixels, and `on_tensor` has removed them unless `keep_dims` is set.
        if keep_dims || mean.rank().is_ok_and(|rank| rank == 2) {
            return recording.finish(mean, "mean");
        }
        recording.finish(mean.into_tensor().and_then(|mean| Ok(mean.flatten_from(1)?)).into(), "mean")
    }
}

/// Returns the variance over `dims`, in f32 for f16 and bf16, whose squares overflow early.
fn variance(t: &Tensor, dims: Vec<usize>, correction: f64) -> Result<Tensor> {
    check_float(t.dtype())?;
    let t = if matches!(t.dtype(), DType::F16 | DType::BF16) { t.to_dtype(DType::F32)? } else { t.clone() };
    let count: usize = dims.iter().map(|dim| t.dims()[*dim]).product();
    let mean = arithmetic::mean_keepdim(&t, dims.clone())?;
    let squares = arithmetic::unary(Unary::Sqr, &arithmetic::binary(Binary::Sub, &t, &mean)?)?;
    let factor = 1. / (count as f64 - correction).max(0.);
    Ok(arithmetic::unary(Unary::Affine { factor, offset: 0. }, &arithmetic::sum(&squares, dims)?)?)
}
