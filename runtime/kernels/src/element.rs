//! The element types that kernels compute in, and access to the elements of a CPU tensor as a slice.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor, bail};

use super::composed_path::check_kernel;
use super::float::Float;

/// An element type that kernels read, compute in and write: `f32` or `f64`. For f16 and bf16, see [`in_f32`].
pub trait Element: Float + Default {
    /// Returns the elements of a storage. Fails if the storage has a different dtype.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

macro_rules! impl_element {
    ($($element:ident $variant:ident)*) => {$(
        impl Element for $element {
            fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(elements) => Ok(elements),
                    other => bail!("expected {}, found {:?}", stringify!($element), other.dtype()),
                }
            }
        }
    )*};
}

impl_element! { f32 F32 f64 F64 }

/// Evaluates `$body` with `$E` defined as the element type of `$dtype`. Fails if `$dtype` is neither f32 nor f64. The
/// error also names f16 and bf16, because callers convert tensors of these dtypes to f32 first.
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

/// Returns the error for a dtype that is not floating point.
pub fn not_a_float(op: &str, dtype: DType) -> candle_core::Error {
    candle_core::Error::msg(format!("{op}: expected a tensor of f32, f64, f16 or bf16, found {dtype:?}"))
}

/// Converts `x` to f32 if it is f16 or bf16, runs `op` on it, and converts the result back to the dtype of `x`. Kernels
/// therefore need not be compiled for the 16-bit types.
pub fn in_f32(x: &Tensor, op: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    op(&widened(x)?)?.to_dtype(x.dtype())
}

/// Converts f16 and bf16 tensors to f32. Returns all other tensors unchanged.
pub fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

/// Clamps each element to `min..=max`, like `Tensor::clamp`. Calls candle's broadcasting maximum and minimum, because
/// `Tensor::clamp` would compile candle's loops for maximum and minimum into this crate a second time.
///
/// # Errors
/// Fails if candle's operations do not support the dtype of `x`.
pub fn clamp(x: &Tensor, min: f64, max: f64) -> Result<Tensor> {
    let bound = |value: f64| Tensor::new(value, x.device())?.to_dtype(x.dtype());
    x.broadcast_maximum(&bound(min)?)?.broadcast_minimum(&bound(max)?)
}

/// Returns `x` on the CPU in f64, for reading. Metal devices have no f64, so the conversion follows the copy.
///
/// # Errors
/// Fails if the memory is exhausted.
pub fn on_cpu_in_f64(x: &Tensor) -> Result<Tensor> {
    x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)
}

/// Returns the floating-point dtype with the most digits on a device.
pub fn widest_dtype(device: &Device) -> DType {
    if device.is_metal() { DType::F32 } else { DType::F64 }
}

/// Returns the dtype in which kernels compute elements of `dtype`.
pub fn compute_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Returns the elements of a contiguous layout, in row-major order.
///
/// # Errors
/// Fails if the layout is not contiguous, or the storage has a different dtype.
pub(crate) fn elements<'a, E: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [E]> {
    match span(layout) {
        Some(span) => Ok(&E::cpu_storage_as_slice(storage)?[span]),
        None => bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

/// Returns the range of a contiguous layout's elements in its storage, or `None` if the layout is not contiguous.
pub(crate) fn span(layout: &Layout) -> Option<Range<usize>> {
    let (start, end) = layout.contiguous_offsets()?;
    // An empty view may begin past the end of its storage.
    Some(if start == end { 0..0 } else { start..end })
}

/// Returns the offset in the storage of each index of these dimensions, in row-major order. The first index has the
/// offset `start`.
pub(crate) fn offsets(dims: &[usize], strides: &[usize], start: usize) -> Vec<usize> {
    let mut offsets = vec![start];
    for (size, stride) in dims.iter().zip(strides) {
        offsets = offsets.iter().flat_map(|start| (0..*size).map(move |i| start + i * stride)).collect();
    }
    offsets
}

/// Calls `f` with the elements of a CPU tensor of any strides, in row-major order.
///
/// # Errors
/// Fails if the tensor is not on the CPU, or does not have the dtype `E`.
pub fn with_elements<E: Element, R>(tensor: &Tensor, f: impl FnOnce(&[E]) -> R) -> Result<R> {
    check_kernel("with_elements")?;
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(elements(storage, layout)?)),
        _ => bail!("expected a tensor on the CPU, found one on {:?}", tensor.device().location()),
    }
}
