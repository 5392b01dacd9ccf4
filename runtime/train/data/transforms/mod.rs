//! Transforms of images, such as random flips and crops, with the definitions of `torchvision.transforms`.
//!
//! [`Dataset::transform`] applies a transform, or a tuple or a list of transforms in order, to each image when it is
//! read. The random numbers come from the [`DataLoader`](super::DataLoader), so that an epoch is reproducible.
//!
//! ```
//! use sconce::prelude::*;
//! use sconce::train::data::transforms::{Normalize, RandomCrop, RandomHorizontalFlip};
//! # fn main() -> Result<()> {
//! let images = Tensor::zeros((100, 1, 28, 28), DType::U8, &Device::Cpu)?;
//! let classes = Tensor::zeros(100, DType::U32, &Device::Cpu)?;
//! let train = TensorDataset::new(images, classes)?.transform((
//!     RandomHorizontalFlip::new(0.5),
//!     RandomCrop::new(28, 28).padding(2),
//!     Normalize::new([0.286], [0.353]),
//! ));
//! let loader = DataLoader::new(train).shuffle(true).workers(1);
//! let (x, _) = loader.iter()?.next().expect("there are two batches")?;
//! assert_eq!((x.dims(), x.dtype()), ([64, 1, 28, 28].as_slice(), DType::F32));
//! # Ok(())
//! # }
//! ```

mod color;
mod crop;
mod erasing;
mod flip;
mod image;
mod mixup;
mod normalize;
mod resize;
mod rotation;

use candle_core::Tensor;

use crate::Result;

use super::{Dataset, Generator};

pub use color::ColorJitter;
pub use crop::{CenterCrop, RandomCrop};
pub use erasing::{Cutout, RandomErasing};
pub use flip::{RandomHorizontalFlip, RandomVerticalFlip};
pub use image::Image;
pub use mixup::Mixup;
pub use normalize::Normalize;
pub use resize::Resize;
pub use rotation::RandomRotation;

/// A function that changes images, with or without random numbers.
///
/// Tuples and lists (`Vec<Box<dyn Transform>>`) of transforms apply their elements in order.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::Generator;
/// use sconce::train::data::transforms::{Image, Transform};
///
/// /// Adds normally distributed noise to the pixels.
/// struct Noise {
///     std: f64,
/// }
///
/// impl Transform for Noise {
///     fn apply(&self, mut image: Image, rng: &mut Generator) -> Result<Image> {
///         image.pixels_mut().iter_mut().for_each(|pixel| *pixel += rng.normal(0., self.std) as f32);
///         Ok(image)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let image = Image::from_tensor(&Tensor::zeros((3, 8, 8), DType::F32, &Device::Cpu)?)?;
/// let noisy = (Noise { std: 0.1 }, Noise { std: 0.2 }).apply(image, &mut Generator::from_seed(0))?;
/// assert_eq!(noisy.into_tensor()?.dims(), [3, 8, 8]);
/// # Ok(())
/// # }
/// ```
pub trait Transform: Send + Sync {
    /// Returns the transformed image. All random numbers must come from `rng`.
    ///
    /// # Errors
    /// Fails if the size of the image or the settings are invalid.
    fn apply(&self, image: Image, rng: &mut Generator) -> Result<Image>;
}

impl<T: Transform + ?Sized> Transform for Box<T> {
    fn apply(&self, image: Image, rng: &mut Generator) -> Result<Image> {
        (**self).apply(image, rng)
    }
}

impl<T: Transform> Transform for Vec<T> {
    fn apply(&self, image: Image, rng: &mut Generator) -> Result<Image> {
        self.iter().try_fold(image, |image, transform| transform.apply(image, rng))
    }
}

macro_rules! transform_tuples {
    ($(($($transform:ident $index:tt),+))*) => {$(
        impl<$($transform: Transform),+> Transform for ($($transform,)+) {
            fn apply(&self, image: Image, rng: &mut Generator) -> Result<Image> {
                $(let image = self.$index.apply(image, rng)?;)+
                Ok(image)
            }
        }
    )*};
}

transform_tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// The data set that [`Dataset::transform`] returns.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::transforms::{CenterCrop, Transformed};
/// # fn main() -> Result<()> {
/// let images = Tensor::zeros((4, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// let classes = Tensor::zeros(4, DType::U32, &Device::Cpu)?;
/// let data: Transformed<TensorDataset, CenterCrop> =
///     TensorDataset::new(images, classes)?.transform(CenterCrop::new(24, 24));
/// assert_eq!(data.len(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Transformed<D, T> {
    dataset: D,
    transform: T,
}

impl<D, T> Transformed<D, T> {
    pub(super) fn new(dataset: D, transform: T) -> Self {
        Self { dataset, transform }
    }
}

impl<D, T, Target> Dataset for Transformed<D, T>
where
    D: Dataset<Example = (Tensor, Target)>,
    T: Transform,
    Target: Send,
{
    type Example = (Tensor, Target);

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn get(&self, index: usize, rng: &mut Generator) -> Result<Self::Example> {
        let (image, target) = self.dataset.get(index, rng)?;
        let image = self.transform.apply(Image::from_tensor(&image)?, rng)?;
        Ok((image.into_tensor()?, target))
    }
}
