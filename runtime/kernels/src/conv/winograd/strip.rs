//! Strips: a few rows of `LANES` channels of an image, with the channels side by side in a vector.
//!
//! Images keep each channel's rows together, the transforms want one pixel's channels in one vector;
//! a strip is small enough for the innermost cache, and is written and read a square block at a time.

use crate::activation::Activation;
use crate::activation::activate;
use crate::conv::cpu::{ElementPtr, OutputPtr};
use crate::simd::Simd;
use crate::simd::transpose;

/// A rectangle of one image `[channels, height, width]`, as a strip `[rows][cols][LANES]` holds it.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// The image's size.
    pub height: usize,
    pub width: usize,
    /// The rectangle's first row and column, negative within the padding before the image.
    pub top: isize,
    pub left: isize,
    pub rows: usize,
    pub cols: usize,
    /// How many of the strip's channels exist.
    pub channels: usize,
}

impl Window {
    /// The part of the columns `[first, last)` that lies within the image.
    #[inline(always)]
    pub(super) fn columns_inside(&self) -> (usize, usize) {
        let first = (-self.left).clamp(0, self.cols as isize);
        let last = (self.width as isize - self.left).clamp(first, self.cols as isize);
        (first as usize, last as usize)
    }

    /// The image's row that is row `row` of the window, if it lies within the image.
    #[inline(always)]
    fn image_row(&self, row: usize) -> Option<usize> {
        let y = self.top + row as isize;
        (0..self.height as isize).contains(&y).then_some(y as usize)
    }
}

/// The floats that a strip of `rows × cols` pixels takes: it may be written one block too far.
pub(super) const fn strip_len(rows: usize, cols: usize, lanes: usize) -> usize {
    (rows * cols + lanes) * lanes
}

/// The largest square block.
const BLOCK: usize = 16 * 16;

/// Copies a window into a strip, zeros where it leaves the image and in channels that do not exist.
///
/// # Safety
/// `image` points to the window's first channel, of as many as the window says; `strip` has
/// [`strip_len`] floats.
#[inline(always)]
pub(super) unsafe fn load_strip<S: Simd>(simd: S, window: &Window, image: ElementPtr, strip: *mut f32) {
    let (first, last) = window.columns_inside();
    for row in 0..window.rows {
        // SAFETY: the row's pixels from `first` to `last` are inside the image. A block may reach beyond
        // the strip's row, into what is written next, and beyond the last one by less than a block.
        unsafe {
            let strip = strip.add(row * window.cols * S::LANES);
            let Some(y) = window.image_row(row) else {
                fill_zero(simd, strip, window.cols);
                continue;
            };
            let mut col = first;
            while col < last {
                let here = col_or_last_whole(col, first, last, S::LANES);
                let count = (last - here).min(S::LANES);
                let pixels = image.at((y * window.width + here).wrapping_add_signed(window.left));
                load_block(simd, window, pixels, count, strip.add(here * S::LANES));
                col = here + count;
            }
            fill_zero(simd, strip, first);
            fill_zero(simd, strip.add(last * S::LANES), window.cols - last);
        }
    }
}

/// `col`, or the place of the last whole vector where one from `col` would reach beyond `last`.
#[inline(always)]
fn col_or_last_whole(col: usize, first: usize, last: usize, lanes: usize) -> usize {
    if col + lanes > last && last - first >= lanes { last - lanes } else { col }
}

/// # Safety
/// `strip` has `cols` pixels.
#[inline(always)]
unsafe fn fill_zero<S: Simd>(simd: S, strip: *mut f32, cols: usize) {
    for col in 0..cols {
        // SAFETY: the caller's bound.
        unsafe { simd.store(strip.add(col * S::LANES), simd.zero()) }
    }
}

/// # Safety
/// `pixels` points to `count` pixels in each of the window's channels, `strip` to `LANES` pixels.
#[inline(always)]
unsafe fn load_block<S: Simd>(simd: S, window: &Window, pixels: ElementPtr, count: usize, strip: *mut f32) {
    let plane = window.height * window.width;
    // SAFETY: the caller's bounds; the block is the largest there is.
    unsafe {
        if let ElementPtr::F32(pixels) = pixels
            && count == S::LANES
            && window.channels == S::LANES
        {
            return transpose(simd, pixels, plane, strip, S::LANES);
        }
        let mut block = [0.; BLOCK];
        for channel in 0..window.channels {
            let row = pixels.at(channel * plane).load(simd, count);
            simd.store(block.as_mut_ptr().add(channel * S::LANES), row);
        }
        transpose(simd, block.as_ptr(), S::LANES, strip, S::LANES);
    }
}

/// What is done to the results on their way out of a strip.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// Added first: the same place of an image as the output's.
    pub residual: Option<ElementPtr>,
    pub activation: Activation,
}

/// Copies a strip into a window that lies within an image, finished.
///
/// # Safety
/// `image` and the residual point to the window's first channel, of as many as the window says;
/// `strip` has [`strip_len`] floats, `strip_cols` pixels a row.
#[inline(always)]
pub(super) unsafe fn store_strip<S: Simd>(
    simd: S,
    window: &Window,
    strip: *const f32,
    strip_cols: usize,
    image: OutputPtr,
    finish: Finish,
) {
    for row in 0..window.rows {
        let mut col = 0;
        while col < window.cols {
            let here = col_or_last_whole(col, 0, window.cols, S::LANES);
            let count = (window.cols - here).min(S::LANES);
            // SAFETY: `here + count ≤ cols`. Where a block reaches beyond the strip's row, into the next
            // or the spare block at the end, what it reads there is not stored.
            unsafe {
                let strip = strip.add((row * strip_cols + here) * S::LANES);
                let at = (window.top as usize + row) * window.width + window.left as usize + here;
                store_block(simd, window, strip, count, image.at(at), finish.at(at));
            }
            col = here + count;
        }
    }
}

impl Finish {
    #[inline(always)]
    fn at(self, offset: usize) -> Self {
        let residual = self.residual.map(|residual| residual.at(offset));
        Self { residual, ..self }
    }
}

/// # Safety
/// `pixels` and the residual have `count` pixels in each of the window's channels, `strip` has `LANES`.
#[inline(always)]
unsafe fn store_block<S: Simd>(
    simd: S,
    window: &Window,
    strip: *const f32,
    count: usize,
    pixels: OutputPtr,
    finish: Finish,
) {
    let plane = window.height * window.width;
    let mut block = std::mem::MaybeUninit::<[f32; BLOCK]>::uninit();
    let block = block.as_mut_ptr().cast::<f32>();
    // SAFETY: the caller's bounds; the block is the largest there is, and written before it is read.
    unsafe {
        transpose(simd, strip, S::LANES, block, S::LANES);
        for channel in 0..window.channels {
            let mut x = simd.load(block.add(channel * S::LANES));
            if let Some(residual) = finish.residual {
                x = simd.add(x, residual.at(channel * plane).load(simd, count));
            }
            pixels.at(channel * plane).store(simd, count, activate(simd, finish.activation, x));
        }
    }
}
