//! Flips.

use crate::Result;

use super::{Generator, Image, Transform};

/// Mirrors the image left to right with a given probability.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, RandomHorizontalFlip, Transform};
///
/// let image = Image::new(vec![1., 2., 3., 4.], [1, 2, 2])?;
/// let flipped = RandomHorizontalFlip::new(1.).apply(image, &mut Generator::from_seed(0))?;
/// assert_eq!(flipped.pixels(), [2., 1., 4., 3.]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomHorizontalFlip {
    p: f64,
}

impl RandomHorizontalFlip {
    /// Creates the transform with the probability of a flip.
    pub fn new(p: f64) -> Self {
        Self { p }
    }
}

impl Transform for RandomHorizontalFlip {
    fn apply(&self, mut image: Image, rng: &mut Generator) -> Result<Image> {
        if rng.bernoulli(self.p) {
            image.flip_horizontal();
        }
        Ok(image)
    }
}

/// Mirrors the image top to bottom with a given probability.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, RandomVerticalFlip, Transform};
///
/// let image = Image::new(vec![1., 2., 3., 4.], [1, 2, 2])?;
/// let flipped = RandomVerticalFlip::new(1.).apply(image, &mut Generator::from_seed(0))?;
/// assert_eq!(flipped.pixels(), [3., 4., 1., 2.]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomVerticalFlip {
    p: f64,
}

impl RandomVerticalFlip {
    /// Creates the transform with the probability of a flip.
    pub fn new(p: f64) -> Self {
        Self { p }
    }
}

impl Transform for RandomVerticalFlip {
    fn apply(&self, mut image: Image, rng: &mut Generator) -> Result<Image> {
        if rng.bernoulli(self.p) {
            image.flip_vertical();
        }
        Ok(image)
    }
}

impl Image {
    /// Mirrors the image left to right.
    pub fn flip_horizontal(&mut self) {
        self.rows_mut().for_each(<[f32]>::reverse);
    }

    /// Mirrors the image top to bottom.
    pub fn flip_vertical(&mut self) {
        let width = self.width.max(1);
        for plane in self.planes_mut() {
            let (top, bottom) = plane.split_at_mut(plane.len() / width / 2 * width);
            let top = top.chunks_exact_mut(width);
            top.zip(bottom.rchunks_exact_mut(width)).for_each(|(a, b)| a.swap_with_slice(b));
        }
    }
}
