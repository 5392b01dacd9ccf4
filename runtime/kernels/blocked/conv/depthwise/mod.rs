//! Kernels that each see one channel: a vector of channels at a time, tap by tap.

mod any;
mod three;

use super::finish::Finish;
use super::{Epilogue, Output, Weight};
use crate::kernels::conv::ConvShape;
use crate::kernels::conv::cpu::{Form, Packing};
use crate::kernels::parallel;
use crate::kernels::simd::{self, Isa, Kernel, Simd};
use std::ops::Range;

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
    let form = Form::Depthwise { lanes };
    let weights = Packing::get(weight.packing, form, || Packed::new(shape, weight.values, lanes));
    // Then no zero in place of a pixel outside of the image becomes NaN.
    let finite = (weights.largest * largest(epilogue.scale.unwrap_or(&[1.]))).is_finite();
    let rows = output.len() / (shape.output[1] * lanes);
    let hand_outs = parallel::hand_outs(output.len().max(input.len()) / HAND_OUT).min(rows);
    let bound = |hand_out: usize| hand_out * rows / hand_outs;
    let planes = Planes {
        shape,
        input,
        weights: &weights.vectors,
        finish: Finish::new(epilogue, shape.out_channels),
        output: Output(output.as_mut_ptr()),
        three: finite && three::is_suitable(shape),
        rows: 0..rows,
    };
    parallel::for_each(hand_outs, &|hand_out| {
        simd::dispatch_to(isa, Planes { rows: bound(hand_out)..bound(hand_out + 1), ..planes.clone() });
    });
}

/// A packed weight.
struct Packed {
    /// `[channels / lanes][taps][lanes]`, zeros after the last channel.
    vectors: Vec<f32>,
    largest: f32,
}

impl Packed {
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
    numbers.iter().fold(0., |largest: f32, x| if x.is_nan() { f32::INFINITY } else { largest.max(x.abs()) })
}

/// Some of the output's rows, numbered through all blocks of channels of all images.
#[derive(Clone)]
struct Planes<'a> {
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

impl Planes<'_> {
    #[inline(always)]
    fn three<S: Simd, const STRIDE: usize>(&self, simd: S) {
        let height = self.shape.output[0];
        let mut rows = self.rows.clone();
        while !rows.is_empty() {
            let index = rows.start / height;
            let end = rows.end.min((index + 1) * height);
            let plane = three::Plane::new(self, simd, index);
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
