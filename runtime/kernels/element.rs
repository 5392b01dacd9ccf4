//! The element types of float tensors, each with the number it is computed in, and access to a CPU
//! tensor's elements as a slice.

use super::float::Float;
use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail};
use half::{bf16, f16};

/// An element of a float tensor. Halves are computed in `f32` and rounded once.
pub(crate) trait Element: WithDType {
    type Compute: Float;
    fn widen(self) -> Self::Compute;
    fn narrow(x: Self::Compute) -> Self;
}

macro_rules! impl_element {
    ($($element:ty, $compute:ty, $widen:expr, $narrow:expr;)*) => {$(
        impl Element for $element {
            type Compute = $compute;
            #[inline(always)]
            fn widen(self) -> $compute {
                $widen(self)
            }
            #[inline(always)]
            fn narrow(x: $compute) -> Self {
                $narrow(x)
            }
        }
    )*};
}

impl_element! {
    f32, f32, std::convert::identity, std::convert::identity;
    f64, f64, std::convert::identity, std::convert::identity;
    f16, f32, f16::to_f32, f16::from_f32;
    bf16, f32, bf16::to_f32, bf16::from_f32;
}

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
            DType::F16 => {
                type $E = half::f16;
                $body
            }
            DType::BF16 => {
                type $E = half::bf16;
                $body
            }
            other => Err($crate::kernels::element::not_a_float($op, other)),
        }
    }};
}
pub(crate) use with_element;

pub(crate) fn not_a_float(op: &str, given: DType) -> candle_core::Error {
    candle_core::Error::msg(format!("{op}: expected a tensor of f32, f64, f16 or bf16, got {given:?}"))
}

/// The dtype that elements of `dtype` are computed in.
pub(crate) fn compute_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `len` zeros; fresh pages from the system where the type allows it.
pub(crate) fn zeros<E: Element>(len: usize) -> Vec<E> {
    vec![E::zero(); len]
}

/// The elements of a contiguous layout, in row-major order.
pub(crate) fn elements<'a, E: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [E]> {
    let data = E::cpu_storage_as_slice(storage)?;
    match layout.contiguous_offsets() {
        // An empty view may begin behind the end of an empty storage.
        Some((from, to)) if from == to => Ok(&[]),
        Some((from, to)) => Ok(&data[from..to]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Calls `f` with the elements of a CPU tensor of any strides, in row-major order.
pub(crate) fn with_elements<E: Element, R>(tensor: &Tensor, f: impl FnOnce(&[E]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(elements(storage, layout)?)),
        _ => bail!("expected a tensor on the CPU, got one on {:?}", tensor.device().location()),
    }
}
