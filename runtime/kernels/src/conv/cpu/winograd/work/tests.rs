//! The kernel with vectors of every width, including those of instruction sets that this machine lacks.

use super::*;
use crate::activation::Activation;
use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::EpilogueWriter;
use crate::conv::cpu::operand::Call;
use crate::conv::cpu::winograd::Tile;
use crate::conv::cpu::winograd::grid::Grid;
use crate::conv::cpu::winograd::scheme::{F2, F4, F6, Strided2, Strided4};
use crate::conv::{ConvGeometry, ConvShape};
use crate::layout::Layout;
use crate::simd::math::Single;
use candle_core::Result;
use std::borrow::Cow;

/// Vectors of `N` lanes in plain Rust, rounding as [`Portable`](crate::simd::Portable) does.
#[derive(Clone, Copy)]
struct Lanes<const N: usize>;

// SAFETY of every block: pointers are the caller's promise.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the one above is for all")]
impl<const N: usize> Simd for Lanes<N> {
    type V = [f32; N];
    type Mask = [usize; 2];
    const LANES: usize = N;
    const REGISTERS: usize = 16;
    const FUSED: bool = false;

    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    fn splat(self, x: f32) -> Self::V {
        [x; N]
    }
    unsafe fn load(self, from: *const f32) -> Self::V {
        unsafe { from.cast::<[f32; N]>().read() }
    }
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        unsafe { to.cast::<[f32; N]>().write(v) }
    }
    unsafe fn load_partial(self, from: *const f32, n: usize) -> Self::V {
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0. })
    }
    unsafe fn store_partial(self, to: *mut f32, n: usize, v: Self::V) {
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), to, n) }
    }
    fn mask(self, first: usize, end: usize) -> Self::Mask {
        [first, end]
    }
    unsafe fn load_masked(self, from: *const f32, [first, end]: Self::Mask) -> Self::V {
        let inside = |i: usize| first <= i && i < end;
        std::array::from_fn(|i| if inside(i) { unsafe { *from.wrapping_add(i) } } else { 0. })
    }
    fn keep(self, v: Self::V, [first, end]: Self::Mask) -> Self::V {
        std::array::from_fn(|i| if first <= i && i < end { v[i] } else { 0. })
    }
    fn deinterleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let all = |i: usize| if i < N { a[i] } else { b[i - N] };
        [std::array::from_fn(|i| all(2 * i)), std::array::from_fn(|i| all(2 * i + 1))]
    }
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let turn = |i: usize| if i.is_multiple_of(2) { a[i / 2] } else { b[i / 2] };
        [std::array::from_fn(turn), std::array::from_fn(|i| turn(i + N))]
    }
    fn pick(self, [a, b]: [Self::V; 2], same: Self::V, other: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] == b[i] { same[i] } else { other[i] })
    }
    fn pick_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < b[i] { then[i] } else { otherwise[i] })
    }
    fn pick_at_most(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] <= b[i] { then[i] } else { otherwise[i] })
    }
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] / b[i])
    }
    fn copysign(self, magnitude: Self::V, sign: Self::V) -> Self::V {
        std::array::from_fn(|i| magnitude[i].copysign(sign[i]))
    }
    fn round(self, v: Self::V) -> Self::V {
        v.map(Single::round)
    }
    fn ldexp(self, v: Self::V, exponent: Self::V) -> Self::V {
        std::array::from_fn(|i| Single::ldexp(v[i], exponent[i]))
    }
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    fn max(self, bound: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|i| if bound[i] > value[i] { bound[i] } else { value[i] })
    }
    fn min(self, bound: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|i| if bound[i] < value[i] { bound[i] } else { value[i] })
    }
    fn larger(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if b[i] > a[i] || b[i].is_nan() { b[i] } else { a[i] })
    }
    fn sum(self, v: Self::V) -> f32 {
        v.iter().sum()
    }
}

impl<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Work<'_, F, OUT, IN> {
    /// Does all of the work with one token, on this thread.
    fn run_with<S: Simd>(&self, simd: S) {
        let channels = 0..self.operands.shape.in_channels;
        for block in 0..self.blocks {
            let mut v = scratch_of_nan([self.v_len()]);
            let v = self.transformed(&mut v);
            let mut scratch = scratch_of_nan([self.m_stride() * IN * IN, STRIP]);
            let [m, strip] = scratch.slices().map(<[f32]>::as_mut_ptr);
            self.input_transform(block, channels.clone(), v, strip).run(simd);
            let m = Positions { data: m, stride: self.m_stride() };
            for group in self.groups(0..self.panels) {
                self.product(block, group.clone(), v, m).run(simd);
                self.output_transform(block, group, m, strip).run(simd);
            }
        }
    }
}

fn scratch_of_nan<const N: usize>(lens: [usize; N]) -> Scratch<N> {
    let mut scratch = Scratch::new(lens);
    scratch.slices().into_iter().for_each(|slice| slice.fill(f32::NAN));
    scratch
}

/// Returns irregular numbers between -1 and 1.
fn numbers(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin()).collect()
}

fn check<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    scheme: F,
    tile: Tile,
    input: [usize; 4],
    out_channels: usize,
) -> Result<()> {
    let geometry =
        ConvGeometry { stride: [F::STRIDE; 2], padding: [[1, 2], [2, 1]], ..ConvGeometry::default() };
    let shape = ConvShape::new(&input, &[out_channels, input[1], 3, 3], &geometry)?;
    let outputs = shape.output_elements();
    let image = numbers(input.iter().product(), 1.7);
    let weight = numbers(out_channels * shape.taps(), 2.3);
    let shift = numbers(out_channels, 0.9);
    let residual = numbers(outputs, 1.1);
    let packed = PackedWinograd::new(&weight, out_channels, shape.in_channels, tile);
    let call = Call {
        input: image[..].into(),
        weight: weight[..].into(),
        scale: None,
        shift: Some(Cow::Borrowed(&shift)),
        residual: Some(residual[..].into()),
        activation: Activation::Silu,
    };
    let with = |run: fn(&Work<'_, F, OUT, IN>)| {
        let mut output = vec![f32::NAN; outputs];
        let operands = Operands {
            shape: &shape,
            grid: Grid::new(shape.batch, shape.output, OUT),
            input: call.input.as_ptr(),
            packed: &packed,
            writer: EpilogueWriter::new(&call, out_channels),
            output: OutputPtr::F32(output.as_mut_ptr()),
            layout: Layout::Nchw,
            infinite: false.into(),
        };
        run(&Work::new(Isa::Portable, scheme, &operands));
        output
    };
    let expected = with(|work| work.run());
    assert!(expected.iter().all(|x| x.is_finite()));
    assert_eq!(with(|work| work.run_with(Lanes::<4>)), expected, "4 lanes, {shape:?}");
    assert_eq!(with(|work| work.run_with(Lanes::<16>)), expected, "16 lanes, {shape:?}");
    Ok(())
}

#[test]
fn every_vector_width_gives_the_same_bits() -> Result<()> {
    let shapes = [
        ([1, 3, 1, 1], 5),
        ([2, 16, 13, 30], 33),
        ([1, 21, 40, 37], 16),
        ([3, 37, 7, 7], 20),
        // The sums resume after `KC` channels, with two panels and with one.
        ([1, 131, 7, 7], 40),
    ];
    for (input, out_channels) in shapes {
        check(F2, Tile::Two, input, out_channels)?;
        check(F4, Tile::Four, input, out_channels)?;
        check(F6, Tile::Six, input, out_channels)?;
        check(Strided2, Tile::StridedTwo, input, out_channels)?;
        check(Strided4, Tile::StridedFour, input, out_channels)?;
    }
    Ok(())
}
