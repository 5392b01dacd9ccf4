//! Rotation.

use crate::{Error, Result};

use super::{Generator, Image, Transform};

/// Rotates the image around its center by a random angle, like `torchvision.transforms.RandomRotation` with bilinear
/// interpolation.
///
/// ```
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, RandomRotation, Transform};
///
/// let image = Image::new(vec![1.; 28 * 28], [1, 28, 28])?;
/// let rotated = RandomRotation::new(15.).apply(image, &mut Generator::from_seed(0))?;
/// assert_eq!(rotated.dims(), [1, 28, 28]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomRotation {
    degrees: f64,
    fill: f32,
}

impl RandomRotation {
    /// Creates a transform that rotates by at most `degrees` in each direction.
    pub fn new(degrees: f64) -> Self {
        Self { degrees, fill: 0. }
    }

    /// Sets the value of the pixels outside of the rotated image. Default: 0.
    pub fn fill(mut self, value: f32) -> Self {
        self.fill = value;
        self
    }
}

impl Transform for RandomRotation {
    fn apply(&self, image: Image, rng: &mut Generator) -> Result<Image> {
        if !self.degrees.is_finite() {
            return Err(Error::msg(format!(
                "RandomRotation: expected a finite angle, found {}",
                self.degrees
            )));
        }
        image.rotate(rng.uniform(-self.degrees, self.degrees), self.fill)
    }
}

impl Image {
    /// Rotates the image counterclockwise around its center, with bilinear interpolation. The size stays the same.
    /// Pixels from outside of the image are `fill`.
    ///
    /// ```
    /// use sconce::train::data::transforms::Image;
    ///
    /// let image = Image::new(vec![1., 2., 3., 4.], [1, 2, 2])?;
    /// let rotated = image.rotate(90., 0.)?;
    /// for (found, expected) in rotated.pixels().iter().zip([2., 4., 1., 3.]) {
    ///     assert!((found - expected).abs() < 1e-6);
    /// }
    /// # Ok::<(), sconce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the image needs more than 1 GiB.
    pub fn rotate(&self, degrees: f64, fill: f32) -> Result<Self> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let [center_row, center_column] = [self.height, self.width].map(|length| (length as f64 - 1.) / 2.);
        let mut rotated = self.filled(self.height, self.width, fill)?;
        for y in 0..self.height {
            let row_offset = y as f64 - center_row;
            for x in 0..self.width {
                let column_offset = x as f64 - center_column;
                let row = sin * column_offset + cos * row_offset + center_row;
                let column = cos * column_offset - sin * row_offset + center_column;
                let is_near = |position: f64, length: usize| position > -1. && position < length as f64;
                if is_near(row, self.height) && is_near(column, self.width) {
                    let taps = self.bilinear_taps(row, column);
                    // The weights of the taps outside of the image are missing from the sum.
                    let outside = fill * (1. - taps.iter().map(|(_, weight)| weight).sum::<f32>());
                    for (source, plane) in self.planes().zip(rotated.planes_mut()) {
                        let pixel = taps.iter().map(|(index, weight)| source[*index] * weight).sum::<f32>();
                        plane[y * self.width + x] = pixel + outside;
                    }
                }
            }
        }
        Ok(rotated)
    }

    /// Returns the four pixels around a position, as indices within a channel, with their weights. The position is in
    /// the image or less than one pixel outside of it. Pixels outside of the image have the weight 0.
    fn bilinear_taps(&self, row: f64, column: f64) -> [(usize, f32); 4] {
        // The positions are above -1, so the conversion rounds down. `floor` is a slow call without SSE 4.1.
        let [top, left] = [row, column].map(|position| (position + 1.) as isize - 1);
        let [lower, right] = [row - top as f64, column - left as f64].map(|weight| weight as f32);
        let tap = |row: isize, column: isize, weight: f32| {
            // The conversion to `usize` turns a negative coordinate into a large number.
            let inside = (row as usize) < self.height && (column as usize) < self.width;
            if inside { (row as usize * self.width + column as usize, weight) } else { (0, 0.) }
        };
        [
            tap(top, left, (1. - lower) * (1. - right)),
            tap(top, left + 1, (1. - lower) * right),
            tap(top + 1, left, lower * (1. - right)),
            tap(top + 1, left + 1, lower * right),
        ]
    }
}
