//! The operation of a deferred signal, with its epilogue: a single operation, or a fused pair.

use std::fmt;

use candle_core::Device;

use crate::kernels::internal::blocked::policy;
use crate::kernels::trace::{self, Work};
use crate::scope::{self, Path};
use crate::{Error, Result};

use super::epilogue::{Epilogue, EpilogueOp, NotFused};
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
    pub fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), NotFused> {
        match self {
            Self::Convolution(convolution, epilogue) => convolution.fuse(epilogue, op),
            Self::FusedPair(pair) => pair.fuse(op),
            Self::Product(product) => product.fuse(op),
            Self::Normalization(normalization) => normalization.fuse(op),
            Self::BlockedNormalization(normalization) => normalization.fuse(op),
        }
    }

    pub fn supports_residual(&self) -> bool {
        match self {
            Self::Convolution(_, epilogue) => epilogue.supports_residual(),
            Self::FusedPair(pair) => pair.supports_residual(),
            Self::Normalization(normalization) => normalization.supports_residual(),
            Self::Product(_) | Self::BlockedNormalization(_) => false,
        }
    }

    /// Returns the convolution into which a consumer can be fused, or `self` if that is not possible.
    #[allow(clippy::result_large_err, reason = "the caller uses the result immediately")]
    pub fn into_producer(self, path: Path) -> std::result::Result<Producer, (Self, Path)> {
        match self {
            Self::Convolution(Convolution::Either(convolution), epilogue)
                if policy::fuses_consumer(&convolution.parameters.shape) && epilogue.residual.is_none() =>
            {
                Ok(Producer { convolution, epilogue, path })
            }
            operation => Err((operation, path)),
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
