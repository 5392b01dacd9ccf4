//! A batch normalised by its own statistics, with the residual and activation that follow.

use std::fmt;

use candle_core::{Result, Tensor};

use crate::kernels::conv::Epilogue;
use crate::kernels::norm::BatchNorm;

/// An input and its statistics.
pub(crate) struct Normalization {
    pub input: Tensor,
    pub norm: BatchNorm,
}

impl Normalization {
    pub(super) fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        self.norm.apply(&self.input, epilogue.residual.as_ref(), epilogue.activation)
    }
}

/// The layer, as errors name it.
impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchNorm {}", self.norm.channels())
    }
}
