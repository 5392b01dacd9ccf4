//! Max pooling. NaN wins over every number, and of equal maxima the first of the window gets the
//! gradient, as in PyTorch.

use super::{PoolGeometry, composed, input_size, map_planes, with_size};
use crate::kernels::element::{Element, elements, in_single, with_element, with_elements};
use crate::kernels::float::Float;
use crate::kernels::simd::{Kernel, Simd, dispatch_loops};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};

const NAME: &str = "max_pool2d";

/// The largest element of each window of `[batch, channels, height, width]` or
/// `[channels, height, width]`.
///
/// # Errors
/// The input has another rank, or [`PoolGeometry::output_size`] has no answer.
pub fn max_pool2d(x: &Tensor, geometry: &PoolGeometry) -> Result<Tensor> {
    let input = input_size(NAME, x)?;
    let output = geometry.output_size(input)?;
    if x.device().is_cpu() {
        in_single(x, |x| x.contiguous()?.apply_op1(MaxPool { geometry: *geometry, input, output }))
    } else {
        composed::max(x, geometry, input, output)
    }
}

#[derive(Clone, Copy)]
struct MaxPool {
    geometry: PoolGeometry,
    input: [usize; 2],
    output: [usize; 2],
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [from, to] = [self.input, self.output].map(|[h, w]| h * w);
        with_element!(NAME, x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = map_planes(x, from, to, |_, x, y| dispatch_loops(Forward { pool: *self, x, y }));
            Ok((E::to_cpu_storage_owned(y), with_size(layout.dims(), self.output).into()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements(x, |x| with_elements(grad, |grad| self.gradient::<E>(x, grad)))??;
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })
    }
}

impl MaxPool {
    fn gradient<E: Element>(&self, x: &[E], grad: &[E]) -> Vec<E> {
        let [from, to] = [self.input, self.output].map(|[h, w]| h * w);
        map_planes(x, from, from, |first, x, dx| {
            let mut sums = vec![E::Compute::ZERO; from];
            let planes = x.chunks(from).zip(grad[first * to..].chunks(to)).zip(dx.chunks_mut(from));
            for ((x, grad), dx) in planes {
                self.scatter(x, grad, &mut sums);
                for (dx, sum) in dx.iter_mut().zip(&mut sums) {
                    *dx = E::narrow(std::mem::replace(sum, Float::ZERO));
                }
            }
        })
    }

    /// Adds each output's gradient to the sum of the element that was its window's maximum.
    fn scatter<E: Element>(&self, x: &[E], grad: &[E], sums: &mut [E::Compute]) {
        let Self { geometry, input: [h, w], output: [_, columns] } = *self;
        for (output, grad) in grad.iter().enumerate() {
            let rows = geometry.taps(0, h, output / columns);
            let mut best: Option<(usize, E::Compute)> = None;
            for row in rows {
                for column in geometry.taps(1, w, output % columns) {
                    let at = row * w + column;
                    let value = x[at].widen();
                    if best.is_none_or(|(_, max)| value > max || value.is_nan()) {
                        best = Some((at, value));
                    }
                }
            }
            if let Some((at, _)) = best {
                sums[at] += grad.widen();
            }
        }
    }
}

/// The larger; NaN where either is NaN.
#[inline(always)]
fn larger<T: Float>(max: T, value: T) -> T {
    if value > max || value.is_nan() { value } else { max }
}

struct Forward<'a, E> {
    pool: MaxPool,
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    /// For each output row, first the maximum down its rows, one vector of columns after another, then
    /// across: the strided part is one row long.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let MaxPool { geometry, input: [h, w], output: [rows, columns] } = self.pool;
        let [stride, padding, dilation, kernel] =
            [geometry.stride[1], geometry.padding[1], geometry.dilation[1], geometry.kernel[1]];
        // The columns that windows reach, padding included: what no element fills stays -∞.
        let reach = (columns - 1) * stride + (kernel - 1) * dilation + 1;
        let mut padded = vec![E::Compute::NEG_INFINITY; reach.max(padding + w)];
        for (x, y) in self.x.chunks_exact(h * w).zip(self.y.chunks_exact_mut(rows * columns)) {
            for (row, y) in y.chunks_exact_mut(columns).enumerate() {
                let down = &mut padded[padding..padding + w];
                down.fill(E::Compute::NEG_INFINITY);
                for tap in geometry.taps(0, h, row) {
                    for (max, x) in down.iter_mut().zip(&x[tap * w..(tap + 1) * w]) {
                        *max = larger(*max, x.widen());
                    }
                }
                match (kernel, stride, dilation) {
                    (2, 2, 1) => across::<E, 2, 2>(&padded, y),
                    (3, 2, 1) => across::<E, 3, 2>(&padded, y),
                    (3, 1, 1) => across::<E, 3, 1>(&padded, y),
                    _ => across_any(&padded, y, kernel, stride, dilation),
                }
            }
        }
    }
}

/// The maximum of each `KERNEL` columns, `STRIDE` apart.
#[inline(always)]
fn across<E: Element, const KERNEL: usize, const STRIDE: usize>(down: &[E::Compute], y: &mut [E]) {
    let reach = (y.len() - 1) * STRIDE + KERNEL;
    let down = &down[..reach];
    for (column, y) in y.iter_mut().enumerate() {
        let window = &down[column * STRIDE..column * STRIDE + KERNEL];
        *y = E::narrow(window[1..].iter().fold(window[0], |max, value| larger(max, *value)));
    }
}

#[inline(always)]
fn across_any<E: Element>(down: &[E::Compute], y: &mut [E], kernel: usize, stride: usize, dilation: usize) {
    for (column, y) in y.iter_mut().enumerate() {
        let taps = down[column * stride..].iter().step_by(dilation).take(kernel);
        *y = E::narrow(taps.fold(E::Compute::NEG_INFINITY, |max, value| larger(max, *value)));
    }
}
