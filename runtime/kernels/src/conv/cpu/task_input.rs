//! A task's input: the pixels that its register tiles read, copied to an input tile or read in place.

use crate::simd::Simd;

use super::elements::Elements;
use super::operand_format::{OperandFormat, Rows, read};
use super::partition::Place;
use super::plan::Plan;
use super::tile::Tile;

/// Provides the input of tasks at the offsets of the taps.
#[derive(Clone, Copy)]
pub(super) struct TaskInput<'a> {
    pub plan: &'a Plan,
    pub elements: Elements<'a>,
}

impl TaskInput<'_> {
    /// Returns the address to which the offsets of a chunk's taps are relative. If the plan has a tile, copies the
    /// chunk's channels to `tile` and returns its address. Otherwise, the address lies in the input. `rows` is a buffer
    /// for converted channels.
    #[inline(always)]
    pub fn pixels<S: Simd, const PAIRS: bool>(
        &self,
        simd: S,
        place: &Place<'_>,
        chunk: usize,
        tile: &mut [f32],
        rows: &mut [f32],
    ) -> *const f32 {
        let channels = self.plan.chunks.range(chunk);
        let Some(layout) = &self.plan.tile else { return self.in_place(place, channels.start) };
        for (i, channel) in channels.step_by(self.plan.input_block).enumerate() {
            let to = tile[layout.len(i * self.plan.input_block)..].as_mut_ptr();
            let (shape, patch) = (&self.plan.shape, place.patch);
            if self.plan.input_block == 1 {
                let input = self.rows::<S, PAIRS>(simd, place, layout, channel, rows);
                // SAFETY: the rows contain the patch's window, and the tile has room for its channels and a vector.
                unsafe { layout.fill_channel(simd, shape, patch, input, to) }
            } else {
                // SAFETY: the block belongs to the input, and the tile has room for it.
                unsafe { layout.fill_block(simd, shape, patch, self.in_place(place, channel), to) }
            }
        }
        tile.as_ptr()
    }

    /// Returns the address of a channel's first pixel in the input, or of the patch's first pixel if there is no tile.
    #[inline(always)]
    fn in_place(&self, place: &Place<'_>, channel: usize) -> *const f32 {
        let Elements::F32(input) = self.elements else { unreachable!("only f32 is read in place") };
        let (plan, shape) = (self.plan, &self.plan.shape);
        let blocks = plan.group_in_channels.div_ceil(plan.input_block);
        let block = (place.image * shape.geometry.groups + place.group) * blocks + channel / plan.input_block;
        let plane = shape.input[0] * shape.input[1];
        let first = if plan.tile.is_none() { place.patch.x } else { 0 };
        input[block * plane * plan.input_block..].as_ptr().wrapping_add(first * plan.input_block)
    }

    /// Returns the rows that a patch reads from one channel of the group, converted to the operand format.
    #[inline(always)]
    fn rows<S: Simd, const PAIRS: bool>(
        &self,
        simd: S,
        place: &Place<'_>,
        tile: &Tile,
        channel: usize,
        rows: &mut [f32],
    ) -> Rows {
        let (plan, shape) = (self.plan, &self.plan.shape);
        let first = (place.image * shape.geometry.groups + place.group) * plan.group_in_channels;
        let (plane, width) = (shape.input[0] * shape.input[1], shape.input[1]);
        let channel = if PAIRS { 2 * channel } else { channel };
        if let (OperandFormat::F32, Elements::F32(input)) = (plan.operand, self.elements) {
            return Rows { first: input[(first + channel) * plane..][..plane].as_ptr(), pitch: width };
        }
        let window = tile.window(shape, place.patch, S::LANES);
        let rows = &mut rows[..window.words(S::LANES)];
        let source = self.elements.as_ptr();
        let source = |channel: usize| source.at((first + channel) * plane);
        let odd = (PAIRS && channel + 1 < plan.group_in_channels).then(|| source(channel + 1));
        // SAFETY: both channels belong to the group, and the input contains the window of each.
        unsafe { read::<S, PAIRS>(simd, source(channel), odd, &window, width, rows.as_mut_ptr()) }
    }
}
