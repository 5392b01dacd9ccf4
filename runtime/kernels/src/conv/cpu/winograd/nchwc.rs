//! The transforms of columns for `Nchwc` images. A pixel of such an image is already a vector of `LANES` channels.
//! Columns are therefore read from the image, and results are stored from registers, without a transposition.

use std::sync::atomic::Ordering;

use crate::conv::cpu::elements::ElementPtr;
use crate::conv::cpu::epilogue::{Affine, Destination};
use crate::simd::Simd;

use super::Operands;
use super::grid::{Grid, Run};
use super::scheme::Scheme;
use super::strip::Window;
use super::transform::{load_vectors, store_vectors};

/// Computes `Bᵀ d` for every column of a window, with zeros outside of the image, and writes it to a strip.
///
/// # Safety
/// `image` is a block `[height, width, LANES]`, and `strip` has `IN` rows of the window's columns.
#[inline(always)]
pub(super) unsafe fn transform_columns<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    window: &Window,
    image: ElementPtr,
    strip: *mut f32,
) {
    // The columns `start..end` and the rows `top..bottom` of the window lie within the image.
    let (start, end) = window.columns_inside();
    let top = (-window.top).clamp(0, IN as isize) as usize;
    let bottom = (window.height as isize - window.top).clamp(0, IN as isize) as usize;
    let origin = (window.top * window.width as isize + window.left) * S::LANES as isize;
    for col in 0..window.cols {
        let column = image.at((origin + (col * S::LANES) as isize) as usize);
        let mut d = [simd.zero(); IN];
        for (row, d) in d.iter_mut().enumerate() {
            if start <= col && col < end && top <= row && row < bottom {
                // SAFETY: the row and the column lie within the image.
                *d = unsafe { column.at(row * window.width * S::LANES).load(simd, S::LANES) };
            }
        }
        // SAFETY: the strip has `IN` rows of the column.
        unsafe {
            let column = strip.add(col * S::LANES);
            store_vectors(simd, F::input(simd, d), column, window.cols * S::LANES);
        }
    }
}

/// Computes `Aᵀ m` for every column of the strip and stores the results, except for the pixels beyond the output's
/// edges.
///
/// # Safety
/// `strip` has `IN` rows of `run.count · OUT` pixels. A block of the output's channels starts with `channel`. No other
/// task accesses the run's outputs.
#[inline(always)]
pub(super) unsafe fn combine_columns<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    operands: &Operands,
    run: &Run,
    channel: usize,
    strip: *const f32,
    affine: &Affine<S, 1>,
) {
    let output = operands.output.as_f32();
    let Grid { output: [height, width], .. } = operands.grid;
    let (top, left) = (run.row * OUT, run.col * OUT);
    let blocks = operands.shape.out_channels.div_ceil(S::LANES);
    let plane = (run.image * blocks + channel / S::LANES) * height * width;
    let rows = OUT.min(height - top);
    let cols = (run.count * OUT).min(width - left);
    let to = |row: usize, col: usize| Destination {
        output,
        at: (plane + (top + row) * width + left + col) * S::LANES,
        block: 0,
    };
    // Remains zero while all sums are finite, and becomes NaN at the first product of zero and infinity or NaN.
    let mut zero = simd.zero();
    for col in 0..cols {
        // SAFETY: the strip has `IN` rows of the column.
        let m = unsafe { load_vectors(simd, strip.add(col * S::LANES), run.count * OUT * S::LANES) };
        for (row, y) in F::output(simd, m).into_iter().enumerate() {
            if row < rows {
                zero = simd.fma(y, simd.zero(), zero);
                // SAFETY: the row and the column lie within the output.
                unsafe {
                    let shifted = affine.shifted(simd, [[y]]);
                    operands.writer.store_vectors(simd, shifted, affine, to(row, col));
                }
            }
        }
    }
    for row in 0..rows {
        // SAFETY: the loop above has stored these pixels.
        unsafe { operands.writer.activate_vectors(simd, affine, to(row, 0), cols) }
    }
    if simd.sum(zero) != 0. {
        operands.has_non_finite_sum.store(true, Ordering::Relaxed);
    }
}
