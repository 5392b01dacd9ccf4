//! Tests Winograd's convolution with vectors of every width, including those of instruction sets that this machine
//! lacks. `tests/kernels/winograd.rs` compares the instruction sets of this machine, and numbers of threads.

use candle_core::Result;

use crate::activation::Activation;
use crate::conv::cpu::elements::OutputPtr;
use crate::conv::cpu::epilogue::EpilogueWriter;
use crate::conv::cpu::operand::Call;
use crate::conv::cpu::winograd::WinogradTile;
use crate::conv::cpu::winograd::grid::Grid;
use crate::conv::cpu::winograd::scheme::{F2, F4, F6, Strided2, Strided4};
use crate::conv::{ConvGeometry, ConvShape};
use crate::layout::Layout;
use crate::simd::Portable;

use super::*;

impl<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize> Schedule<'_, F, OUT, IN> {
    /// Runs the schedule with the vectors of `simd`, on this thread.
    fn run_with<S: Simd>(&self, simd: S) {
        let channels = 0..self.operands.shape.in_channels;
        for block in 0..self.blocks {
            let mut v = scratch_of_nan([self.v_len()]);
            let v = self.transformed(&mut v);
            let mut scratch = scratch_of_nan([self.m_stride() * IN * IN, STRIP_FLOATS]);
            let [m, strip] = scratch.slices().map(<[f32]>::as_mut_ptr);
            self.input_transform(block, self.tiles(block), channels.clone(), v, strip).run(simd);
            let m = Positions { data: m, stride: self.m_stride() };
            for group in self.groups(0..self.panels) {
                self.product(block, group.clone(), v, m).run(simd);
                self.output_transform(block, group, m, strip).run(simd);
            }
        }
    }
}

/// Returns scratch memory filled with NaN, so that a read of an element that was not written is noticed.
fn scratch_of_nan<const N: usize>(lens: [usize; N]) -> Scratch<N> {
    let mut scratch = Scratch::new(lens);
    scratch.slices().into_iter().for_each(|slice| slice.fill(f32::NAN));
    scratch
}

/// Returns irregular numbers between -1 and 1.
fn numbers(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin()).collect()
}

/// Checks that vectors of 4 and 16 lanes give the same results as vectors of 8 lanes.
fn check<F: Scheme<OUT, IN>, const OUT: usize, const IN: usize>(
    scheme: F,
    tile: WinogradTile,
    input: [usize; 4],
    out_channels: usize,
) -> Result<()> {
    let geometry =
        ConvGeometry { stride: [F::STRIDE; 2], padding: [[1, 2], [2, 1]], ..ConvGeometry::default() };
    let shape = ConvShape::new(&input, &[out_channels, input[1], 3, 3], &geometry)?;
    let outputs = shape.output_elements();
    let image = numbers(input.iter().product(), 1.7);
    let weight = numbers(out_channels * shape.depth(), 2.3);
    let shift = numbers(out_channels, 0.9);
    let residual = numbers(outputs, 1.1);
    let packed = PackedWinograd::new(&weight, out_channels, shape.in_channels, tile);
    let call = Call {
        shift: Some(&shift),
        residual: Some(residual[..].into()),
        activation: Activation::Silu,
        ..Call::new(&image[..], &weight[..])
    };
    let output_of = |run: fn(&Schedule<'_, F, OUT, IN>)| {
        let mut output = vec![f32::NAN; outputs];
        let operands = Operands {
            shape: &shape,
            grid: Grid::new(shape.batch, shape.output, OUT),
            input: call.input.as_ptr(),
            packed: &packed,
            writer: EpilogueWriter::new(&call, out_channels),
            output: OutputPtr::F32(output.as_mut_ptr()),
            layout: Layout::Nchw,
            has_non_finite_sum: false.into(),
        };
        run(&Schedule::new(Isa::Portable, scheme, &operands));
        output
    };
    let expected = output_of(|schedule| schedule.run_with(Portable::<8>));
    assert!(expected.iter().all(|x| x.is_finite()));
    assert_eq!(output_of(|schedule| schedule.run_with(Portable::<4>)), expected, "4 lanes, {shape:?}");
    assert_eq!(output_of(|schedule| schedule.run_with(Portable::<16>)), expected, "16 lanes, {shape:?}");
    Ok(())
}

#[test]
fn results_are_identical_for_every_vector_width() -> Result<()> {
    let shapes = [
        ([1, 3, 1, 1], 5),
        ([2, 16, 13, 30], 33),
        ([1, 21, 40, 37], 16),
        ([3, 37, 7, 7], 20),
        // More input channels than the matrix product adds in one pass, with a group of two panels and a group of one.
        ([1, 131, 7, 7], 40),
    ];
    for (input, out_channels) in shapes {
        check(F2, WinogradTile::Two, input, out_channels)?;
        check(F4, WinogradTile::Four, input, out_channels)?;
        check(F6, WinogradTile::Six, input, out_channels)?;
        check(Strided2, WinogradTile::StridedTwo, input, out_channels)?;
        check(Strided4, WinogradTile::StridedFour, input, out_channels)?;
    }
    Ok(())
}
