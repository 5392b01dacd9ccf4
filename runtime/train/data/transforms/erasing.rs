//! Erasing of random rectangles.

use crate::{Error, Result};

use super::{Generator, Image, Transform};

/// Erases a random rectangle with a given probability, like `torchvision.transforms.RandomErasing`.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, RandomErasing, Transform};
///
/// let image = Image::new(vec![1.; 3 * 32 * 32], [3, 32, 32])?;
/// let erased = RandomErasing::new(1.).apply(image, &mut Generator::from_seed(0))?;
/// assert!(erased.pixels().contains(&0.));
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomErasing {
    p: f64,
    scale: [f64; 2],
    ratio: [f64; 2],
    value: f32,
}

impl RandomErasing {
    /// The number of random rectangles that are tried before the image is left unchanged.
    const ATTEMPTS: usize = 10;

    /// Creates the transform with the probability of erasing, and torchvision's other defaults: 2 % to 33 % of the
    /// area, an aspect ratio from 0.3 to 3.3, and the value 0.
    pub fn new(p: f64) -> Self {
        Self { p, scale: [0.02, 0.33], ratio: [0.3, 3.3], value: 0. }
    }

    /// Sets the minimum and the maximum share of the image that is erased.
    pub fn scale(mut self, min: f64, max: f64) -> Self {
        self.scale = [min, max];
        self
    }

    /// Sets the minimum and the maximum aspect ratio of the rectangle, its height divided by its width.
    pub fn ratio(mut self, min: f64, max: f64) -> Self {
        self.ratio = [min, max];
        self
    }

    /// Sets the value of erased pixels.
    pub fn value(mut self, value: f32) -> Self {
        self.value = value;
        self
    }

    /// Returns the height and the width of a random rectangle that is smaller than the image, or `None` if no attempt
    /// finds one.
    fn size(&self, image: &Image, rng: &mut Generator) -> Option<[usize; 2]> {
        let area = (image.height * image.width) as f64;
        let attempt = |_| {
            let area = area * rng.uniform(self.scale[0], self.scale[1]);
            let ratio = rng.uniform(self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let size = [(area * ratio).sqrt(), (area / ratio).sqrt()]
                .map(|length| length.round_ties_even() as usize);
            (size[0] < image.height && size[1] < image.width).then_some(size)
        };
        (0..Self::ATTEMPTS).find_map(attempt)
    }
}

impl Transform for RandomErasing {
    fn apply(&self, mut image: Image, rng: &mut Generator) -> Result<Image> {
        let [[min_scale, max_scale], [min_ratio, max_ratio]] = [self.scale, self.ratio];
        let valid = 0. <= min_scale && min_scale <= max_scale && 0. < min_ratio && min_ratio <= max_ratio;
        if !valid || !max_scale.is_finite() || !max_ratio.is_finite() {
            return Err(Error::msg(format!(
                "RandomErasing: expected finite ranges with 0 <= minimum <= maximum, and ratios above 0, found the \
                 scale {min_scale} to {max_scale} and the ratio {min_ratio} to {max_ratio}"
            )));
        }
        if !rng.bernoulli(self.p) {
            return Ok(image);
        }
        if let Some([height, width]) = self.size(&image, rng) {
            let top = rng.below(image.height - height + 1);
            let left = rng.below(image.width - width + 1);
            image.erase(top..top + height, left..left + width, self.value);
        }
        Ok(image)
    }
}

/// Erases a square around a random pixel, as in DeVries and Taylor, "Improved Regularization of Convolutional Neural
/// Networks with Cutout", 2017. Part of the square may lie outside of the image.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Cutout, Image, Transform};
///
/// let image = Image::new(vec![1.; 28 * 28], [1, 28, 28])?;
/// let cut = Cutout::new(8).apply(image, &mut Generator::from_seed(0))?;
/// let erased = cut.pixels().iter().filter(|pixel| **pixel == 0.).count();
/// assert!((16..=64).contains(&erased));
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cutout {
    size: usize,
    value: f32,
}

impl Cutout {
    /// Creates the transform with the side of the square in pixels.
    pub fn new(size: usize) -> Self {
        Self { size, value: 0. }
    }

    /// Sets the value of erased pixels. Default: 0.
    pub fn value(mut self, value: f32) -> Self {
        self.value = value;
        self
    }
}

impl Transform for Cutout {
    fn apply(&self, mut image: Image, rng: &mut Generator) -> Result<Image> {
        let mut range = |length: usize| {
            let center = rng.below(length);
            let end = center.saturating_add(self.size.div_ceil(2)).min(length);
            center.saturating_sub(self.size / 2)..end
        };
        let rows = range(image.height);
        let columns = range(image.width);
        image.erase(rows, columns, self.value);
        Ok(image)
    }
}

impl Image {
    /// Sets a rectangle within the image to `value`, in all channels.
    fn erase(&mut self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>, value: f32) {
        let height = self.height.max(1);
        for (index, row) in self.rows_mut().enumerate() {
            if rows.contains(&(index % height)) {
                row[columns.clone()].fill(value);
            }
        }
    }
}
