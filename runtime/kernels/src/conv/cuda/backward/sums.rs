//! The gradients of the residual and the bias, and the launch that adds the parts of a sum.

use super::program_builder::{ProgramBuilder, THREADS};
use super::sizes::int;
use crate::cuda::{Arg, named};
use candle_core::Result;

const MODULE: &str = "conv_backward_sum";
/// The number of sums that one block computes from their parts.
pub(super) const SUM_WIDTH: usize = 32;
/// The number of blocks that a launch for sums over pixels should have.
const BLOCKS: usize = 512;

/// The partition of the batch's output pixels into parts. Depends only on the shape and the kernel, so the order of
/// every sum is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// The number of parts.
    pub count: usize,
    /// The number of pixels in each part except the last, a multiple of the kernel's step.
    pub pixels: usize,
}

impl Parts {
    /// Partitions `pixels` for a kernel that has `blocks` blocks for each part and reads `step` pixels at a time. All
    /// parts but the last have at least `min_pixels` pixels, unless there is a single part.
    pub fn new(pixels: usize, blocks: usize, step: usize, min_pixels: usize) -> Self {
        let wanted = (BLOCKS / blocks.max(1)).clamp(1, (pixels / min_pixels).max(1));
        let part_pixels = pixels.div_ceil(wanted).next_multiple_of(step).max(step);
        Self { count: pixels.div_ceil(part_pixels).max(1), pixels: part_pixels }
    }
}

/// Adds the launches that write the masked gradient to `residual`, if given, and its sum over each channel to `bias`,
/// if given.
pub(super) fn mask(builder: &mut ProgramBuilder, residual: Option<Arg>, bias: Option<Arg>) -> Result<()> {
    let shape = builder.shape;
    let channels = shape.out_channels;
    let plane = shape.output[0] * shape.output[1];
    let pixels = shape.batch * plane;
    let parts = Parts::new(pixels, channels, THREADS as usize, 16 * THREADS as usize);
    let partial = match bias {
        Some(_) => builder.scratch(parts.count * channels, builder.accumulator()),
        None => Arg::Absent,
    };
    let gradient = builder.gradient.clone();
    let [kind, parameter] = gradient.activation;
    let sizes = [channels, plane, pixels, parts.pixels].map(int);
    let mut args = vec![
        gradient.gradient,
        gradient.output,
        residual.unwrap_or(Arg::Absent),
        partial.clone(),
        kind,
        parameter,
    ];
    for size in sizes {
        args.push(Arg::Int(size?));
    }
    let kernel = named!(builder.dtype, "conv_backward_mask");
    builder.launch([MODULE, kernel], parts.count * channels, THREADS, 0, args)?;
    match bias {
        Some(bias) => sum(builder, partial, bias, channels, parts.count),
        None => Ok(()),
    }
}

/// Adds the launch that sums each column of `partial`, `[parts, count]`, and writes the sums to `result`.
pub(super) fn sum(
    builder: &mut ProgramBuilder,
    partial: Arg,
    result: Arg,
    count: usize,
    parts: usize,
) -> Result<()> {
    let args = vec![partial, result, Arg::Int(int(count)?), Arg::Int(int(parts)?)];
    let kernel = named!(builder.dtype, "conv_backward_sum");
    builder.launch([MODULE, kernel], count.div_ceil(SUM_WIDTH), THREADS, 0, args)
}
