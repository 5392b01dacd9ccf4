//! The elements of a tensor, and their largest magnitude, which is NaN if an element is NaN.

use candle_core::{DType, Result, Tensor};

/// Returns the elements of a float tensor as f64, in row-major order.
pub fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Returns the largest magnitude in `x`, or NaN if an element is NaN. candle's `max_all` ignores a NaN unless it is the
/// first element.
pub fn largest_magnitude(x: &Tensor) -> Result<f64> {
    Ok(values(x)?
        .into_iter()
        .map(f64::abs)
        .fold(0., |largest, value| if value.is_nan() || value > largest { value } else { largest }))
}
