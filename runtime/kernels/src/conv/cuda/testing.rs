//! The forward pass with a given kernel and tile (a variant), for checks and benchmarks.

use super::forward;
use super::run::run_forward;
use crate::conv::{ConvGeometry, ConvShape, Epilogue};
use crate::cuda::target_of;
use candle_core::{Result, Tensor};

/// Computes [`conv2d`](crate::conv2d) with one of the [variants](forward::variants).
pub fn conv2d_with_variant(
    variant: forward::Variant,
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    run_forward(input, weight, &shape, epilogue, |options, _| {
        forward::program_with(&shape, input.dtype(), options, variant)
    })
}

/// Returns the variants for operands on a CUDA device with their estimated cycles. The selected variant comes first.
pub fn variants_for(
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
) -> Result<Vec<(forward::Variant, f64)>> {
    let shape = ConvShape::of(input, weight, geometry, &Epilogue::default())?;
    let target = target_of(input.device())?;
    Ok(forward::best_first(&shape, input.dtype(), &target))
}
