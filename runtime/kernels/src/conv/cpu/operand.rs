//! The operands of a convolution as contiguous slices, copied only if a tensor is not contiguous.

use std::borrow::Cow;
use std::ops::Deref;

use candle_core::{CpuStorage, Layout, Result, Storage, WithDType, bail};

use crate::activation::Activation;
use crate::element;
use crate::operation::CpuOperand;

use super::elements::{Element, Elements};

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

    fn values<T: WithDType>(self) -> Result<Cow<'a, [T]>> {
        let all = T::cpu_storage_as_slice(self.storage)?;
        Ok(match element::span(self.layout) {
            Some(span) => Cow::Borrowed(&all[span]),
            None => Cow::Owned(gather(all, self.layout)),
        })
    }

    fn widened<T: WithDType>(self, widen: impl Fn(T) -> f32) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Owned(self.values::<T>()?.iter().map(|x| widen(*x)).collect()))
    }
}

impl<'a> From<CpuOperand<'a>> for Operand<'a> {
    fn from((storage, layout): CpuOperand<'a>) -> Self {
        Self { storage, layout }
    }
}

/// Returns the elements of a tensor with any strides in row-major order.
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

/// The operands of a kernel that computes in f32: images and weight in their storage format, scale and shift in f32.
pub(crate) struct Call<'a> {
    pub input: Elements<'a>,
    pub weight: Elements<'a>,
    pub scale: Option<Cow<'a, [f32]>>,
    pub shift: Option<Cow<'a, [f32]>>,
    pub residual: Option<Elements<'a>>,
    pub activation: Activation,
}

impl<'a> Call<'a> {
    pub(super) fn of<E: Element>(values: &'a Values<'_, E>, activation: Activation) -> Self {
        Self {
            input: E::pixels(&values.input),
            weight: E::pixels(&values.weight),
            scale: values.scale.as_deref().map(E::widened),
            shift: values.shift.as_deref().map(E::widened),
            residual: values.residual.as_deref().map(E::pixels),
            activation,
        }
    }
}

impl Call<'_> {
    /// Returns all operands in f32.
    pub(super) fn widened(&self) -> Values<'_, f32> {
        Values {
            input: self.input.widened(),
            weight: self.weight.widened(),
            scale: self.scale.as_deref().map(Cow::Borrowed),
            shift: self.shift.as_deref().map(Cow::Borrowed),
            residual: self.residual.map(Elements::widened),
        }
    }
}
