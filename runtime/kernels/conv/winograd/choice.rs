//! Whether a tile pays, and which, by a count of what each way does.

use super::pack::Tile;
use super::{ConvGeometry, Shape};

/// What it costs to transform a position of a tile of one channel, in multiply-adds of the products.
/// Measured: a transform's vectors go through the caches several times, a product's stay in registers.
const TRANSFORM: f64 = 12.;

/// What it costs to read a weight, in the same measure: together they are too many for the near caches,
/// and with few tiles each is used only a few times.
const WEIGHT: f64 = 12.;

impl Tile {
    /// The most channels whose sums stay well within 2·10⁻⁵ of the exact ones: the larger the tile, the less
    /// exact it is.
    pub const fn most_channels(self) -> usize {
        match self {
            Self::Two | Self::StridedTwo => 1 << 15,
            Self::Four | Self::StridedFour => 1 << 12,
            Self::Six => 768,
        }
    }
}

/// The size of tile with which the transform pays for this shape, or `None` where the definition is
/// cheaper or another kernel, stride, dilation or number of groups is asked for.
///
/// `geometry`'s padding is not looked at: the shape has it.
pub fn choose(shape: &Shape, kernel: [usize; 2], geometry: &ConvGeometry) -> Option<Tile> {
    if kernel != [3, 3] || geometry.dilation != [1; 2] || geometry.groups != 1 {
        return None;
    }
    let fits =
        |tile: &Tile| geometry.stride == [tile.stride(); 2] && shape.in_channels <= tile.most_channels();
    let best =
        Tile::ALL.into_iter().filter(fits).min_by(|a, b| cost(shape, *a).total_cmp(&cost(shape, *b)))?;
    (cost(shape, best) < direct_cost(shape, best.stride())).then_some(best)
}

fn pairs(shape: &Shape) -> f64 {
    shape.in_channels as f64 * shape.out_channels as f64
}

fn cost(shape: &Shape, tile: Tile) -> f64 {
    let [rows, cols] = shape.output(tile.stride()).map(|n| n.div_ceil(tile.outputs()));
    let tiles = (shape.batch * rows * cols) as f64;
    let transforms = TRANSFORM * (shape.in_channels + shape.out_channels) as f64;
    tile.positions() as f64 * (tiles * (pairs(shape) + transforms) + WEIGHT * pairs(shape))
}

fn direct_cost(shape: &Shape, stride: usize) -> f64 {
    let [height, width] = shape.output(stride);
    9. * ((shape.batch * height * width) as f64 + WEIGHT) * pairs(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(channels: [usize; 2], size: usize) -> Option<Tile> {
        strided(channels, size, 1)
    }

    fn strided(channels: [usize; 2], size: usize, stride: usize) -> Option<Tile> {
        let [in_channels, out_channels] = channels;
        let shape = Shape { batch: 1, in_channels, out_channels, input: [size; 2], padding: [[1; 2]; 2] };
        choose(&shape, [3, 3], &ConvGeometry { stride: [stride; 2], ..ConvGeometry::default() })
    }

    #[test]
    fn stride_two_pays_for_many_channels() {
        assert_eq!(strided([3, 64], 224, 2), None);
        assert_eq!(strided([128, 128], 56, 2), Some(Tile::StridedFour));
        assert_eq!(strided([128, 128], 56, 3), None);
    }

    #[test]
    fn few_channels_and_few_tiles_do_not_pay() {
        assert_eq!(choice([3, 64], 224), None);
        assert_eq!(choice([4, 4], 56), None);
        assert_eq!(choice([512, 512], 1), None);
        assert_ne!(choice([64, 64], 56), None);
        assert_ne!(choice([512, 512], 14), None);
    }

    #[test]
    fn larger_tiles_for_larger_images() {
        assert_eq!(choice([512, 512], 7), Some(Tile::Two));
        assert_eq!(choice([512, 512], 28), Some(Tile::Four));
        assert_eq!(choice([64, 64], 224), Some(Tile::Six));
        // The largest tile is the least exact.
        assert_eq!(choice([1024, 64], 224), Some(Tile::Four));
    }

    #[test]
    fn other_geometries_are_left_alone() {
        let shape =
            Shape { batch: 1, in_channels: 64, out_channels: 64, input: [56; 2], padding: [[1; 2]; 2] };
        let plain = ConvGeometry::default();
        for geometry in [
            ConvGeometry { stride: [2, 1], ..plain },
            ConvGeometry { dilation: [1, 2], ..plain },
            ConvGeometry { groups: 2, ..plain },
        ] {
            assert_eq!(choose(&shape, [3, 3], &geometry), None);
        }
        assert_eq!(choose(&shape, [3, 1], &plain), None);
    }
}
