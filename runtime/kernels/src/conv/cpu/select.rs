//! The choice of an algorithm, by a count of what each would do.
//!
//! [`select`](ConvProblem::select) depends on the problem alone: values, timings and the load of the machine play no
//! part, so the same call always runs the same way. A cost is a sum of counts (vectors summed, copied, transformed,
//! stored, weights read), each times the cost of one of its elements on a [`CostTable`]'s machine, in multiply-adds of
//! f32. `examples/plan_check.rs` times all candidates on random shapes and tells in how many of them the choice is the
//! fastest, or within a tenth of it; the tables are fitted to such lists.
//!
//! - **Lanes over pixels**, in tiles: the products, with the lanes and channels that blocks leave over; copying the
//!   input into tiles; storing results, and sums between chunks of input channels. In place: the same without copies.
//! - **Lanes over channels**: the same counts, with the lanes that the last vector of channels leaves over, and
//!   the weights, of which each is read for few pixels.
//! - **Depthwise**: rows of output, so many vectors each.
//! - **Winograd**, of a 3×3 kernel: fewer products, but transforms of every position of a tile on the way in and
//!   on the way out, and a weight that is larger by positions over taps.

use super::cost_table::{CostTable, MOST_POSITIONS, NEAR_POSITIONS, NEAR_WEIGHTS, PACKED};
use super::plan::Counts;
use super::problem::{Algorithm, ConvProblem};
use super::winograd::{self, Tile};
use super::{channel_lanes, pixel_lanes};
use crate::conv::ConvShape;
use crate::layout::Layout;

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

    /// Returns the input channels of all images, in operands.
    fn input_channels(&self) -> f64 {
        let shape = self.operand().shape(&self.shape);
        (shape.batch * shape.in_channels) as f64
    }

    fn depthwise_cost(&self) -> f64 {
        let ConvShape { batch, in_channels, out_channels, input, output, .. } = self.shape;
        let [read, stored, plane] = self.costs().depthwise;
        let planes = (batch * out_channels) as f64;
        let results = planes * (output[0] * output[1].next_multiple_of(self.isa.lanes())) as f64;
        read * (batch * in_channels * input[0] * input[1]) as f64 + stored * results + plane * planes
    }

    /// Returns the cost of lanes over pixels; `read` is what it costs to bring the pixels to the register tiles.
    fn pixel_lanes_cost(&self, counts: &Counts, read: f64) -> f64 {
        let (shape, costs) = (self.operand().shape(&self.shape), self.costs());
        let (channels, product) = match shape.group_outputs() {
            1 => (1, costs.product[0]),
            2..=4 => (4, costs.product[1]),
            _ => (counts.outputs, costs.product[2]),
        };
        let lanes = self.isa.lanes();
        let vectors = (shape.output[0] * shape.output[1]).div_ceil(lanes).max(costs.least_vectors);
        let results = (shape.batch * shape.geometry.groups * vectors * lanes * channels) as f64;
        let sums = costs.stored + costs.sum * (counts.chunks - 1) as f64;
        results * (product * shape.taps() as f64 + sums) + read + costs.call
    }

    fn channel_lanes_cost(&self) -> f64 {
        let ConvShape { batch, in_channels, output, .. } = self.shape;
        let counts = channel_lanes::options(self, None).counts(&self.shape);
        let costs = &self.costs().channel_lanes;
        let results = (batch * output[0] * output[1] * counts.outputs) as f64;
        let weights = (counts.outputs * self.shape.taps()) as f64;
        let product = costs.product[usize::from(counts.outputs > self.isa.lanes())];
        let copied = (batch * in_channels) as f64 * counts.copied as f64;
        results * (product * self.shape.taps() as f64 + costs.stored * counts.chunks as f64)
            + costs.copied * copied
            + costs.weight * weights
            + costs.call
    }

    fn winograd_cost(&self, tile: Tile) -> f64 {
        let ConvShape { batch, in_channels, out_channels, output, geometry, .. } = self.shape;
        let (dilation, costs) = (geometry.dilation[0], self.costs());
        let parts = batch * dilation * dilation;
        let [rows, columns] = output.map(|n| n.div_ceil(dilation).div_ceil(tile.outputs()));
        let (tiles, positions) = (parts * rows * columns, tile.positions() as f64);
        let [inputs, outputs] = [in_channels, out_channels].map(|n| n.next_multiple_of(16));
        let (pairs, count) = ((in_channels * outputs) as f64, tiles as f64);
        let into = (costs.position_in(tile) + self.far(tile, tiles)) * inputs as f64;
        let out = costs.position_out * outputs as f64 + costs.transformed_product * pairs;
        let [near, more] = costs.transformed_weight;
        let weights = positions * pairs;
        // Only NCHW has to be transposed.
        let transposed = if self.output == Layout::Nchw { 1. } else { costs.transposed_nchwc };
        let runs = parts * rows * columns.div_ceil(winograd::strip_tiles(tile.stride()));
        count * positions * (into + out)
            + (near + if self.weight_cached { 0. } else { PACKED }) * weights
            + more * (weights - NEAR_WEIGHTS).max(0.)
            + costs.transposed * transposed * count * (tile.outputs().pow(2) * outputs) as f64
            + costs.run * (runs * (inputs + outputs)) as f64
            + self.split(parts)
    }

    /// Returns what a position of so many tiles costs more, as it is not in a near cache when it is multiplied.
    fn far(&self, tile: Tile, tiles: usize) -> f64 {
        let inputs = self.shape.in_channels.next_multiple_of(16);
        let groups = self.shape.out_channels.next_multiple_of(16).div_ceil(winograd::GROUP_OUTPUTS);
        let block = tile.positions() * inputs * tiles.div_ceil(tiles.div_ceil(winograd::BLOCK_TILES).max(1));
        let far = if block > NEAR_POSITIONS { self.costs().far_position } else { 0. };
        let farther = if block > MOST_POSITIONS { self.costs().farther_position } else { 0. };
        far + farther * groups as f64
    }

    /// Returns the cost of splitting a dilated convolution's images into so many parts.
    fn split(&self, parts: usize) -> f64 {
        let ConvShape { batch, in_channels, out_channels, input, output, geometry, .. } = self.shape;
        let dilation = geometry.dilation[0];
        if dilation == 1 {
            return 0.;
        }
        let [rows, columns] = output.map(|n| n.div_ceil(dilation));
        let elements = batch * in_channels * input[0] * input[1] + parts * out_channels * rows * columns;
        let planes = parts * (in_channels + out_channels);
        self.costs().split * elements as f64 + self.costs().split_plane * planes as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::ConvGeometry;
    use crate::conv::cpu::elements::ElementFormat;
    use crate::simd::{Isa, Microarchitecture};

    fn problem(channels: [usize; 2], size: usize, kernel: usize, geometry: ConvGeometry) -> ConvProblem {
        let padding = [[kernel / 2 * geometry.dilation[0]; 2]; 2];
        let geometry = ConvGeometry { padding, ..geometry };
        let weight = [channels[1], channels[0] / geometry.groups, kernel, kernel];
        let shape =
            ConvShape::new(&[1, channels[0], size, size], &weight, &geometry).expect("sizes that fit");
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
    fn few_channels_and_few_tiles_do_not_pay() {
        assert_eq!(selected([3, 64], 224), Algorithm::PixelLanes);
        assert_eq!(selected([4, 4], 56), Algorithm::PixelLanes);
        assert_eq!(selected([512, 512], 1), Algorithm::PixelLanes);
        assert!(matches!(selected([64, 64], 56), Algorithm::Winograd(_)));
        assert!(matches!(selected([512, 512], 14), Algorithm::Winograd(_)));
    }

    #[test]
    fn larger_tiles_for_larger_images() {
        assert_eq!(selected([512, 512], 7), Algorithm::Winograd(Tile::Two));
        assert_eq!(selected([512, 512], 28), Algorithm::Winograd(Tile::Four));
        assert_eq!(selected([64, 64], 224), Algorithm::Winograd(Tile::Six));
        // The largest tile is the least exact.
        assert_eq!(selected([1024, 64], 224), Algorithm::Winograd(Tile::Four));
    }

    #[test]
    fn other_geometries() {
        let plain = ConvGeometry::default();
        let way = |geometry| problem([128, 128], 56, 3, geometry).select();
        assert_eq!(way(ConvGeometry { stride: [2; 2], ..plain }), Algorithm::Winograd(Tile::StridedFour));
        assert!(matches!(way(ConvGeometry { dilation: [2; 2], ..plain }), Algorithm::Winograd(_)));
        assert_eq!(way(ConvGeometry { stride: [2, 1], ..plain }), Algorithm::PixelLanes);
        assert_eq!(way(ConvGeometry { dilation: [1, 2], ..plain }), Algorithm::PixelLanes);
        assert_eq!(way(ConvGeometry { groups: 2, ..plain }), Algorithm::PixelLanes);
        assert_eq!(way(ConvGeometry { groups: 128, ..plain }), Algorithm::Depthwise);
        assert_eq!(problem([128, 128], 56, 1, plain).select(), Algorithm::PixelLanesInPlace);
        assert_eq!(problem([128, 128], 56, 5, plain).select(), Algorithm::PixelLanes);
    }

    /// A weight that is transformed for one call has to be used for many pixels.
    #[test]
    fn one_call_alone() {
        let problem = problem([512, 512], 7, 3, ConvGeometry::default());
        assert_eq!(ConvProblem { weight_cached: false, ..problem }.select(), Algorithm::PixelLanes);
    }
}
