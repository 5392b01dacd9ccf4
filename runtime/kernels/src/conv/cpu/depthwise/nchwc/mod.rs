//! Depthwise convolutions of any kernel size, stride and dilation, with lanes over channels. Input and output are
//! `Nchwc`.

mod general;
mod kernel_3x3;

use std::ops::Range;
use std::sync::Arc;

use crate::conv::ConvShape;
use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::EpilogueWriter;
use crate::conv::cpu::operand::Call;
use crate::conv::cpu::packed::{PackedOrder, Packing};
use crate::conv::cpu::problem::ConvProblem;
use crate::parallel::cost;
use crate::simd::{self, Isa, Kernel, Simd};

use super::{for_each_range, inside};

/// Returns `true` if the kernels support the shape.
pub(super) fn supports(shape: &ConvShape) -> bool {
    shape.group_in_channels() == 1 && shape.group_out_channels() == 1
}

/// Convolves into `output`.
pub(super) fn conv2d(problem: &ConvProblem, call: &Call<'_>, output: OutputPtr) {
    let (shape, isa) = (&problem.shape, problem.isa);
    let packed = PackedDepthwise::get(shape, call, isa);
    let depthwise = DepthwiseRows::new(shape, &packed, call, output);
    let rows = shape.batch * shape.out_channels.div_ceil(isa.lanes()) * shape.output[0];
    let elements = (rows * shape.output[1] * isa.lanes()).max(call.input.len());
    for_each_range(rows, elements, cost::MIN_ELEMENTS, |rows| {
        simd::dispatch_to(isa, DepthwiseRows { rows, ..depthwise.clone() });
    });
}

/// The packed weight of a depthwise convolution.
pub(in crate::conv::cpu) struct PackedDepthwise {
    /// `[channels / lanes][taps][lanes]`, with zeros after the last channel.
    vectors: Vec<f32>,
    /// The largest magnitude of a weight, or infinity if a weight is NaN.
    max_magnitude: f32,
}

impl PackedDepthwise {
    /// Returns the packed weight of a call.
    pub fn get(shape: &ConvShape, call: &Call<'_>, isa: Isa) -> Arc<Self> {
        let (lanes, weight) = (isa.lanes(), call.weight);
        Packing::get(call.packing, PackedOrder::Depthwise { lanes }, || {
            Self::new(shape, &weight.widened(), lanes)
        })
    }

    /// Packs a weight `[channels, 1, kernel height, kernel width]`.
    fn new(shape: &ConvShape, weight: &[f32], lanes: usize) -> Self {
        // A depthwise convolution sums over the taps of one channel.
        let taps = shape.depth();
        let mut vectors = vec![0.; shape.out_channels.next_multiple_of(lanes) * taps];
        for (channel, weight) in weight.chunks_exact(taps).enumerate() {
            let block = &mut vectors[channel / lanes * lanes * taps + channel % lanes..];
            block.iter_mut().step_by(lanes).zip(weight).for_each(|(to, from)| *to = *from);
        }
        Self { vectors, max_magnitude: max_magnitude(weight) }
    }
}

/// Returns the largest magnitude, or infinity if a number is NaN.
fn max_magnitude(numbers: &[f32]) -> f32 {
    // The bits of nonnegative floats, read as integers, have the order of the floats, and the bits of NaN are larger
    // than the bits of infinity. Integers compare faster than floats.
    let bits = numbers.iter().fold(0, |largest: i32, x| largest.max(x.abs().to_bits() as i32));
    f32::from_bits(bits as u32).min(f32::INFINITY)
}

/// A depthwise convolution, and the range of output rows to compute. Rows are numbered across all blocks of channels of
/// all images.
#[derive(Clone)]
pub(in crate::conv::cpu) struct DepthwiseRows<'a> {
    shape: &'a ConvShape,
    input: &'a [f32],
    weights: &'a [f32],
    writer: EpilogueWriter<'a>,
    output: OutputPtr,
    /// Whether [`kernel_3x3`] computes the rows: the kernel is 3×3 and the scaled weights are finite.
    uses_3x3: bool,
    rows: Range<usize>,
}

impl Kernel for DepthwiseRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ConvShape { input: [height, width], output, geometry, .. } = self.shape;
        let mut rows = self.rows.clone();
        while !rows.is_empty() {
            let (index, first) = (rows.start / output[0], rows.start % output[0]);
            let block_rows = first..output[0].min(first + rows.len());
            rows.start += block_rows.len();
            if self.uses_3x3 {
                let plane = self.input.as_ptr().wrapping_add(index * height * width * S::LANES);
                // SAFETY: the block belongs to the input, and no other task computes these rows.
                unsafe { self.compute_rows(simd, index, plane, block_rows) }
                continue;
            }
            for y in block_rows {
                match geometry.stride[1] {
                    1 => self.compute_row::<S, 1>(simd, index, y),
                    2 => self.compute_row::<S, 2>(simd, index, y),
                    _ => self.compute_row::<S, 0>(simd, index, y),
                }
            }
        }
    }
}

impl<'a> DepthwiseRows<'a> {
    /// Returns the convolution with an empty range of rows. The input of `call` may be empty if the caller uses only
    /// [`compute_rows`](Self::compute_rows).
    pub fn new(
        shape: &'a ConvShape,
        packed: &'a PackedDepthwise,
        call: &Call<'a>,
        output: OutputPtr,
    ) -> Self {
        // `kernel_3x3` multiplies weights by zeros outside of the image. The products are zero only if the weights are
        // finite.
        let is_finite = (packed.max_magnitude * max_magnitude(call.scale.unwrap_or(&[1.]))).is_finite();
        Self {
            shape,
            input: call.input.as_f32(),
            weights: &packed.vectors,
            writer: EpilogueWriter::new(call, shape.out_channels),
            output,
            uses_3x3: is_finite && kernel_3x3::is_suitable(shape),
            rows: 0..0,
        }
    }

    /// Returns `true` if [`compute_rows`](Self::compute_rows) supports this convolution.
    pub fn supports_rows(&self) -> bool {
        self.uses_3x3
    }

    /// Computes some rows of one block of channels. `index` is the index of the block, counted across all images.
    ///
    /// # Safety
    /// `plane` must be the address of pixel (0, 0) of the block in the input. If the memory contains only some rows of
    /// the input, this address may be outside of the memory. The memory must contain all input rows on which these
    /// output rows depend. No other task may access these output rows.
    #[inline(always)]
    pub unsafe fn compute_rows<S: Simd>(&self, simd: S, index: usize, plane: *const f32, rows: Range<usize>) {
        let plane = kernel_3x3::Plane::new(self, simd, index, plane);
        for row in rows {
            match self.shape.geometry.stride[1] {
                1 => plane.compute_row::<1>(row),
                _ => plane.compute_row::<2>(row),
            }
        }
    }
}
