//! Conversion between the dtypes of checkpoints and networks.

use ::safetensors::tensor::View as _;
use candle_core::{DType, Result, Tensor};

/// The number of elements that are copied and converted together.
pub(crate) const CHUNK: usize = 1 << 16;

/// Converts a tensor to `dtype`, like [`Tensor::to_dtype`].
///
/// candle's conversion of `F8E4M3` to `F64` calls itself without end, so values of `F8E4M3` are decoded here.
pub(crate) fn to_dtype(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype() != DType::F8E4M3 || dtype == DType::F8E4M3 {
        return tensor.to_dtype(dtype);
    }
    let values: Vec<f32> = tensor.data().iter().map(|&bits| f8e4m3(bits)).collect();
    Tensor::from_vec(values, tensor.dims(), tensor.device())?.to_dtype(dtype)
}

/// Decodes an `F8E4M3`: a sign, four bits of exponent with bias 7, three bits of mantissa. It has no infinities.
fn f8e4m3(bits: u8) -> f32 {
    let exponent = i32::from(bits >> 3 & 0xf);
    let mantissa = f32::from(bits & 7);
    let magnitude = match (exponent, bits & 7) {
        (0xf, 7) => f32::NAN,
        (0, _) => mantissa * 2_f32.powi(-9),
        _ => (8. + mantissa) * 2_f32.powi(exponent - 10),
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}
