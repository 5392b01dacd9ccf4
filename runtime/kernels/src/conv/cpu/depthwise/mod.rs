//! Depthwise convolutions, in which each output channel reads one input channel, in both layouts.
//!
//! With few products per element, the time is that of moving elements through registers. The kernels therefore read
//! the input in place, row by row, without an input tile.

mod nchw;
pub(super) mod nchwc;

use std::ops::Range;

use crate::layout::Layout;
use crate::parallel::{self, cost};

use super::elements::OutputPtr;
use super::operand::Call;
use super::problem::ConvProblem;

pub(super) fn supports(problem: &ConvProblem) -> bool {
    match (problem.input, problem.output) {
        (Layout::Nchw, Layout::Nchw) => nchw::supports(&problem.shape),
        (Layout::Nchwc, Layout::Nchwc) => nchwc::supports(&problem.shape),
        _ => false,
    }
}

/// Convolves into `output`. Returns `false` if a weight is not finite, because its product with a zero of
/// the padding would be NaN.
pub(super) fn conv2d(problem: &ConvProblem, call: &Call<'_>, output: OutputPtr) -> bool {
    match problem.output {
        Layout::Nchw => nchw::conv2d(&problem.shape, call, problem.isa, output),
        Layout::Nchwc => {
            nchwc::conv2d(problem, call, output);
            true
        }
    }
}

/// Divides `count` pieces of the output into jobs that each access at least `least` of the `elements`, and runs them in
/// parallel.
fn for_each_job(count: usize, elements: usize, least: usize, run: impl Fn(Range<usize>) + Sync) {
    let jobs = cost::task_count(elements, least).min(count);
    let bound = |job: usize| job * count / jobs;
    parallel::for_each(jobs, &|job| run(bound(job)..bound(job + 1)));
}

/// Returns the taps whose positions `first + tap · dilation` lie within `padding..padding + size`.
#[inline(always)]
fn inside(first: usize, padding: usize, size: usize, dilation: usize, taps: usize) -> Range<usize> {
    let start = padding.saturating_sub(first).div_ceil(dilation).min(taps);
    let end = (size + padding).saturating_sub(first).div_ceil(dilation).min(taps);
    start..end.max(start)
}
