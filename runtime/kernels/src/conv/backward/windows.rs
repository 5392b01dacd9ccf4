//! The gradients of a convolution of sequences with one input channel in each group, as matrix products.
//!
//! The windows of a sequence are the rows of its im2col matrix `[output][tap]`: the elements of the padded sequence
//! that each output reads. The matrix is a view of the padded sequence, in which neighboring rows overlap if the stride
//! is smaller than the kernel, so the matrix itself is not built:
//!
//! - The gradient of the weight is the product `grad · windows`, summed over the batch.
//! - The gradient of the windows is the product `gradᵀ · weight`. Each of its rows is added to the gradient of the
//!   sequence, at the positions of the window.
//!
//! The second product is the forward pass of a transposed convolution, such as the inverse of a short-time Fourier
//! transform.

use std::borrow::Cow;

use crate::gemm::{Matrix, Product};
use crate::simd::{self, Isa, Lanes, Task};

use super::extent::{Axis, Extent};
use super::real::{Multiply, Real};
use super::tasks::run_tasks;

/// The minimum number of output channels in a group, of taps and of outputs. With fewer, the register tiles of the
/// products would compute mostly unused sums.
const MIN_SIZE: usize = 32;
/// The number of elements that the products of several images may have together, unless one image has more. They stay
/// in the L2 cache until they are added to the result.
const MAX_PRODUCT_ELEMENTS: usize = 1 << 18;
/// The maximum number of elements of the product of one image, 16 MiB in f32. Longer sequences keep the algorithms that
/// need no product.
const MAX_IMAGE_ELEMENTS: usize = 1 << 22;

/// The matrix products for one convolution.
pub(super) struct Windows<R: Real> {
    /// The axis of the sequence. The other axis has one position and one tap.
    axis: Axis,
    multiply: Multiply<R>,
}

impl<R: Real> Windows<R> {
    /// Returns `None` if the input does not consist of sequences with one channel in each group, if the sizes are too
    /// small, or if there are no fast matrix products of this type.
    pub fn of(extent: &Extent) -> Option<Self> {
        let multiply = R::MULTIPLY?;
        let [y_axis, x_axis] = extent.axes;
        let axis = if y_axis.is_trivial() { x_axis } else { y_axis };
        let is_sequence = y_axis.is_trivial() || x_axis.is_trivial();
        let has_windows = is_sequence && extent.group_in_channels == 1 && axis.dilation == 1;
        let fills_tiles = extent.group_out_channels.min(axis.kernel).min(axis.output) >= MIN_SIZE;
        let fits = axis.output.saturating_mul(axis.kernel) <= MAX_IMAGE_ELEMENTS;
        (has_windows && fills_tiles && fits).then_some(Self { axis, multiply })
    }

    /// Returns the gradient of the input, `[batch, groups, input]`. `weight` is `[groups, group_out_channels, kernel]`,
    /// and `grad` is `[batch, groups, group_out_channels, output]`.
    pub fn input_gradient(&self, isa: Isa, extent: &Extent, weight: &[R], grad: &[R]) -> Vec<R> {
        let Axis { input, kernel, output, .. } = self.axis;
        let channels = extent.group_out_channels;
        let weights: Vec<_> = weight
            .chunks_exact(channels * kernel)
            .map(|group| Matrix::new(group, channels, kernel))
            .collect();
        let grads = grad.chunks_exact(channels * output).map(|grad| Matrix::new(grad, channels, output).t());
        let products: Vec<_> =
            grads.zip(weights.into_iter().cycle()).map(|(a, b)| Product { a, b }).collect();

        let mut result = vec![R::default(); products.len() * input];
        let at_once = (MAX_PRODUCT_ELEMENTS / (output * kernel)).max(1);
        for (sequences, products) in result.chunks_mut(at_once * input).zip(products.chunks(at_once)) {
            let windows = (self.multiply)(isa, products);
            let parts = sequences.chunks_exact_mut(input).zip(windows.chunks_exact(output * kernel));
            let tasks = parts.map(|(to, windows)| AddWindowsTask { axis: &self.axis, windows, to });
            // Adding an element costs about as much as eight multiply-adds.
            run_tasks(isa, 8 * windows.len(), tasks.collect());
        }
        result
    }

    /// Returns the gradient of the weight, `[groups, group_out_channels, kernel]`. `input` is `[batch, groups, input]`,
    /// and `grad` is `[batch, groups, group_out_channels, output]`.
    ///
    /// The products of the images are added in order, so the result is bit-identical for any number of threads.
    pub fn weight_gradient(&self, isa: Isa, extent: &Extent, input: &[R], grad: &[R]) -> Vec<R> {
        let Axis { kernel, output, stride, .. } = self.axis;
        let channels = extent.group_out_channels;
        let (sequences, length) = self.padded(input);
        let windows = sequences
            .chunks_exact(length)
            .map(|sequence| Matrix::with_stride(sequence, output, kernel, stride));
        let grads = grad.chunks_exact(channels * output).map(|grad| Matrix::new(grad, channels, output));
        let products: Vec<_> = grads.zip(windows).map(|(a, b)| Product { a, b }).collect();

        let size = extent.groups * channels * kernel;
        let images = (MAX_PRODUCT_ELEMENTS / size).max(1);
        let mut sums = vec![R::default(); size];
        for products in products.chunks(images * extent.groups) {
            for gradient in (self.multiply)(isa, products).chunks_exact(size) {
                sums.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += *x);
            }
        }
        sums
    }

    /// Returns the sequences with their padding, and their length. Copies the sequences only if they are padded.
    fn padded<'a>(&self, input: &'a [R]) -> (Cow<'a, [R]>, usize) {
        let Axis { input: length, padding, .. } = self.axis;
        let padded_length = self.axis.padded_size();
        if padding == 0 && padded_length <= length {
            return (input.into(), length);
        }
        let mut padded = vec![R::default(); input.len() / length * padded_length];
        for (to, from) in padded.chunks_exact_mut(padded_length).zip(input.chunks_exact(length)) {
            to.iter_mut().skip(padding).zip(from).for_each(|(to, x)| *to = *x);
        }
        (padded.into(), padded_length)
    }
}

/// The task that adds the gradients of the windows to the gradient of one sequence.
struct AddWindowsTask<'a, R> {
    axis: &'a Axis,
    /// `[output][tap]`
    windows: &'a [R],
    to: &'a mut [R],
}

impl<R: simd::Real> Task<R> for AddWindowsTask<'_, R> {
    #[inline(always)]
    fn run<L: Lanes<Real = R>>(self, _: L) {
        let Axis { kernel, stride, padding, .. } = *self.axis;
        for (index, window) in self.windows.chunks_exact(kernel).enumerate() {
            let start = index * stride;
            // The first tap that is not in the padding before the sequence.
            let first = padding.saturating_sub(start).min(kernel);
            let position = (start + first).saturating_sub(padding).min(self.to.len());
            let sums = self.to[position..].iter_mut();
            sums.zip(&window[first..]).for_each(|(sum, x)| *sum += *x);
        }
    }
}
