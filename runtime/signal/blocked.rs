//! Chooses the memory layout of a signal: a tensor, or a channel-blocked activation. Some deferred convolutions can
//! compute their result in either layout. The layer that reads the result then decides: a layer with a
//! channel-blocked kernel requests `Nchwc`, and all other layers request a tensor.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::graph::Description;
use crate::kernels::internal::blocked::BlockedTensor;
use crate::kernels::internal::blocked::policy::{self, Refusal};
use crate::scope::{self, Path};
use crate::{Error, Result};

use super::{Layout, Layouts, Recording, ShapeRule, Signal, State, Value, launch_work};

impl Signal {
    /// Returns the values. They are channel-blocked if they were already, or if a deferred operation can compute them
    /// in that layout.
    pub(crate) fn into_blocked(self) -> Result<Value> {
        self.into_value(Layout::Nchwc)
    }

    /// Returns the layouts in which the values are available without reordering.
    fn layouts(&self) -> Layouts {
        match &self.0 {
            State::Blocked(_) => Layouts::Only(Layout::Nchwc),
            State::Deferred(deferred) => deferred.layouts(),
            State::Ready(_) | State::Meta(_) | State::Failed(_) => Layouts::Only(Layout::Nchw),
        }
    }

    /// Returns `true` if the values are channel-blocked, or can only be computed channel-blocked.
    pub(crate) fn is_blocked(&self) -> bool {
        self.layouts() == Layouts::Only(Layout::Nchwc)
    }

    /// Returns `true` if the values are channel-blocked or can be computed channel-blocked.
    pub(crate) fn can_be_blocked(&self) -> bool {
        self.layouts().contains(Layout::Nchwc)
    }

    /// Returns `true` if the shape is `[batch, channels, height, width]` with more than one pixel.
    pub(super) fn has_multiple_pixels(&self) -> bool {
        matches!(self.dims(), Ok([_, _, height, width]) if height * width > 1)
    }

    /// Prepares a signal for channel-blocked arithmetic if it has one number for each channel: runs a deferred signal
    /// `[batch, channels, 1, 1]`, and inserts the batch dimension of a tensor `[channels, 1, 1]`. Returns all other
    /// signals unchanged.
    pub(super) fn prepare_channel_operand(self) -> Result<Self> {
        match (&self.0, self.dims()) {
            (State::Deferred(_), Ok([_, _, 1, 1])) => Ok(self.into_blocked()?.into()),
            (State::Ready(tensor), Ok([_, 1, 1])) => Ok(tensor.unsqueeze(0)?.into()),
            _ => Ok(self),
        }
    }

    /// Returns `true` if channel-blocked arithmetic can read the signal without reordering an activation.
    pub(super) fn can_be_blocked_operand(&self) -> bool {
        match &self.0 {
            State::Ready(tensor) => !self.has_multiple_pixels() && policy::supports(tensor),
            _ => self.can_be_blocked(),
        }
    }

    /// Returns the layout in which a channel-blocked kernel would read the signal. Returns the reason if these kernels
    /// do not support the signal.
    pub(crate) fn input_layout(&self) -> std::result::Result<Layout, Refusal> {
        match &self.0 {
            State::Ready(tensor) => policy::check(tensor).map(|()| Layout::Nchw),
            _ if self.can_be_blocked() => Ok(Layout::Nchwc),
            _ => Err(Refusal::Layout),
        }
    }

    /// Returns a signal of a channel-blocked activation. An activation of a single pixel becomes a tensor, because its
    /// elements are in the same order in both layouts.
    pub(crate) fn blocked(tensor: BlockedTensor) -> Self {
        match tensor.pixels() {
            1 => tensor.pixel_tensor().into(),
            _ => Self(State::Blocked(Arc::new(tensor))),
        }
    }

    /// Runs an operation that has kernels for both layouts. Calls `on_blocked` if the signal is channel-blocked, or if
    /// `preferred` is [`Layout::Nchwc`] and the signal can be computed channel-blocked. Otherwise calls `on_tensor`,
    /// like [`apply`](Self::apply).
    pub(crate) fn apply_either<'a, E: Into<Error>, Op: FnOnce(Tensor) -> Result<Tensor, E>>(
        self,
        description: impl Into<Description<'a>>,
        preferred: Layout,
        rule: impl ShapeRule<Op>,
        on_blocked: impl FnOnce(&BlockedTensor) -> candle_core::Result<BlockedTensor>,
        on_tensor: Op,
    ) -> Self {
        let recording = Recording::start(&self);
        let description = description.into();
        let output = self.apply_in_layout(description.name, preferred, rule, on_blocked, on_tensor);
        recording.finish(output, description)
    }

    fn apply_in_layout<E: Into<Error>, Op: FnOnce(Tensor) -> Result<Tensor, E>>(
        self,
        name: &'static str,
        preferred: Layout,
        rule: impl ShapeRule<Op>,
        on_blocked: impl FnOnce(&BlockedTensor) -> candle_core::Result<BlockedTensor>,
        on_tensor: Op,
    ) -> Self {
        if self.layouts().choose(preferred) == Layout::Nchw {
            return self.apply(name, rule, on_tensor);
        }
        match self.into_blocked() {
            Ok(Value::Blocked(blocked)) => {
                let launch = scope::begin_launch(&Device::Cpu, Path::current, || name.to_string());
                let result = on_blocked(&blocked);
                if let Ok(result) = &result {
                    launch_work::add_blocked([&blocked], result);
                }
                drop(launch);
                result.map_or_else(Self::fail, Self::blocked)
            }
            Ok(Value::Tensor(tensor)) => Self::from(tensor).apply(name, rule, on_tensor),
            Err(error) => Self(State::Failed(error)),
        }
    }
}

/// Returns `true` if the channels of `signals` should be concatenated in the channel-blocked layout: if the signals
/// differ only in the number of channels, all of them support this layout ([`Signal::can_be_blocked`]), and at least
/// one of them supports no other ([`Signal::is_blocked`]).
pub(crate) fn should_concat_blocked(signals: &[Signal]) -> bool {
    let dims_without_channels = |signal: &Signal| match signal.dims() {
        Ok(&[batch, _, height, width]) => Some([batch, height, width]),
        _ => None,
    };
    let Some(first) = signals.first().and_then(dims_without_channels) else { return false };
    signals.iter().any(Signal::is_blocked)
        && signals
            .iter()
            .all(|signal| signal.can_be_blocked() && dims_without_channels(signal) == Some(first))
}
