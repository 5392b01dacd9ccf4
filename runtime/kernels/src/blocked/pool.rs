//! Pooling of channel-blocked activations. Each lane is a channel, so each pixel of a window is a whole vector.

use candle_core::Result;

use crate::parallel::{cost, for_each_chunk};
use crate::planes::check_memory;
use crate::pool::{
    PoolGeometry, Window, WindowPositions, Windows, adaptive_ranges, adaptive_size, adaptive_windows, windows,
};
use crate::simd::{Kernel, Simd, dispatch_loops};

use super::BlockedTensor;

/// Returns the largest element of each window, like [`max_pool2d`](crate::pool::max_pool2d).
///
/// # Errors
/// Fails if [`PoolGeometry::output_size`] fails, or there is not enough memory.
pub fn max_pool2d(x: &BlockedTensor, geometry: &PoolGeometry) -> Result<BlockedTensor> {
    let [_, _, height, width] = x.dims();
    let [rows, columns] = geometry.output_size([height, width])?;
    pool(x, Max { rows: geometry.positions(0, height, rows), columns: geometry.positions(1, width, columns) })
}

/// Applies adaptive max pooling, like [`adaptive_max_pool2d`](crate::pool::adaptive_max_pool2d).
///
/// # Errors
/// Fails if a size is 0, or there is not enough memory.
pub fn adaptive_max_pool2d(x: &BlockedTensor, size: [Option<usize>; 2]) -> Result<BlockedTensor> {
    let [_, _, height, width] = x.dims();
    let [rows, columns] = output_size("adaptive_max_pool2d", x, size)?;
    let window_positions =
        |input, output| adaptive_ranges(input, output).map(|range| range.step_by(1)).collect();
    pool(x, Max { rows: window_positions(height, rows), columns: window_positions(width, columns) })
}

/// Returns the mean of each window, like [`avg_pool2d`](crate::pool::avg_pool2d).
///
/// # Errors
/// Fails if [`PoolGeometry::output_size`] fails, the dilation is not 1, the divisor is 0, or there is not enough
/// memory.
pub fn avg_pool2d(
    x: &BlockedTensor,
    geometry: &PoolGeometry,
    count_include_pad: bool,
    divisor: Option<usize>,
) -> Result<BlockedTensor> {
    let [_, _, height, width] = x.dims();
    pool(x, Mean(windows(geometry, [height, width], count_include_pad, divisor)?))
}

/// Applies adaptive average pooling, like [`adaptive_avg_pool2d`](crate::pool::adaptive_avg_pool2d).
///
/// # Errors
/// Fails if a size is 0, or there is not enough memory.
pub fn adaptive_avg_pool2d(x: &BlockedTensor, size: [Option<usize>; 2]) -> Result<BlockedTensor> {
    let [_, _, height, width] = x.dims();
    let size = output_size("adaptive_avg_pool2d", x, size)?;
    pool(x, Mean(adaptive_windows([height, width], size)))
}

/// Returns the output size of adaptive pooling, and checks that there is enough memory for the output.
fn output_size(op: &str, x: &BlockedTensor, size: [Option<usize>; 2]) -> Result<[usize; 2]> {
    let [_, _, height, width] = x.dims();
    let output = adaptive_size(op, &x.dims(), [height, width], size)?;
    check_memory(op, &x.dims(), output)?;
    Ok(output)
}

/// A reduction of each window to one pixel.
trait Pool: Sync {
    /// Returns the `[height, width]` of the output.
    fn output(&self) -> [usize; 2];

    /// Computes the pixel `[row, column]` of the output in one block of channels. `x` is the input in this block, with
    /// rows of `width` pixels.
    fn pixel<const LANES: usize>(&self, x: &[[f32; LANES]], width: usize, pixel: [usize; 2]) -> [f32; LANES];
}

/// Max pooling.
struct Max {
    rows: Vec<WindowPositions>,
    columns: Vec<WindowPositions>,
}

impl Pool for Max {
    fn output(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    #[inline(always)]
    fn pixel<const LANES: usize>(
        &self,
        x: &[[f32; LANES]],
        width: usize,
        [row, column]: [usize; 2],
    ) -> [f32; LANES] {
        let mut max = [f32::NEG_INFINITY; LANES];
        for y in self.rows[row].clone() {
            for x in self.columns[column].clone().map(|column| &x[y * width + column]) {
                for (max, x) in max.iter_mut().zip(x) {
                    *max = if *x > *max || x.is_nan() { *x } else { *max };
                }
            }
        }
        max
    }
}

/// Average pooling.
struct Mean(Windows);

impl Pool for Mean {
    fn output(&self) -> [usize; 2] {
        self.0.output()
    }

    #[inline(always)]
    fn pixel<const LANES: usize>(
        &self,
        x: &[[f32; LANES]],
        width: usize,
        [row, column]: [usize; 2],
    ) -> [f32; LANES] {
        let (row, column): (&Window, &Window) = (&self.0.rows[row], &self.0.columns[column]);
        let mut sum = [0.; LANES];
        for y in row.inside.clone() {
            for x in &x[y * width..][column.inside.clone()] {
                sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
            }
        }
        let factor = 1. / self.0.divisor(row, column) as f32;
        sum.map(|sum| sum * factor)
    }
}

/// Pools every block of channels.
fn pool(x: &BlockedTensor, pool: impl Pool) -> Result<BlockedTensor> {
    let [batch, channels, ..] = x.dims();
    let [rows, columns] = pool.output();
    let mut y = BlockedTensor::new(x.arena(), [batch, channels, rows, columns])?;
    let lanes = x.lanes();
    let (input_len, output_len) = (x.pixels() * lanes, rows * columns * lanes);
    let blocks = (cost::MIN_ELEMENTS / input_len.max(1)).max(1);
    for_each_chunk(y.blocks_mut(), blocks * output_len, |task, y| {
        for (i, y) in y.chunks_mut(output_len).enumerate() {
            let x_block = &x.blocks()[(task * blocks + i) * input_len..][..input_len];
            dispatch_loops(BlockPooling { pool: &pool, x: x_block, y, width: x.dims()[3], lanes });
        }
    });
    Ok(y)
}

/// Pools one block of channels of one image.
struct BlockPooling<'a, P> {
    pool: &'a P,
    x: &'a [f32],
    y: &'a mut [f32],
    width: usize,
    lanes: usize,
}

impl<P: Pool> Kernel for BlockPooling<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.lanes {
            4 => self.run_with_lanes::<4>(),
            8 => self.run_with_lanes::<8>(),
            _ => self.run_with_lanes::<16>(),
        }
    }
}

impl<P: Pool> BlockPooling<'_, P> {
    /// Computes every pixel of the output.
    #[inline(always)]
    fn run_with_lanes<const LANES: usize>(self) {
        let columns = self.pool.output()[1];
        let (x, _) = self.x.as_chunks::<LANES>();
        let (y, _) = self.y.as_chunks_mut::<LANES>();
        for (row, y) in y.chunks_mut(columns).enumerate() {
            for (column, y) in y.iter_mut().enumerate() {
                *y = self.pool.pixel(x, self.width, [row, column]);
            }
        }
    }
}
