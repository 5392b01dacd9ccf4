//! Sums and loops for each channel of a tensor `[samples, channels, plane]`.
//!
//! The partition into tasks depends only on the shape, and partial sums are added in a fixed order, so the results are
//! bit-identical for any number of threads.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use crate::element::Element;
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Kernel, Simd, dispatch_loops};

/// The sizes of a tensor whose second dimension is the channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels {
    pub samples: usize,
    pub channels: usize,
    /// The product of all dimensions after the second.
    pub plane: usize,
}

impl Channels {
    /// Returns the sizes of `x`, whose rank must be at least 2.
    pub fn new(op: &str, x: &Tensor) -> Result<Self> {
        match x.dims() {
            [samples, channels, plane @ ..] => {
                Ok(Self { samples: *samples, channels: *channels, plane: plane.iter().product() })
            }
            dims => bail!("{op}: expected an input [batch, channels, ...] of rank 2 or more, found {dims:?}"),
        }
    }

    /// Returns the number of elements of one channel in all samples.
    pub fn per_channel(&self) -> usize {
        self.samples * self.plane
    }

    /// Returns the range of the elements of one channel of one sample.
    pub fn range(&self, sample: usize, channel: usize) -> Range<usize> {
        let start = (sample * self.channels + channel) * self.plane;
        start..start + self.plane
    }

    /// Returns one result for each channel: calls `fold(channel, samples)` for each block of samples, and reduces the
    /// results of the blocks in order with `combine`.
    pub fn reduce<A: Send>(
        &self,
        fold: impl Fn(usize, Range<usize>) -> A + Sync,
        combine: impl Fn(A, A) -> A,
    ) -> Vec<A> {
        let samples_per_block = (cost::MIN_ELEMENTS / self.plane.max(1)).clamp(1, self.samples.max(1));
        let blocks = self.samples.div_ceil(samples_per_block).max(1);
        let part = |task: usize| {
            let start = task % blocks * samples_per_block;
            fold(task / blocks, start..(start + samples_per_block).min(self.samples))
        };
        let tasks = self.channels * blocks;
        let mut parts: Vec<Option<A>> = (0..tasks).map(|_| None).collect();
        let is_small = self.per_channel() * self.channels <= cost::MIN_ELEMENTS;
        // A chunk is one slot or all slots, so the index of a chunk equals the index of its first slot.
        for_each_chunk(&mut parts, if is_small { tasks } else { 1 }, |first, slots| {
            slots.iter_mut().enumerate().for_each(|(i, slot)| *slot = Some(part(first + i)));
        });
        let mut parts = parts.into_iter().flatten();
        (0..self.channels).filter_map(|_| parts.by_ref().take(blocks).reduce(&combine)).collect()
    }

    /// Returns, for each channel, the sums of `term(channel, a, b)` over two tensors of this shape.
    pub fn sums<E: Element, const K: usize>(
        &self,
        a: &[E],
        b: &[E],
        term: impl Fn(usize, f64, f64) -> [f64; K] + Sync,
    ) -> Vec<[f64; K]> {
        let fold = |channel: usize, samples: Range<usize>| {
            self.fold_planes(a, b, channel, samples, |a, b| term(channel, a, b))
        };
        self.reduce(fold, add_arrays)
    }

    /// Returns the sums of `term(a, b)` over one channel of several samples.
    pub fn fold_planes<E: Element, const K: usize>(
        &self,
        a: &[E],
        b: &[E],
        channel: usize,
        samples: Range<usize>,
        term: impl Fn(f64, f64) -> [f64; K],
    ) -> [f64; K] {
        let planes = samples.map(|sample| self.range(sample, channel));
        planes.map(|range| sums(&a[range.clone()], &b[range], &term)).fold([0.0; K], add_arrays)
    }

    /// Calls `fill(channel, range, plane)` for every plane of `out`, where `plane` is `out[range]`.
    pub fn for_each_plane<E: Send>(
        &self,
        out: &mut [E],
        fill: impl Fn(usize, Range<usize>, &mut [E]) + Sync,
    ) {
        let plane = self.plane.max(1);
        let planes_per_task = cost::MIN_ELEMENTS.div_ceil(plane);
        for_each_chunk(out, planes_per_task * plane, |task, planes| {
            for (i, out) in planes.chunks_mut(plane).enumerate() {
                let index = task * planes_per_task + i;
                fill(index % self.channels, index * plane..(index + 1) * plane, out);
            }
        });
    }
}

/// Adds two arrays element by element.
pub(crate) fn add_arrays<const K: usize>(a: [f64; K], b: [f64; K]) -> [f64; K] {
    std::array::from_fn(|k| a[k] + b[k])
}

/// Returns the sums of `term(a, b)` over two slices of equal length, in `f64`.
pub(crate) fn sums<A: Element, B: Element, const K: usize>(
    a: &[A],
    b: &[B],
    term: impl Fn(f64, f64) -> [f64; K],
) -> [f64; K] {
    dispatch_loops(Sums { a, b, term })
}

struct Sums<'a, A, B, F> {
    a: &'a [A],
    b: &'a [B],
    term: F,
}

impl<A: Element, B: Element, F: Fn(f64, f64) -> [f64; K], const K: usize> Kernel for Sums<'_, A, B, F> {
    type Output = [f64; K];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [f64; K] {
        const LANES: usize = 8;
        let mut lanes = [[0.0; LANES]; K];
        let (a, b) = (self.a.chunks_exact(LANES), self.b.chunks_exact(LANES));
        let (a_rest, b_rest) = (a.remainder(), b.remainder());
        for (a, b) in a.zip(b) {
            for lane in 0..LANES {
                let term = (self.term)(a[lane].to_f64(), b[lane].to_f64());
                for k in 0..K {
                    lanes[k][lane] += term[k];
                }
            }
        }
        let mut total = lanes.map(|lanes| lanes.iter().sum::<f64>());
        for (a, b) in a_rest.iter().zip(b_rest) {
            total = add_arrays(total, (self.term)(a.to_f64(), b.to_f64()));
        }
        total
    }
}
