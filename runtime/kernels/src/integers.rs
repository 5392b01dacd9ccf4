//! The elements of integer tensors.

use candle_core::{DType, Result, Tensor, bail};

use crate::memory::can_allocate;

/// Returns the elements of a tensor of u8, u32 or i64, in row-major order. Error messages begin with
/// `expected`, such as "expected lengths \[batch\]".
///
/// # Errors
/// Fails if the tensor has another dtype, or if the elements do not fit in memory.
pub fn integers(expected: &str, x: &Tensor) -> Result<Vec<i64>> {
    check_integers(expected, x)?;
    if !can_allocate::<i64>(x.dims()) {
        bail!("{expected} that fit in memory, found {:?}", x.dims());
    }
    x.flatten_all()?.to_dtype(DType::I64)?.to_vec1()
}

/// Checks the dtype of a tensor for [`integers`].
///
/// # Errors
/// Fails if the dtype is not u8, u32 or i64.
pub fn check_integers(expected: &str, x: &Tensor) -> Result<()> {
    if matches!(x.dtype(), DType::U8 | DType::U32 | DType::I64) {
        return Ok(());
    }
    bail!("{expected} of u8, u32 or i64, found {:?} of {:?}", x.dims(), x.dtype())
}
