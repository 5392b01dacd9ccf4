//! The two-dimensional transforms: from tiles of the image to `v`, and from products `m` to tiles of the output.
//!
//! Both work on one strip of `LANES` channels at a time. Columns are transformed for the whole strip, so that the
//! columns that neighboring tiles share are transformed once.

use std::marker::PhantomData;
use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::cpu::epilogue::Affine;
use crate::gemm::RowGroups;
use crate::layout::Layout;
use crate::simd::{Kernel, Simd};

use super::grid::{Grid, Run};
use super::pack::PANEL;
use super::scheme::Scheme;
use super::strip::{Window, load_strip, store_strip, strip_len};
use super::{Operands, nchwc};

/// Returns the maximum number of tiles of a strip. The strip stays in the L1 cache.
pub(in crate::conv::cpu) const fn strip_tiles(stride: usize) -> usize {
    16 / stride
}

/// The number of floats of the largest strip of any scheme and any instruction set.
pub(super) const STRIP_FLOATS: usize = strip_len(8, strip_tiles(1) * 6 + 2, 16);

/// A matrix for each position: the transformed inputs `v` or the products `m` of some tiles.
#[derive(Clone, Copy)]
pub(super) struct Positions {
    pub data: *mut f32,
    /// The distance in floats from one position to the next.
    pub stride: usize,
}

// SAFETY: tasks write disjoint elements, and tasks that read start after all writes.
unsafe impl Send for Positions {}
// SAFETY: as above.
unsafe impl Sync for Positions {}

impl Positions {
    /// Returns the matrices without their first `offset` elements.
    ///
    /// # Safety
    /// The matrices have more than `offset` elements.
    #[inline(always)]
    unsafe fn at(self, offset: usize) -> Self {
        // SAFETY: guaranteed by the caller.
        Self { data: unsafe { self.data.add(offset) }, ..self }
    }
}

/// The first step: transforms some channels of some tiles. No other task accesses the elements of `v` for these
/// channels and tiles.
pub(super) struct InputTransform<'a, F, const OUT: usize, const IN: usize> {
    pub scheme: PhantomData<F>,
    pub operands: &'a Operands<'a>,
    /// The tiles of the block to which `v` belongs.
    pub block: Range<usize>,
    /// The tiles to transform, all of them in the block.
    pub tiles: Range<usize>,
    /// The first channel is a multiple of [`PANEL`], which is a multiple of every instruction set's lanes.
    pub channels: Range<usize>,
    /// [`STRIP_FLOATS`] floats.
    pub strip: *mut f32,
    /// The transformed tiles of the block, at each position in the order of [`RowGroups::offset`].
    pub v: Positions,
}

impl<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Kernel for InputTransform<'_, F, OUT, IN> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { operands, block, tiles, channels, strip, v, .. } = self;
        let ConvShape { in_channels, input: [height, width], geometry, .. } = *operands.shape;
        let [[top, _], [left, _]] = geometry.padding;
        let groups = RowGroups::new::<S>(block.len());
        for run in operands.grid.runs(tiles, strip_tiles(F::STRIDE)) {
            for channel in channels.clone().step_by(S::LANES) {
                let window = Window {
                    height,
                    width,
                    top: (run.row * OUT * F::STRIDE) as isize - top as isize,
                    left: (run.col * OUT * F::STRIDE) as isize - left as isize,
                    rows: IN,
                    cols: (run.count * OUT - 1) * F::STRIDE + 3,
                    channels: (channels.end - channel).min(S::LANES),
                };
                // SAFETY: the run is inside the grid, so the channel's planes exist; a run has at most
                // `strip_tiles` tiles; `v` covers the run.
                unsafe {
                    match operands.layout {
                        Layout::Nchw => {
                            let plane = (run.image * in_channels + channel) * height * width;
                            load_strip(simd, &window, operands.input.at(plane), strip);
                            transform_columns::<S, F, OUT, IN>(simd, strip, window.cols);
                        }
                        Layout::Nchwc => {
                            let plane = run.image * in_channels.div_ceil(S::LANES) + channel / S::LANES;
                            let image = operands.input.at(plane * height * width * S::LANES);
                            nchwc::transform_columns::<S, F, OUT, IN>(simd, &window, image, strip);
                        }
                    }
                    for tile in 0..run.count {
                        let tile_in_block = run.first - block.start + tile;
                        let v_at = groups.offset(tile_in_block, channel, in_channels, S::LANES);
                        let v = v.at(v_at);
                        transform_rows::<S, F, OUT, IN>(
                            simd,
                            strip.add(tile * OUT * F::STRIDE * S::LANES),
                            window.cols,
                            v,
                        );
                    }
                }
            }
        }
    }
}

/// Loads `N` vectors, `step` floats apart.
///
/// # Safety
/// `from` has these vectors.
#[inline(always)]
pub(super) unsafe fn load_vectors<S: Simd, const N: usize>(
    simd: S,
    from: *const f32,
    step: usize,
) -> [S::V; N] {
    let mut vectors = [simd.zero(); N];
    for (i, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: guaranteed by the caller.
        *vector = unsafe { simd.load(from.add(i * step)) };
    }
    vectors
}

/// Stores `N` vectors, `step` floats apart.
///
/// # Safety
/// `to` has room for these vectors.
#[inline(always)]
pub(super) unsafe fn store_vectors<S: Simd, const N: usize>(
    simd: S,
    vectors: [S::V; N],
    to: *mut f32,
    step: usize,
) {
    for (i, vector) in vectors.into_iter().enumerate() {
        // SAFETY: guaranteed by the caller.
        unsafe { simd.store(to.add(i * step), vector) }
    }
}

/// Computes `Bᵀ d` for every column `d` of the strip, in place.
///
/// # Safety
/// `strip` has `IN` rows of `cols` pixels.
#[inline(always)]
unsafe fn transform_columns<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    strip: *mut f32,
    cols: usize,
) {
    for col in 0..cols {
        // SAFETY: `row < IN` and `col < cols`.
        unsafe {
            let column = strip.add(col * S::LANES);
            let d = load_vectors(simd, column, cols * S::LANES);
            store_vectors(simd, F::input(simd, d), column, cols * S::LANES);
        }
    }
}

/// Computes `d B` for every row `d` of a tile whose columns are already transformed, and writes it to `v`.
///
/// # Safety
/// `strip` has `IN` rows, which are `cols` pixels apart, and `v` has a vector at each position.
#[inline(always)]
unsafe fn transform_rows<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    strip: *const f32,
    cols: usize,
    v: Positions,
) {
    for row in 0..IN {
        // SAFETY: `row < IN` and `col < IN`, both in the tile and in the positions.
        unsafe {
            let d = load_vectors(simd, strip.add(row * cols * S::LANES), S::LANES);
            store_vectors(simd, F::input(simd, d), v.data.add(row * IN * v.stride), v.stride);
        }
    }
}

/// The third step: transforms the products of some tiles with some panels of output channels into outputs, which no
/// other task accesses.
pub(super) struct OutputTransform<'a, F, const OUT: usize, const IN: usize> {
    pub scheme: PhantomData<F>,
    pub operands: &'a Operands<'a>,
    pub tiles: Range<usize>,
    pub panels: Range<usize>,
    /// `[panel][tile][PANEL]` at each position.
    pub m: Positions,
    /// [`STRIP_FLOATS`] floats.
    pub strip: *mut f32,
}

impl<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Kernel for OutputTransform<'_, F, OUT, IN> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { operands, tiles, panels, strip, .. } = self;
        for (i, first) in panels.map(|panel| panel * PANEL).enumerate() {
            // SAFETY: `m` has every panel.
            let m = unsafe { self.m.at(i * tiles.len() * PANEL) };
            let last = operands.shape.out_channels.min(first + PANEL);
            for channel in (first..last).step_by(S::LANES) {
                let channels = channel..last.min(channel + S::LANES);
                let affine: Affine<S, 1> = operands.writer.vectors(simd, channel);
                for run in operands.grid.runs(tiles.clone(), strip_tiles(F::STRIDE)) {
                    // SAFETY: the run is inside the tiles, which `m` covers.
                    unsafe {
                        let m_at = (run.first - tiles.start) * PANEL + channel - first;
                        let m = m.at(m_at);
                        combine_rows::<S, F, OUT, IN>(simd, m, run.count, strip);
                        match operands.layout {
                            Layout::Nchw => {
                                combine_columns::<S, F, OUT, IN>(simd, strip, run.count * OUT, &affine);
                                store_run::<S, OUT>(simd, operands, &run, channels.clone(), strip, &affine);
                            }
                            Layout::Nchwc => {
                                nchwc::combine_columns::<S, F, OUT, IN>(
                                    simd, operands, &run, channel, strip, &affine,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Computes `m A` for every row `m` of every tile of products, and writes it to a strip of `IN` rows.
///
/// # Safety
/// `m` covers `tiles` tiles, and `strip` has `IN` rows of `tiles · OUT` pixels.
#[inline(always)]
unsafe fn combine_rows<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    m: Positions,
    tiles: usize,
    strip: *mut f32,
) {
    for row in 0..IN {
        for tile in 0..tiles {
            // SAFETY: position `row · IN + col` is below `IN²`, `tile` below `tiles`.
            unsafe {
                let products = load_vectors(simd, m.data.add(row * IN * m.stride + tile * PANEL), m.stride);
                let pixels = strip.add((row * tiles + tile) * OUT * S::LANES);
                store_vectors(simd, F::output(simd, products), pixels, S::LANES);
            }
        }
    }
}

/// Computes `Aᵀ m`, scaled and shifted, for every column `m` of the strip, in place: `IN` rows become `OUT` rows.
///
/// # Safety
/// `strip` has `IN` rows of `cols` pixels.
#[inline(always)]
unsafe fn combine_columns<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    strip: *mut f32,
    cols: usize,
    affine: &Affine<S, 1>,
) {
    for col in 0..cols {
        // SAFETY: `row < IN` and `col < cols`.
        unsafe {
            let column = strip.add(col * S::LANES);
            let mut y = F::output(simd, load_vectors(simd, column, cols * S::LANES));
            for y in &mut y {
                *y = simd.fma(*y, affine.scale[0], affine.shift[0]);
            }
            store_vectors(simd, y, column, cols * S::LANES);
        }
    }
}

/// Stores the results of a run of tiles, except for the pixels beyond the output's edges.
///
/// # Safety
/// `strip` has `OUT` rows of `run.count · OUT` pixels; no other task accesses the run's outputs.
#[inline(always)]
unsafe fn store_run<S: Simd, const OUT: usize>(
    simd: S,
    operands: &Operands,
    run: &Run,
    channels: Range<usize>,
    strip: *const f32,
    affine: &Affine<S, 1>,
) {
    let Grid { output: [height, width], .. } = operands.grid;
    let (top, left) = (run.row * OUT, run.col * OUT);
    let window = Window {
        height,
        width,
        top: top as isize,
        left: left as isize,
        rows: OUT.min(height - top),
        cols: (run.count * OUT).min(width - left),
        channels: channels.len(),
    };
    let plane = (run.image * operands.shape.out_channels + channels.start) * height * width;
    // SAFETY: the planes are inside the output, and the window inside a plane.
    unsafe { store_strip(simd, &window, strip, run.count * OUT, operands, plane, affine) }
}
