//! A convolution that has not run, and what alone reads its results: one launch, which hands them on piece by
//! piece, while they are in a near cache.

use std::fmt;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::convolution::Parameters;
use super::work::Work;
use super::{Convolution, Value, conv_label};
use crate::kernels::conv::{Epilogue, PackedCache};
use crate::kernels::internal::blocked::Image;
use crate::kernels::internal::blocked::conv::Consumer;
use crate::kernels::internal::{Axes, ConvShape};
use crate::kernels::pool::PoolGeometry;
use crate::scope::Path;

/// A deferred convolution into blocks, taken over by what reads it.
pub(crate) struct Before {
    pub(super) work: Box<Work>,
    pub(super) path: Path,
}

pub(crate) struct Couple {
    pub before: Before,
    pub tail: Tail,
}

/// What is behind the convolution.
pub(crate) enum Tail {
    MaxPool(PoolGeometry),
    Depthwise(Depthwise),
}

/// A depthwise convolution, but for its input.
pub(crate) struct Depthwise {
    pub shape: ConvShape,
    pub weight: Tensor,
    pub packed: Option<Arc<PackedCache>>,
}

impl Couple {
    /// Runs both, the second with this epilogue, where there is a kernel.
    pub(super) fn run(&self, epilogue: &Epilogue, residual: Option<&Value>) -> Result<Option<Image>> {
        let Some((convolution, shape, first)) = self.before.work.leader() else { return Ok(None) };
        let arena = convolution.arena();
        let run = |consumer: &Consumer<'_>, dims: [usize; 4]| {
            let mut output = Image::new(&arena, dims)?;
            let done = convolution.run_then(shape, first, consumer, &mut output)?;
            Ok(done.then_some(output))
        };
        match &self.tail {
            Tail::MaxPool(geometry) => {
                let [height, width] = geometry.output_size(shape.output)?;
                run(&Consumer::MaxPool(*geometry), [shape.batch, shape.out_channels, height, width])
            }
            Tail::Depthwise(Depthwise { shape, weight, packed }) => {
                let residual = residual.map(|residual| residual.image(&arena)).transpose()?;
                let parameters = Parameters { weight, packed: packed.as_deref() };
                parameters.with(epilogue, residual.as_deref(), |weight, epilogue| {
                    run(&Consumer::Depthwise { shape, weight, epilogue: *epilogue }, shape.output_dims())
                })?
            }
        }
    }
}

impl Depthwise {
    pub(super) fn of(self, input: Value) -> Convolution {
        let Self { shape, weight, packed } = self;
        let (geometry, blocked) = (shape.geometry, Some(shape));
        Convolution { axes: Axes::Two, input, weight, geometry, packed, blocked }
    }
}

/// The layer, as errors name it.
impl fmt::Display for Depthwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&conv_label(Axes::Two, self.weight.dims(), self.shape.geometry.groups))
    }
}
