//! The gradients of residual and bias, and sums that are cut into parts.

use super::launches::{Launches, THREADS};
use super::sizes::int;
use crate::cuda::{Arg, named};
use candle_core::Result;

const MODULE: &str = "conv_backward_sum";
/// Sums that one block adds up the parts of.
pub(super) const WIDTH: usize = 32;
/// Blocks that a sum is spread over, where it has the work.
const BLOCKS: usize = 512;

/// How the pixels of a batch are cut: by the shape alone, so that every sum is added in one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub count: usize,
    /// Pixels of each part but the last, a multiple of the kernel's step.
    pub pixels: usize,
}

impl Parts {
    /// For a kernel that works on `blocks` blocks without a cut, takes `step` pixels at a time and is to have
    /// `least` of them at least.
    pub fn new(pixels: usize, blocks: usize, step: usize, least: usize) -> Self {
        let wanted = (BLOCKS / blocks.max(1)).clamp(1, (pixels / least).max(1));
        let each = pixels.div_ceil(wanted).next_multiple_of(step).max(step);
        Self { count: pixels.div_ceil(each).max(1), pixels: each }
    }
}

/// Writes the masked gradient to `residual` and its sums over each channel to `bias`, in one pass.
pub(super) fn mask(plan: &mut Launches, residual: Option<Arg>, bias: Option<Arg>) -> Result<()> {
    let shape = plan.shape;
    let (channels, plane) = (shape.out_channels, shape.output[0] * shape.output[1]);
    let pixels = shape.batch * plane;
    let parts = Parts::new(pixels, channels, THREADS as usize, 16 * THREADS as usize);
    let sums = match bias {
        Some(_) => plan.scratch(parts.count * channels, plan.accumulator()),
        None => Arg::Absent,
    };
    let gradient = plan.gradient.clone();
    let [kind, parameter] = gradient.activation;
    let sizes = [channels, plane, pixels, parts.pixels].map(int);
    let mut args = vec![
        gradient.gradient,
        gradient.output,
        residual.unwrap_or(Arg::Absent),
        sums.clone(),
        kind,
        parameter,
    ];
    for size in sizes {
        args.push(Arg::Int(size?));
    }
    let kernel = named!(plan.dtype, "conv_backward_mask");
    plan.launch([MODULE, kernel], parts.count * channels, THREADS, 0, args)?;
    match bias {
        Some(bias) => sum(plan, sums, bias, channels, parts.count),
        None => Ok(()),
    }
}

/// Adds up `count` sums of `parts` parts each, `[part, sum]`.
pub(super) fn sum(plan: &mut Launches, sums: Arg, result: Arg, count: usize, parts: usize) -> Result<()> {
    let args = vec![sums, result, Arg::Int(int(count)?), Arg::Int(int(parts)?)];
    let kernel = named!(plan.dtype, "conv_backward_sum");
    plan.launch([MODULE, kernel], count.div_ceil(WIDTH), THREADS, 0, args)
}
