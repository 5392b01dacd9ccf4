//! Vectors of every width, also those of instruction sets that this machine lacks.

use super::*;
use crate::activation::Activation;
use crate::conv::cpu::{ElementPtr, OutputPtr};
use crate::conv::winograd::grid::Grid;
use crate::conv::winograd::scheme::{F2, F4, F6, Strided2, Strided4};
use crate::conv::winograd::{Epilogue, PackedWinograd, Shape, Tile};
use crate::simd::math::Single;

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
    /// All of the work with one token, on this thread.
    fn run_with<S: Simd>(&self, simd: S) {
        let (work, channels) = (self, 0..self.operands.shape.in_channels);
        for block in 0..self.blocks {
            let mut v = scratch_of_nan([self.v_len()]);
            let v = self.transformed(&mut v);
            let mut scratch = scratch_of_nan([self.m_stride() * IN * IN, STRIP]);
            let [m, strip] = scratch.slices().map(<[f32]>::as_mut_ptr);
            Transform { work, tiles: self.tiles(block), channels: channels.clone(), strip, v }.run(simd);
            for group in self.groups(0..self.panels) {
                self.product(block, group.clone(), v, m).run(simd);
                self.results(block, group, m, strip).run(simd);
            }
        }
    }
}

fn scratch_of_nan<const N: usize>(lens: [usize; N]) -> Scratch<N> {
    let mut scratch = Scratch::new(lens);
    scratch.slices().into_iter().for_each(|slice| slice.fill(f32::NAN));
    scratch
}

/// Numbers of no pattern between -1 and 1.
fn numbers(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin()).collect()
}

fn check<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(scheme: F, tile: Tile, shape: Shape) {
    let [height, width] = shape.output(tile.stride());
    let outputs = shape.batch * shape.out_channels * height * width;
    let input = numbers(shape.batch * shape.in_channels * shape.input[0] * shape.input[1], 1.7);
    let weight = numbers(shape.out_channels * shape.in_channels * 9, 2.3);
    let (shift, residual) = (numbers(shape.out_channels, 0.9), numbers(outputs, 1.1));
    let packed = PackedWinograd::new(&weight, shape.out_channels, shape.in_channels, tile);
    let epilogue = Epilogue {
        shift: Some(&shift),
        residual: Some(residual[..].into()),
        activation: Activation::Silu,
        ..Epilogue::default()
    };
    let with = |run: fn(&Work<'_, F, OUT, IN>)| {
        let mut output = vec![f32::NAN; outputs];
        let operands = Operands {
            shape,
            grid: Grid::new(shape.batch, [height, width], OUT),
            input: ElementPtr::F32(input.as_ptr()),
            packed: &packed,
            epilogue,
            output: OutputPtr::F32(output.as_mut_ptr()),
            blocked: false,
            infinite: false.into(),
        };
        run(&Work::new(Isa::Portable, scheme, &operands));
        output
    };
    let expected = with(|work| work.run());
    assert!(expected.iter().all(|x| x.is_finite()));
    assert_eq!(with(|work| work.run_with(Lanes::<4>)), expected, "4 lanes, {shape:?}");
    assert_eq!(with(|work| work.run_with(Lanes::<16>)), expected, "16 lanes, {shape:?}");
}

#[test]
fn every_width_of_vector_gives_the_same() {
    let shapes = [
        (1, [3, 5], [1, 1]),
        (2, [16, 33], [13, 30]),
        (1, [21, 16], [40, 37]),
        (3, [37, 20], [7, 7]),
        // Sums that go on after so many channels, two panels and one.
        (1, [131, 40], [7, 7]),
    ];
    for (batch, channels, input) in shapes {
        let [in_channels, out_channels] = channels;
        let shape = Shape { batch, in_channels, out_channels, input, padding: [[1, 2], [2, 1]] };
        check(F2, Tile::Two, shape);
        check(F4, Tile::Four, shape);
        check(F6, Tile::Six, shape);
        check(Strided2, Tile::StridedTwo, shape);
        check(Strided4, Tile::StridedFour, shape);
    }
}
