//! The image that transforms work on.

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// The maximum size of the pixels of a new image in bytes. Without it, resizing the shorter side of an image with an
/// extreme aspect ratio could need any amount of memory.
const MAX_BYTES: usize = 1 << 30;

/// An image with f32 pixels in the layout `[channels, height, width]`.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::transforms::Image;
/// # fn main() -> Result<()> {
/// let image = Image::from_tensor(&Tensor::new(&[[[0u8, 255]]], &Device::Cpu)?)?;
/// assert_eq!(image.dims(), [1, 1, 2]);
/// assert_eq!(image.pixels(), [0., 1.]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) pixels: Vec<f32>,
}

impl Image {
    /// Creates an image from its pixels in the order `[channels, height, width]`. `dims` has these three sizes.
    ///
    /// # Errors
    /// Fails if the number of pixels is not the product of the dimensions.
    pub fn new(pixels: Vec<f32>, dims: [usize; 3]) -> Result<Self> {
        let expected = dims.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
        if expected != Some(pixels.len()) {
            return Err(Error::msg(format!(
                "expected the pixels of an image {dims:?}, found {} pixels",
                pixels.len()
            )));
        }
        let [channels, height, width] = dims;
        Ok(Self { channels, height, width, pixels })
    }

    /// Copies the pixels of a tensor `[channels, height, width]` of dtype f32 or u8. Divides u8 pixels by 255.
    ///
    /// # Errors
    /// Fails if the tensor has another rank or dtype.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        let [channels, height, width] = *tensor.dims() else {
            return Err(Error::msg(format!(
                "expected an image [channels, height, width], found {:?}",
                tensor.dims()
            )));
        };
        let flat = tensor.flatten_all()?;
        let pixels = match tensor.dtype() {
            DType::F32 => flat.to_vec1()?,
            DType::U8 => flat.to_vec1::<u8>()?.into_iter().map(|pixel| f32::from(pixel) / 255.).collect(),
            dtype => {
                return Err(Error::msg(format!("expected an image of dtype F32 or U8, found {dtype:?}")));
            }
        };
        Ok(Self { channels, height, width, pixels })
    }

    /// Returns the image as a tensor `[channels, height, width]` on the CPU.
    ///
    /// # Errors
    /// Fails if the tensor cannot be created.
    pub fn into_tensor(self) -> Result<Tensor> {
        let dims = (self.channels, self.height, self.width);
        Ok(Tensor::from_vec(self.pixels, dims, &Device::Cpu)?)
    }

    /// Returns the channels, the height and the width.
    pub fn dims(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Returns the pixels in the order `[channels, height, width]`.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// Returns the pixels as a mutable slice.
    pub fn pixels_mut(&mut self) -> &mut [f32] {
        &mut self.pixels
    }

    /// Returns an image of `height × width` with the same number of channels, whose pixels are all `fill`.
    pub(super) fn filled(&self, height: usize, width: usize, fill: f32) -> Result<Self> {
        let count = height.checked_mul(width).and_then(|area| area.checked_mul(self.channels));
        let count = count.filter(|count| *count <= MAX_BYTES / size_of::<f32>()).ok_or_else(|| {
            Error::msg(format!(
                "expected an image of at most {MAX_BYTES} bytes, found f32 pixels of shape {:?}",
                [self.channels, height, width]
            ))
        })?;
        Ok(Self { channels: self.channels, height, width, pixels: vec![fill; count] })
    }

    /// Returns an iterator over the rows of all channels. An image without columns has no rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.pixels.chunks_exact(self.width.max(1))
    }

    /// Like [`rows`](Self::rows), but mutable.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.pixels.chunks_exact_mut(self.width.max(1))
    }

    /// Returns the pixels of each channel.
    pub(super) fn planes(&self) -> impl Iterator<Item = &[f32]> {
        self.pixels.chunks_exact((self.height * self.width).max(1))
    }

    /// Like [`planes`](Self::planes), but mutable.
    pub(super) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.pixels.chunks_exact_mut((self.height * self.width).max(1))
    }
}
