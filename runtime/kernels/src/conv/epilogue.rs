//! The operations that a convolution applies to its sums before it stores them.

use candle_core::{Result, Tensor};

use crate::activation::Activation;
use crate::element::widened;

/// The operations fused into a convolution: `y = activation(conv(x, w) * scale + shift + residual)`.
///
/// The default stores the sums unchanged. All tensors must have the input's dtype and device. If the input is f16 or
/// bf16 on the CPU, `scale` and `shift` may be f32. A bias is a `shift` without a `scale`. A batch norm in evaluation
/// mode is a `scale` and a `shift`, which [`batch_norm_fold`](crate::norm::batch_norm_fold) computes.
///
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::{Activation, ConvGeometry, Epilogue, conv2d};
///
/// # fn main() -> Result<()> {
/// let device = Device::Cpu;
/// let x = Tensor::ones((1, 8, 6, 6), DType::F32, &device)?;
/// let weight = Tensor::ones((8, 8, 1, 1), DType::F32, &device)?;
/// let bias = Tensor::full(-9f32, 8, &device)?;
///
/// // relu(conv(x, weight) + bias + x), in one kernel.
/// let epilogue = Epilogue::new().with_bias(&bias).with_residual(&x).with_activation(Activation::Relu);
/// let y = conv2d(&x, &weight, &ConvGeometry::new(), &epilogue, None)?;
/// assert_eq!(y.max_all()?.to_scalar::<f32>()?, 0.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Epilogue {
    /// The factor of a folded batch norm, `[out_channels]`.
    pub scale: Option<Tensor>,
    /// The bias, or the offset of a folded batch norm, `[out_channels]`.
    pub shift: Option<Tensor>,
    /// The tensor that is added before the activation. It has the output's shape
    /// `[batch, out_channels, height, width]`.
    pub residual: Option<Tensor>,
    /// The activation, applied last.
    pub activation: Activation,
}

impl Epilogue {
    /// Returns an epilogue that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the epilogue with its f16 and bf16 tensors converted to f32.
    pub(super) fn widened(&self) -> Result<Self> {
        let widen = |tensor: &Option<Tensor>| tensor.as_ref().map(widened).transpose();
        let [scale, shift, residual] = [&self.scale, &self.shift, &self.residual].map(widen);
        Ok(Self { scale: scale?, shift: shift?, residual: residual?, activation: self.activation })
    }

    /// Adds a bias `[out_channels]`.
    pub fn with_bias(self, bias: &Tensor) -> Self {
        Self { shift: Some(bias.clone()), ..self }
    }

    /// Multiplies each channel by its element of `scale` and adds its element of `shift`. Both tensors are
    /// `[out_channels]`. Replaces the bias.
    pub fn with_affine(self, scale: &Tensor, shift: &Tensor) -> Self {
        Self { scale: Some(scale.clone()), shift: Some(shift.clone()), ..self }
    }

    /// Adds a residual of the output's shape `[batch, out_channels, height, width]` before the activation.
    pub fn with_residual(self, residual: &Tensor) -> Self {
        Self { residual: Some(residual.clone()), ..self }
    }

    /// Applies an activation last.
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Returns the scale, the shift and the residual, without those that are `None`.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.scale, &self.shift, &self.residual].into_iter().flatten()
    }
}
