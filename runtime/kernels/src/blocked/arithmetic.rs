//! Elementwise operations on channel-blocked activations: arithmetic with broadcasting, and unary functions.

use candle_core::{Result, bail};

use crate::arithmetic::{Binary, Unary};
use crate::strided::{Axis, Formula, map_into};

use super::BlockedTensor;
use super::elementwise::clear;

/// Combines two activations elementwise. If one has a batch of 1, it is repeated for each sample of the other. If one
/// has a height and width of 1, its pixel is repeated for each pixel of the other.
///
/// # Errors
/// Fails if the shapes do not broadcast in this way, or there is not enough memory.
pub fn binary(op: Binary, a: &BlockedTensor, b: &BlockedTensor) -> Result<BlockedTensor> {
    let Some(dims) = broadcast(a.dims(), b.dims()) else {
        bail!("cannot {} channel-blocked activations of shapes {:?} and {:?}", op.name(), a.dims(), b.dims())
    };
    elementwise([a, b], dims, &op, op_at_zero(op))
}

/// Applies a function to every element.
///
/// # Errors
/// Fails if there is not enough memory.
pub fn unary(op: Unary, x: &BlockedTensor) -> Result<BlockedTensor> {
    elementwise([x], x.dims(), &op, op.at_zero())
}

/// Returns the shape that two activations broadcast to, or `None` if [`binary`] does not support them.
pub fn broadcast(a: [usize; 4], b: [usize; 4]) -> Option<[usize; 4]> {
    let [a_pixels, b_pixels] = [[a[2], a[3]], [b[2], b[3]]];
    let batch = if a[0] == 1 { b[0] } else { a[0] };
    let [height, width] = if a_pixels == [1, 1] { b_pixels } else { a_pixels };
    let fits = |x: [usize; 4]| {
        [1, batch].contains(&x[0]) && x[1] == a[1] && [[1, 1], [height, width]].contains(&[x[2], x[3]])
    };
    (fits(a) && fits(b)).then_some([batch, a[1], height, width])
}

/// Returns the result of the operation on two zeros.
fn op_at_zero(op: Binary) -> f32 {
    if op == Binary::Div { f32::NAN } else { 0. }
}

/// Applies a formula to activations that broadcast to `dims`. `at_zero` is the formula's value for zeros, which is also
/// its value in the lanes after the last channel. If this value is not 0, these lanes of the result are set to zero.
fn elementwise<const N: usize>(
    activations: [&BlockedTensor; N],
    dims: [usize; 4],
    formula: &impl Formula<N>,
    at_zero: f32,
) -> Result<BlockedTensor> {
    let Some(arena) = activations.first().map(|x| x.arena()) else { bail!("expected an activation") };
    let mut y = BlockedTensor::new(arena, dims)?;
    let (lanes, blocks, pixels) = (y.lanes(), y.channel_blocks(), y.pixels());
    let axis =
        |size, stride: &dyn Fn(&BlockedTensor) -> usize| Axis { size, strides: activations.map(stride) };
    let axes = [
        axis(dims[0], &|x| if x.dims()[0] == 1 { 0 } else { blocks * x.pixels() * lanes }),
        axis(blocks, &|x| x.pixels() * lanes),
        axis(pixels, &|x| if x.pixels() == 1 { 0 } else { lanes }),
        axis(lanes, &|_| 1),
    ];
    map_into(activations.map(BlockedTensor::blocks), &axes, y.blocks_mut(), formula);
    let used = dims[1] % lanes;
    // The condition also holds if `at_zero` is NaN.
    if used > 0 && at_zero != 0. {
        let last_blocks = y.blocks_mut().chunks_mut((pixels * lanes).max(1)).skip(blocks - 1).step_by(blocks);
        last_blocks.for_each(|block| clear(block, lanes, used));
    }
    Ok(y)
}
