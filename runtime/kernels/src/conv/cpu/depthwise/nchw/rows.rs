//! The bands of the depthwise convolution of `Nchw` planes, and the loops for 3×3 weights.
//!
//! An output plane is divided into *bands* of up to [`BAND_ROWS`] rows. With 3×3 weights and stride 1 or 2, a band is
//! divided into *blocks* of one vector of columns in a few rows. A block is computed at once, so that an input row that
//! several of its output rows read is loaded once.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::cpu::elements::{ElementPtr, Elements, OutputPtr, convert_all};
use crate::conv::cpu::epilogue::{Affine, EpilogueWriter};
use crate::memory::{CACHE_LINE_FLOATS, Scratch};
use crate::simd::{Kernel, Simd, prefetch};

use super::padded::{self, PaddedBand};

/// Returns `true` if [`Plane`] computes the bands, in place, and `false` if [`PaddedBand`] computes them.
pub(super) fn reads_in_place(shape: &ConvShape) -> bool {
    let geometry = &shape.geometry;
    let strides = [[1; 2], [2; 2]];
    shape.kernel == [3; 2] && geometry.dilation == [1; 2] && strides.contains(&geometry.stride)
}

/// Returns how many of `rows` output rows one block computes at once. Registers must remain for weights and pixels. 7
/// is one of the candidates because image heights are often multiples of 7, such as 224.
#[inline(always)]
fn rows_together<S: Simd>(rows: usize, stride: usize) -> usize {
    // The last block of a band computes some rows again if `together` does not divide the number of rows.
    let computed = |together: usize| rows.next_multiple_of(together);
    match S::REGISTERS {
        32.. if stride == 1 && rows >= 7 && computed(7) <= computed(4) => 7,
        32.. if rows >= 4 => 4,
        0..32 if rows >= 2 => 2,
        _ => 1,
    }
}

/// The maximum number of output rows in a band. The band's input stays in the L1 cache from one vector of columns to
/// the next.
pub(super) const BAND_ROWS: usize = 16;

/// An input of at least this many floats, together with its output, exceeds a core's share of the last-level cache,
/// so the next band is prefetched.
const PREFETCH_FLOATS: usize = 1 << 21;

/// Some of the bands of rows into which the output planes are divided. `IN_PLACE` is the result of [`reads_in_place`].
#[derive(Clone)]
pub(super) struct Bands<'a, const IN_PLACE: bool> {
    pub shape: &'a ConvShape,
    pub input: Elements<'a>,
    pub weight: &'a [f32],
    pub writer: EpilogueWriter<'a>,
    pub output: OutputPtr,
    /// The indices of the bands to compute.
    pub bands: Range<usize>,
}

/// Returns the number of bands.
pub(super) fn band_count(shape: &ConvShape) -> usize {
    shape.batch * shape.out_channels * bands_per_plane(shape)
}

fn bands_per_plane(shape: &ConvShape) -> usize {
    shape.output[0].div_ceil(BAND_ROWS)
}

impl<const IN_PLACE: bool> Kernel for Bands<'_, IN_PLACE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut scratch = Scratch::new(self.scratch_floats(S::LANES));
        let [input, output, copies] = scratch.slices();
        let mut cursor = BandCursor::new(self.shape, self.bands.start);
        for _ in self.bands.clone() {
            let rows = cursor.rows();
            let results = self.results(cursor.plane, &rows);
            let target = match self.output {
                OutputPtr::F32(output) => output,
                OutputPtr::Half(..) => output.as_mut_ptr().wrapping_sub(results.start),
            };
            self.prefetch_next(cursor.plane, &rows);
            let (from, readable) = self.input_rows(simd, &cursor, &rows, input);
            if IN_PLACE {
                let plane = Plane::new(&self, simd, &cursor, from, readable, target);
                match self.shape.geometry.stride {
                    [1, _] => plane.band::<1>(rows),
                    _ => plane.band::<2>(rows),
                }
            } else {
                let band = self.padded_band(simd, &cursor, rows, target, copies);
                // SAFETY: the input has all rows that the band reads, and no other task writes these results.
                unsafe { band.compute(from) }
            }
            // SAFETY: these are the band's results, which have been stored.
            unsafe { self.writer.activate_pixels(simd, [results.start, results.len()], target) }
            if let OutputPtr::Half(..) = self.output {
                let (from, to) = (ElementPtr::F32(output.as_ptr()), self.output.at(results.start));
                // SAFETY: as above; no other task writes these elements.
                unsafe { convert_all(simd, from, results.len(), to) }
            }
            cursor.advance();
        }
    }
}

/// The position in the sequence of bands. [`advance`](Self::advance) avoids divisions, because a small band takes only
/// about 100 cycles.
struct BandCursor {
    /// The number of rows of a band.
    rows: usize,
    /// The number of bands at the start of each plane that have one row more than `rows`.
    longer_bands: usize,
    /// The number of bands of a plane.
    bands: usize,
    channels: usize,
    /// The number of output channels per input channel.
    group_out_channels: usize,
    /// The index of the plane in the output.
    plane: usize,
    /// The output channel.
    channel: usize,
    /// The index of the plane in the input.
    input_plane: usize,
    /// The index of the band in the plane.
    band: usize,
}

impl BandCursor {
    /// Starts at the band with the index `first`.
    fn new(shape: &ConvShape, first: usize) -> Self {
        let bands = bands_per_plane(shape);
        let (plane, band) = (first / bands, first % bands);
        let (rows, longer_bands) = (shape.output[0] / bands, shape.output[0] % bands);
        let (channels, group_out_channels) = (shape.out_channels, shape.group_out_channels());
        let (channel, input_plane) = (plane % channels, plane / group_out_channels);
        Self { rows, longer_bands, bands, channels, group_out_channels, plane, channel, input_plane, band }
    }

    /// Returns the output rows of the band.
    #[inline(always)]
    fn rows(&self) -> Range<usize> {
        let start = |band: usize| band * self.rows + band.min(self.longer_bands);
        start(self.band)..start(self.band + 1)
    }

    /// Advances to the next band.
    #[inline(always)]
    fn advance(&mut self) {
        self.band += 1;
        if self.band < self.bands {
            return;
        }
        self.band = 0;
        self.plane += 1;
        self.channel = if self.channel + 1 == self.channels { 0 } else { self.channel + 1 };
        self.input_plane =
            if self.group_out_channels == 1 { self.plane } else { self.plane / self.group_out_channels };
    }
}

impl<const IN_PLACE: bool> Bands<'_, IN_PLACE> {
    /// Returns the numbers of floats of a widened band of the input, of a band of the output, and of the copied rows of
    /// a [`PaddedBand`]. The first two are 0 for f32.
    fn scratch_floats(&self, lanes: usize) -> [usize; 3] {
        let ([_, width], stride) = (self.shape.input, self.shape.geometry.stride[0]);
        let copies = if IN_PLACE { 0 } else { padded::floats(self.shape) };
        match self.input {
            Elements::F32(_) => [0, 0, copies],
            Elements::Half(..) => {
                let rows = (BAND_ROWS.min(self.shape.output[0]) - 1) * stride + self.kernel_rows();
                [rows * width + lanes, BAND_ROWS * self.shape.output[1], copies]
            }
        }
    }

    /// Returns the number of input rows from the first to the last that an output row reads.
    #[inline(always)]
    fn kernel_rows(&self) -> usize {
        (self.shape.kernel[0] - 1) * self.shape.geometry.dilation[0] + 1
    }

    /// Returns the band with the output rows `rows`, whose input rows are copied to `copies`.
    #[inline(always)]
    fn padded_band<'a, S: Simd>(
        &'a self,
        simd: S,
        cursor: &BandCursor,
        rows: Range<usize>,
        output: *mut f32,
        copies: &'a mut [f32],
    ) -> PaddedBand<'a, S> {
        let Self { shape, writer, .. } = *self;
        let taps = shape.depth();
        PaddedBand {
            simd,
            shape,
            rows,
            weight: &self.weight[cursor.channel * taps..][..taps],
            writer,
            // SAFETY: the output has this channel.
            affine: unsafe { writer.channels(cursor.channel).get(simd, 0) },
            output,
            origin: cursor.plane * shape.output[0] * shape.output[1],
            copies,
        }
    }

    /// Returns the indices of the output elements in the rows `rows` of the plane `index`.
    #[inline(always)]
    fn results(&self, index: usize, rows: &Range<usize>) -> Range<usize> {
        let [height, width] = self.shape.output;
        let first = index * height + rows.start;
        first * width..(first + rows.len()) * width
    }

    /// Prefetches the input and the output of the band after the rows `rows` of the plane `index`, for f32 only. The
    /// hardware does not predict the accesses, because a band is computed column by column.
    #[inline(always)]
    fn prefetch_next(&self, index: usize, rows: &Range<usize>) {
        let (Elements::F32(input), OutputPtr::F32(output)) = (self.input, self.output) else { return };
        // A plane must have the same index in the input as in the output.
        if input.len() < PREFETCH_FLOATS || self.shape.in_channels != self.shape.out_channels {
            return;
        }
        let ([height, width], stride) = (self.shape.input, self.shape.geometry.stride[0]);
        let next = (index * height + rows.end * stride) * width;
        // With a larger stride, a band does not read all rows of the input.
        let count = rows.len() * stride.min(self.kernel_rows()) * width;
        for line in (0..count).step_by(CACHE_LINE_FLOATS) {
            prefetch::<2>(input.as_ptr().wrapping_add(next + line));
        }
        let results = self.results(index, rows);
        for line in (0..results.len()).step_by(CACHE_LINE_FLOATS) {
            prefetch::<2>(output.wrapping_add(results.end + line));
        }
    }

    /// Returns the address of the first row of an input plane, and the range of addresses that may be read. The range
    /// contains every input row that the output rows `rows` need. The address may lie outside of the range: f32 is read
    /// in place, but for f16 and bf16 only the needed rows are widened into `scratch`.
    #[inline(always)]
    fn input_rows<S: Simd>(
        &self,
        simd: S,
        cursor: &BandCursor,
        rows: &Range<usize>,
        scratch: &mut [f32],
    ) -> (*const f32, Range<*const f32>) {
        let shape = self.shape;
        let ([height, width], top) = (shape.input, shape.geometry.padding[0][0]);
        let first = cursor.input_plane * height * width;
        match self.input {
            Elements::F32(input) => (input[first..][..height * width].as_ptr(), input.as_ptr_range()),
            Elements::Half(half, input) => {
                let row = |y: usize| y.saturating_sub(top).min(height) * width;
                let stride = shape.geometry.stride[0];
                let read = row(rows.start * stride)..row((rows.end - 1) * stride + self.kernel_rows());
                let from = &input[first..][read.clone()];
                let to = OutputPtr::F32(scratch[..read.len()].as_mut_ptr());
                // SAFETY: both slices have the length of `read`.
                unsafe { convert_all(simd, ElementPtr::Half(half, from.as_ptr()), from.len(), to) }
                let written = scratch[..read.len()].as_ptr_range();
                (written.start.wrapping_sub(read.start), written)
            }
        }
    }
}

/// One plane of the output, with its input, weights and epilogue.
struct Plane<'a, S: Simd> {
    simd: S,
    shape: &'a ConvShape,
    /// The address of the first row, which may lie outside of the readable memory.
    input: *const f32,
    /// The addresses that may be read. They include every input row that the band needs.
    readable: Range<*const f32>,
    weights: [S::V; 9],
    writer: EpilogueWriter<'a>,
    affine: Affine<S, 1>,
    /// The address of the first output element, which may lie outside of the output band.
    output: *mut f32,
    /// The index of the plane's first element in the output.
    origin: usize,
}

impl<'a, S: Simd> Plane<'a, S> {
    #[inline(always)]
    fn new<const IN_PLACE: bool>(
        bands: &Bands<'a, IN_PLACE>,
        simd: S,
        cursor: &BandCursor,
        input: *const f32,
        readable: Range<*const f32>,
        output: *mut f32,
    ) -> Self {
        let (shape, channel) = (bands.shape, cursor.channel);
        let mut weights = [simd.zero(); 9];
        for (weight, number) in weights.iter_mut().zip(&bands.weight[channel * 9..][..9]) {
            *weight = simd.splat(*number);
        }
        Self {
            simd,
            shape,
            input,
            readable,
            weights,
            writer: bands.writer,
            // SAFETY: the output has this channel.
            affine: unsafe { bands.writer.channels(channel).get(simd, 0) },
            output,
            origin: cursor.plane * shape.output[0] * shape.output[1],
        }
    }

    /// Computes the output rows of a band.
    #[inline(always)]
    fn band<const STRIDE: usize>(&self, rows: Range<usize>) {
        let width = self.shape.output[1];
        for x in (0..width).step_by(S::LANES) {
            let columns = Columns::<S, STRIDE>::new(self.simd, self.shape, x);
            let lanes = S::LANES.min(width - x);
            let together = rows_together::<S>(rows.len(), STRIDE);
            // The last block ends with the band and may compute some rows twice.
            for y in rows.clone().step_by(together) {
                let y = y.min(rows.end - together);
                match together {
                    7 => self.block::<STRIDE, 7>(&columns, y, x, lanes),
                    4 => self.block::<STRIDE, 4>(&columns, y, x, lanes),
                    2 => self.block::<STRIDE, 2>(&columns, y, x, lanes),
                    _ => self.block::<STRIDE, 1>(&columns, y, x, lanes),
                }
            }
        }
    }

    /// Computes the output rows `y..y + COUNT` in the columns `x..x + lanes`.
    #[inline(always)]
    fn block<const STRIDE: usize, const COUNT: usize>(
        &self,
        columns: &Columns<S, STRIDE>,
        y: usize,
        x: usize,
        lanes: usize,
    ) {
        // With stride 2, the deinterleaving of columns hides the cost of masked loads.
        let sums = if STRIDE == 1 && self.can_load_whole_vectors::<STRIDE, COUNT>(columns, y) {
            self.sums::<STRIDE, COUNT, false>(columns, y)
        } else {
            self.sums::<STRIDE, COUNT, true>(columns, y)
        };
        let width = self.shape.output[1];
        for (i, sum) in sums.into_iter().enumerate() {
            let at = self.origin + (y + i) * width + x;
            // SAFETY: the row belongs to this plane and has the columns `x..x + lanes`.
            unsafe {
                let output = OutputPtr::F32(self.output);
                self.writer.store_pixels::<S, false>(self.simd, sum, &self.affine, [at, lanes], output);
            }
        }
    }

    /// Returns `true` if the output rows `y..y + COUNT` can load whole vectors without masks: all of these vectors lie
    /// in readable memory, even if they extend beyond an input row.
    #[inline(always)]
    fn can_load_whole_vectors<const STRIDE: usize, const COUNT: usize>(
        &self,
        columns: &Columns<S, STRIDE>,
        y: usize,
    ) -> bool {
        let ([height, width], top) = (self.shape.input, self.shape.geometry.padding[0][0]);
        let row = |y: usize| y.saturating_sub(top).min(height - 1);
        let start = |row: usize| self.input.wrapping_add(row * width).wrapping_offset(columns.first);
        let end = start(row((y + COUNT - 1) * STRIDE + 2)).wrapping_add(Columns::<S, STRIDE>::LOADED);
        self.readable.start <= start(row(y * STRIDE)) && end <= self.readable.end
    }

    /// Returns the shift plus the products of a vector of columns in the output rows `y..y + COUNT`. The products are
    /// added tap by tap in the order of the weight.
    ///
    /// With `MASKED`, masked loads replace pixels outside of the image with zeros, which costs one more operation per
    /// vector. Without `MASKED`, the loads are whole vectors, and masked additions leave out the pixels outside.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "every index is a constant that selects a register")]
    fn sums<const STRIDE: usize, const COUNT: usize, const MASKED: bool>(
        &self,
        columns: &Columns<S, STRIDE>,
        y: usize,
    ) -> [S::V; COUNT] {
        let ([height, width], top) = (self.shape.input, self.shape.geometry.padding[0][0]);
        let mut sums = [self.affine.shift[0]; COUNT];
        for i in 0..(COUNT - 1) * STRIDE + 3 {
            let row = (y * STRIDE + i).wrapping_sub(top);
            if row >= height {
                continue;
            }
            // SAFETY: the row lies within the plane; without masks, the addresses around the row may be read.
            let pixels = unsafe { columns.load::<MASKED>(self.simd, self.input.wrapping_add(row * width)) };
            for n in 0..COUNT {
                if (n * STRIDE..n * STRIDE + 3).contains(&i) {
                    for k in 0..3 {
                        let weight = self.weights[(i - n * STRIDE) * 3 + k];
                        sums[n] = if MASKED {
                            self.simd.fma(pixels[k], weight, sums[n])
                        } else {
                            self.simd.fma_masked(pixels[k], weight, sums[n], columns.taps[k])
                        };
                    }
                }
            }
        }
        sums
    }
}

/// The input columns that a vector of output columns reads.
struct Columns<S: Simd, const STRIDE: usize> {
    /// The first column, negative if it lies before the row.
    first: isize,
    /// For each of [`Self::OFFSETS`], the lanes of the vector at this offset that lie within the row.
    inside: [S::Mask; 4],
    /// For each tap of a kernel row, the lanes of its vector that lie within the row.
    taps: [S::Mask; 3],
}

impl<S: Simd, const STRIDE: usize> Columns<S, STRIDE> {
    /// The offsets of the loaded vectors from the first column: with stride 1, one vector per tap (the
    /// fourth offset is not used); with stride 2, two pairs of vectors, from which every other column is taken.
    const OFFSETS: [usize; 4] = match STRIDE {
        1 => [0, 1, 2, 2],
        _ => [0, S::LANES, 2, 2 + S::LANES],
    };
    /// The number of floats from the first column to the end of the last loaded vector.
    const LOADED: usize = Self::OFFSETS[3] + S::LANES;

    #[inline(always)]
    fn new(simd: S, shape: &ConvShape, x: usize) -> Self {
        let (width, first) = (shape.input[1], (x * STRIDE) as isize - shape.geometry.padding[1][0] as isize);
        let mut inside = [simd.mask(0, 0); 4];
        for (mask, offset) in inside.iter_mut().zip(Self::OFFSETS) {
            *mask = simd.mask_in_row(first + offset as isize, width);
        }
        let mut taps = [simd.mask(0, 0); 3];
        for (mask, k) in taps.iter_mut().zip(0..) {
            let lanes_before = |column: isize| (column - first - k).max(0) as usize;
            let lane = |column: isize| lanes_before(column).div_ceil(STRIDE).min(S::LANES);
            *mask = simd.mask(lane(0), lane(width as isize));
        }
        Self { first, inside, taps }
    }

    /// Returns the vector that each tap of a kernel row reads from the input row. Without `MASKED`, lanes outside of
    /// the row hold the elements around it.
    ///
    /// # Safety
    /// `row` points to a row of the input. Without `MASKED`, [`Self::LOADED`] floats from the first column on may be
    /// read.
    #[inline(always)]
    unsafe fn load<const MASKED: bool>(&self, simd: S, row: *const f32) -> [S::V; 3] {
        let row = row.wrapping_offset(self.first);
        let load = |i: usize| {
            let from = row.wrapping_add(Self::OFFSETS[i]);
            // SAFETY: the masks exclude columns outside of the row; without masks, the caller guarantees the bounds.
            unsafe { if MASKED { simd.load_masked(from, self.inside[i]) } else { simd.load(from) } }
        };
        if STRIDE == 1 {
            return [load(0), load(1), load(2)];
        }
        let [even, odd] = simd.deinterleave(load(0), load(1));
        [even, odd, simd.deinterleave(load(2), load(3))[0]]
    }
}
