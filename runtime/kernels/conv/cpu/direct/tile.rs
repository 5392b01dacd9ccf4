//! A few channels of the input a task reads, copied to where every tap is a fixed offset.

use super::cut::Cut;
use super::micro::RegisterBlock;
use super::plan::Patch;
use super::strips::{Grid, Strips};
use crate::kernels::conv::ConvShape;

/// The order of a tile's elements. A tile covers the input of one patch of output pixels.
pub(super) enum Layout {
    /// `[channels][row phases][column phases][rows][pitch]`: the zero-padded input, of which the rows and
    /// columns that one tap reads (every `stride`-th) lie together, a phase.
    Planes(Planes),
    /// `[strips][channels][strip]`, for a pointwise convolution, which reads each pixel once.
    Panels { strip: usize, channels: usize },
}

impl Layout {
    /// The layout for the patches of `cut`, and whether its vectors run on over the ends of rows.
    pub fn choose(shape: &ConvShape, pointwise: bool, cut: &Cut, block: RegisterBlock) -> (Self, bool) {
        if pointwise {
            return (Self::Panels { strip: block.strip(), channels: cut.chunk }, false);
        }
        let [rows, columns] = cut.patch;
        let dense = Planes::new(shape, cut.patch, true);
        let grid = Grid { rows, columns, pitch: dense.pitch, width: shape.output[1], block };
        let (by_rows, flat) = Strips::counts(grid);
        match flat < by_rows {
            true => (Self::Planes(dense), true),
            false => (Self::Planes(Planes::new(shape, cut.patch, false)), false),
        }
    }

    /// The offset of every tap of `channels` channels, in the weight's order; `None` where they reach
    /// beyond `most`.
    pub fn taps(&self, shape: &ConvShape, channels: usize, most: usize) -> Option<Vec<u32>> {
        let Self::Planes(planes) = self else {
            return (0..channels).map(|c| u32::try_from(c * self.channel()).ok()).collect();
        };
        if self.len(channels) > most {
            return None;
        }
        let [height, width] = shape.kernel;
        let kernel = (0..height).flat_map(|ky| (0..width).map(move |kx| [ky, kx]));
        let kernel: Vec<_> = kernel.map(|tap| planes.offset(shape, tap)).collect();
        let taps = (0..channels).flat_map(|c| kernel.iter().map(move |tap| c * planes.channel + tap));
        taps.map(|tap| u32::try_from(tap).ok()).collect()
    }

    /// Floats of a tile of `channels` channels, without what vectors reach beyond its end.
    pub fn len(&self, channels: usize) -> usize {
        channels.saturating_mul(self.channel())
    }

    /// From one channel to the next.
    fn channel(&self) -> usize {
        match self {
            Self::Planes(planes) => planes.channel,
            Self::Panels { strip, .. } => *strip,
        }
    }
}

pub(super) struct Planes {
    /// The phases on each axis that some tap reads, ascending.
    phases: [Vec<usize>; 2],
    /// How far the last tap reaches beyond the first, in rows and columns of its phase.
    reach: [usize; 2],
    /// Padding columns at the end of a row that are the next row's first.
    shared: usize,
    pub pitch: usize,
    plane: usize,
    channel: usize,
}

impl Planes {
    /// For patches of `patch` rows and columns. With `flat`, vectors run on over the ends of rows, so
    /// that rows are packed as densely as can be.
    pub fn new(shape: &ConvShape, patch: [usize; 2], flat: bool) -> Self {
        let axis = |i: usize| {
            let (stride, dilation) = (shape.geometry.stride[i], shape.geometry.dilation[i]);
            let mut phases: Vec<_> =
                (0..shape.kernel[i].min(stride)).map(|k| k * dilation % stride).collect();
            phases.sort_unstable();
            phases.dedup();
            (phases, (shape.kernel[i] - 1) * dilation / stride)
        };
        let ((row_phases, rows), (column_phases, columns)) = (axis(0), axis(1));
        let [before, after] = shape.geometry.padding[1];
        let whole_rows = patch[1] == shape.output[1] && shape.geometry.stride[1] == 1;
        let shared = if flat && whole_rows { before.min(after).min(columns) } else { 0 };
        let pitch = patch[1] + columns - shared;
        let plane = (patch[0] + rows) * pitch + shared;
        let lines = (row_phases.len() * column_phases.len() * plane).div_ceil(16);
        // An odd number of cache lines, so that the channels do not all fall on the same few sets.
        let channel = (lines | 1) * 16;
        Self { phases: [row_phases, column_phases], reach: [rows, columns], shared, pitch, plane, channel }
    }

    /// Where tap `(ky, kx)` of a channel starts.
    pub fn offset(&self, shape: &ConvShape, [ky, kx]: [usize; 2]) -> usize {
        let axis = |i: usize, k: usize| {
            let (stride, distance) = (shape.geometry.stride[i], k * shape.geometry.dilation[i]);
            let phase = self.phases[i].iter().position(|phase| *phase == distance % stride);
            (phase.unwrap_or_default(), distance / stride)
        };
        let ((row_phase, row), (column_phase, column)) = (axis(0, ky), axis(1, kx));
        (row_phase * self.phases[1].len() + column_phase) * self.plane + row * self.pitch + column
    }

    /// Copies one channel's part of the input that `patch` reads to where the channel starts in the tile.
    pub fn fill(&self, shape: &ConvShape, patch: &Patch, input: &[f32], tile: &mut [f32]) {
        let mut planes = tile.chunks_exact_mut(self.plane);
        for row_phase in &self.phases[0] {
            for column_phase in &self.phases[1] {
                let Some(plane) = planes.next() else { return };
                self.fill_phase(shape, patch, [*row_phase, *column_phase], input, plane);
            }
        }
    }

    fn fill_phase(
        &self,
        shape: &ConvShape,
        patch: &Patch,
        phase: [usize; 2],
        input: &[f32],
        plane: &mut [f32],
    ) {
        let [height, width] = shape.input;
        let [stride_y, stride_x] = shape.geometry.stride;
        let [[top, _], [left, _]] = shape.geometry.padding;
        let columns = (patch.columns + self.reach[1]).min(self.pitch);
        // The first column within the input, and the first beyond it.
        let column =
            |x: usize| (x + left).saturating_sub(phase[1]).div_ceil(stride_x).saturating_sub(patch.x);
        let (start, end) = (column(0).min(columns), column(width).min(columns));
        let first = ((patch.x + start) * stride_x + phase[1]).wrapping_sub(left);
        let rows = patch.rows + self.reach[0];
        for (r, row) in plane.chunks_exact_mut(self.pitch).take(rows).enumerate() {
            let y = ((patch.y + r) * stride_y + phase[0]).wrapping_sub(top);
            if y >= height || start >= end {
                row[..columns].fill(0.);
                continue;
            }
            row[..start].fill(0.);
            let from = &input[y * width..][..width][first..];
            match stride_x {
                1 => row[start..end].copy_from_slice(&from[..end - start]),
                2 => pick::<2>(&mut row[start..end], from),
                _ => {
                    row[start..end].iter_mut().zip(from.iter().step_by(stride_x)).for_each(|(to, x)| *to = *x)
                }
            }
            row[end..columns].fill(0.);
        }
        plane[rows * self.pitch..][..self.shared].fill(0.);
    }
}

/// Every `STRIDE`-th element; the constant lets the compiler use vectors.
fn pick<const STRIDE: usize>(to: &mut [f32], from: &[f32]) {
    let whole = from.len() / STRIDE;
    let (head, tail) = to.split_at_mut(whole.min(to.len()));
    head.iter_mut().zip(from.chunks_exact(STRIDE)).for_each(|(to, x)| *to = x[0]);
    if let [last] = tail {
        *last = from[whole * STRIDE];
    }
}

/// Copies one channel of a pointwise convolution's patch, a run of pixels, into its place in each panel.
pub(super) fn fill_panels(strip: usize, panel: usize, pixels: &[f32], tile: &mut [f32]) {
    for (pixels, panel) in pixels.chunks(strip).zip(tile.chunks_mut(panel)) {
        panel[..pixels.len()].copy_from_slice(pixels);
        panel[pixels.len()..strip].fill(0.);
    }
}
