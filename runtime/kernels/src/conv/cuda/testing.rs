//! The forward pass in a chosen variant, for checks and benchmarks.

use super::forward;
use super::run::launched;
use crate::conv::{ConvGeometry, ConvShape, Epilogue};
use crate::cuda::target_of;
use candle_core::{Result, Tensor};

/// Does the same as [`conv2d`](crate::conv2d) in one of the [variants](forward::variants), so that they can be timed.
pub fn conv2d_by(
    variant: forward::Variant,
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    launched(input, weight, &shape, epilogue, |options, _| {
        forward::program_with(&shape, input.dtype(), options, variant)
    })
}

/// The variants for operands on a CUDA device, the one that is chosen first, each with the cycles that the choice
/// expects of it.
pub fn variants_on(
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
) -> Result<Vec<(forward::Variant, f64)>> {
    let shape = ConvShape::of(input, weight, geometry, &Epilogue::default())?;
    let target = target_of(input.device())?;
    Ok(forward::ranked(&shape, input.dtype(), &target))
}
