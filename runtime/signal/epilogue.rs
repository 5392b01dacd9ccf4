//! The epilogue of a deferred operation: the elementwise operations that are fused into it.

use std::fmt;

use candle_core::{Result, Tensor};

use crate::Error;
use crate::kernels::activation::Activation;
use crate::kernels::conv;
use crate::kernels::norm::fold_bias;
use crate::scope::NotFusedKind;

use super::Value;
use super::launch_work::tensor_bytes;

/// An elementwise operation on an output `y`.
#[derive(Clone)]
pub(crate) enum EpilogueOp {
    /// `y * scale[channel] + shift[channel]`: batch norm in evaluation.
    Affine { scale: Tensor, shift: Tensor },
    /// `y + residual`
    Residual(Value),
    /// `activation(y)`
    Activation(Activation),
}

/// Why an operation was not fused.
pub(super) enum FuseError {
    /// The kernel cannot apply the operation after those that are already fused. The caller must run it separately.
    Unsupported(EpilogueOp, NotFusedKind),
    /// Preparing the operation failed.
    Failed(Error),
}

impl From<candle_core::Error> for FuseError {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The epilogue of a convolution. Kernels compute `activation((y * scale + shift) + residual)`.
#[derive(Clone, Default)]
pub(crate) struct Epilogue {
    pub affine: Affine,
    pub residual: Option<Value>,
    pub activation: Activation,
}

/// The affine map that is applied to each channel of an output.
#[derive(Clone, Default)]
pub(crate) enum Affine {
    #[default]
    Identity,
    Bias(Tensor),
    /// The bias is part of the shift.
    BatchNorm {
        scale: Tensor,
        shift: Tensor,
    },
}

impl Epilogue {
    pub fn with_bias(bias: Option<Tensor>) -> Self {
        Self { affine: bias.map_or(Affine::Identity, Affine::Bias), ..Self::default() }
    }

    /// Returns an error if the epilogue supports neither a residual nor a batch norm after its operations.
    pub(super) fn check_residual(&self) -> std::result::Result<(), NotFusedKind> {
        check_residual(self.residual.as_ref(), self.activation)
    }

    /// Appends an operation.
    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), FuseError> {
        match (op, self.check_residual()) {
            (EpilogueOp::Affine { scale, shift }, Ok(())) => self.affine.fuse(scale, shift),
            (EpilogueOp::Residual(residual), Ok(())) => {
                self.residual = Some(residual);
                Ok(())
            }
            (op @ EpilogueOp::Activation(_), _) => fuse_activation(&mut self.activation, op),
            (op, Err(reason)) => Err(FuseError::Unsupported(op, reason)),
        }
    }

    /// Returns the size of the operands in bytes.
    pub(super) fn byte_size(&self) -> u64 {
        let (scale, shift) = self.affine.vectors();
        let vectors = scale.into_iter().chain(shift).map(tensor_bytes);
        vectors.chain(self.residual.as_ref().map(Value::byte_size)).fold(0, u64::saturating_add)
    }

    /// Returns the epilogue for a kernel whose output is a tensor.
    pub fn tensors(&self) -> Result<conv::Epilogue> {
        let residual = self.residual.as_ref().map(Value::tensor).transpose()?;
        let (scale, shift) = self.affine.vectors();
        let scale = scale.cloned();
        let shift = shift.cloned();
        Ok(conv::Epilogue { scale, shift, residual, activation: self.activation })
    }
}

/// Returns an error if an epilogue with this residual and this activation supports no further residual.
pub(super) fn check_residual(
    residual: Option<&Value>,
    activation: Activation,
) -> std::result::Result<(), NotFusedKind> {
    match (residual, activation) {
        (None, Activation::Identity) => Ok(()),
        (Some(_), Activation::Identity) => Err(NotFusedKind::ResidualApplied),
        _ => Err(NotFusedKind::ActivationApplied),
    }
}

/// Sets the activation if none is set yet.
pub(super) fn fuse_activation(
    activation: &mut Activation,
    op: EpilogueOp,
) -> std::result::Result<(), FuseError> {
    match op {
        EpilogueOp::Activation(new) if *activation == Activation::Identity => {
            *activation = new;
            Ok(())
        }
        op @ EpilogueOp::Activation(_) => Err(FuseError::Unsupported(op, NotFusedKind::ActivationApplied)),
        op => Err(FuseError::Unsupported(op, NotFusedKind::UnsupportedByKernel)),
    }
}

impl Affine {
    /// Appends a batch norm. Returns [`FuseError::Unsupported`] if the map already contains a batch norm, or if folding
    /// the bias into the shift overflows, which can happen in f16.
    fn fuse(&mut self, scale: Tensor, shift: Tensor) -> std::result::Result<(), FuseError> {
        let unsupported =
            |scale, shift, reason| Err(FuseError::Unsupported(EpilogueOp::Affine { scale, shift }, reason));
        let bias = match self {
            Self::Identity => None,
            Self::Bias(bias) => Some(&*bias),
            Self::BatchNorm { .. } => return unsupported(scale, shift, NotFusedKind::BatchNormApplied),
        };
        let Some(folded_shift) = fold_bias(bias, &scale, &shift)? else {
            return unsupported(scale, shift, NotFusedKind::BiasOverflow);
        };
        *self = Self::BatchNorm { scale, shift: folded_shift };
        Ok(())
    }

    /// Returns the scale and the shift.
    pub fn vectors(&self) -> (Option<&Tensor>, Option<&Tensor>) {
        match self {
            Self::Identity => (None, None),
            Self::Bias(bias) => (None, Some(bias)),
            Self::BatchNorm { scale, shift } => (Some(scale), Some(shift)),
        }
    }
}

/// Writes the operations in the form used in traces: ` + bias + relu`.
impl fmt::Display for Epilogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.affine {
            Affine::Identity => {}
            Affine::Bias(_) => f.write_str(" + bias")?,
            Affine::BatchNorm { .. } => f.write_str(" + batch_norm")?,
        }
        write_residual_and_activation(f, self.residual.as_ref(), self.activation)
    }
}

/// Writes ` + residual + relu`.
pub(super) fn write_residual_and_activation(
    f: &mut fmt::Formatter<'_>,
    residual: Option<&Value>,
    activation: Activation,
) -> fmt::Result {
    if residual.is_some() {
        f.write_str(" + residual")?;
    }
    match activation {
        Activation::Identity => Ok(()),
        activation => write!(f, " + {}", activation.name()),
    }
}
