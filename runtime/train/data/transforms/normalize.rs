//! Normalization of channels.

use crate::{Error, Result};

use super::{Generator, Image, Transform};

/// Subtracts a mean from each channel and divides the channel by a standard deviation.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, Normalize, Transform};
///
/// let image = Image::new(vec![0.25, 0.75], [1, 1, 2])?;
/// let normalized = Normalize::new([0.5], [0.25]).apply(image, &mut Generator::from_seed(0))?;
/// assert_eq!(normalized.pixels(), [-1., 1.]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// The means of ImageNet's channels, for networks that were trained on it.
    pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

    /// The standard deviations of ImageNet's channels.
    pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// Creates the transform with the mean and the standard deviation of each channel.
    pub fn new(mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Self {
        Self { mean: mean.into(), std: std.into() }
    }
}

impl Transform for Normalize {
    fn apply(&self, mut image: Image, _rng: &mut Generator) -> Result<Image> {
        if self.mean.len() != image.channels || self.std.len() != image.channels {
            return Err(Error::msg(format!(
                "Normalize: expected a mean and a standard deviation for each channel of the image ({}), found {} and {}",
                image.channels,
                self.mean.len(),
                self.std.len(),
            )));
        }
        if self.std.contains(&0.) {
            return Err(Error::msg("Normalize: expected standard deviations other than 0"));
        }
        for (plane, (mean, std)) in image.planes_mut().zip(self.mean.iter().zip(&self.std)) {
            plane.iter_mut().for_each(|pixel| *pixel = (*pixel - mean) / std);
        }
        Ok(image)
    }
}
