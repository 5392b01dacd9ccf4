//! The selection of an algorithm by estimated cost.
//!
//! [`select`](ConvProblem::select) depends only on the problem, not on values, timings or the load of the machine, so
//! the same call always runs the same algorithm. The cost of an algorithm is a sum of counts (vectors summed, copied,
//! transformed and stored, and weights read), each multiplied by a cost per item from the [`CostTable`] of the
//! microarchitecture. Costs are in multiply-adds of f32. `examples/plan_check.rs` times all candidates on random shapes
//! and prints how often the selected algorithm is the fastest or at most a tenth slower. The cost tables are fitted to
//! its output.
//!
//! - **Lanes over pixels**: the products, including unused lanes and padded channels; the copies into input tiles; the
//!   stores of results, and of sums between chunks of input channels. In place: the same, but with a surcharge for
//!   cache-set conflicts instead of the copies.
//! - **Lanes over channels**: the same counts, including the unused lanes of the last vector of channels, and the
//!   weights, because each is read for few pixels.
//! - **Depthwise**: the input elements, the output elements including unused lanes and in proportion to the taps of
//!   kernels larger than 3×3, and the planes.
//! - **Winograd**: fewer products, but the input and output transforms of every position of a tile, and a weight that
//!   is larger by the ratio of positions to taps.

use crate::conv::ConvShape;
use crate::layout::Layout;

use super::cost_table::{CostTable, LLC_WEIGHTS, SHARED_L2_ELEMENTS, WEIGHT_TRANSFORM, WHOLE_L2_ELEMENTS};
use super::plan::Counts;
use super::problem::{Algorithm, ConvProblem};
use super::winograd::{self, WinogradTile};
use super::{channel_lanes, pixel_lanes};

impl ConvProblem {
    /// Returns the candidate of least cost.
    pub fn select(&self) -> Algorithm {
        self.candidates()
            .min_by(|a, b| self.cost(*a).total_cmp(&self.cost(*b)))
            .unwrap_or(Algorithm::Reference)
    }

    /// Returns the cost of an algorithm, in multiply-adds.
    pub fn cost(&self, algorithm: Algorithm) -> f64 {
        match algorithm {
            Algorithm::Depthwise => self.depthwise_cost(),
            Algorithm::PixelLanes => {
                let counts = pixel_lanes::options(self, false).counts(&self.shape);
                let read = self.input_channels() * counts.copied as f64 * self.costs().copied;
                self.pixel_lanes_cost(&counts, read)
            }
            Algorithm::PixelLanesInPlace => {
                let pixels = self.shape.output[0] * self.shape.output[1];
                // 256 floats are 1 KiB: see `set_conflict`.
                let conflict = if pixels.is_multiple_of(256) { self.costs().set_conflict } else { 0. };
                let read = conflict * self.input_channels() * pixels as f64;
                self.pixel_lanes_cost(&pixel_lanes::options(self, true).counts(&self.shape), read)
            }
            Algorithm::ChannelLanes => self.channel_lanes_cost(),
            Algorithm::Winograd(tile) => self.winograd_cost(tile),
            Algorithm::Reference => f64::INFINITY,
        }
    }

    fn costs(&self) -> &'static CostTable {
        CostTable::of(self.microarchitecture)
    }

    /// Returns the number of input channels of all images together. A pair of bf16 channels counts as one.
    fn input_channels(&self) -> f64 {
        let shape = self.operand_format().shape_in_words(&self.shape);
        (shape.batch * shape.in_channels) as f64
    }

    fn depthwise_cost(&self) -> f64 {
        let ConvShape { batch, in_channels, out_channels, input, output, .. } = self.shape;
        let [read, stored, plane] = self.costs().depthwise;
        let planes = (batch * out_channels) as f64;
        let results = planes * (output[0] * output[1].next_multiple_of(self.isa.lanes())) as f64;
        // The costs are those of a 3×3 kernel. The products of larger kernels are proportional to their taps.
        let stored = stored * (self.shape.depth() as f64 / 9.).max(1.);
        read * (batch * in_channels * input[0] * input[1]) as f64 + stored * results + plane * planes
    }

    /// Returns the cost of lanes over pixels. `read` is the cost of copying the pixels to input tiles or, in place, of
    /// cache-set conflicts.
    fn pixel_lanes_cost(&self, counts: &Counts, read: f64) -> f64 {
        let (shape, costs) = (self.operand_format().shape_in_words(&self.shape), self.costs());
        let (padded_channels, product) = match shape.group_out_channels() {
            1 => (1, costs.product[0]),
            2..=4 => (4, costs.product[1]),
            _ => (counts.out_channels, costs.product[2]),
        };
        let lanes = self.isa.lanes();
        let vectors = (shape.output[0] * shape.output[1]).div_ceil(lanes).max(costs.min_vectors);
        let results = (shape.batch * shape.geometry.groups * vectors * lanes * padded_channels) as f64;
        let stores = costs.stored + costs.stored_sum * (counts.chunks - 1) as f64;
        results * (product * shape.depth() as f64 + stores) + read + costs.call
    }

    fn channel_lanes_cost(&self) -> f64 {
        let ConvShape { batch, in_channels, output, .. } = self.shape;
        let counts = channel_lanes::options(self, None).counts(&self.shape);
        let costs = &self.costs().channel_lanes;
        let results = (batch * output[0] * output[1] * counts.out_channels) as f64;
        let weights = (counts.out_channels * self.shape.depth()) as f64;
        let product = costs.product[usize::from(counts.out_channels > self.isa.lanes())];
        let copied = (batch * in_channels) as f64 * counts.copied as f64;
        results * (product * self.shape.depth() as f64 + costs.stored * counts.chunks as f64)
            + costs.copied * copied
            + costs.weight * weights
            + costs.call
    }

    fn winograd_cost(&self, tile: WinogradTile) -> f64 {
        let ConvShape { batch, in_channels, out_channels, output, geometry, .. } = self.shape;
        let (dilation, costs) = (geometry.dilation[0], self.costs());
        // A dilated convolution runs as an undilated one on phases: `dilation²` smaller images for each image.
        let phases = batch * dilation * dilation;
        let [rows, columns] = output.map(|n| n.div_ceil(dilation).div_ceil(tile.outputs()));
        let tiles = phases * rows * columns;
        let positions = tile.positions() as f64;
        let [padded_in, padded_out] = [in_channels, out_channels].map(|n| n.next_multiple_of(16));
        let channel_pairs = (in_channels * padded_out) as f64;
        let transformed_input = costs.transformed_input(tile) + self.cache_surcharge(tile, tiles);
        let input_cost = transformed_input * padded_in as f64;
        let output_cost =
            costs.matrix_product * padded_out as f64 + costs.transformed_product * channel_pairs;
        let [weight, llc_surcharge] = costs.transformed_weight;
        let weight_transform = if self.weight_cached { 0. } else { WEIGHT_TRANSFORM };
        let weights = positions * channel_pairs;
        // `Nchw` results cost more, because they are transposed.
        let layout_factor = if self.output == Layout::Nchw { 1. } else { costs.nchwc_result_fraction };
        let strips = phases * rows * columns.div_ceil(winograd::strip_tiles(tile.stride()));
        tiles as f64 * positions * (input_cost + output_cost)
            + (weight + weight_transform) * weights
            + llc_surcharge * (weights - LLC_WEIGHTS).max(0.)
            + costs.nchw_result * layout_factor * tiles as f64 * (tile.outputs().pow(2) * padded_out) as f64
            + costs.strip * (strips * (padded_in + padded_out)) as f64
            + self.split_cost(phases)
    }

    /// Returns the surcharge for each transformed input element. It is zero if the transformed input of a block fits in
    /// the L2 cache beside other data. `tiles` is the number of tiles in all blocks.
    fn cache_surcharge(&self, tile: WinogradTile, tiles: usize) -> f64 {
        let in_channels = self.shape.in_channels.next_multiple_of(16);
        let groups = self.shape.out_channels.next_multiple_of(16).div_ceil(winograd::GROUP_CHANNELS);
        let block_elements =
            tile.positions() * in_channels * tiles.div_ceil(tiles.div_ceil(winograd::BLOCK_TILES).max(1));
        let beyond_shared =
            if block_elements > SHARED_L2_ELEMENTS { self.costs().beyond_shared_l2 } else { 0. };
        let beyond_whole = if block_elements > WHOLE_L2_ELEMENTS { self.costs().beyond_whole_l2 } else { 0. };
        beyond_shared + beyond_whole * groups as f64
    }

    /// Returns the cost of splitting a dilated convolution's images into `phases` phases, and of joining the results.
    fn split_cost(&self, phases: usize) -> f64 {
        let ConvShape { batch, in_channels, out_channels, input, output, geometry, .. } = self.shape;
        let dilation = geometry.dilation[0];
        if dilation == 1 {
            return 0.;
        }
        let [rows, columns] = output.map(|n| n.div_ceil(dilation));
        let elements = batch * in_channels * input[0] * input[1] + phases * out_channels * rows * columns;
        let planes = phases * (in_channels + out_channels);
        self.costs().split * elements as f64 + self.costs().split_plane * planes as f64
    }
}

#[cfg(test)]
mod tests {
    use crate::conv::ConvGeometry;
    use crate::conv::cpu::elements::ElementFormat;
    use crate::simd::{Isa, Microarchitecture};

    use super::*;

    fn problem(channels: [usize; 2], size: usize, kernel: usize, geometry: ConvGeometry) -> ConvProblem {
        let padding = [[kernel / 2 * geometry.dilation[0]; 2]; 2];
        let geometry = ConvGeometry { padding, ..geometry };
        let weight = [channels[1], channels[0] / geometry.groups, kernel, kernel];
        let shape =
            ConvShape::new(&[1, channels[0], size, size], &weight, &geometry).expect("the shape is valid");
        ConvProblem {
            shape,
            format: ElementFormat::F32,
            input: Layout::Nchw,
            output: Layout::Nchw,
            weight_cached: true,
            isa: Isa::Portable,
            microarchitecture: Microarchitecture::Other,
        }
    }

    fn selected(channels: [usize; 2], size: usize) -> Algorithm {
        problem(channels, size, 3, ConvGeometry::default()).select()
    }

    #[test]
    fn winograd_needs_enough_channels_and_tiles() {
        assert_eq!(selected([3, 64], 224), Algorithm::PixelLanes);
        assert_eq!(selected([4, 4], 56), Algorithm::PixelLanes);
        assert_eq!(selected([512, 512], 1), Algorithm::PixelLanes);
        assert!(matches!(selected([64, 64], 56), Algorithm::Winograd(_)));
        assert!(matches!(selected([512, 512], 14), Algorithm::Winograd(_)));
    }

    #[test]
    fn larger_images_select_larger_tiles() {
        assert_eq!(selected([512, 512], 7), Algorithm::Winograd(WinogradTile::Two));
        assert_eq!(selected([512, 512], 28), Algorithm::Winograd(WinogradTile::Four));
        assert_eq!(selected([64, 64], 224), Algorithm::Winograd(WinogradTile::Six));
        // The largest tile is the least accurate and supports fewer input channels.
        assert_eq!(selected([1024, 64], 224), Algorithm::Winograd(WinogradTile::Four));
    }

    #[test]
    fn stride_dilation_and_groups_affect_the_selection() {
        let plain = ConvGeometry::default();
        let select = |geometry| problem([128, 128], 56, 3, geometry).select();
        assert_eq!(
            select(ConvGeometry { stride: [2; 2], ..plain }),
            Algorithm::Winograd(WinogradTile::StridedFour)
        );
        assert!(matches!(select(ConvGeometry { dilation: [2; 2], ..plain }), Algorithm::Winograd(_)));
        assert_eq!(select(ConvGeometry { stride: [2, 1], ..plain }), Algorithm::PixelLanes);
        assert_eq!(select(ConvGeometry { dilation: [1, 2], ..plain }), Algorithm::PixelLanes);
        assert_eq!(select(ConvGeometry { groups: 2, ..plain }), Algorithm::PixelLanes);
        assert_eq!(select(ConvGeometry { groups: 128, ..plain }), Algorithm::Depthwise);
        assert_eq!(problem([128, 128], 56, 1, plain).select(), Algorithm::PixelLanesInPlace);
        assert_eq!(problem([128, 128], 56, 5, plain).select(), Algorithm::PixelLanes);
    }

    /// Transforming a weight for a single call pays off only with many pixels.
    #[test]
    fn uncached_weight_excludes_winograd_for_few_pixels() {
        let problem = problem([512, 512], 7, 3, ConvGeometry::default());
        assert_eq!(ConvProblem { weight_cached: false, ..problem }.select(), Algorithm::PixelLanes);
    }
}
