//! Kernels that each see one channel: a vector of channels at a time, tap by tap.

mod any;
mod three;

use super::finish::Finish;
use super::{Epilogue, Output, Weight};
use crate::conv::ConvShape;
use crate::conv::cpu::{Form, Packing};
use crate::parallel;
use crate::simd::{self, Isa, Kernel, Simd};
use std::ops::Range;
use std::sync::Arc;

/// Elements, of the input or the output, that one hand-out to a thread should have.
const HAND_OUT: usize = 1 << 14;

pub(super) fn conv2d(
    shape: &ConvShape,
    input: &[f32],
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut [f32],
    isa: Isa,
) {
    let lanes = isa.lanes();
    let packed = Packed::get(shape, weight, isa);
    let rows = output.len() / (shape.output[1] * lanes);
    let hand_outs = parallel::hand_outs(output.len().max(input.len()) / HAND_OUT).min(rows);
    let bound = |hand_out: usize| hand_out * rows / hand_outs;
    let planes = Planes::new(shape, input, &packed, epilogue, Output(output.as_mut_ptr()));
    parallel::for_each(hand_outs, &|hand_out| {
        simd::dispatch_to(isa, Planes { rows: bound(hand_out)..bound(hand_out + 1), ..planes.clone() });
    });
}

/// A packed weight.
pub(super) struct Packed {
    /// `[channels / lanes][taps][lanes]`, zeros after the last channel.
    vectors: Vec<f32>,
    largest: f32,
}

impl Packed {
    pub fn get(shape: &ConvShape, weight: Weight<'_>, isa: Isa) -> Arc<Self> {
        let lanes = isa.lanes();
        Packing::get(weight.packing, Form::Depthwise { lanes }, || Self::new(shape, weight.values, lanes))
    }

    /// Of `[channels, 1, kernel]`.
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

/// The largest magnitude, NaN counted as an infinity.
fn largest(numbers: &[f32]) -> f32 {
    // Magnitudes are in the order of their bits, NaN the last; unlike floats, whole numbers compare in vectors.
    let bits = numbers.iter().fold(0, |largest: i32, x| largest.max(x.abs().to_bits() as i32));
    f32::from_bits(bits as u32).min(f32::INFINITY)
}

/// Some of the output's rows, numbered through all blocks of channels of all images.
#[derive(Clone)]
pub(super) struct Planes<'a> {
    shape: &'a ConvShape,
    input: &'a [f32],
    weights: &'a [f32],
    finish: Finish<'a>,
    output: Output,
    /// Whether it is 3×3 taps, and the weights times the scales are finite.
    three: bool,
    rows: Range<usize>,
}

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
    pub fn new(
        shape: &'a ConvShape,
        input: &'a [f32],
        packed: &'a Packed,
        epilogue: &Epilogue<'a>,
        output: Output,
    ) -> Self {
        // Then no zero in place of a pixel outside of the image becomes NaN.
        let finite = (packed.largest * largest(epilogue.scale.unwrap_or(&[1.]))).is_finite();
        let (weights, finish) = (&packed.vectors, Finish::new(epilogue, shape.out_channels));
        Self { shape, input, weights, finish, output, three: finite && three::is_suitable(shape), rows: 0..0 }
    }

    /// Whether each row of an input by itself will do: see [`rows_of`](Self::rows_of).
    pub fn takes_rows(&self) -> bool {
        self.three
    }

    /// Computes some rows of the block of channels with this number among those of all images.
    ///
    /// # Safety
    /// `plane` is where the block's pixels would begin, of which the rows are there that the results read. The
    /// results are nobody else's.
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
            let input = self.input.as_ptr().wrapping_add(index * input_height * width * S::LANES);
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

/// The taps, `dilation` apart from `first` on, that lie within `padding..padding + size`.
#[inline(always)]
fn inside(first: usize, padding: usize, size: usize, dilation: usize, taps: usize) -> Range<usize> {
    let start = padding.saturating_sub(first).div_ceil(dilation).min(taps);
    let end = (size + padding).saturating_sub(first).div_ceil(dilation).min(taps);
    start..end.max(start)
}
