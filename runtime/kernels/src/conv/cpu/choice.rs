//! Which kernel computes a convolution: one decision for a shape, by a count of what each would do.
//!
//! A [`Way`] is chosen from the shape, the type of the elements and whether the weight is kept packed; values,
//! timings and the load of the machine play no part, so the same call always runs the same way. A cost is a sum
//! of counts (vectors summed, copied, transformed, stored, weights read), each times what one of its elements was
//! measured to cost, in multiply-adds of f32. `examples/plan_check.rs` times all ways on random shapes and tells in
//! how many of them the choice is the fastest, or within a tenth of it; the [`Units`] are fitted to such a list.
//!
//! - **Direct**, in tiles: the products, with the lanes and channels that blocks leave over; copying the input
//!   into tiles; storing results, and sums between chunks of input channels.
//! - **Direct, in place**, of a pointwise convolution of f32: the same without the copies.
//! - **Depthwise**: rows of output, so many vectors each.
//! - **Winograd**, of a 3×3 kernel: fewer products, but transforms of every position of a tile on the way in and
//!   on the way out, and a weight that is larger by positions over taps.

use super::pixels::Stored;
use super::units::{MOST_POSITIONS, NEAR_POSITIONS, NEAR_WEIGHTS, PACKED, Units};
use super::{depthwise, direct};
use crate::conv::ConvShape;
use crate::conv::winograd::{self, Tile};
use crate::exact::is_exact;
use crate::simd::{Isa, Maker};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// 3×3 kernels of one channel each, row by row.
    Depthwise,
    /// The products of the definition, of pixels in tiles.
    Direct,
    /// The same, of pixels where they lie.
    InPlace,
    Winograd(Tile),
}

/// All that a choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub shape: ConvShape,
    pub stored: Stored,
    /// Whether the packed weight is kept from call to call.
    pub kept: bool,
    pub isa: Isa,
    pub maker: Maker,
}

impl Question {
    /// The cheapest way.
    pub fn answer(&self) -> Way {
        self.ways().min_by(|a, b| self.cost(*a).total_cmp(&self.cost(*b))).unwrap_or(Way::Direct)
    }

    /// All ways that there are for this shape.
    pub fn ways(&self) -> impl Iterator<Item = Way> + '_ {
        let ways = [Way::Depthwise, Way::Direct, Way::InPlace].into_iter();
        ways.chain(Tile::ALL.map(Way::Winograd)).filter(|way| match way {
            Way::Depthwise => depthwise::is_suitable(&self.shape),
            Way::Direct => true,
            Way::InPlace => self.stored == Stored::Single && direct::can_be_in_place(&self.shape, self.isa),
            Way::Winograd(tile) => self.fits(*tile),
        })
    }

    /// Whether a tile is for this shape, and exact enough.
    fn fits(&self, tile: Tile) -> bool {
        let ConvShape { kernel, in_channels, geometry, .. } = self.shape;
        let dilation = geometry.dilation;
        // A dilated one is split into plain ones.
        let plain = dilation == [1; 2] || (dilation[0] == dilation[1] && tile.stride() == 1);
        let fits = kernel == [3; 2] && geometry.stride == [tile.stride(); 2] && geometry.groups == 1 && plain;
        fits && in_channels <= tile.most_channels() && !is_exact()
    }

    /// In multiply-adds.
    pub fn cost(&self, way: Way) -> f64 {
        match way {
            Way::Depthwise => self.depthwise(),
            Way::Direct => self.direct(self.copied() * self.units().copied),
            Way::InPlace => {
                let [height, width] = self.shape.output;
                let crowded = if (height * width).is_multiple_of(256) { self.units().crowded } else { 0. };
                self.direct(crowded * (self.shape.batch * self.shape.in_channels * height * width) as f64)
            }
            Way::Winograd(tile) => self.winograd(tile),
        }
    }

    fn units(&self) -> &'static Units {
        Units::of(self.maker)
    }

    fn depthwise(&self) -> f64 {
        let ConvShape { batch, in_channels, out_channels, input, output, .. } = self.shape;
        let [read, stored, plane] = self.units().depthwise;
        let planes = (batch * out_channels) as f64;
        let results = planes * (output[0] * output[1].next_multiple_of(self.lanes())) as f64;
        read * (batch * in_channels * input[0] * input[1]) as f64 + stored * results + plane * planes
    }

    /// `reading` is what it costs to get at the pixels.
    fn direct(&self, reading: f64) -> f64 {
        let (shape, units) = (self.words().shape(&self.shape), self.units());
        let outputs = shape.group_outputs();
        let (channels, product) = match outputs {
            1 => (1, units.product[0]),
            2..=4 => (4, units.product[1]),
            _ => (direct::padded_outputs(outputs, self.isa), units.product[2]),
        };
        let vectors = (shape.output[0] * shape.output[1]).div_ceil(self.lanes()).max(units.least_vectors);
        let pixels = vectors * self.lanes();
        let results = (shape.batch * shape.geometry.groups * pixels * channels) as f64;
        let chunks = direct::chunks(&shape, self.isa);
        let sums = units.stored + units.sum * (chunks - 1) as f64;
        results * (product * shape.taps() as f64 + sums) + reading + units.call
    }

    /// Elements of tiles.
    fn copied(&self) -> f64 {
        let shape = self.words().shape(&self.shape);
        (shape.batch * shape.in_channels) as f64 * direct::copied(&shape, self.isa) as f64
    }

    fn winograd(&self, tile: Tile) -> f64 {
        let ConvShape { batch, in_channels, out_channels, output, geometry, .. } = self.shape;
        let (dilation, units) = (geometry.dilation[0], self.units());
        let parts = batch * dilation * dilation;
        let [rows, columns] = output.map(|n| n.div_ceil(dilation).div_ceil(tile.outputs()));
        let (tiles, positions) = (parts * rows * columns, tile.positions() as f64);
        let [inputs, outputs] = [in_channels, out_channels].map(|n| n.next_multiple_of(16));
        let (pairs, count) = ((in_channels * outputs) as f64, tiles as f64);
        let into = (units.position_in(tile) + self.far(tile, tiles)) * inputs as f64;
        let out = units.position_out * outputs as f64 + units.transformed_product * pairs;
        let [near, more] = units.transformed_weight;
        let weights = positions * pairs;
        let runs = parts * rows * columns.div_ceil(winograd::strip_tiles(tile.stride()));
        count * positions * (into + out)
            + (near + if self.kept { 0. } else { PACKED }) * weights
            + more * (weights - NEAR_WEIGHTS).max(0.)
            + units.turned * count * (tile.outputs().pow(2) * outputs) as f64
            + units.run * (runs * (inputs + outputs)) as f64
            + self.split(parts)
    }

    /// What a position of so many tiles costs more, as it is not in a near cache when it is multiplied.
    fn far(&self, tile: Tile, tiles: usize) -> f64 {
        let inputs = self.shape.in_channels.next_multiple_of(16);
        let groups = self.shape.out_channels.next_multiple_of(16).div_ceil(winograd::GROUP_OUTPUTS);
        let block = tile.positions() * inputs * tiles.div_ceil(tiles.div_ceil(winograd::BLOCK_TILES).max(1));
        let far = if block > NEAR_POSITIONS { self.units().far_position } else { 0. };
        let farther = if block > MOST_POSITIONS { self.units().farther_position } else { 0. };
        far + farther * groups as f64
    }

    /// Of a dilated convolution: its images' elements and planes, split into so many parts.
    fn split(&self, parts: usize) -> f64 {
        let ConvShape { batch, in_channels, out_channels, input, output, geometry, .. } = self.shape;
        let dilation = geometry.dilation[0];
        if dilation == 1 {
            return 0.;
        }
        let [rows, columns] = output.map(|n| n.div_ceil(dilation));
        let elements = batch * in_channels * input[0] * input[1] + parts * out_channels * rows * columns;
        let planes = parts * (in_channels + out_channels);
        self.units().split * elements as f64 + self.units().split_plane * planes as f64
    }

    fn lanes(&self) -> usize {
        direct::lanes(self.isa)
    }

    fn words(&self) -> direct::Words {
        direct::Words::of(self.stored, &self.shape, self.isa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::ConvGeometry;

    fn question(channels: [usize; 2], size: usize, kernel: usize, geometry: ConvGeometry) -> Question {
        let padding = [[kernel / 2 * geometry.dilation[0]; 2]; 2];
        let geometry = ConvGeometry { padding, ..geometry };
        let weight = [channels[1], channels[0] / geometry.groups, kernel, kernel];
        let shape =
            ConvShape::new(&[1, channels[0], size, size], &weight, &geometry).expect("sizes that fit");
        Question { shape, stored: Stored::Single, kept: true, isa: Isa::Portable, maker: Maker::Other }
    }

    fn answer(channels: [usize; 2], size: usize) -> Way {
        question(channels, size, 3, ConvGeometry::default()).answer()
    }

    #[test]
    fn few_channels_and_few_tiles_do_not_pay() {
        assert_eq!(answer([3, 64], 224), Way::Direct);
        assert_eq!(answer([4, 4], 56), Way::Direct);
        assert_eq!(answer([512, 512], 1), Way::Direct);
        assert!(matches!(answer([64, 64], 56), Way::Winograd(_)));
        assert!(matches!(answer([512, 512], 14), Way::Winograd(_)));
    }

    #[test]
    fn larger_tiles_for_larger_images() {
        assert_eq!(answer([512, 512], 7), Way::Winograd(Tile::Two));
        assert_eq!(answer([512, 512], 28), Way::Winograd(Tile::Four));
        assert_eq!(answer([64, 64], 224), Way::Winograd(Tile::Six));
        // The largest tile is the least exact.
        assert_eq!(answer([1024, 64], 224), Way::Winograd(Tile::Four));
    }

    #[test]
    fn other_geometries() {
        let plain = ConvGeometry::default();
        let way = |geometry| question([128, 128], 56, 3, geometry).answer();
        assert_eq!(way(ConvGeometry { stride: [2; 2], ..plain }), Way::Winograd(Tile::StridedFour));
        assert!(matches!(way(ConvGeometry { dilation: [2; 2], ..plain }), Way::Winograd(_)));
        assert_eq!(way(ConvGeometry { stride: [2, 1], ..plain }), Way::Direct);
        assert_eq!(way(ConvGeometry { dilation: [1, 2], ..plain }), Way::Direct);
        assert_eq!(way(ConvGeometry { groups: 2, ..plain }), Way::Direct);
        assert_eq!(way(ConvGeometry { groups: 128, ..plain }), Way::Depthwise);
        assert_eq!(question([128, 128], 56, 1, plain).answer(), Way::InPlace);
        assert_eq!(question([128, 128], 56, 5, plain).answer(), Way::Direct);
    }

    /// A weight that is transformed for one call has to be used for many pixels.
    #[test]
    fn one_call_alone() {
        let question = question([512, 512], 7, 3, ConvGeometry::default());
        assert_eq!(Question { kept: false, ..question }.answer(), Way::Direct);
    }
}
