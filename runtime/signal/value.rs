//! A computed activation, in one of the two layouts that layers hand on.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};

use crate::kernels::internal::Arena;
use crate::kernels::internal::blocked::Image;
use crate::kernels::trace;
use crate::scope::{self, Path};

/// Which of the two layouts somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Planes,
    Blocks,
}

/// Numbers in rows, or in the kernels' own layout.
#[derive(Clone)]
pub(crate) enum Value {
    Tensor(Tensor),
    Blocked(Arc<Image>),
}

impl Value {
    pub(crate) fn shape(&self) -> &Shape {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Blocked(image) => image.shape(),
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

    pub(crate) fn is_blocked(&self) -> bool {
        matches!(self, Self::Blocked(_))
    }

    /// In rows; a pass over memory where it lies otherwise.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor.clone()),
            Self::Blocked(image) if image.pixels() == 1 => image.pixel_tensor(),
            Self::Blocked(image) => {
                if !image.has_planes() {
                    scope::launched(Path::current, || trace::TO_PLANES.to_string());
                }
                image.to_tensor()
            }
        }
    }

    /// In blocks; a pass over memory where it lies otherwise.
    pub(super) fn image(&self, arena: &Arc<Arena>) -> Result<Arc<Image>> {
        match self {
            Self::Blocked(image) => Ok(image.clone()),
            Self::Tensor(tensor) => {
                scope::launched(Path::current, || trace::TO_BLOCKS.to_string());
                Image::from_tensor(arena, tensor).map(Arc::new)
            }
        }
    }
}
