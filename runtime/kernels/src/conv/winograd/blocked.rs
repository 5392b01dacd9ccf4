//! The ends of the transforms where an image keeps the channels of a vector together, as the transforms do:
//! columns come from the image itself, and results go there from registers.

use super::Operands;
use super::grid::{Grid, Run};
use super::scheme::Scheme;
use super::strip::Window;
use super::transform::Affine;
use crate::activation::activate;
use crate::conv::cpu::ElementPtr;
use crate::simd::Simd;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// `Bᵀ d` for every column of a window, zeros where it leaves the image, into a strip.
///
/// # Safety
/// `image` is a block `[height, width, LANES]`, `strip` has `IN` rows of the window's columns.
#[inline(always)]
pub(super) unsafe fn transform_columns<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    window: &Window,
    image: ElementPtr,
    strip: *mut f32,
) {
    let (first, last) = window.columns_inside();
    let top = (-window.top).clamp(0, IN as isize) as usize;
    let bottom = (window.height as isize - window.top).clamp(0, IN as isize) as usize;
    let origin = (window.top * window.width as isize + window.left) * S::LANES as isize;
    for col in 0..window.cols {
        let column = image.at((origin + (col * S::LANES) as isize) as usize);
        let mut d = [simd.zero(); IN];
        for (row, d) in d.iter_mut().enumerate() {
            if first <= col && col < last && top <= row && row < bottom {
                // SAFETY: the row and the column lie within the image.
                *d = unsafe { column.at(row * window.width * S::LANES).load(simd, S::LANES) };
            }
        }
        for (row, t) in F::input(simd, d).into_iter().enumerate() {
            // SAFETY: `row < IN` and `col < cols`.
            unsafe { simd.store(strip.add((row * window.cols + col) * S::LANES), t) }
        }
    }
}

/// `Aᵀ m` for every column of the strip, finished, into the output, what lies beyond its edges left out.
///
/// # Safety
/// `strip` has `IN` rows of `run.count · OUT` pixels, `channels` is a block of the output's; nothing else
/// refers to the run's outputs.
#[inline(always)]
pub(super) unsafe fn combine_columns<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    operands: &Operands,
    run: &Run,
    channels: Range<usize>,
    strip: *const f32,
    affine: Affine<S::V>,
) {
    let Grid { output: [height, width], .. } = operands.grid;
    let (top, left) = (run.row * OUT, run.col * OUT);
    let blocks = operands.shape.out_channels.div_ceil(S::LANES);
    let plane = (run.image * blocks + channels.start / S::LANES) * height * width;
    let existing = (channels.len() < S::LANES).then(|| simd.mask(0, channels.len()));
    // Zero times a finite number is zero, and NaN times anything else.
    let mut zero = simd.zero();
    for col in 0..(run.count * OUT).min(width - left) {
        let mut d = [simd.zero(); IN];
        for (row, d) in d.iter_mut().enumerate() {
            // SAFETY: `row < IN` and `col` is less than the strip's columns.
            *d = unsafe { simd.load(strip.add((row * run.count * OUT + col) * S::LANES)) };
        }
        for (row, y) in F::output(simd, d).into_iter().enumerate() {
            if row >= height - top {
                continue;
            }
            let at = (plane + (top + row) * width + left + col) * S::LANES;
            zero = simd.fma(y, simd.zero(), zero);
            let mut y = simd.fma(y, affine.scale, affine.shift);
            if let Some(residual) = operands.epilogue.residual {
                // SAFETY: the residual is as long as the output.
                y = simd.add(y, unsafe { residual.as_ptr().at(at).load(simd, S::LANES) });
            }
            y = activate(simd, operands.epilogue.activation, y);
            if let Some(existing) = existing {
                y = simd.keep(y, existing);
            }
            // SAFETY: the row and the column lie within the output.
            unsafe { operands.output.at(at).store(simd, S::LANES, y) }
        }
    }
    if simd.sum(zero) != 0. {
        operands.infinite.store(true, Ordering::Relaxed);
    }
}
