//! Crops.

use crate::{Error, Result};

use super::{Generator, Image, Transform};

/// Takes the center of the image, like `torchvision.transforms.CenterCrop`. Pads an image that is smaller than the crop
/// with zeros.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{CenterCrop, Image, Transform};
///
/// let image = Image::new((0..16).map(|i| i as f32).collect(), [1, 4, 4])?;
/// let center = CenterCrop::new(2, 2).apply(image, &mut Generator::from_seed(0))?;
/// assert_eq!(center.pixels(), [5., 6., 9., 10.]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CenterCrop {
    height: usize,
    width: usize,
}

impl CenterCrop {
    /// Creates the transform with the height and the width of the crop.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }
}

impl Transform for CenterCrop {
    fn apply(&self, image: Image, _rng: &mut Generator) -> Result<Image> {
        let top = center(image.height, self.height);
        let left = center(image.width, self.width);
        image.window([top, left], [self.height, self.width], 0.)
    }
}

/// Returns the first coordinate of a centered crop of length `crop`. Rounds as torchvision does: half to even for
/// crops, toward 0 for padding.
fn center(length: usize, crop: usize) -> isize {
    if crop > length {
        return -(((crop - length) / 2) as isize);
    }
    ((length - crop) as f64 / 2.).round_ties_even() as isize
}

/// Takes a crop at a random position, like `torchvision.transforms.RandomCrop`.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, RandomCrop, Transform};
///
/// let image = Image::new(vec![1.; 3 * 32 * 32], [3, 32, 32])?;
/// let crop = RandomCrop::new(32, 32).padding(4).apply(image, &mut Generator::from_seed(0))?;
/// assert_eq!(crop.dims(), [3, 32, 32]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomCrop {
    height: usize,
    width: usize,
    padding: usize,
    fill: f32,
}

impl RandomCrop {
    /// Creates the transform with the height and the width of the crop, without padding.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width, padding: 0, fill: 0. }
    }

    /// Sets how many pixels to add at each side of the image before cropping. Default: 0.
    pub fn padding(mut self, pixels: usize) -> Self {
        self.padding = pixels;
        self
    }

    /// Sets the value of the padding. Default: 0.
    pub fn fill(mut self, value: f32) -> Self {
        self.fill = value;
        self
    }

    /// Returns a random first coordinate of the crop, relative to the unpadded image. The coordinate is negative if the
    /// crop starts in the padding. Returns `None` if the crop is larger than the padded image, or if a coordinate
    /// overflows.
    fn start(&self, length: usize, crop: usize, rng: &mut Generator) -> Option<isize> {
        let padded = length.checked_add(self.padding.checked_mul(2)?)?;
        let positions = padded.checked_sub(crop)?.checked_add(1)?;
        isize::try_from(rng.below(positions)).ok()?.checked_sub_unsigned(self.padding)
    }
}

impl Transform for RandomCrop {
    fn apply(&self, image: Image, rng: &mut Generator) -> Result<Image> {
        let top = self.start(image.height, self.height, rng);
        let left = self.start(image.width, self.width, rng);
        let (Some(top), Some(left)) = (top, left) else {
            return Err(Error::msg(format!(
                "RandomCrop of {}×{}: the crop does not fit in the image of {}×{} with a padding of {} on each side",
                self.height, self.width, image.height, image.width, self.padding
            )));
        };
        image.window([top, left], [self.height, self.width], self.fill)
    }
}

impl Image {
    /// Returns the part of the image that starts at row `top` and column `left`.
    ///
    /// ```
    /// use sconce::train::data::transforms::Image;
    ///
    /// let image = Image::new(vec![1., 2., 3., 4.], [1, 2, 2])?;
    /// assert_eq!(image.crop(0, 1, 2, 1)?.pixels(), [2., 4.]);
    /// assert!(image.crop(1, 1, 2, 1).is_err());
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the part is not within the image.
    pub fn crop(&self, top: usize, left: usize, height: usize, width: usize) -> Result<Self> {
        let within = |start: usize, length: usize, end: usize| {
            start.checked_add(length).is_some_and(|crop_end| crop_end <= end)
        };
        if !within(top, height, self.height) || !within(left, width, self.width) {
            return Err(Error::msg(format!(
                "a crop of {height}×{width} at row {top} and column {left} exceeds the image of {}×{}",
                self.height, self.width
            )));
        }
        self.window([top as isize, left as isize], [height, width], 0.)
    }

    /// Returns a window of `size` (height, width) whose first pixel is at `start` (row, column). The pixels outside of
    /// the image are `fill`.
    fn window(&self, start: [isize; 2], size: [usize; 2], fill: f32) -> Result<Self> {
        let mut window = self.filled(size[0], size[1], fill)?;
        let (rows, first_row) = overlap(start[0], size[0], self.height);
        let (columns, first_column) = overlap(start[1], size[1], self.width);
        if rows.is_empty() || columns.is_empty() {
            return Ok(window);
        }
        for channel in 0..self.channels {
            for (row, source_row) in rows.clone().zip(first_row..) {
                let from = (channel * self.height + source_row) * self.width + first_column;
                let to = (channel * size[0] + row) * size[1] + columns.start;
                let source = &self.pixels[from..from + columns.len()];
                window.pixels[to..to + columns.len()].copy_from_slice(source);
            }
        }
        Ok(window)
    }
}

/// Returns the part of a window that overlaps the image along one axis, as a range of indices in the window, and the
/// coordinate in the image at which the overlap starts. The window has `length` pixels and starts at the coordinate
/// `start` of the image, which has `available` pixels.
fn overlap(start: isize, length: usize, available: usize) -> (std::ops::Range<usize>, usize) {
    let skipped = start.min(0).unsigned_abs();
    let first = start.max(0) as usize;
    let end = length.min(skipped.saturating_add(available.saturating_sub(first)));
    (skipped..end, first)
}
