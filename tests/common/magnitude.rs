//! Magnitudes of differences, which must not hide NaN.

use candle_core::{DType, Result, Tensor};

/// Returns the largest magnitude in `x`, or NaN if an element is NaN. candle's `max_all` ignores every NaN but the first
/// element.
pub fn largest_magnitude(x: &Tensor) -> Result<f64> {
    let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(values
        .into_iter()
        .map(f64::abs)
        .fold(0., |largest, value| if value.is_nan() || value > largest { value } else { largest }))
}
