//! A computed activation in one of the two memory layouts.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};

use crate::kernels::internal::Arena;
use crate::kernels::internal::blocked::BlockedTensor;
use crate::kernels::trace::{self, Work};
use crate::scope::{self, OpenLaunch, Path, ValueId, add_alias};

use super::{Layout, byte_size};

/// A computed activation.
#[derive(Clone)]
pub(crate) enum Value {
    /// A tensor, in the layout `Nchw` if it is an image.
    Tensor(Tensor),
    /// A channel-blocked activation, in the layout `Nchwc`.
    Blocked(Arc<BlockedTensor>),
}

impl Value {
    /// Returns the identity of the value in a recorded execution.
    pub(super) fn id(&self) -> ValueId {
        match self {
            Self::Tensor(tensor) => ValueId::Tensor(tensor.id()),
            Self::Blocked(blocked) => ValueId::Blocked(blocked.id()),
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Blocked(blocked) => blocked.shape(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Tensor(tensor) => tensor.dtype(),
            Self::Blocked(_) => DType::F32,
        }
    }

    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Tensor(tensor) => tensor.device().clone(),
            Self::Blocked(_) => Device::Cpu,
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        match self {
            Self::Tensor(_) => Layout::Nchw,
            Self::Blocked(_) => Layout::Nchwc,
        }
    }

    /// Returns the arena of a channel-blocked activation, and `None` for a tensor.
    pub(super) fn arena(&self) -> Option<Arc<Arena>> {
        match self {
            Self::Tensor(_) => None,
            Self::Blocked(blocked) => Some(blocked.arena().clone()),
        }
    }

    /// Returns the values as a tensor. Reorders a channel-blocked activation.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        let tensor = self.to_tensor()?;
        add_alias(|| Some(self.id()), || ValueId::Tensor(tensor.id()));
        Ok(tensor)
    }

    fn to_tensor(&self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor.clone()),
            Self::Blocked(blocked) if blocked.pixels() == 1 => blocked.pixel_tensor(),
            Self::Blocked(blocked) if blocked.has_cached_tensor() => blocked.to_tensor(),
            Self::Blocked(blocked) => {
                let _launch = self.begin_reordering(trace::TO_NCHW);
                blocked.to_tensor()
            }
        }
    }

    /// Returns the values as a channel-blocked activation. Reorders a tensor.
    pub(super) fn blocked(&self, arena: &Arc<Arena>) -> Result<Arc<BlockedTensor>> {
        match self {
            Self::Blocked(blocked) => Ok(blocked.clone()),
            Self::Tensor(tensor) => {
                // The elements of a single pixel are in the same order in both layouts.
                let is_pixel = matches!(tensor.dims(), [_, _, 1, 1]);
                let _launch = (!is_pixel).then(|| self.begin_reordering(trace::TO_NCHWC));
                BlockedTensor::from_tensor(arena, tensor).map(Arc::new)
            }
        }
    }

    /// Begins a launch that converts the values to the other layout.
    fn begin_reordering(&self, operation: &'static str) -> OpenLaunch {
        let launch = scope::begin_launch(&Device::Cpu, Path::current, || operation.to_string());
        trace::add_work(|| {
            let bytes = self.byte_size();
            Work { bytes_read: bytes, bytes_written: bytes, ..Work::default() }
        });
        launch
    }

    /// Returns the size of the values in bytes, without the lanes after the last channel.
    pub(super) fn byte_size(&self) -> u64 {
        byte_size(self.shape().dims(), self.dtype())
    }

    /// Returns the values as a tensor if `requested` is [`Layout::Nchw`]. Otherwise returns `self` unchanged.
    pub(super) fn reorder_if_nchw(self, requested: Layout) -> Result<Self> {
        match requested {
            Layout::Nchw => self.tensor().map(Self::Tensor),
            Layout::Nchwc => Ok(self),
        }
    }
}

impl From<BlockedTensor> for Value {
    fn from(blocked: BlockedTensor) -> Self {
        Self::Blocked(Arc::new(blocked))
    }
}
