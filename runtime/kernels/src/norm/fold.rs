//! Folds a batch norm in evaluation mode, and the bias of the convolution before it, into one scale and one shift for
//! each channel. The epilogue of the convolution applies both.

use candle_core::{DType, Result, Tensor};

use crate::element::{widened, with_elements};
use crate::simd;

/// Folds a batch norm in evaluation mode into the `scale` and `shift` of an [`Epilogue`](crate::Epilogue).
///
/// `affine` is the weight and bias. All tensors are `[channels]`. Returns `(scale, shift)` such that
/// `batch_norm(x) = x · scale + shift`.
///
/// For f16 and bf16 tensors on the CPU that need no gradient, the scale and the shift are f32: rounding them to 16 bits
/// would double the error of the batch norm.
///
/// # Errors
/// Fails if the shapes or dtypes do not match.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::norm::batch_norm_fold;
/// use sconce_kernels::{Activation, ConvGeometry, Epilogue, conv2d};
///
/// # fn main() -> Result<()> {
/// let device = Device::Cpu;
/// let x = Tensor::randn(0f32, 1., (1, 3, 8, 8), &device)?;
/// let weight = Tensor::randn(0f32, 1., (4, 3, 3, 3), &device)?;
/// let mean = Tensor::zeros(4, DType::F32, &device)?;
/// let var = Tensor::ones(4, DType::F32, &device)?;
///
/// // Convolution, batch norm and ReLU in one kernel.
/// let (scale, shift) = batch_norm_fold([&mean, &var], None, 1e-5)?;
/// let epilogue = Epilogue::new().with_affine(&scale, &shift).with_activation(Activation::Relu);
/// let y = conv2d(&x, &weight, &ConvGeometry::new(), &epilogue, None)?;
/// assert_eq!(y.dims(), [1, 4, 6, 6]);
/// # Ok(())
/// # }
/// ```
pub fn batch_norm_fold(
    [mean, var]: [&Tensor; 2],
    affine: Option<&(Tensor, Tensor)>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let (weight, bias) = affine.map(|(weight, bias)| (weight, bias)).unzip();
    let operands = [Some(mean), Some(var), weight, bias].into_iter().flatten();
    let is_f32 = |x: &Tensor| x.dtype() == DType::F32 && x.device().is_cpu() && !x.track_op();
    if operands.clone().all(|x| is_f32(x) && x.dims() == mean.dims()) {
        fold_vectors([mean, var], weight, bias, eps as f32)
    } else if operands.clone().all(|x| is_half(x) && x.dims() == mean.dims()) {
        let [mean, var] = [widened(mean)?, widened(var)?];
        let weight = weight.map(widened).transpose()?;
        let bias = bias.map(widened).transpose()?;
        fold_vectors([&mean, &var], weight.as_ref(), bias.as_ref(), eps as f32)
    } else {
        composed([mean, var], weight, bias, eps)
    }
}

/// Returns `true` if `x` is an f16 or bf16 tensor on the CPU that needs no gradient.
fn is_half(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F16 | DType::BF16) && x.device().is_cpu() && !x.track_op()
}

/// Folds the bias of a convolution into the shift of the subsequent batch norm. Returns the new shift, `bias · scale +
/// shift`, because `(x + bias) · scale + shift` equals `x · scale + (bias · scale + shift)`.
///
/// In f16, the new shift may overflow. On the CPU, returns `None` if the new shift is not finite in the dtype of
/// `bias`. On other devices, does not check the new shift.
///
/// # Errors
/// Fails if the shapes or devices of the tensors differ, or if the dtypes of `scale` and `shift` differ.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::norm::fold_bias;
///
/// # fn main() -> Result<()> {
/// let [bias, scale, shift] = [[1f32, 2.], [3., 4.], [5., 6.]].map(|x| Tensor::new(&x, &Device::Cpu));
/// let folded = fold_bias(Some(&bias?), &scale?, &shift?)?;
/// assert_eq!(folded.unwrap().to_vec1::<f32>()?, [8., 14.]);
/// # Ok(())
/// # }
/// ```
pub fn fold_bias(bias: Option<&Tensor>, scale: &Tensor, shift: &Tensor) -> Result<Option<Tensor>> {
    let Some(bias) = bias else { return Ok(Some(shift.clone())) };
    let sum = ((bias.to_dtype(scale.dtype())? * scale)? + shift)?;
    Ok(is_finite(&sum.to_dtype(bias.dtype())?)?.then_some(sum))
}

/// Folds a scale for each output channel, `[out_channels]`, into a weight `[out_channels, …]`.
///
/// # Errors
/// Fails if the scale does not have one element for each output channel, or the dtypes or devices differ.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::norm::fold_scale;
///
/// # fn main() -> Result<()> {
/// let weight = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let scale = Tensor::new(&[10f32, 100.], &Device::Cpu)?;
/// assert_eq!(fold_scale(&weight, &scale)?.to_vec2::<f32>()?, [[10., 20.], [300., 400.]]);
/// # Ok(())
/// # }
/// ```
pub fn fold_scale(weight: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; weight.rank()];
    shape[0] = scale.elem_count();
    weight.broadcast_mul(&scale.reshape(shape)?)
}

/// Computes the fold with plain loops, for f32 tensors on the CPU that need no gradient.
fn fold_vectors(
    [mean, var]: [&Tensor; 2],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<(Tensor, Tensor)> {
    let mut scale = var.to_vec1::<f32>()?;
    scale.iter_mut().for_each(|x| *x = 1. / (*x + eps).sqrt());
    if let Some(weight) = weight {
        scale.iter_mut().zip(weight.to_vec1::<f32>()?).for_each(|(x, weight)| *x *= weight);
    }
    let mut shift = mean.to_vec1::<f32>()?;
    shift.iter_mut().zip(&scale).for_each(|(x, scale)| *x *= -scale);
    if let Some(bias) = bias {
        shift.iter_mut().zip(bias.to_vec1::<f32>()?).for_each(|(x, bias)| *x += bias);
    }
    let vector = |values| Tensor::from_vec(values, mean.dims(), mean.device());
    Ok((vector(scale)?, vector(shift)?))
}

/// Computes the fold with candle's operations, which are differentiable and run on every device.
fn composed(
    [mean, var]: [&Tensor; 2],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let mut scale = (var + eps)?.sqrt()?.recip()?;
    if let Some(weight) = weight {
        scale = (weight * scale)?;
    }
    let shift = (mean * &scale)?;
    let shift = match bias {
        Some(bias) => (bias - shift)?,
        None => shift.neg()?,
    };
    Ok((scale, shift))
}

/// Returns `true` if all elements of `x` are finite, or if `x` is not on the CPU. On other devices, the host would have
/// to wait for the result of a check.
///
/// # Errors
/// Fails if the dtype of `x` cannot be converted to f64.
pub fn is_finite(x: &Tensor) -> Result<bool> {
    if !x.device().is_cpu() {
        return Ok(true);
    }
    match x.dtype() {
        DType::F32 => with_elements(x, |x| simd::is_finite(x, simd::isa())),
        _ => with_elements::<f64, _>(&x.to_dtype(DType::F64)?, |x| x.iter().all(|x| x.is_finite())),
    }
}
