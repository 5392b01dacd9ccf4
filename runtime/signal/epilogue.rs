//! The operations that run in the launch of the operation before them.

use std::fmt;

use candle_core::{Result, Tensor};

use super::Value;
use crate::Error;
use crate::kernels::activation::Activation;
use crate::kernels::conv;
use crate::kernels::norm::fold_bias;

/// An operation on the elements of an output `y`.
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
pub(super) enum NotFused {
    /// The kernel does not compute it after what is fused already; it has to run by itself.
    Unsupported(EpilogueOp),
    /// It failed.
    Failed(Error),
}

impl From<candle_core::Error> for NotFused {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The epilogue of a convolution, in the order of the kernels: `activation((y * scale + shift) + residual)`.
#[derive(Clone, Default)]
pub(crate) struct Epilogue {
    pub affine: Affine,
    pub residual: Option<Value>,
    pub activation: Activation,
}

/// What happens to a channel of an output.
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

    pub fn takes_residual(&self) -> bool {
        self.residual.is_none() && self.activation == Activation::Identity
    }

    /// Adds an operation after those that are there.
    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), NotFused> {
        match op {
            EpilogueOp::Affine { scale, shift } if self.takes_residual() => self.affine.fuse(scale, shift),
            EpilogueOp::Residual(residual) if self.takes_residual() => {
                self.residual = Some(residual);
                Ok(())
            }
            op => fuse_activation(&mut self.activation, op),
        }
    }

    /// Returns the epilogue of a kernel that computes tensors.
    pub fn tensors(&self) -> Result<conv::Epilogue> {
        let residual = self.residual.as_ref().map(Value::tensor).transpose()?;
        let (scale, shift) = self.affine.vectors();
        let (scale, shift) = (scale.cloned(), shift.cloned());
        Ok(conv::Epilogue { scale, shift, residual, activation: self.activation })
    }
}

/// Sets the activation of an operation that has none yet.
pub(super) fn fuse_activation(
    activation: &mut Activation,
    op: EpilogueOp,
) -> std::result::Result<(), NotFused> {
    match op {
        EpilogueOp::Activation(new) if *activation == Activation::Identity => {
            *activation = new;
            Ok(())
        }
        op => Err(NotFused::Unsupported(op)),
    }
}

impl Affine {
    /// Adds a batch norm, unless there is one already or its sum with the bias is not finite: a half may not hold
    /// the two together.
    fn fuse(&mut self, scale: Tensor, shift: Tensor) -> std::result::Result<(), NotFused> {
        let bias = match self {
            Self::Identity => None,
            Self::Bias(bias) => Some(&*bias),
            Self::BatchNorm { .. } => return Err(NotFused::Unsupported(EpilogueOp::Affine { scale, shift })),
        };
        let Some(sum) = fold_bias(bias, &scale, &shift)? else {
            return Err(NotFused::Unsupported(EpilogueOp::Affine { scale, shift }));
        };
        *self = Self::BatchNorm { scale, shift: sum };
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

/// As traces name it: ` + bias + relu`.
impl fmt::Display for Epilogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.affine {
            Affine::Identity => {}
            Affine::Bias(_) => f.write_str(" + bias")?,
            Affine::BatchNorm { .. } => f.write_str(" + batch_norm")?,
        }
        write_rest(f, self.residual.as_ref(), self.activation)
    }
}

/// Writes ` + residual + relu`.
pub(super) fn write_rest(
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
