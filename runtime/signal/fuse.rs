//! Fuses operations into the deferred operation before them.

use std::sync::Arc;

use candle_core::Shape;

use crate::kernels::internal::blocked::policy;
use crate::kernels::pool::PoolGeometry;
use crate::scope::record_fusion;

use super::epilogue::NotFused;
use super::fused_pair::Producer;
use super::{Deferred, EpilogueOp, FusedPair, Layout, Signal, State, Value};

/// The result of trying to fuse an operation into a signal.
#[must_use]
pub(crate) enum Fusion<Op> {
    /// The signal with the operation fused into it, or a failed signal.
    Fused(Signal),
    /// The operation was not fused. Run it on this signal.
    Separate(Signal, Op),
}

impl<Op> Fusion<Op> {
    /// Returns the fused signal, or calls `run` if the operation was not fused.
    pub(crate) fn or_run(self, run: impl FnOnce(Signal, Op) -> Signal) -> Signal {
        match self {
            Self::Fused(signal) => signal,
            Self::Separate(signal, op) => run(signal, op),
        }
    }
}

impl Signal {
    /// Fuses an operation into a uniquely owned deferred operation.
    pub(crate) fn fuse(self, op: EpilogueOp) -> Fusion<EpilogueOp> {
        let State::Deferred(mut deferred) = self.0 else { return Fusion::Separate(self, op) };
        let Some(unique) = Arc::get_mut(&mut deferred) else {
            return Fusion::Separate(Self(State::Deferred(deferred)), op);
        };
        match unique.fuse(op) {
            Ok(()) => {
                record_fusion(unique.path());
                Fusion::Fused(Self(State::Deferred(deferred)))
            }
            Err(NotFused::Failed(error)) => Fusion::Fused(Self::fail(error)),
            Err(NotFused::Unsupported(op)) => Fusion::Separate(Self(State::Deferred(deferred)), op),
        }
    }

    /// Returns `true` if [`fuse`](Self::fuse) supports a residual of this shape.
    pub(crate) fn supports_residual(&self, shape: &Shape) -> bool {
        match &self.0 {
            State::Deferred(deferred) => {
                Arc::strong_count(deferred) == 1 && deferred.supports_residual(shape)
            }
            _ => false,
        }
    }

    /// Fuses a batch norm in evaluation mode into the deferred convolution that computes its input. If that is not
    /// possible but the input is channel-blocked, defers the batch norm.
    pub(crate) fn fuse_batch_norm(self, op: EpilogueOp) -> Fusion<EpilogueOp> {
        let (signal, scale, shift) = match self.fuse(op) {
            Fusion::Separate(signal, EpilogueOp::Affine { scale, shift }) => (signal, scale, shift),
            fusion => return fusion,
        };
        if !signal.is_blocked() || !policy::supports(&scale) || !policy::supports(&shift) {
            return Fusion::Separate(signal, EpilogueOp::Affine { scale, shift });
        }
        match signal.into_value(Layout::Nchwc) {
            Ok(Value::Blocked(blocked)) => {
                Fusion::Fused(Self::deferred(Deferred::blocked_normalization(blocked, scale, shift)))
            }
            Ok(Value::Tensor(tensor)) => Fusion::Separate(tensor.into(), EpilogueOp::Affine { scale, shift }),
            Err(error) => Fusion::Fused(Self(State::Failed(error))),
        }
    }

    /// Fuses max pooling into a uniquely owned deferred convolution.
    pub(crate) fn fuse_max_pool(self, geometry: PoolGeometry) -> Fusion<PoolGeometry> {
        let &[batch, channels, height, width] = self.dims().unwrap_or_default() else {
            return Fusion::Separate(self, geometry);
        };
        let producer = match self.into_producer() {
            Ok(producer) => producer,
            Err(signal) => return Fusion::Separate(signal, geometry),
        };
        Fusion::Fused(match geometry.output_size([height, width]) {
            Ok([height, width]) => {
                let output = Shape::from((batch, channels, height, width));
                Self::deferred(Deferred::fused_pair(FusedPair::max_pool(producer, geometry), output))
            }
            Err(error) => Self::fail(error),
        })
    }

    /// Returns the convolution into which a consumer can be fused. Returns `self` if the signal is not a uniquely owned
    /// deferred convolution that supports a consumer.
    pub(crate) fn into_producer(self) -> Result<Producer, Self> {
        let State::Deferred(deferred) = self.0 else { return Err(self) };
        let unique = Arc::try_unwrap(deferred).map_err(|shared| Self(State::Deferred(shared)))?;
        unique.into_producer().map_err(|deferred| Self(State::Deferred(Arc::from(deferred))))
    }
}
