//! The element types of float tensors, each with the number it is computed in, and access to a CPU
//! tensor's elements as a slice.

use super::float::Float;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};
use std::ops::Range;

/// An element that kernels read, compute in and write. Halves are no such elements: see [`in_single`].
pub trait Element: Float + Default {
    /// The elements of a storage of this type.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

macro_rules! impl_element {
    ($($element:ident $variant:ident)*) => {$(
        impl Element for $element {
            fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(elements) => Ok(elements),
                    other => bail!("expected {}, got {:?}", stringify!($element), other.dtype()),
                }
            }
        }
    )*};
}

impl_element! { f32 F32 f64 F64 }

/// Evaluates `$body` with `$E` standing for the element type that `$dtype` names.
macro_rules! with_element {
    ($op:expr, $dtype:expr, $E:ident => $body:expr) => {{
        use candle_core::DType;
        match $dtype {
            DType::F32 => {
                type $E = f32;
                $body
            }
            DType::F64 => {
                type $E = f64;
                $body
            }
            other => Err($crate::element::not_a_float($op, other)),
        }
    }};
}
pub(crate) use with_element;

pub fn not_a_float(op: &str, given: DType) -> candle_core::Error {
    candle_core::Error::msg(format!("{op}: expected a tensor of f32, f64, f16 or bf16, got {given:?}"))
}

/// Runs `op` on `x`, halves widened to `f32`, and rounds its result to the dtype of `x`: once, in one place,
/// so that no kernel is compiled for halves as well.
pub fn in_single(x: &Tensor, op: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    op(&widened(x)?)?.to_dtype(x.dtype())
}

/// `x`, of `f32` where it is of halves.
pub fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

/// As `Tensor::clamp`, which would compile all of candle's loops for a maximum and a minimum into this
/// crate once more.
pub fn clamp(x: &Tensor, min: f64, max: f64) -> Result<Tensor> {
    let bound = |value: f64| Tensor::new(value, x.device())?.to_dtype(x.dtype());
    x.broadcast_maximum(&bound(min)?)?.broadcast_minimum(&bound(max)?)
}

/// The dtype that elements of `dtype` are computed in.
pub fn compute_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The elements of a contiguous layout, in row-major order.
pub(crate) fn elements<'a, E: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [E]> {
    match span(layout) {
        Some(span) => Ok(&E::cpu_storage_as_slice(storage)?[span]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Where the elements of a contiguous layout lie in its storage; `None` for one that is not.
pub(crate) fn span(layout: &Layout) -> Option<Range<usize>> {
    let (start, end) = layout.contiguous_offsets()?;
    // An empty view may begin behind the end of its storage.
    Some(if start == end { 0..0 } else { start..end })
}

/// Calls `f` with the elements of a CPU tensor of any strides, in row-major order.
pub fn with_elements<E: Element, R>(tensor: &Tensor, f: impl FnOnce(&[E]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(elements(storage, layout)?)),
        _ => bail!("expected a tensor on the CPU, got one on {:?}", tensor.device().location()),
    }
}
