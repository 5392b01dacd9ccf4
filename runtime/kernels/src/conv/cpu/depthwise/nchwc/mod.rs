//! Kernels of any size, stride and dilation from `Nchwc` to `Nchwc`, with lanes over channels.

mod any;
mod three;

use std::ops::Range;
use std::sync::Arc;

use crate::conv::ConvShape;
use crate::conv::cpu::elements::{Elements, OutputPtr};
use crate::conv::cpu::epilogue::EpilogueWriter;
use crate::conv::cpu::operand::Call;
use crate::conv::cpu::packed::{PackedForm, Packing};
use crate::conv::cpu::problem::ConvProblem;
use crate::parallel::{self, cost};
use crate::simd::{self, Isa, Kernel, Simd};

use super::inside;

pub(super) fn supports(shape: &ConvShape) -> bool {
    shape.group_inputs() == 1 && shape.group_outputs() == 1
}

/// Convolves into `output`.
pub(super) fn conv2d(
    problem: &ConvProblem,
    call: &Call<'_>,
    packing: Option<Packing<'_>>,
    output: OutputPtr,
) {
    let (OutputPtr::F32(output), Elements::F32(input)) = (output, call.input) else {
        unreachable!("NCHWc activations are f32")
    };
    let (shape, isa) = (&problem.shape, problem.isa);
    let packed = Packed::get(shape, call.weight, packing, isa);
    let planes = Planes::new(shape, &packed, call, Output(output));
    let rows = shape.batch * shape.out_channels.div_ceil(isa.lanes()) * shape.output[0];
    let elements = (rows * shape.output[1] * isa.lanes()).max(input.len());
    let jobs = cost::task_count(elements, cost::PASS).min(rows);
    let bound = |job: usize| job * rows / jobs;
    parallel::for_each(jobs, &|job| {
        simd::dispatch_to(isa, Planes { rows: bound(job)..bound(job + 1), ..planes.clone() });
    });
}

/// The first element of an output. The tasks that share it write disjoint elements.
#[derive(Clone, Copy)]
pub(in crate::conv::cpu) struct Output(pub *mut f32);

// SAFETY: tasks write disjoint elements, and a task reads only elements that it has written.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// A packed weight.
pub(in crate::conv::cpu) struct Packed {
    /// `[channels / lanes][taps][lanes]`, with zeros after the last channel.
    vectors: Vec<f32>,
    largest: f32,
}

impl Packed {
    pub fn get(shape: &ConvShape, weight: Elements<'_>, packing: Option<Packing<'_>>, isa: Isa) -> Arc<Self> {
        let lanes = isa.lanes();
        Packing::get(packing, PackedForm::Depthwise { lanes }, || Self::new(shape, &weight.widened(), lanes))
    }

    /// Packs `[channels, 1, kernel]`.
    fn new(shape: &ConvShape, weight: &[f32], lanes: usize) -> Self {
        let taps = shape.taps();
        let mut vectors = vec![0.; shape.out_channels.next_multiple_of(lanes) * taps];
        for (channel, weight) in weight.chunks_exact(taps).enumerate() {
            let block = &mut vectors[channel / lanes * lanes * taps + channel % lanes..];
            block.iter_mut().step_by(lanes).zip(weight).for_each(|(to, from)| *to = *from);
        }
        Self { vectors, largest: largest(weight) }
    }
}

/// Returns the largest magnitude, or infinity if a number is NaN.
fn largest(numbers: &[f32]) -> f32 {
    // The bits of magnitudes have the order of the magnitudes, with NaN last. Integers compare faster than floats.
    let bits = numbers.iter().fold(0, |largest: i32, x| largest.max(x.abs().to_bits() as i32));
    f32::from_bits(bits as u32).min(f32::INFINITY)
}

/// Some of the output rows, numbered across all blocks of channels of all images.
#[derive(Clone)]
pub(in crate::conv::cpu) struct Planes<'a> {
    shape: &'a ConvShape,
    input: *const f32,
    weights: &'a [f32],
    writer: EpilogueWriter<'a>,
    output: Output,
    /// Whether the kernel is 3×3 and the scaled weights are finite, so that [`three`] computes the rows.
    three: bool,
    rows: Range<usize>,
}

// SAFETY: the input is only read.
unsafe impl Send for Planes<'_> {}
// SAFETY: as above.
unsafe impl Sync for Planes<'_> {}

impl Kernel for Planes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match (self.three, self.shape.geometry.stride[1]) {
            (true, 1) => self.three::<S, 1>(simd),
            (true, _) => self.three::<S, 2>(simd),
            (false, 1) => self.any::<S, 1>(simd),
            (false, 2) => self.any::<S, 2>(simd),
            (false, _) => self.any::<S, 0>(simd),
        }
    }
}

impl<'a> Planes<'a> {
    /// The input may be empty if only [`rows_of`](Self::rows_of) is called.
    pub fn new(shape: &'a ConvShape, packed: &'a Packed, call: &'a Call<'_>, output: Output) -> Self {
        // The products of finite weights with the zeros outside of the image are zero.
        let finite = (packed.largest * largest(call.scale.as_deref().unwrap_or(&[1.]))).is_finite();
        let input = match call.input {
            Elements::F32(input) => input.as_ptr(),
            Elements::Half(..) => unreachable!("NCHWc activations are f32"),
        };
        let (weights, writer) = (&packed.vectors, EpilogueWriter::new(call, shape.out_channels));
        Self { shape, input, weights, writer, output, three: finite && three::is_suitable(shape), rows: 0..0 }
    }

    /// Returns whether [`rows_of`](Self::rows_of) supports this convolution.
    pub fn supports_rows(&self) -> bool {
        self.three
    }

    /// Computes some rows of one block of channels. `index` is the index of the block, counted across all images.
    ///
    /// # Safety
    /// `plane` is the address of the first pixel of the block in the input. The input rows that the results read exist.
    /// No other task accesses the results.
    #[inline(always)]
    pub unsafe fn rows_of<S: Simd>(&self, simd: S, index: usize, plane: *const f32, rows: Range<usize>) {
        let plane = three::Plane::new(self, simd, index, plane);
        for row in rows {
            match self.shape.geometry.stride[1] {
                1 => plane.row::<1>(row),
                _ => plane.row::<2>(row),
            }
        }
    }

    #[inline(always)]
    fn three<S: Simd, const STRIDE: usize>(&self, simd: S) {
        let height = self.shape.output[0];
        let mut rows = self.rows.clone();
        while !rows.is_empty() {
            let index = rows.start / height;
            let end = rows.end.min((index + 1) * height);
            let [input_height, width] = self.shape.input;
            let input = self.input.wrapping_add(index * input_height * width * S::LANES);
            let plane = three::Plane::new(self, simd, index, input);
            for row in rows.start..end {
                plane.row::<STRIDE>(row - index * height);
            }
            rows.start = end;
        }
    }

    #[inline(always)]
    fn any<S: Simd, const STRIDE: usize>(&self, simd: S) {
        for index in self.rows.clone() {
            self.row::<S, STRIDE>(simd, index);
        }
    }
}
