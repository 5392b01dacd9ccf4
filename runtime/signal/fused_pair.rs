//! A convolution and the only operation that reads its result. If a kernel supports the pair, both run in one launch:
//! the convolution passes its result to the other operation in pieces that stay in the cache.

use std::fmt;

use candle_core::{Device, Result, Tensor};

use crate::Error;
use crate::kernels::internal::blocked::conv::FusedConsumer;
use crate::kernels::internal::blocked::policy::Refusal;
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::kernels::pool::PoolGeometry;
use crate::kernels::trace::{self, Work};
use crate::scope::{self, DeferredId, NotFusedKind, Path, RunningDeferred, describe_operation};

use super::convolution::check_blocked;
use super::epilogue::{Epilogue, EpilogueOp, FuseError};
use super::launch_work::blocked_bytes;
use super::{BlockedConvolution, BlockedParameters, Value};

/// A producer and its consumer, neither of which has run yet. The result of the consumer is channel-blocked.
#[derive(Clone)]
pub(crate) struct FusedPair {
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
}

/// A deferred convolution whose result only the consumer reads. Its epilogue has no residual.
#[derive(Clone)]
pub(crate) struct Producer {
    pub(super) convolution: BlockedConvolution,
    pub(super) epilogue: Epilogue,
    pub(super) path: Path,
    /// The identity of the result, in a recorded execution.
    pub(super) id: Option<DeferredId>,
}

/// The operation that reads the producer's result.
#[derive(Clone)]
pub(crate) enum Consumer {
    MaxPool(PoolGeometry),
    Depthwise(Depthwise),
}

/// A depthwise convolution without its input.
#[derive(Clone)]
pub(crate) struct Depthwise {
    parameters: BlockedParameters,
    epilogue: Epilogue,
}

impl FusedPair {
    pub(crate) fn max_pool(producer: Producer, geometry: PoolGeometry) -> Self {
        Self { producer, consumer: Consumer::MaxPool(geometry) }
    }

    pub(crate) fn depthwise(producer: Producer, parameters: BlockedParameters, bias: Option<Tensor>) -> Self {
        let epilogue = Epilogue::with_bias(bias);
        Self { producer, consumer: Consumer::Depthwise(Depthwise { parameters, epilogue }) }
    }

    /// Appends an operation to the consumer's epilogue.
    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), FuseError> {
        match (&mut self.consumer, check_blocked(&op)) {
            (Consumer::Depthwise(depthwise), Ok(())) => depthwise.epilogue.fuse(op),
            (Consumer::Depthwise(_), Err(refusal)) => Err(FuseError::Unsupported(op, refusal.into())),
            (Consumer::MaxPool(_), _) => Err(FuseError::Unsupported(op, NotFusedKind::UnsupportedByKernel)),
        }
    }

    /// Returns an error if no residual can be added to the result of the consumer.
    pub(super) fn check_residual(&self) -> std::result::Result<(), NotFusedKind> {
        match &self.consumer {
            Consumer::Depthwise(depthwise) => depthwise.epilogue.check_residual(),
            Consumer::MaxPool(_) => Err(NotFusedKind::UnsupportedByKernel),
        }
    }

    /// Computes both operations: in one launch if a kernel supports the pair, and in two launches otherwise. Whether a
    /// kernel supports the pair depends on the shapes, on the number of threads, and on whether the weights are finite.
    /// `path` is the consumer's path.
    pub(super) fn run(self, path: &Path) -> crate::Result<Value> {
        let Self { producer, consumer } = &self;
        let launch = scope::begin_launch(
            &Device::Cpu,
            || producer.path.clone(),
            || format!("{producer} + {consumer:#}"),
        );
        let fused = self.run_fused().map_err(|error| Error::from(error).in_layer(consumer).at(path))?;
        Ok(match fused {
            Ok(blocked) => {
                trace::add_work(|| self.work(&blocked));
                scope::record_fused_pair(&producer.path, path);
                launch.also_computes(producer.id);
                blocked.into()
            }
            Err(refusal) => {
                launch.cancel();
                scope::record_separate_launch(|| {
                    let producer = describe_operation("conv2d", &producer.path);
                    NotFusedKind::from(refusal).with_producer(&producer)
                });
                self.run_separately(path)?.into()
            }
        })
    }

    /// Returns the work of a run in one launch with the result `output`.
    fn work(&self, output: &BlockedTensor) -> Work {
        let mut work = self.producer.work();
        work += self.consumer.parameter_work();
        work.bytes_written = blocked_bytes(output);
        work
    }

    fn run_fused(&self) -> Result<std::result::Result<BlockedTensor, Refusal>> {
        let Producer { convolution, epilogue, .. } = &self.producer;
        let run = |consumer: &FusedConsumer<'_>, output_dims: [usize; 4]| {
            convolution.run_with_consumer(epilogue, consumer, output_dims)
        };
        match &self.consumer {
            Consumer::MaxPool(geometry) => {
                let shape = &convolution.parameters.shape;
                let [height, width] = geometry.output_size(shape.output)?;
                run(&FusedConsumer::MaxPool(*geometry), [shape.batch, shape.out_channels, height, width])
            }
            Consumer::Depthwise(Depthwise { parameters, epilogue }) => {
                let shape = &parameters.shape;
                // `call` has the operands of the consumer except for its input, which the producer computes.
                parameters.with_call(epilogue, &convolution.arena(), |call| {
                    run(&FusedConsumer::Depthwise(shape, call), shape.output_dims())
                })?
            }
        }
    }

    fn run_separately(self, path: &Path) -> crate::Result<BlockedTensor> {
        let Self { producer, consumer } = self;
        let input = producer.run()?;
        let _launch = scope::begin_launch(&Device::Cpu, || path.clone(), || format!("{consumer:#}"));
        let mut work = consumer.parameter_work();
        work.bytes_read = work.bytes_read.saturating_add(blocked_bytes(&input));
        let output = match consumer {
            Consumer::MaxPool(geometry) => {
                let output = blocked::max_pool2d(&input, &geometry);
                output.map_err(|error| Error::from(error).in_layer("MaxPool2d").at(path))
            }
            Consumer::Depthwise(Depthwise { parameters, epilogue }) => {
                let convolution = BlockedConvolution { input: input.into(), parameters };
                let output = convolution.run(&epilogue);
                output.map_err(|error| Error::from(error).in_layer(&convolution.parameters).at(path))
            }
        }?;
        trace::add_work(|| Work { bytes_written: blocked_bytes(&output), ..work });
        Ok(output)
    }
}

impl Producer {
    /// Computes the convolution and drops its input.
    fn run(self) -> crate::Result<BlockedTensor> {
        let _running = RunningDeferred::begin(self.id);
        let _launch = scope::begin_launch(&Device::Cpu, || self.path.clone(), || self.to_string());
        let Self { convolution, epilogue, path, id: _ } = &self;
        let output = convolution.run(epilogue);
        let output = output.map_err(|error| Error::from(error).in_layer(&convolution.parameters).at(path))?;
        trace::add_work(|| Work { bytes_written: blocked_bytes(&output), ..self.work() });
        Ok(output)
    }

    /// Returns the work of a run without the size of the output.
    fn work(&self) -> Work {
        let mut work = self.convolution.parameters.work(&self.epilogue);
        work.bytes_read = work.bytes_read.saturating_add(self.convolution.input.byte_size());
        work
    }
}

impl Consumer {
    /// Returns the name of the operation in traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::MaxPool(_) => "max_pool2d",
            Self::Depthwise(_) => "conv2d",
        }
    }

    /// Returns the work of a run without the sizes of the input and of the output.
    fn parameter_work(&self) -> Work {
        match self {
            Self::MaxPool(_) => Work::default(),
            Self::Depthwise(Depthwise { parameters, epilogue }) => parameters.work(epilogue),
        }
    }
}

/// Writes the operations in the form used in traces: `conv2d + bias + relu`.
impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conv2d{}", self.epilogue)
    }
}

/// Writes the layer in the form used in errors. With `{:#}`, writes the operation and its epilogue in the form used in
/// traces.
impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, f.alternate()) {
            (Self::MaxPool(_), false) => f.write_str("MaxPool2d"),
            (Self::MaxPool(_), true) => f.write_str("max_pool2d"),
            (Self::Depthwise(depthwise), false) => depthwise.parameters.fmt(f),
            (Self::Depthwise(depthwise), true) => write!(f, "conv2d{}", depthwise.epilogue),
        }
    }
}
