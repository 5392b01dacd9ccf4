//! Strips: a few rows of `LANES` channels of an image, with the channels of a pixel in one vector.
//!
//! A strip is small enough for the L1 cache. This module copies strips from and to `Nchw` images, one *block* at a
//! time. A block has `LANES` pixels of a row in `LANES` channels. It is transposed between the image's order
//! `[channel][pixel]` and the strip's order `[pixel][channel]`.

use std::ops::Range;

use crate::conv::cpu::elements::ElementPtr;
use crate::conv::cpu::epilogue::Affine;
use crate::conv::cpu::tile::store_zeros;
use crate::simd::{Simd, transpose};

use super::Operands;

/// The rectangle of an image `[channels, height, width]` that a strip `[rows][cols][LANES]` holds.
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
    /// The number of the strip's channels that are channels of the image. The other lanes are padding.
    pub channels: usize,
}

impl Window {
    /// Returns the start and the end of the window's columns that lie within the image.
    #[inline(always)]
    pub(super) fn columns_inside(&self) -> (usize, usize) {
        let start = (-self.left).clamp(0, self.cols as isize);
        let end = (self.width as isize - self.left).clamp(start, self.cols as isize);
        (start as usize, end as usize)
    }

    /// Returns the image row at row `row` of the window, or `None` outside of the image.
    #[inline(always)]
    fn image_row(&self, row: usize) -> Option<usize> {
        let y = self.top + row as isize;
        (0..self.height as isize).contains(&y).then_some(y as usize)
    }
}

/// Returns the number of floats of a strip of `rows × cols` pixels, plus one spare block, because writes may pass the
/// end of the last row.
pub(super) const fn strip_len(rows: usize, cols: usize, lanes: usize) -> usize {
    (rows * cols + lanes) * lanes
}

/// The number of floats of a square block of the largest vectors.
const BLOCK_FLOATS: usize = 16 * 16;

/// Copies a window into a strip, with zeros outside of the image and in channels that do not exist.
///
/// # Safety
/// `image` points to the first of the window's channels; `strip` has [`strip_len`] floats.
#[inline(always)]
pub(super) unsafe fn load_strip<S: Simd>(simd: S, window: &Window, image: ElementPtr, strip: *mut f32) {
    let (start, end) = window.columns_inside();
    for row in 0..window.rows {
        // SAFETY: the pixels `start..end` of the row are inside the image. A block may pass the end of the
        // strip's row into the row that is written next, and the end of the last row by less than a block.
        unsafe {
            let strip = strip.add(row * window.cols * S::LANES);
            let Some(y) = window.image_row(row) else {
                store_zeros(simd, strip, window.cols);
                continue;
            };
            let mut col = start;
            while col < end {
                let first = block_start(col, start..end, S::LANES);
                let count = (end - first).min(S::LANES);
                let pixels = image.at((y * window.width + first).wrapping_add_signed(window.left));
                load_block(simd, window, pixels, count, strip.add(first * S::LANES));
                col = first + count;
            }
            store_zeros(simd, strip, start);
            store_zeros(simd, strip.add(end * S::LANES), window.cols - end);
        }
    }
}

/// Returns the first column of the block that contains the column `col`. The block starts with `col`, unless it would
/// then pass the end of `columns`. In this case, it ends with `columns`, if `columns` has room for a whole block.
#[inline(always)]
fn block_start(col: usize, columns: Range<usize>, lanes: usize) -> usize {
    if col + lanes > columns.end && columns.len() >= lanes { columns.end - lanes } else { col }
}

/// Transposes a block of `count` pixels of the image into a strip.
///
/// # Safety
/// `pixels` points to `count` pixels in each of the window's channels, and `strip` points to `LANES` pixels.
#[inline(always)]
unsafe fn load_block<S: Simd>(simd: S, window: &Window, pixels: ElementPtr, count: usize, strip: *mut f32) {
    let plane = window.height * window.width;
    // SAFETY: the caller guarantees the bounds; `block` has room for the largest square block.
    unsafe {
        if let ElementPtr::F32(pixels) = pixels
            && count == S::LANES
            && window.channels == S::LANES
        {
            return transpose(simd, pixels, plane, strip, S::LANES);
        }
        let mut block = [0.; BLOCK_FLOATS];
        for channel in 0..window.channels {
            let row = pixels.at(channel * plane).load(simd, count);
            simd.store(block.as_mut_ptr().add(channel * S::LANES), row);
        }
        transpose(simd, block.as_ptr(), S::LANES, strip, S::LANES);
    }
}

/// Stores the results of a strip of scaled and shifted sums in a window that lies within an image.
///
/// # Safety
/// `first` is the index, in the output, of pixel (0, 0) in the window's first channel. The output has all of the
/// window's channels, and no other task accesses the window. `strip` has [`strip_len`] floats, in rows of `strip_cols`
/// pixels.
#[inline(always)]
pub(super) unsafe fn store_strip<S: Simd>(
    simd: S,
    window: &Window,
    strip: *const f32,
    strip_cols: usize,
    operands: &Operands,
    first: usize,
    affine: &Affine<S, 1>,
) {
    for row in 0..window.rows {
        let mut col = 0;
        while col < window.cols {
            let start = block_start(col, 0..window.cols, S::LANES);
            let count = (window.cols - start).min(S::LANES);
            let at = first + (window.top as usize + row) * window.width + window.left as usize + start;
            // SAFETY: `start + count ≤ cols`. A block may reach beyond the strip's row, into the next row or the spare
            // block at the end; the pixels that it reads there are not stored.
            unsafe {
                let strip = strip.add((row * strip_cols + start) * S::LANES);
                store_block(simd, window, strip, [at, count], operands, affine);
            }
            col = start + count;
        }
    }
}

/// Transposes a block of a strip, applies the residual and the activation, and stores `count` pixels.
///
/// # Safety
/// The output has the elements `at..at + count` and, in the window's other channels, the pixels at the same place.
/// `strip` has `LANES` pixels.
#[inline(always)]
unsafe fn store_block<S: Simd>(
    simd: S,
    window: &Window,
    strip: *const f32,
    [at, count]: [usize; 2],
    operands: &Operands,
    affine: &Affine<S, 1>,
) {
    let plane = window.height * window.width;
    let mut block = std::mem::MaybeUninit::<[f32; BLOCK_FLOATS]>::uninit();
    let block = block.as_mut_ptr().cast::<f32>();
    // SAFETY: the caller guarantees the bounds; `block` has room for the largest square block and is written before it
    // is read.
    unsafe {
        transpose(simd, strip, S::LANES, block, S::LANES);
        let writer = &operands.writer;
        let has_activation_pass = writer.has_activation_pass();
        for channel in 0..window.channels {
            let row = block.add(channel * S::LANES);
            let target = [at + channel * plane, count];
            if has_activation_pass {
                simd.store(row, writer.combine::<S, false>(simd, simd.load(row), affine, target));
            } else {
                writer.store_pixels::<S, true>(simd, simd.load(row), affine, target, operands.output);
            }
        }
        if has_activation_pass {
            let results = std::slice::from_raw_parts_mut(block, window.channels * S::LANES);
            writer.run_activation_pass(simd, results);
            for (channel, row) in results.chunks_exact(S::LANES).enumerate() {
                operands.output.at(at + channel * plane).store(simd, count, simd.load(row.as_ptr()));
            }
        }
    }
}
