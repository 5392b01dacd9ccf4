//! The two-dimensional transforms: tiles of the image to `v`, products `m` to tiles of the output.
//!
//! Both work on one strip of `LANES` channels at a time. Columns are transformed for the whole strip,
//! so that what neighbouring tiles share is transformed once.

use super::blocked;
use super::grid::{Grid, Run};
use super::pack::PANEL;
use super::scheme::Scheme;
use super::strip::{Finish, Window, load_strip, store_strip, strip_len};
use super::{Operands, Shape};
use crate::gemm::RowGroups;
use crate::simd::Simd;
use std::ops::Range;

/// The tiles of a strip: it stays in the innermost cache.
pub(in crate::conv) const fn strip_tiles(stride: usize) -> usize {
    16 / stride
}

/// The floats a strip takes with any scheme and any instruction set.
pub(super) const STRIP: usize = strip_len(8, strip_tiles(1) * 6 + 2, 16);

/// The transformed inputs of a block of tiles, at each position as [`RowGroups::offset`] has them.
#[derive(Clone, Copy)]
pub(super) struct Transformed {
    pub data: *mut f32,
    /// The distance in floats from one position to the next.
    pub position_stride: usize,
}

// SAFETY: tasks that write to it do so at channels of their own, those that read do so when all is written.
unsafe impl Send for Transformed {}
// SAFETY: as above.
unsafe impl Sync for Transformed {}

/// Transforms the channels `channels` of the tiles `tiles`.
///
/// # Safety
/// `strip` has [`STRIP`] floats; `v` covers the tiles and channels, and nothing else refers to them.
#[inline(always)]
pub(super) unsafe fn transform_inputs<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    operands: &Operands,
    tiles: Range<usize>,
    channels: Range<usize>,
    strip: *mut f32,
    v: Transformed,
) {
    let Shape { in_channels, input: [height, width], padding, .. } = operands.shape;
    let groups = RowGroups::new::<S>(tiles.len());
    for run in operands.grid.runs(tiles.clone(), strip_tiles(F::STRIDE)) {
        for channel in channels.clone().step_by(S::LANES) {
            let window = Window {
                height,
                width,
                top: (run.row * OUT * F::STRIDE) as isize - padding[0][0] as isize,
                left: (run.col * OUT * F::STRIDE) as isize - padding[1][0] as isize,
                rows: IN,
                cols: (run.count * OUT - 1) * F::STRIDE + 3,
                channels: (channels.end - channel).min(S::LANES),
            };
            // SAFETY: the run is inside the grid, so the channel's planes exist; a run has at most
            // `strip_tiles` tiles; `v` covers the run.
            unsafe {
                if operands.blocked {
                    let block = run.image * in_channels.div_ceil(S::LANES) + channel / S::LANES;
                    let image = operands.input.at(block * height * width * S::LANES);
                    blocked::transform_columns::<S, F, OUT, IN>(simd, &window, image, strip);
                } else {
                    let plane = (run.image * in_channels + channel) * height * width;
                    load_strip(simd, &window, operands.input.at(plane), strip);
                    transform_columns::<S, F, OUT, IN>(simd, strip, window.cols);
                }
                for tile in 0..run.count {
                    let tile_in_block = run.first - tiles.start + tile;
                    let v_at = groups.offset(tile_in_block, channel, in_channels, S::LANES);
                    let v = Transformed { data: v.data.add(v_at), ..v };
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

/// `Bᵀ d` for every column of the strip, in place.
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
            let mut d = [simd.zero(); IN];
            for (row, d) in d.iter_mut().enumerate() {
                *d = simd.load(strip.add((row * cols + col) * S::LANES));
            }
            for (row, t) in F::input(simd, d).into_iter().enumerate() {
                simd.store(strip.add((row * cols + col) * S::LANES), t);
            }
        }
    }
}

/// `d B` for every row of a tile, into `v`.
///
/// # Safety
/// `strip` has `IN` rows, `cols` pixels apart, `v` a vector at each position.
#[inline(always)]
unsafe fn transform_rows<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    strip: *const f32,
    cols: usize,
    v: Transformed,
) {
    for row in 0..IN {
        // SAFETY: `row < IN` and `col < IN`, both in the tile and in the positions.
        unsafe {
            let mut d = [simd.zero(); IN];
            for (col, d) in d.iter_mut().enumerate() {
                *d = simd.load(strip.add((row * cols + col) * S::LANES));
            }
            for (col, t) in F::input(simd, d).into_iter().enumerate() {
                simd.store(v.data.add((row * IN + col) * v.position_stride), t);
            }
        }
    }
}

/// The products of some tiles with one panel, `[position][tiles][PANEL]`.
#[derive(Clone, Copy)]
pub(super) struct Products {
    pub data: *const f32,
    /// The distance in floats from one position to the next.
    pub position_stride: usize,
}

/// Turns the products of the tiles `tiles` with the panel of output channels from `first` into outputs.
///
/// # Safety
/// `strip` has [`STRIP`] floats; `m` covers the tiles; nothing else refers to their outputs.
#[inline(always)]
pub(super) unsafe fn transform_outputs<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    operands: &Operands,
    tiles: Range<usize>,
    first: usize,
    strip: *mut f32,
    m: Products,
) {
    let last = operands.shape.out_channels.min(first + PANEL);
    for channel in (first..last).step_by(S::LANES) {
        let channels = (last - channel).min(S::LANES);
        let affine = Affine::of(simd, operands, channel, channels);
        for run in operands.grid.runs(tiles.clone(), strip_tiles(F::STRIDE)) {
            // SAFETY: the run is inside the tiles, which `m` covers.
            unsafe {
                let m_at = (run.first - tiles.start) * PANEL + channel - first;
                let m = Products { data: m.data.add(m_at), ..m };
                combine_rows::<S, F, OUT, IN>(simd, m, run.count, strip);
                let channels = channel..channel + channels;
                if operands.blocked {
                    blocked::combine_columns::<S, F, OUT, IN>(simd, operands, &run, channels, strip, affine);
                } else {
                    combine_columns::<S, F, OUT, IN>(simd, strip, run.count * OUT, affine);
                    store_run::<S, OUT>(simd, operands, &run, channels, strip);
                }
            }
        }
    }
}

/// A factor and a summand for each of a vector of output channels.
#[derive(Clone, Copy)]
pub(super) struct Affine<V> {
    pub scale: V,
    pub shift: V,
}

impl<V> Affine<V> {
    #[inline(always)]
    fn of<S: Simd<V = V>>(simd: S, operands: &Operands, channel: usize, channels: usize) -> Self {
        let load = |values: &[f32]| {
            let values = &values[channel..channel + channels];
            // SAFETY: there are `channels` values, at most `LANES`.
            unsafe { simd.load_partial(values.as_ptr(), channels) }
        };
        let epilogue = &operands.epilogue;
        Self {
            scale: epilogue.scale.map_or_else(|| simd.splat(1.), load),
            shift: epilogue.shift.map_or_else(|| simd.zero(), load),
        }
    }
}

/// `m A` for every row of every tile, into a strip of `IN` rows.
///
/// # Safety
/// `m` covers `tiles` tiles, `strip` has `IN` rows of `tiles · OUT` pixels.
#[inline(always)]
unsafe fn combine_rows<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    m: Products,
    tiles: usize,
    strip: *mut f32,
) {
    for row in 0..IN {
        for tile in 0..tiles {
            // SAFETY: position `row · IN + col` is below `IN²`, `tile` below `tiles`.
            unsafe {
                let mut d = [simd.zero(); IN];
                for (col, d) in d.iter_mut().enumerate() {
                    *d = simd.load(m.data.add((row * IN + col) * m.position_stride + tile * PANEL));
                }
                let pixels = strip.add((row * tiles + tile) * OUT * S::LANES);
                for (col, y) in F::output(simd, d).into_iter().enumerate() {
                    simd.store(pixels.add(col * S::LANES), y);
                }
            }
        }
    }
}

/// `Aᵀ m` for every column of the strip, scaled and shifted, in place: `IN` rows become `OUT`.
///
/// # Safety
/// `strip` has `IN` rows of `cols` pixels.
#[inline(always)]
unsafe fn combine_columns<S: Simd, F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    simd: S,
    strip: *mut f32,
    cols: usize,
    affine: Affine<S::V>,
) {
    for col in 0..cols {
        // SAFETY: `row < IN` and `col < cols`.
        unsafe {
            let mut d = [simd.zero(); IN];
            for (row, d) in d.iter_mut().enumerate() {
                *d = simd.load(strip.add((row * cols + col) * S::LANES));
            }
            for (row, y) in F::output(simd, d).into_iter().enumerate() {
                let y = simd.fma(y, affine.scale, affine.shift);
                simd.store(strip.add((row * cols + col) * S::LANES), y);
            }
        }
    }
}

/// Stores a run of finished tiles, what lies beyond the output's edges left out.
///
/// # Safety
/// `strip` has `OUT` rows of `run.count · OUT` pixels; nothing else refers to the run's outputs.
#[inline(always)]
unsafe fn store_run<S: Simd, const OUT: usize>(
    simd: S,
    operands: &Operands,
    run: &Run,
    channels: Range<usize>,
    strip: *const f32,
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
    let residual = operands.epilogue.residual.map(|residual| residual.as_ptr().at(plane));
    let finish = Finish { residual, activation: operands.epilogue.activation };
    // SAFETY: the planes are inside the output, and the window inside a plane.
    unsafe { store_strip(simd, &window, strip, run.count * OUT, operands.output.at(plane), finish) }
}
