//! A task's input: the pixels that its register tiles read, copied to an input tile or read in place.

use crate::simd::Simd;

use super::elements::Elements;
use super::operand_format::{ChannelRows, OperandFormat, convert_window};
use super::partition::TaskRegion;
use super::plan::Plan;
use super::tile::InputTile;

/// The input of a convolution, from which tasks get the pixels of their taps.
#[derive(Clone, Copy)]
pub(super) struct TaskInput<'a> {
    pub plan: &'a Plan,
    pub elements: Elements<'a>,
}

impl TaskInput<'_> {
    /// Returns the address to which the offsets of a chunk's taps are relative. If the plan has an input tile, copies
    /// the chunk's channels to `tile` and returns the address of `tile`. Otherwise, the address lies in the input.
    /// `converted` is a buffer for one channel in the operand format. `PAIRS` tells whether that format is
    /// [`OperandFormat::Bf16Pairs`].
    #[inline(always)]
    pub fn pixels<S: Simd, const PAIRS: bool>(
        &self,
        simd: S,
        region: &TaskRegion<'_>,
        chunk: usize,
        tile: &mut [f32],
        converted: &mut [f32],
    ) -> *const f32 {
        let channels = self.plan.chunks.range(chunk);
        let Some(input_tile) = &self.plan.input_tile else { return self.address(region, channels.start) };
        for (i, channel) in channels.step_by(self.plan.input_block).enumerate() {
            let to = tile[input_tile.floats(i * self.plan.input_block)..].as_mut_ptr();
            let (shape, patch) = (&self.plan.shape, region.patch);
            if self.plan.input_block == 1 {
                let input = self.rows::<S, PAIRS>(simd, region, input_tile, channel, converted);
                // SAFETY: the rows contain the patch's window, and the tile has room for its channels and a vector.
                unsafe { input_tile.fill_channel(simd, shape, patch, input, to) }
            } else {
                // SAFETY: the block belongs to the input, and the tile has room for it.
                unsafe { input_tile.fill_block(simd, shape, patch, self.address(region, channel), to) }
            }
        }
        tile.as_ptr()
    }

    /// Returns the address of a channel's first pixel in the input. If there is no input tile, the images are flattened
    /// to one row, and the result is the address of the patch's first pixel in the channel.
    #[inline(always)]
    fn address(&self, region: &TaskRegion<'_>, channel: usize) -> *const f32 {
        let Elements::F32(input) = self.elements else { unreachable!("only f32 is read without conversion") };
        let (plan, shape) = (self.plan, &self.plan.shape);
        let blocks = plan.group_in_channels.div_ceil(plan.input_block);
        let block =
            (region.image * shape.geometry.groups + region.group) * blocks + channel / plan.input_block;
        let plane = shape.input[0] * shape.input[1];
        let first = if plan.input_tile.is_none() { region.patch.x } else { 0 };
        input[block * plane * plan.input_block..].as_ptr().wrapping_add(first * plan.input_block)
    }

    /// Returns the rows that a patch reads from one channel of the group, converted to the operand format.
    #[inline(always)]
    fn rows<S: Simd, const PAIRS: bool>(
        &self,
        simd: S,
        region: &TaskRegion<'_>,
        tile: &InputTile,
        channel: usize,
        converted: &mut [f32],
    ) -> ChannelRows {
        let (plan, shape) = (self.plan, &self.plan.shape);
        let first = (region.image * shape.geometry.groups + region.group) * plan.group_in_channels;
        let (plane, width) = (shape.input[0] * shape.input[1], shape.input[1]);
        // With `PAIRS`, `channel` is the index of a pair of channels.
        let channel = if PAIRS { 2 * channel } else { channel };
        if let (OperandFormat::F32, Elements::F32(input)) = (plan.operand, self.elements) {
            return ChannelRows { first: input[(first + channel) * plane..][..plane].as_ptr(), pitch: width };
        }
        let window = tile.window(shape, region.patch, S::LANES);
        let converted = &mut converted[..window.words(S::LANES)];
        let elements = self.elements.as_ptr();
        let source = |channel: usize| elements.at((first + channel) * plane);
        let odd = (PAIRS && channel + 1 < plan.group_in_channels).then(|| source(channel + 1));
        // SAFETY: both channels belong to the group, and the input contains the window of each.
        unsafe {
            convert_window::<S, PAIRS>(simd, source(channel), odd, &window, width, converted.as_mut_ptr())
        }
    }
}
