//! Bilinear resizing with antialiasing.

use crate::{Error, Result};

use super::{Generator, Image, Transform};

/// Resizes the image bilinearly with antialiasing, like `torchvision.transforms.Resize`.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, Resize, Transform};
///
/// let image = Image::new(vec![0.5; 3 * 40 * 60], [3, 40, 60])?;
/// let rng = &mut Generator::from_seed(0);
/// assert_eq!(Resize::new(32, 32).apply(image.clone(), rng)?.dims(), [3, 32, 32]);
/// assert_eq!(Resize::shorter(20).apply(image, rng)?.dims(), [3, 20, 30]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Resize {
    size: Size,
}

#[derive(Clone, Debug)]
enum Size {
    Exact { height: usize, width: usize },
    Shorter(usize),
}

impl Resize {
    /// Creates a transform that resizes images to the given height and width.
    pub fn new(height: usize, width: usize) -> Self {
        Self { size: Size::Exact { height, width } }
    }

    /// Creates a transform that resizes the shorter side to `pixels` and keeps the aspect ratio.
    pub fn shorter(pixels: usize) -> Self {
        Self { size: Size::Shorter(pixels) }
    }
}

impl Transform for Resize {
    fn apply(&self, image: Image, _rng: &mut Generator) -> Result<Image> {
        let [_, height, width] = image.dims();
        match self.size {
            Size::Exact { height, width } => image.resize(height, width),
            // `resize` returns an error if a side is 0.
            Size::Shorter(short) if height <= width => image.resize(short, scaled(width, short, height)),
            Size::Shorter(short) => image.resize(scaled(height, short, width), short),
        }
    }
}

/// Returns the new length of the longer side, `long · to / from` rounded down, if the shorter side is resized from
/// `from` to `to` pixels.
fn scaled(long: usize, to: usize, from: usize) -> usize {
    let scaled = long as u128 * to as u128 / (from as u128).max(1);
    usize::try_from(scaled).unwrap_or(usize::MAX)
}

impl Image {
    /// Resizes the image bilinearly with antialiasing, like `torch.nn.functional.interpolate` with `mode="bilinear"`
    /// and `antialias=True`.
    ///
    /// ```
    /// use sconce::train::data::transforms::Image;
    ///
    /// let image = Image::new(vec![0., 1., 2., 3.], [1, 1, 4])?;
    /// assert_eq!(image.resize(1, 1)?.pixels(), [1.5]);
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the image or the result has no pixels, or if the result needs more than 1 GiB.
    pub fn resize(&self, height: usize, width: usize) -> Result<Self> {
        if height == 0 || width == 0 || self.pixels.is_empty() {
            return Err(Error::msg(format!(
                "cannot resize an image {:?} to {height}×{width}: expected sizes above 0",
                self.dims()
            )));
        }
        // Check the size of the result before the memory of the weights is allocated.
        let mut output = self.filled(height, width, 0.)?;
        let mut resized_rows = self.filled(self.height, width, 0.)?;
        let columns = Taps::along_axis(self.width, width);
        let rows = Taps::along_axis(self.height, height);
        for (source, row) in self.rows().zip(resized_rows.rows_mut()) {
            for (pixel, taps) in row.iter_mut().zip(&columns) {
                let source = &source[taps.start..][..taps.weights.len()];
                *pixel = source.iter().zip(&taps.weights).map(|(pixel, weight)| pixel * weight).sum();
            }
        }
        for (source, plane) in resized_rows.planes().zip(output.planes_mut()) {
            for (row, taps) in plane.chunks_exact_mut(width).zip(&rows) {
                for (source, weight) in source.chunks_exact(width).skip(taps.start).zip(&taps.weights) {
                    row.iter_mut().zip(source).for_each(|(sum, pixel)| *sum += pixel * weight);
                }
            }
        }
        Ok(output)
    }
}

/// The input pixels along an axis whose weighted mean is one output pixel.
struct Taps {
    start: usize,
    weights: Vec<f32>,
}

impl Taps {
    /// Returns the taps of each output pixel of an axis that is resized from `from` to `to` pixels. The weights form a
    /// triangle around the center of the output pixel. The base of the triangle is as wide as two input pixels or two
    /// output pixels, whichever is wider.
    fn along_axis(from: usize, to: usize) -> Vec<Self> {
        let scale = from as f64 / to as f64;
        let support = scale.max(1.);
        let taps = |index: usize| {
            let center = scale * (index as f64 + 0.5);
            let start = (center - support + 0.5).max(0.) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weight = |pixel: usize| (1. - ((pixel as f64 + 0.5 - center) / support).abs()).max(0.);
            let sum: f64 = (start..end).map(weight).sum();
            Self { start, weights: (start..end).map(|pixel| (weight(pixel) / sum) as f32).collect() }
        };
        (0..to).map(taps).collect()
    }
}
