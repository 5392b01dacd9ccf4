//! Fuses operations into the deferred operation before them.

use std::sync::Arc;

use candle_core::Shape;

use crate::kernels::internal::blocked::policy;
use crate::kernels::pool::PoolGeometry;
use crate::scope::{self, NotFusedKind, record_fusion, record_not_fused};

use super::epilogue::FuseError;
use super::fused_pair::Producer;
use super::{Deferred, EpilogueOp, FusedPair, Layout, Signal, State, Value};

/// The operations that are deferred, by their names in traces.
const PRODUCERS: [&str; 5] = ["conv1d", "conv2d", "conv3d", "linear", "batch_norm"];

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
        let State::Deferred(mut deferred) = self.0 else {
            self.record_not_fused(NotFusedKind::NoProducer);
            return Fusion::Separate(self, op);
        };
        let Some(unique) = Arc::get_mut(&mut deferred) else {
            record_not_fused(|| deferred.reason(NotFusedKind::SharedResult));
            return Fusion::Separate(Self(State::Deferred(deferred)), op);
        };
        match unique.fuse(op) {
            Ok(()) => {
                record_fusion(unique.path());
                Fusion::Fused(Self(State::Deferred(deferred)))
            }
            Err(FuseError::Failed(error)) => Fusion::Fused(Self::fail(error)),
            Err(FuseError::Unsupported(op, reason)) => {
                record_not_fused(|| unique.reason(reason));
                Fusion::Separate(Self(State::Deferred(deferred)), op)
            }
        }
    }

    /// Records why an operation is not fused into this signal. If the signal is not deferred, `kind` is replaced with
    /// the reason for that.
    pub(crate) fn record_not_fused(&self, kind: NotFusedKind) {
        record_not_fused(|| match &self.0 {
            State::Deferred(deferred) => deferred.reason(kind),
            _ => {
                let id = self.value_id();
                let kind = match id.and_then(scope::operation_of) {
                    _ if !scope::is_fusion_enabled() => NotFusedKind::FusionDisabled,
                    Some(name) if PRODUCERS.contains(&name) => NotFusedKind::AlreadyRun,
                    _ => NotFusedKind::NoProducer,
                };
                kind.with_producer(&scope::describe_value(id))
            }
        });
    }

    /// Returns an error if [`fuse`](Self::fuse) does not support a residual of this shape.
    pub(crate) fn check_residual(&self, shape: &Shape) -> Result<(), NotFusedKind> {
        match &self.0 {
            State::Deferred(deferred) if Arc::strong_count(deferred) > 1 => Err(NotFusedKind::SharedResult),
            State::Deferred(deferred) => deferred.check_residual(shape),
            _ => Err(NotFusedKind::NoProducer),
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
            self.record_not_fused(NotFusedKind::UnsupportedByKernel);
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
    /// deferred convolution that supports a consumer, and records the reason.
    pub(crate) fn into_producer(self) -> Result<Producer, Self> {
        let checked = match &self.0 {
            State::Deferred(deferred) if Arc::strong_count(deferred) > 1 => Err(NotFusedKind::SharedResult),
            State::Deferred(deferred) => deferred.check_producer(),
            _ => Err(NotFusedKind::NoProducer),
        };
        if let Err(reason) = checked {
            self.record_not_fused(reason);
        }
        let State::Deferred(deferred) = self.0 else { return Err(self) };
        let unique = Arc::try_unwrap(deferred).map_err(|shared| Self(State::Deferred(shared)))?;
        unique.into_producer().map_err(|deferred| Self(State::Deferred(Arc::from(deferred))))
    }
}
