//! Depthwise convolutions, in which each output channel reads one input channel, in both layouts.
//!
//! With small kernels, there are few products per element, so most of the time is spent on loads and stores. These
//! kernels therefore read the input in place, row by row, without an input tile. Larger `Nchw` kernels copy the rows.

mod nchw;
pub(super) mod nchwc;

use std::ops::Range;

use crate::layout::Layout;
use crate::parallel::{self, cost};

use super::elements::OutputPtr;
use super::operand::Call;
use super::problem::ConvProblem;

/// Returns `true` if the depthwise kernels support the problem.
pub(super) fn supports(problem: &ConvProblem) -> bool {
    match (problem.input, problem.output) {
        (Layout::Nchw, Layout::Nchw) => nchw::supports(&problem.shape),
        (Layout::Nchwc, Layout::Nchwc) => nchwc::supports(&problem.shape),
        _ => false,
    }
}

/// Convolves into `output`. Returns `false` if the layout is `Nchw` and a scaled weight is not finite, because the
/// product of this weight and a zero of the padding would be NaN.
pub(super) fn conv2d(problem: &ConvProblem, call: &Call<'_>, output: OutputPtr) -> bool {
    match problem.output {
        Layout::Nchw => nchw::conv2d(&problem.shape, call, problem.isa, output),
        Layout::Nchwc => {
            nchwc::conv2d(problem, call, output);
            true
        }
    }
}

/// Divides `count` pieces of the output into ranges and calls `run` for each range, in parallel. The number of
/// ranges follows from `elements`, the number of elements that all pieces together access, and `min_elements`, the
/// minimum for a range (see [`cost::task_count`]).
fn for_each_range(count: usize, elements: usize, min_elements: usize, run: impl Fn(Range<usize>) + Sync) {
    let tasks = cost::task_count(elements, min_elements).min(count);
    let bound = |task: usize| task * count / tasks;
    parallel::for_each(tasks, &|task| run(bound(task)..bound(task + 1)));
}

/// Returns the range of taps whose positions `first + tap · dilation` lie within `padding..padding + size`.
#[inline(always)]
fn inside(first: usize, padding: usize, size: usize, dilation: usize, taps: usize) -> Range<usize> {
    let start = padding.saturating_sub(first).div_ceil(dilation).min(taps);
    let end = (size + padding).saturating_sub(first).div_ceil(dilation).min(taps);
    start..end.max(start)
}
