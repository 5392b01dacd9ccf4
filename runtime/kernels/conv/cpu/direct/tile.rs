//! A few channels of the input a task reads, copied to where every tap is a fixed offset.

use super::plan::Patch;
use crate::kernels::conv::ConvShape;
use crate::kernels::simd::Simd;

/// Where a task's vectors read.
pub(super) enum Layout {
    /// In the input itself, as a pointwise convolution can.
    InPlace,
    Tile(Tile),
}

/// `[channels][row phases][kernel columns][rows][pitch]`: for each column of the kernel a plane of just the
/// pixels that it reads, so that neighbours in the output are neighbours in the tile whatever the stride,
/// the padding and the dilation. The rows that one row of the kernel reads (every `stride`-th of the input)
/// lie together, a phase.
pub(super) struct Tile {
    /// The row phases that some tap reads, ascending.
    phases: Vec<usize>,
    /// How far the last tap reaches beyond the first, in rows of its phase.
    reach: usize,
    pub pitch: usize,
    plane: usize,
    channel: usize,
}

impl Tile {
    /// For patches of at most `rows` rows and `columns` columns. `None` where it would have more than `most`
    /// floats for `channels` channels.
    pub fn new(
        shape: &ConvShape,
        [rows, columns]: [usize; 2],
        channels: usize,
        lanes: usize,
        most: usize,
    ) -> Option<Self> {
        let (stride, dilation) = (shape.geometry.stride[0], shape.geometry.dilation[0]);
        let phases = row_phases(shape);
        let reach = (shape.kernel[0] - 1) * dilation / stride;
        // Where a patch is not as wide as the output, each of its rows starts a vector.
        let whole_rows = columns == shape.output[1];
        let pitch = if whole_rows { columns } else { columns.next_multiple_of(lanes) };
        let plane = rows.checked_add(reach)?.checked_mul(pitch)?;
        let lines = (phases.len() * shape.kernel[1]).checked_mul(plane)?.div_ceil(16);
        // An odd number of cache lines, so that the channels do not all fall on the same few sets.
        let channel = (lines | 1).checked_mul(16)?;
        let fits = channel.checked_mul(channels)? <= most;
        fits.then_some(Self { phases, reach, pitch, plane, channel })
    }

    /// The offset of every tap of `channels` channels, in the weight's order.
    pub fn taps(&self, shape: &ConvShape, channels: usize) -> Vec<u32> {
        let [height, width] = shape.kernel;
        let offset = |channel: usize, ky: usize, kx: usize| {
            let (stride, distance) = (shape.geometry.stride[0], ky * shape.geometry.dilation[0]);
            let phase = self.phases.iter().position(|phase| *phase == distance % stride);
            let plane = phase.unwrap_or_default() * width + kx;
            (channel * self.channel + plane * self.plane + distance / stride * self.pitch) as u32
        };
        let rows = (0..channels).flat_map(|channel| (0..height).map(move |ky| (channel, ky)));
        rows.flat_map(|(channel, ky)| (0..width).map(move |kx| offset(channel, ky, kx))).collect()
    }

    /// Floats of `channels` channels.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel
    }

    /// Copies one channel's part of the input that `patch` reads to `tile`, zeros where it leaves the input.
    ///
    /// # Safety
    /// `input` is one channel; `tile` has room for one, and for a vector after it.
    #[inline(always)]
    pub unsafe fn fill<S: Simd>(
        &self,
        simd: S,
        shape: &ConvShape,
        patch: &Patch,
        input: *const f32,
        tile: *mut f32,
    ) {
        let ([height, width], [[top, _], [left, _]]) = (shape.input, shape.geometry.padding);
        let [stride_y, stride_x] = shape.geometry.stride;
        let mut plane = tile;
        for phase in &self.phases {
            for kx in 0..shape.kernel[1] {
                for x in (0..patch.columns).step_by(S::LANES) {
                    // The last vector of a row ends where the row does. A row shorter than a vector is
                    // stored with what is beyond it, which the next row then overwrites.
                    let x = x.min(patch.columns.saturating_sub(S::LANES));
                    let first = (patch.x + x) * stride_x + kx * shape.geometry.dilation[1];
                    let columns = Columns::new(simd, first as isize - left as isize, stride_x, width);
                    let mut to = plane.wrapping_add(x);
                    for r in 0..patch.rows + self.reach {
                        let y = ((patch.y + r) * stride_y + phase).wrapping_sub(top);
                        // SAFETY: row `y` exists, and so does row `r` of the plane.
                        unsafe {
                            let pixels = match y < height {
                                true => columns.load(simd, input.add(y * width)),
                                false => simd.zero(),
                            };
                            simd.store(to, pixels);
                        }
                        to = to.wrapping_add(self.pitch);
                    }
                }
                plane = plane.wrapping_add(self.plane);
            }
        }
    }
}

/// The rows modulo the stride that the rows of a kernel read.
pub(super) fn row_phases(shape: &ConvShape) -> Vec<usize> {
    let (stride, dilation) = (shape.geometry.stride[0], shape.geometry.dilation[0]);
    let mut phases: Vec<_> = (0..shape.kernel[0].min(stride)).map(|k| k * dilation % stride).collect();
    phases.sort_unstable();
    phases.dedup();
    phases
}

/// Every `stride`-th column of a row of the input, as many as a vector has lanes.
struct Columns<S: Simd> {
    /// The first, which may lie before the row.
    first: isize,
    stride: usize,
    width: usize,
    /// With a stride of 1 or 2, the lanes of one or two vectors that lie within the row.
    inside: [S::Mask; 2],
}

impl<S: Simd> Columns<S> {
    #[inline(always)]
    fn new(simd: S, first: isize, stride: usize, width: usize) -> Self {
        let inside = [0, S::LANES].map(|offset| simd.inside(first + offset as isize, width));
        Self { first, stride, width, inside }
    }

    /// # Safety
    /// `row` is as wide as the input.
    #[inline(always)]
    unsafe fn load(&self, simd: S, row: *const f32) -> S::V {
        let from = row.wrapping_offset(self.first);
        // SAFETY: the masks, and the test of each column, keep to the row.
        unsafe {
            match self.stride {
                1 => simd.load_masked(from, self.inside[0]),
                2 => {
                    let next = from.wrapping_add(S::LANES);
                    let [a, b] = [(from, self.inside[0]), (next, self.inside[1])];
                    simd.deinterleave(simd.load_masked(a.0, a.1), simd.load_masked(b.0, b.1))[0]
                }
                _ => {
                    let mut lanes = [0.; 16];
                    for (i, lane) in lanes[..S::LANES].iter_mut().enumerate() {
                        let column = self.first.wrapping_add_unsigned(i * self.stride) as usize;
                        if column < self.width {
                            *lane = *row.add(column);
                        }
                    }
                    simd.load(lanes.as_ptr())
                }
            }
        }
    }
}
