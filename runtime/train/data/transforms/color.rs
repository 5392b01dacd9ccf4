//! Color jitter, with torchvision's formulas for floating-point images.

use crate::{Error, Result};

use super::{Generator, Image, Transform};

/// The weights of red, green and blue in the brightness of a pixel.
const GRAY: [f32; 3] = [0.2989, 0.587, 0.114];

/// Changes brightness, contrast, saturation and hue by random factors in random order, like
/// `torchvision.transforms.ColorJitter`. Pixels must be between 0 and 1, so apply it before
/// [`Normalize`](super::Normalize).
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{ColorJitter, Image, Transform};
///
/// let image = Image::new(vec![0.5; 3 * 8 * 8], [3, 8, 8])?;
/// let jitter = ColorJitter::new().brightness(0.4).contrast(0.4).saturation(0.4).hue(0.1);
/// assert_eq!(jitter.apply(image, &mut Generator::from_seed(0))?.dims(), [3, 8, 8]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ColorJitter {
    brightness: f64,
    contrast: f64,
    saturation: f64,
    hue: f64,
}

impl ColorJitter {
    /// Creates a transform that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Multiplies the brightness by a random factor from `1 - range` (at least 0) to `1 + range`.
    pub fn brightness(mut self, range: f64) -> Self {
        self.brightness = range;
        self
    }

    /// Multiplies the contrast by a random factor from `1 - range` (at least 0) to `1 + range`.
    pub fn contrast(mut self, range: f64) -> Self {
        self.contrast = range;
        self
    }

    /// Multiplies the saturation by a random factor from `1 - range` (at least 0) to `1 + range`.
    pub fn saturation(mut self, range: f64) -> Self {
        self.saturation = range;
        self
    }

    /// Adds a random number from `-range` to `range` to the hue. 1 is a full turn of the color wheel. `range` may be at
    /// most 0.5.
    pub fn hue(mut self, range: f64) -> Self {
        self.hue = range;
        self
    }

    fn check(&self) -> Result<()> {
        let limits = [
            ("brightness", self.brightness, f64::MAX),
            ("contrast", self.contrast, f64::MAX),
            ("saturation", self.saturation, f64::MAX),
            ("hue", self.hue, 0.5),
        ];
        for (name, range, max) in limits {
            if !(0. ..=max).contains(&range) {
                let expected = if max == f64::MAX { "finite and at least 0" } else { "between 0 and 0.5" };
                return Err(Error::msg(format!(
                    "ColorJitter: expected a {name} range that is {expected}, found {range}"
                )));
            }
        }
        Ok(())
    }
}

impl Transform for ColorJitter {
    fn apply(&self, mut image: Image, rng: &mut Generator) -> Result<Image> {
        self.check()?;
        for adjustment in rng.permutation(4) {
            let range = [self.brightness, self.contrast, self.saturation, self.hue][adjustment];
            if range == 0. {
                continue;
            }
            match adjustment {
                0 => image.adjust_brightness(factor(range, rng)),
                1 => image.adjust_contrast(factor(range, rng))?,
                2 => image.adjust_saturation(factor(range, rng))?,
                _ => image.adjust_hue(rng.uniform(-range, range) as f32)?,
            }
        }
        Ok(image)
    }
}

impl Image {
    /// Multiplies the pixels by `factor` and limits them to `0..=1`.
    ///
    /// ```
    /// use sconce::train::data::transforms::Image;
    ///
    /// let mut image = Image::new(vec![0.25, 0.75], [1, 1, 2])?;
    /// image.adjust_brightness(2.);
    /// assert_eq!(image.pixels(), [0.5, 1.]);
    /// # Ok::<(), sconce::Error>(())
    /// ```
    pub fn adjust_brightness(&mut self, factor: f32) {
        self.pixels.iter_mut().for_each(|pixel| *pixel = blend(*pixel, 0., factor));
    }

    /// Multiplies the difference between each pixel and the mean brightness of the image by `factor`, and limits the
    /// pixels to `0..=1`. The factor 0 gives a gray image.
    ///
    /// ```
    /// use sconce::train::data::transforms::Image;
    ///
    /// let mut image = Image::new(vec![0.25, 0.75], [1, 1, 2])?;
    /// image.adjust_contrast(0.5)?;
    /// assert_eq!(image.pixels(), [0.375, 0.625]);
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the image has neither one nor three channels.
    pub fn adjust_contrast(&mut self, factor: f32) -> Result<()> {
        self.check_colors()?;
        let area = self.height * self.width;
        let sum: f64 = if self.channels == 1 {
            self.pixels.iter().map(|pixel| f64::from(*pixel)).sum()
        } else {
            (0..area).map(|index| f64::from(gray(self.color(index)))).sum()
        };
        let mean = (sum / area as f64) as f32;
        self.pixels.iter_mut().for_each(|pixel| *pixel = blend(*pixel, mean, factor));
        Ok(())
    }

    /// Multiplies the difference between each channel of a pixel and the brightness of the pixel by `factor`, and
    /// limits the channels to `0..=1`. The factor 0 removes the colors. Does not change an image with one channel.
    ///
    /// ```
    /// use sconce::train::data::transforms::Image;
    ///
    /// let mut red = Image::new(vec![1., 0., 0.], [3, 1, 1])?;
    /// red.adjust_saturation(0.)?;
    /// assert_eq!(red.pixels(), [0.2989; 3]);
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the image has neither one nor three channels.
    pub fn adjust_saturation(&mut self, factor: f32) -> Result<()> {
        self.map_colors(|color| {
            let gray = gray(color);
            color.map(|channel| blend(channel, gray, factor))
        })
    }

    /// Adds `shift` to the hue of each pixel. 1 is a full turn of the color wheel. Does not change an image with one
    /// channel.
    ///
    /// ```
    /// use sconce::train::data::transforms::Image;
    ///
    /// let mut red = Image::new(vec![1., 0., 0.], [3, 1, 1])?;
    /// red.adjust_hue(0.5)?; // cyan
    /// assert_eq!(red.pixels(), [0., 1., 1.]);
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the image has neither one nor three channels.
    pub fn adjust_hue(&mut self, shift: f32) -> Result<()> {
        self.map_colors(|color| {
            let [hue, saturation, value] = hsv(color);
            rgb([(hue + shift).rem_euclid(1.), saturation, value])
        })
    }

    /// Replaces the color of each pixel. Does not change an image with one channel.
    fn map_colors(&mut self, f: impl Fn([f32; 3]) -> [f32; 3]) -> Result<()> {
        self.check_colors()?;
        if self.channels == 1 {
            return Ok(());
        }
        let area = self.height * self.width;
        for index in 0..area {
            let color = f(self.color(index));
            for (channel, value) in color.into_iter().enumerate() {
                self.pixels[channel * area + index] = value;
            }
        }
        Ok(())
    }

    /// Returns red, green and blue of the pixel at `index` in an image of three channels.
    fn color(&self, index: usize) -> [f32; 3] {
        let area = self.height * self.width;
        [0, 1, 2].map(|channel| self.pixels[channel * area + index])
    }

    fn check_colors(&self) -> Result<()> {
        if matches!(self.channels, 1 | 3) {
            return Ok(());
        }
        Err(Error::msg(format!("expected an image with 1 or 3 channels, found {}", self.channels)))
    }
}

/// Returns a random factor from `1 - range`, at least 0, to `1 + range`.
fn factor(range: f64, rng: &mut Generator) -> f32 {
    rng.uniform((1. - range).max(0.), 1. + range) as f32
}

/// Returns `factor · a + (1 − factor) · b`, limited to `0..=1`.
fn blend(a: f32, b: f32, factor: f32) -> f32 {
    (factor * a + (1. - factor) * b).clamp(0., 1.)
}

/// Returns the brightness of a color.
fn gray(color: [f32; 3]) -> f32 {
    color.iter().zip(GRAY).map(|(channel, weight)| channel * weight).sum()
}

/// Returns hue, saturation and value of a color. The hue is in `0..1`.
fn hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    if range == 0. {
        return [0., 0., value];
    }
    let distance = |channel: f32| (value - channel) / range;
    let sixths = if value == red {
        distance(blue) - distance(green)
    } else if value == green {
        2. + distance(red) - distance(blue)
    } else {
        4. + distance(green) - distance(red)
    };
    [(sixths / 6. + 1.) % 1., range / value, value]
}

/// Returns the color with the given hue, saturation and value.
fn rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    // In each sixth of the color wheel, one channel is `value`, one is `low`, and one falls or rises between these.
    let sixths = hue * 6.;
    let sector = sixths.floor();
    let fraction = sixths - sector;
    let reduced = |by: f32| (value * (1. - by)).clamp(0., 1.);
    let low = reduced(saturation);
    let falling = reduced(saturation * fraction);
    let rising = reduced(saturation * (1. - fraction));
    match sector as i32 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
