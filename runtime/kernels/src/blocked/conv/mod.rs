//! Convolution + batch norm or bias + residual + activation into the blocked layout.
//!
//! A vector holds one pixel of as many output channels as it has lanes, so that no lane is lost to the width
//! of an image, and what a layer writes is what the next one reads.

mod behind;
mod depthwise;
mod direct;
mod finish;
mod plain;
mod winograd;

pub use behind::Behind;
pub(crate) use behind::Windows;

use crate::activation::Activation;
use crate::conv::ConvShape;
use crate::conv::cpu::Packing;
use crate::simd::Isa;
use behind::Follower;
use direct::Target;

/// An activation as a kernel reads it.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// `[batch, channels, height, width]`.
    Planes(&'a [f32]),
    /// `[batch, ⌈channels / lanes⌉, height, width, lanes]`.
    Blocked(&'a [f32]),
}

/// A weight `[out_channels, in_channels / groups, kernel height, kernel width]`.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    pub values: &'a [f32],
    /// Where its packed form is kept from call to call, if it is.
    pub packing: Option<Packing<'a>>,
}

/// What happens to a sum before it is stored: `activation((sum * scale[c] + shift[c]) + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[out_channels]`.
    pub scale: Option<&'a [f32]>,
    /// `[out_channels]`.
    pub shift: Option<&'a [f32]>,
    /// As the output.
    pub residual: Option<&'a [f32]>,
    pub activation: Activation,
}

/// The floats of a blocked activation `[batch, channels, height, width]`.
pub fn blocked_len(batch: usize, channels: usize, [height, width]: [usize; 2], lanes: usize) -> usize {
    batch * channels.next_multiple_of(lanes) * height * width
}

/// Whether there is a fast kernel for a blocked input of this shape: one group, or one for each channel, input
/// and output alike. Planes have one where there is one group. The rest is summed as the definition has it.
pub fn supports(shape: &ConvShape) -> bool {
    shape.geometry.groups == 1 || is_depthwise(shape)
}

/// Whether a convolution of this shape may run behind the one that makes its input.
pub fn reads_behind(shape: &ConvShape) -> bool {
    shape.geometry.groups > 1 && is_depthwise(shape)
}

fn is_depthwise(shape: &ConvShape) -> bool {
    shape.group_inputs() == 1 && shape.group_outputs() == 1
}

/// Convolves `input` into `output`, which is blocked by the lanes of `isa` as the residual is, and all of
/// which it writes.
///
/// # Panics
/// Where a slice's length does not fit the shape.
pub fn conv2d(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut [f32],
    isa: Isa,
) {
    check(shape, input, weight, epilogue, output, isa.lanes());
    if output.is_empty() {
        return;
    }
    let done = match input {
        Input::Blocked(input) if winograd::conv2d(shape, input, weight, epilogue, output, isa) => true,
        _ if shape.geometry.groups == 1 => {
            let target = Target::Output(Output(output.as_mut_ptr()));
            direct::conv2d(shape, input, weight, epilogue, target, isa)
        }
        Input::Blocked(input) if is_depthwise(shape) => {
            depthwise::conv2d(shape, input, weight, epilogue, output, isa);
            true
        }
        _ => false,
    };
    if !done {
        plain::conv2d(shape, input, weight.values, epilogue, output, isa.lanes());
    }
}

/// Convolves `input`, and runs `behind` on each piece of the results while that is in a near cache: the same
/// numbers as one after the other. Whether it was done; if not, `output` is as it was.
///
/// # Panics
/// Where a slice's length does not fit the shapes.
pub fn conv2d_then(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    behind: &Behind<'_>,
    output: &mut [f32],
    isa: Isa,
) -> bool {
    check_operands(shape, input, weight, epilogue, isa.lanes());
    assert_eq!(Some(output.len()), behind.output_len(shape, isa.lanes()));
    let transformed = matches!(input, Input::Blocked(_)) && winograd::tile(shape, weight, isa).is_some();
    if output.is_empty() || shape.geometry.groups != 1 || epilogue.residual.is_some() || transformed {
        return false;
    }
    let Some(windows) = behind.windows(shape.output) else { return false };
    let packed = behind.packed(isa);
    let follower = Follower::new(behind, packed.as_deref(), shape.output, Output(output.as_mut_ptr()));
    let Some(follower) = &follower else { return false };
    direct::conv2d(shape, input, weight, epilogue, Target::Behind { windows, follower }, isa)
}

/// The output's first element. The tasks that share it write disjoint elements.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: whoever has it writes elements of its own, and reads no others.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// The kernels' bounds all follow from these.
fn check(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    output: &[f32],
    lanes: usize,
) {
    check_operands(shape, input, weight, epilogue, lanes);
    assert_eq!(output.len(), blocked_len(shape.batch, shape.out_channels, shape.output, lanes));
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == output.len()));
}

fn check_operands(
    shape: &ConvShape,
    input: Input<'_>,
    weight: Weight<'_>,
    epilogue: &Epilogue<'_>,
    lanes: usize,
) {
    let ConvShape { batch, in_channels, out_channels, .. } = *shape;
    match input {
        Input::Planes(input) => {
            assert_eq!(input.len(), batch * in_channels * shape.input[0] * shape.input[1])
        }
        Input::Blocked(input) => assert_eq!(input.len(), blocked_len(batch, in_channels, shape.input, lanes)),
    }
    assert_eq!(weight.values.len(), shape.weight_dims().iter().product::<usize>());
    assert!([epilogue.scale, epilogue.shift].into_iter().flatten().all(|x| x.len() == out_channels));
}
