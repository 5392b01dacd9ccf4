//! Methods that return a part of a signal.

use candle_core::{IndexOp, Tensor};

use crate::dim::Dim;
use crate::graph::Op;
use crate::signal::Chunks;
use crate::{Error, Result};

use super::{Meta, NeedsNumbers, Recording, Signal, View, add_operands};

impl Signal {
    /// Returns the elements `start..start + length` of one dimension.
    ///
    /// The result is a failed signal if the range or `dim` is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::arange(0f32, 5., &Device::Cpu)?);
    /// assert_eq!(x.narrow(0, 1, 3).into_tensor()?.to_vec1::<f32>()?, [1., 2., 3.]);
    /// assert!(x.narrow(0, 3, 3).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn narrow(&self, dim: impl Dim, start: usize, length: usize) -> Self {
        self.along("narrow", dim, |t, dims| t.narrow(dims[0], start, length))
    }

    /// Splits a dimension into `chunks` parts. If the size of the dimension is not divisible by `chunks`, the first
    /// parts are larger by 1, unlike PyTorch's, of which only the last is smaller. If the size is smaller than
    /// `chunks`, there is one part per element.
    ///
    /// Returns an array, a `Vec<Signal>` or a `Result<Vec<Signal>>`, depending on the annotated type.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::arange(0f32, 6., &Device::Cpu)?);
    /// let [a, b, c] = x.chunk(3, -1);
    /// assert_eq!((a + b + c).into_tensor()?.to_vec1::<f32>()?, [6., 9.]);
    /// let parts: Vec<Signal> = x.chunk(2, 0);
    /// assert_eq!(parts[1].tensor()?.to_vec1::<f32>()?, [3., 4., 5.]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The parts fail if the signal has failed, if its deferred operation fails, if `dim` is out of range, or if the
    /// number of parts is not the length of the array.
    pub fn chunk<C: Chunks>(&self, chunks: usize, dim: impl Dim) -> C {
        let parts = self.parts(|tensor| {
            let dim = dim.index(tensor.rank())?;
            if chunks == 0 {
                return Err(Error::msg("chunk: expected at least 1 chunk, found 0"));
            }
            Ok(tensor.chunk(chunks, dim)?)
        });
        C::from_result(parts, chunks)
    }

    /// Splits a dimension into parts of the given size, of which the last may be smaller, or into parts of several
    /// given sizes.
    ///
    /// Returns an array, a `Vec<Signal>` or a `Result<Vec<Signal>>`, depending on the annotated type.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::arange(0f32, 5., &Device::Cpu)?);
    /// let [a, b, c] = x.split(2, 0);
    /// assert_eq!((a.dim(0)?, b.dim(0)?, c.dim(0)?), (2, 2, 1));
    /// let [a, b] = x.split([1, 4], -1);
    /// assert_eq!(a.into_tensor()?.to_vec1::<f32>()?, [0.]);
    /// assert_eq!(b.into_tensor()?.to_vec1::<f32>()?, [1., 2., 3., 4.]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The parts fail if the signal has failed, if its deferred operation fails, if `dim` is out of range, if a single
    /// size is 0, if the sum of several sizes is not the size of the dimension, or if the number of parts is not the
    /// length of the array. A `Vec` then has one failed signal.
    pub fn split<C: Chunks>(&self, sizes: impl SplitSizes, dim: impl Dim) -> C {
        let parts = self.parts(|tensor| {
            let dim = dim.index(tensor.rank())?;
            let sizes = sizes.sizes(tensor.dim(dim)?)?;
            let starts = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size)));
            let parts = starts.zip(&sizes).map(|(start, size)| tensor.narrow(dim, start, *size));
            Ok(parts.collect::<candle_core::Result<_>>()?)
        });
        C::from_result(parts, 1)
    }

    /// Returns the elements at one index of a dimension, and removes that dimension. A negative index counts from the
    /// end.
    ///
    /// The result is a failed signal if `dim` or `index` is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?);
    /// assert_eq!(x.select(1, -1).into_tensor()?.to_vec1::<f32>()?, [2., 4.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn select(&self, dim: impl Dim, index: isize) -> Self {
        self.along("select", dim, |t, dims| {
            let size = t.dim(dims[0])?;
            let found = if index < 0 { index.checked_add_unsigned(size) } else { Some(index) };
            match found.and_then(|index| usize::try_from(index).ok()) {
                Some(index) if index < size => t.narrow(dims[0], index, 1)?.squeeze(dims[0]),
                _ => {
                    candle_core::bail!("select: index {index} is out of range for a dimension of size {size}")
                }
            }
        })
    }

    /// Returns the elements at the given indices of a dimension, in their order. An index may occur several times.
    ///
    /// - `indices`: `[count]`, of the type `u32`, `u8` or `i64`
    /// - returns the shape of `self`, with size `count` in dimension `dim`
    ///
    /// The result is a failed signal if `dim` or an index is out of range. As in candle, the maximum of the type of the
    /// indices selects zeros.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?);
    /// let indices = Tensor::new(&[2u32, 0, 0], &Device::Cpu)?;
    /// assert_eq!(x.index_select(0, &indices).into_tensor()?.to_vec1::<f32>()?, [3., 1., 1.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn index_select(&self, dim: impl Dim, indices: &Tensor) -> Self {
        let dim = dim.index(self.rank().unwrap_or_default());
        if let (true, Ok(dim)) = (self.is_meta(), &dim) {
            let recording = Recording::start(self);
            let selected = self.index_select_meta(*dim, indices).into();
            let op = Op::IndexSelect { dim: *dim };
            return recording.finish(selected, ("index_select", op, [Some(indices)]));
        }
        self.clone().apply("index_select", NeedsNumbers, |t| -> Result<Tensor> {
            let dim = *dim.as_ref().map_err(Clone::clone)?;
            add_operands([indices]);
            Ok(t.contiguous()?.index_select(&indices.contiguous()?, dim)?)
        })
    }

    /// Returns the part that candle's indexing selects: `x.i((.., 0))`, `x.i((0, 2..5))`. On a signal without numbers,
    /// use [`index_select`](Self::index_select) for a tensor of indices.
    ///
    /// The result is a failed signal if an index is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 5, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.i((.., 0)).dims()?, [2, 4]);
    /// assert_eq!(x.i((1, 2..5)).dims()?, [3, 4]);
    /// assert!(x.i(2).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn i<T>(&self, index: T) -> Self
    where
        Tensor: IndexOp<T>,
    {
        self.clone().apply("index", View, |t| t.i(index))
    }

    /// Selects indices of a signal without numbers. The operation runs on a tensor with size 1 in all other dimensions.
    fn index_select_meta(&self, dim: usize, indices: &Tensor) -> Result<Self> {
        let meta = self.to_meta()?;
        let mut dims = vec![1; meta.shape.rank()];
        dims[dim] = meta.shape.dims()[dim];
        let probe = Meta::new(dims.into(), meta.dtype, meta.device.clone()).view()?.contiguous()?;
        let selected = probe.index_select(&indices.contiguous()?, dim)?;
        let mut dims = meta.shape.dims().to_vec();
        dims[dim] = selected.dim(dim)?;
        Ok(Meta::like(&selected, dims).into())
    }

    /// Returns the views of the tensor that `split` returns. If the signal has no numbers, neither do the parts.
    fn parts(&self, split: impl FnOnce(Tensor) -> Result<Vec<Tensor>>) -> Result<Vec<Self>> {
        let recording = Recording::start(self);
        let parts: Vec<Self> = if self.is_meta() {
            let meta = self.to_meta()?;
            let probe = meta.view_probe()?;
            let parts = split(probe.clone())?;
            let parts = parts.iter().map(|part| Self::from(meta.viewed(&probe, part)));
            if recording.is_part() { parts.map(Self::without_view).collect() } else { parts.collect() }
        } else {
            split(self.tensor()?)?.into_iter().map(Self::from).collect()
        };
        recording.end(&parts.iter().collect::<Vec<_>>(), "split", |_, _| 0);
        Ok(parts)
    }
}

/// The sizes of the parts into which [`Signal::split`] splits a dimension: one number, or a list of numbers.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::ones((2, 7), DType::F32, &Device::Cpu)?);
/// let parts: Vec<Signal> = x.split(vec![3, 4], 1);
/// assert_eq!(parts[1].dims()?, [2, 4]);
/// let parts: Vec<Signal> = x.split(3, 1);
/// assert_eq!(parts[2].dims()?, [2, 1]);
/// # Ok(())
/// # }
/// ```
pub trait SplitSizes {
    /// Returns the sizes of the parts of a dimension of size `total`.
    ///
    /// # Errors
    /// Fails if these sizes do not add up to `total`.
    fn sizes(self, total: usize) -> Result<Vec<usize>>;
}

impl SplitSizes for usize {
    fn sizes(self, total: usize) -> Result<Vec<usize>> {
        if self == 0 {
            return Err(Error::msg("split: expected a size of at least 1, found 0"));
        }
        let parts = total.div_ceil(self).max(1);
        Ok((0..parts).map(|i| self.min(total - i * self)).collect())
    }
}

impl SplitSizes for &[usize] {
    fn sizes(self, total: usize) -> Result<Vec<usize>> {
        let sum = self.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
        if sum != Some(total) {
            return Err(Error::msg(format!("split: expected sizes whose sum is {total}, found {self:?}")));
        }
        Ok(self.to_vec())
    }
}

impl SplitSizes for Vec<usize> {
    fn sizes(self, total: usize) -> Result<Vec<usize>> {
        self[..].sizes(total)
    }
}

impl<const N: usize> SplitSizes for [usize; N] {
    fn sizes(self, total: usize) -> Result<Vec<usize>> {
        self[..].sizes(total)
    }
}
