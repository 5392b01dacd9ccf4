//! The layout of a signal. A deferred convolution can have a result of either layout, so its reader decides: a layer
//! that reads channel-blocked activations asks for one, all others ask for a tensor.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Layout, Layouts, Signal, State, Value};
use crate::kernels::internal::blocked::{Image, policy};
use crate::scope::{self, Path};
use crate::{Error, Result};

impl Signal {
    /// Returns the values, channel-blocked if they are or can be computed so.
    pub(crate) fn into_blocks(self) -> Result<Value> {
        self.into_value(Layout::Nchwc)
    }

    /// The layouts that the values have or can be computed in.
    fn layouts(&self) -> Layouts {
        match &self.0 {
            State::Blocked(_) => Layouts::Only(Layout::Nchwc),
            State::Deferred(deferred) => deferred.layouts(),
            State::Ready(_) | State::Failed(_) => Layouts::Only(Layout::Nchw),
        }
    }

    /// Returns whether the values are channel-blocked, or the deferred operation computes them so.
    pub(crate) fn is_blocked(&self) -> bool {
        self.layouts() == Layouts::Only(Layout::Nchwc)
    }

    /// Returns whether the values are channel-blocked or can be computed so.
    pub(crate) fn can_block(&self) -> bool {
        self.layouts().contains(Layout::Nchwc)
    }

    /// Returns the layout in which a channel-blocked kernel would read the signal, or `None` if it would not.
    pub(crate) fn input_layout(&self) -> Option<Layout> {
        match &self.0 {
            State::Ready(tensor) => policy::supports(tensor).then_some(Layout::Nchw),
            _ => self.can_block().then_some(Layout::Nchwc),
        }
    }

    /// A signal of a channel-blocked activation. One of a single pixel becomes a tensor, which it nearly is.
    pub(crate) fn image(image: Image) -> Self {
        match image.pixels() {
            1 => image.pixel_tensor().into(),
            _ => Self(State::Blocked(Arc::new(image))),
        }
    }

    /// Runs an operation that exists for both layouts: channel-blocked if the signal is so already, or if that is
    /// `preferred` and the signal can be computed so; on a tensor otherwise, as [`apply`](Self::apply).
    pub(crate) fn apply_either<E: Into<Error>>(
        self,
        name: &'static str,
        preferred: Layout,
        on_image: impl FnOnce(&Image) -> candle_core::Result<Image>,
        on_tensor: impl FnOnce(Tensor) -> Result<Tensor, E>,
    ) -> Self {
        if self.layouts().choose(preferred) == Layout::Nchw {
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
}

/// Returns whether signals differ only in their channels and can all be channel-blocked, as one of them is already.
pub(crate) fn can_join_blocked(signals: &[Signal]) -> bool {
    let outer = |signal: &Signal| match signal.dims() {
        Ok(&[batch, _, height, width]) => Some([batch, height, width]),
        _ => None,
    };
    let Some(first) = signals.first().and_then(outer) else { return false };
    signals.iter().any(Signal::is_blocked)
        && signals.iter().all(|signal| signal.can_block() && outer(signal) == Some(first))
}
