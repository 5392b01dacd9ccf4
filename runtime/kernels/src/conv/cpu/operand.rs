//! The operands of a convolution as contiguous slices, copied only if a tensor is not contiguous.

use std::borrow::Cow;
use std::ops::Deref;

use candle_core::{CpuStorage, Layout, Result, Storage, WithDType, bail};

use crate::activation::Activation;
use crate::element;
use crate::operation::CpuOperand;

use super::elements::Elements;
use super::packed::Packing;

/// A tensor on the CPU: its storage and layout.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub storage: &'a CpuStorage,
    pub layout: &'a Layout,
}

impl<'a> Operand<'a> {
    pub(super) fn of<S: Deref<Target = Storage>>((storage, layout): &'a (S, &'a Layout)) -> Result<Self> {
        match &**storage {
            Storage::Cpu(storage) => Ok(Self { storage, layout }),
            _ => bail!("conv2d: expected every operand on the CPU"),
        }
    }

    /// Returns the elements in row-major order, copied only if they are not contiguous.
    fn values<T: WithDType>(self) -> Result<Cow<'a, [T]>> {
        let all = T::cpu_storage_as_slice(self.storage)?;
        Ok(match element::span(self.layout) {
            Some(span) => Cow::Borrowed(&all[span]),
            None => Cow::Owned(gather(all, self.layout)),
        })
    }

    /// Returns the elements in row-major order, converted by `widen`.
    fn widened<T: WithDType>(self, widen: impl Fn(T) -> f32) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Owned(self.values::<T>()?.iter().map(|x| widen(*x)).collect()))
    }

    /// Returns the elements of a vector with one number per channel, in f32.
    pub(super) fn vector(self) -> Result<Cow<'a, [f32]>> {
        match self.storage {
            CpuStorage::F16(_) => self.widened(half::f16::to_f32),
            CpuStorage::BF16(_) => self.widened(half::bf16::to_f32),
            _ => self.values(),
        }
    }
}

impl<'a> From<CpuOperand<'a>> for Operand<'a> {
    fn from((storage, layout): CpuOperand<'a>) -> Self {
        Self { storage, layout }
    }
}

/// Returns the elements of a tensor with any memory strides, in row-major order.
fn gather<T: Copy>(all: &[T], layout: &Layout) -> Vec<T> {
    let mut offsets = vec![layout.start_offset()];
    for (size, stride) in layout.dims().iter().zip(layout.stride()) {
        offsets = offsets.iter().flat_map(|start| (0..*size).map(move |i| start + i * stride)).collect();
    }
    offsets.into_iter().map(|offset| all[offset]).collect()
}

/// The tensors that one call reads.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    pub input: Operand<'a>,
    pub weight: Operand<'a>,
    pub scale: Option<Operand<'a>>,
    pub shift: Option<Operand<'a>>,
    pub residual: Option<Operand<'a>>,
}

impl<'a> Operands<'a> {
    /// Returns the operands without the scale and the shift, which may have another dtype.
    pub(super) fn without_vectors(&self) -> Self {
        Self { scale: None, shift: None, ..*self }
    }

    pub(in crate::conv) fn values<T: WithDType>(&self) -> Result<Values<'a, T>> {
        self.read(Operand::values)
    }

    pub(in crate::conv) fn widened<T: WithDType>(&self, widen: impl Fn(T) -> f32) -> Result<Values<'a, f32>> {
        self.read(|operand| operand.widened(&widen))
    }

    fn read<T: Clone>(&self, read: impl Fn(Operand<'a>) -> Result<Cow<'a, [T]>>) -> Result<Values<'a, T>> {
        Ok(Values {
            input: read(self.input)?,
            weight: read(self.weight)?,
            scale: self.scale.map(&read).transpose()?,
            shift: self.shift.map(&read).transpose()?,
            residual: self.residual.map(&read).transpose()?,
        })
    }
}

/// The elements of the operands in row-major order, with the lengths of [`ConvShape`](super::ConvShape).
pub(in crate::conv) struct Values<'a, T: Clone> {
    pub input: Cow<'a, [T]>,
    pub weight: Cow<'a, [T]>,
    pub scale: Option<Cow<'a, [T]>>,
    pub shift: Option<Cow<'a, [T]>>,
    pub residual: Option<Cow<'a, [T]>>,
}

/// The operands of a kernel that computes `activation((sum * scale[c] + shift[c]) + residual)` in f32, and the cache of
/// its packed weight.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The input, in the problem's layout.
    pub input: Elements<'a>,
    /// `[out_channels, in_channels / groups, kernel height, kernel width]`.
    pub weight: Elements<'a>,
    /// `[out_channels]`.
    pub scale: Option<&'a [f32]>,
    /// `[out_channels]`.
    pub shift: Option<&'a [f32]>,
    /// A tensor in the shape and layout of the output.
    pub residual: Option<Elements<'a>>,
    /// The activation, applied last.
    pub activation: Activation,
    /// The cache of the packed weight, if it is kept between calls.
    pub packing: Option<Packing<'a>>,
}

impl<'a> Call<'a> {
    /// Returns the operands of a convolution without an epilogue and without a cache.
    pub fn new(input: impl Into<Elements<'a>>, weight: impl Into<Elements<'a>>) -> Self {
        Self {
            input: input.into(),
            weight: weight.into(),
            scale: None,
            shift: None,
            residual: None,
            activation: Activation::Identity,
            packing: None,
        }
    }

    /// Returns all operands in f32.
    pub(super) fn widened(&self) -> Values<'a, f32> {
        Values {
            input: self.input.widened(),
            weight: self.weight.widened(),
            scale: self.scale.map(Cow::Borrowed),
            shift: self.shift.map(Cow::Borrowed),
            residual: self.residual.map(Elements::widened),
        }
    }
}
