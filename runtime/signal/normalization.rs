//! Batch norms that are not fused into a convolution.

use std::fmt;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernels::activation::Activation;
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::kernels::internal::with_elements;
use crate::kernels::norm::BatchNorm;
use crate::kernels::trace::Work;
use crate::scope::NotFusedKind;

use super::Value;
use super::epilogue::{
    EpilogueOp, FuseError, check_residual, fuse_activation, write_residual_and_activation,
};
use super::launch_work::{blocked_bytes, tensor_bytes};

/// A batch norm in training mode, with the residual and activation that are fused into it.
#[derive(Clone)]
pub(crate) struct Normalization {
    pub input: Tensor,
    /// The batch norm with the statistics of `input`.
    pub norm: Arc<BatchNorm>,
    pub(super) residual: Option<Value>,
    pub(super) activation: Activation,
}

/// A batch norm in evaluation mode whose input is channel-blocked, with the activation that is fused into the norm. The
/// scale and the shift are in f32, on the CPU, and have no gradients.
#[derive(Clone)]
pub(crate) struct BlockedNormalization {
    pub input: Arc<BlockedTensor>,
    pub scale: Tensor,
    pub shift: Tensor,
    pub(super) activation: Activation,
}

impl Normalization {
    pub(crate) fn new(input: Tensor, norm: BatchNorm) -> Self {
        Self { input, norm: Arc::new(norm), residual: None, activation: Activation::Identity }
    }

    /// Returns an error if no residual can be added after the operations that are already fused.
    pub(super) fn check_residual(&self) -> std::result::Result<(), NotFusedKind> {
        check_residual(self.residual.as_ref(), self.activation)
    }

    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), FuseError> {
        match (op, self.check_residual()) {
            (EpilogueOp::Residual(residual), Ok(())) => {
                self.residual = Some(residual);
                Ok(())
            }
            (op @ EpilogueOp::Residual(_), Err(reason)) => Err(FuseError::Unsupported(op, reason)),
            (op, _) => fuse_activation(&mut self.activation, op),
        }
    }

    /// Returns the layer in the form used in errors.
    pub(super) fn label(&self) -> String {
        format!("BatchNorm {}", self.norm.channels())
    }

    /// Returns the multiply-adds and the bytes of this launch, whose result is `output`.
    pub(super) fn work(&self, output: &Value) -> Work {
        let residual = self.residual.as_ref().map_or(0, Value::byte_size);
        let bytes_read = tensor_bytes(&self.input).saturating_add(residual);
        Work { bytes_read, bytes_written: output.byte_size(), ..Work::default() }
    }

    pub(super) fn run(&self) -> Result<Tensor> {
        let residual = self.residual.as_ref().map(Value::tensor).transpose()?;
        self.norm.apply(&self.input, residual.as_ref(), self.activation)
    }
}

impl BlockedNormalization {
    pub(super) fn new(input: Arc<BlockedTensor>, scale: Tensor, shift: Tensor) -> Self {
        Self { input, scale, shift, activation: Activation::Identity }
    }

    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), FuseError> {
        fuse_activation(&mut self.activation, op)
    }

    /// Returns the layer in the form used in errors.
    pub(super) fn label(&self) -> String {
        format!("BatchNorm {}", self.input.dims()[1])
    }

    /// Returns the multiply-adds and the bytes of this launch, whose result is `output`.
    pub(super) fn work(&self, output: &Value) -> Work {
        let vectors = tensor_bytes(&self.scale).saturating_add(tensor_bytes(&self.shift));
        let bytes_read = blocked_bytes(&self.input).saturating_add(vectors);
        Work { bytes_read, bytes_written: output.byte_size(), ..Work::default() }
    }

    pub(super) fn run(&self) -> Result<BlockedTensor> {
        with_elements(&self.scale, |scale| {
            with_elements(&self.shift, |shift| blocked::affine(&self.input, scale, shift, self.activation))
        })??
    }
}

/// Writes the operations in the form used in traces: `batch_norm + residual + relu`.
impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("batch_norm")?;
        write_residual_and_activation(f, self.residual.as_ref(), self.activation)
    }
}

/// Writes the operations in the form used in traces: `batch_norm + relu`.
impl fmt::Display for BlockedNormalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("batch_norm")?;
        write_residual_and_activation(f, None, self.activation)
    }
}
