//! Who may stay in the kernels' own layout, and who asks for it.
//!
//! A deferred convolution can run into either layout, so demand decides: a layer that reads blocks asks for
//! them, all others ask for a tensor.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Before, Couple, Deferred, Form, Signal, State, Step, Tail, Value, is_plain};
use crate::kernels::conv::PackedCache;
use crate::kernels::internal::ConvShape;
use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::internal::isa;
use crate::kernels::pool::PoolGeometry;
use crate::scope::{self, Path};
use crate::{Error, Result};

impl Signal {
    /// The numbers, in blocks wherever they are or can be made so, for somebody who reads both.
    pub(crate) fn into_blocks(self) -> Result<Value> {
        self.into_value(Form::Blocks)
    }

    /// Whether it is in blocks, or a convolution that reads blocks and has not run.
    pub(crate) fn is_blocked(&self) -> bool {
        match &self.0 {
            State::Blocked(_) => true,
            State::Deferred(deferred) => deferred.is_blocked(),
            State::Ready(_) | State::Failed(_) => false,
        }
    }

    /// Whether it is in blocks or can be made so without putting a tensor in blocks.
    pub(crate) fn can_block(&self) -> bool {
        match &self.0 {
            State::Blocked(_) => true,
            State::Deferred(deferred) => deferred.can_block(),
            State::Ready(_) | State::Failed(_) => false,
        }
    }

    /// The convolution that it alone holds, for another operation to run behind; gives it back where it is none.
    pub(crate) fn into_before(self) -> Result<Before, Self> {
        match self.0 {
            State::Deferred(deferred) => match Arc::try_unwrap(deferred) {
                Ok(alone) => {
                    alone.into_before().map_err(|deferred| Self(State::Deferred(Arc::from(deferred))))
                }
                Err(shared) => Err(Self(State::Deferred(shared))),
            },
            state => Err(Self(state)),
        }
    }

    /// Defers the largest elements of windows over a convolution that it alone holds; gives it back where it is none.
    pub(crate) fn max_pool_behind(self, geometry: PoolGeometry) -> Result<Self, Self> {
        let dims = self.dims().map(<[usize]>::to_vec);
        let Ok(&[batch, channels, height, width]) = dims.as_deref() else { return Err(self) };
        let before = self.into_before()?;
        Ok(match geometry.output_size([height, width]) {
            Ok([height, width]) => {
                let couple = Couple { before, tail: Tail::MaxPool(geometry) };
                Self::deferred(Deferred::couple(couple, None, (batch, channels, height, width).into()))
            }
            Err(error) => Self::fail(error),
        })
    }

    /// An image; one of a single pixel is a tensor already.
    pub(crate) fn image(image: Image) -> Self {
        match image.pixels() {
            1 => image.pixel_tensor().into(),
            _ => Self(State::Blocked(Arc::new(image))),
        }
    }

    /// Defers the `step` of a batch norm that no convolution takes, where this signal is an image; gives it back
    /// otherwise.
    pub(crate) fn norm_of_image(self, step: Step) -> Result<Self, Self> {
        let Step::Affine { scale, shift } = step else { return Err(self) };
        if !self.is_blocked() || !is_plain(&scale) || !is_plain(&shift) {
            return Err(self);
        }
        match self.into_blocks() {
            Ok(Value::Blocked(image)) => Ok(Self::deferred(Deferred::norm(image, scale, shift))),
            Ok(Value::Tensor(tensor)) => Err(tensor.into()),
            Err(error) => Ok(Self(State::Failed(error))),
        }
    }

    /// Runs an operation that there is for images too, on an image where `wanted` or where there is one
    /// already; else as [`apply`](Self::apply).
    pub(crate) fn apply_either<E: Into<Error>>(
        self,
        name: &'static str,
        wanted: bool,
        on_image: impl FnOnce(&Image) -> candle_core::Result<Image>,
        on_tensor: impl FnOnce(Tensor) -> Result<Tensor, E>,
    ) -> Self {
        if !(self.is_blocked() || wanted && self.can_block()) {
            return self.apply(name, on_tensor);
        }
        match self.into_blocks() {
            Ok(Value::Blocked(image)) => {
                scope::launched(Path::current, || name.to_string());
                on_image(&image).map_or_else(Self::fail, Self::image)
            }
            Ok(Value::Tensor(tensor)) => Self::from(tensor).apply(name, on_tensor),
            Err(error) => Self(State::Failed(error)),
        }
    }

    /// Whether a convolution of this `shape` may read this signal in blocks, or run into blocks from it.
    pub(crate) fn feeds_blocked(&self, shape: &ConvShape) -> bool {
        let reads = match &self.0 {
            State::Ready(tensor) => is_plain(tensor) && reads_planes(shape),
            State::Blocked(_) => true,
            State::Deferred(deferred) => deferred.can_block(),
            State::Failed(_) => false,
        };
        reads && blocked::conv::supports(shape) && fills_lanes(shape)
    }
}

/// Whether there is a kernel from rows into blocks.
pub(crate) fn reads_planes(shape: &ConvShape) -> bool {
    shape.geometry.groups == 1
}

/// Whether the lanes of the blocks have enough channels in them to be worth while.
fn fills_lanes(shape: &ConvShape) -> bool {
    let lanes = isa().lanes();
    let filled = |channels: usize| 4 * channels >= 3 * channels.next_multiple_of(lanes);
    filled(shape.out_channels) && shape.batch * shape.in_channels > 0
}

/// Whether a weight and a bias are such as convolutions into blocks take: packed once, and no gradient is asked
/// of them.
pub(crate) fn takes_blocks(weight: &Tensor, bias: Option<&Tensor>, packed: Option<&PackedCache>) -> bool {
    packed.is_some() && is_plain(weight) && bias.is_none_or(is_plain)
}

/// Images of signals that differ in their channels alone, where one of them is an image and the others can be.
pub(crate) fn alike(signals: &[Signal]) -> bool {
    let outer = |signal: &Signal| match signal.dims() {
        Ok(&[batch, _, height, width]) => Some([batch, height, width]),
        _ => None,
    };
    let Some(first) = signals.first().and_then(outer) else { return false };
    signals.iter().any(Signal::is_blocked)
        && signals.iter().all(|signal| signal.can_block() && outer(signal) == Some(first))
}
