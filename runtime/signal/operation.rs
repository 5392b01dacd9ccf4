//! The operation of a deferred signal, with its epilogue: a single operation, or a fused pair.

use std::fmt;

use candle_core::Device;

use crate::kernels::internal::blocked::policy;
use crate::kernels::trace::{self, Work};
use crate::scope::{self, DeferredId, NotFusedKind, Path};
use crate::{Error, Result};

use super::epilogue::{Epilogue, EpilogueOp, FuseError};
use super::fused_pair::Producer;
use super::normalization::BlockedNormalization;
use super::{Convolution, FusedPair, Layout, Layouts, Normalization, Product, Value};

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "most operations are convolutions, the largest variant")]
pub(super) enum Operation {
    Convolution(Convolution, Epilogue),
    FusedPair(FusedPair),
    Product(Product),
    Normalization(Normalization),
    BlockedNormalization(BlockedNormalization),
}

impl Operation {
    /// Appends an operation to the epilogue of this operation.
    pub fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), FuseError> {
        match self {
            Self::Convolution(convolution, epilogue) => convolution.fuse(epilogue, op),
            Self::FusedPair(pair) => pair.fuse(op),
            Self::Product(product) => product.fuse(op),
            Self::Normalization(normalization) => normalization.fuse(op),
            Self::BlockedNormalization(normalization) => normalization.fuse(op),
        }
    }

    /// Returns an error if no residual can be added after the operations that are already fused.
    pub fn check_residual(&self) -> std::result::Result<(), NotFusedKind> {
        match self {
            Self::Convolution(_, epilogue) => epilogue.check_residual(),
            Self::FusedPair(pair) => pair.check_residual(),
            Self::Normalization(normalization) => normalization.check_residual(),
            Self::Product(_) | Self::BlockedNormalization(_) => Err(NotFusedKind::UnsupportedByKernel),
        }
    }

    /// Returns an error if no consumer can be fused into the operation.
    pub fn check_producer(&self) -> std::result::Result<(), NotFusedKind> {
        match self {
            Self::Convolution(Convolution::Nchw(convolution), _) => Err(convolution.refusal.into()),
            Self::Convolution(Convolution::Either(convolution), epilogue) => {
                if !policy::fuses_consumer(&convolution.parameters.shape) {
                    return Err(NotFusedKind::GroupedConvolution);
                }
                epilogue.residual.as_ref().map_or(Ok(()), |_| Err(NotFusedKind::ResidualApplied))
            }
            _ => Err(NotFusedKind::UnsupportedByKernel),
        }
    }

    /// Returns the convolution into which a consumer can be fused, or `self` if that is not possible.
    #[allow(clippy::result_large_err, reason = "the caller uses the result immediately")]
    pub fn into_producer(
        self,
        path: Path,
        id: Option<DeferredId>,
    ) -> std::result::Result<Producer, (Self, Path)> {
        match (self.check_producer(), self) {
            (Ok(()), Self::Convolution(Convolution::Either(convolution), epilogue)) => {
                Ok(Producer { convolution, epilogue, path, id })
            }
            (_, operation) => Err((operation, path)),
        }
    }

    /// Returns the name of the first operation in traces: `conv2d`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Convolution(convolution, _) => convolution.name(),
            Self::FusedPair(pair) => pair.consumer.name(),
            Self::Product(_) => "linear",
            Self::Normalization(_) | Self::BlockedNormalization(_) => "batch_norm",
        }
    }

    /// Returns the layouts in which the result can be computed without reordering an operand.
    pub fn layouts(&self) -> Layouts {
        match self {
            Self::Convolution(convolution, epilogue) => convolution.layouts(epilogue),
            Self::FusedPair(_) | Self::BlockedNormalization(_) => Layouts::Only(Layout::Nchwc),
            Self::Product(_) | Self::Normalization(_) => Layouts::Only(Layout::Nchw),
        }
    }

    /// Computes the result. If `requested` is [`Layout::Nchw`], the result is a tensor. Otherwise its layout is one of
    /// [`layouts`](Self::layouts).
    pub fn run(self, requested: Layout, path: &Path, device: &Device) -> Result<Value> {
        let layout = self.layouts().choose(requested);
        // A fused pair begins its launches itself.
        let launch = (!matches!(self, Self::FusedPair(_)))
            .then(|| scope::begin_launch(device, || path.clone(), || self.to_string()));
        let finish =
            |value: candle_core::Result<Value>, layer: &dyn fmt::Display, work: &dyn Fn(&Value) -> Work| {
                if let Ok(value) = &value {
                    trace::add_work(|| work(value));
                }
                drop(launch);
                let value = value.and_then(|value| value.reorder_if_nchw(requested));
                value.map_err(|error| Error::from(error).in_layer(layer).at(path))
            };
        match self {
            Self::Convolution(convolution, epilogue) => {
                finish(convolution.run(&epilogue, layout), &convolution, &|y| convolution.work(&epilogue, y))
            }
            Self::FusedPair(pair) => {
                let value = pair.run(path)?.reorder_if_nchw(requested);
                value.map_err(|error| Error::from(error).at(path))
            }
            Self::Product(product) => {
                finish(product.run().map(Value::Tensor), &product.label(), &|y| product.work(y))
            }
            Self::Normalization(norm) => {
                finish(norm.run().map(Value::Tensor), &norm.label(), &|y| norm.work(y))
            }
            Self::BlockedNormalization(norm) => {
                finish(norm.run().map(Value::from), &norm.label(), &|y| norm.work(y))
            }
        }
    }
}

/// Writes the operations in the form used in traces: `conv2d + bias + relu`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convolution(convolution, epilogue) => write!(f, "{}{epilogue}", convolution.name()),
            Self::FusedPair(FusedPair { producer, consumer }) => write!(f, "{producer} + {consumer:#}"),
            Self::Product(product) => product.fmt(f),
            Self::Normalization(normalization) => normalization.fmt(f),
            Self::BlockedNormalization(normalization) => normalization.fmt(f),
        }
    }
}
