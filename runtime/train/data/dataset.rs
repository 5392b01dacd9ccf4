//! Data sets: examples by index.

use std::sync::Arc;

use candle_core::Tensor;

use crate::{Error, Result};

use super::Generator;
use super::transforms::{Transform, Transformed};

/// A collection of examples that can be read by their indices.
///
/// A [`DataLoader`](super::DataLoader) collects the examples into batches. Its worker threads call [`get`](Self::get)
/// at the same time, so a data set is `Send` and `Sync`.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::Generator;
///
/// /// The numbers `0..len` and their squares.
/// struct Squares {
///     len: usize,
/// }
///
/// impl Dataset for Squares {
///     type Example = (f32, f32);
///
///     fn len(&self) -> usize {
///         self.len
///     }
///
///     fn get(&self, index: usize, _rng: &mut Generator) -> Result<Self::Example> {
///         Ok((index as f32, (index * index) as f32))
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let loader = DataLoader::new(Squares { len: 10 }).batch_size(4).workers(2);
/// for batch in loader.iter()? {
///     let (x, y) = batch?; // [4] and [4], in the last batch [2] and [2]
///     assert_eq!(x.sqr()?.to_vec1::<f32>()?, y.to_vec1::<f32>()?);
/// }
/// # Ok(())
/// # }
/// ```
pub trait Dataset: Send + Sync {
    /// An example, such as `(Tensor, u32)` for an image and its class.
    type Example: Send;

    /// Returns the number of examples.
    fn len(&self) -> usize;

    /// Returns the example at `index`. All random numbers must come from `rng`, so that they do not depend on the
    /// number of workers.
    ///
    /// # Errors
    /// Fails if the example cannot be read or if `index` is not less than [`len`](Self::len).
    fn get(&self, index: usize, rng: &mut Generator) -> Result<Self::Example>;

    /// Returns `true` if there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a data set that applies `f` to each example when it is read.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// use sconce::train::data::dataset_fn;
    /// # fn main() -> Result<()> {
    /// let noisy = dataset_fn(100, |i, _| Ok(i as f32)).map(|x, rng| Ok((x + rng.normal(0., 0.1) as f32, x)));
    /// let (x, y) = DataLoader::new(noisy).batch_size(100).iter()?.next().expect("there is one batch")?;
    /// assert!((x - y)?.abs()?.max_all()?.to_scalar::<f32>()? < 1.);
    /// # Ok(())
    /// # }
    /// ```
    fn map<F, E>(self, f: F) -> Map<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Example, &mut Generator) -> Result<E> + Send + Sync,
        E: Send,
    {
        Map { dataset: self, f }
    }

    /// Returns a data set that applies `transform` to the image of each example `(image, target)` when it is read. See
    /// [`transforms`](super::transforms).
    fn transform<T, Target>(self, transform: T) -> Transformed<Self, T>
    where
        Self: Sized + Dataset<Example = (Tensor, Target)>,
        T: Transform,
    {
        Transformed::new(self, transform)
    }
}

macro_rules! forward_to_content {
    ($($pointer:ty),+) => {
        $(impl<D: Dataset + ?Sized> Dataset for $pointer {
            type Example = D::Example;

            fn len(&self) -> usize {
                (**self).len()
            }

            fn get(&self, index: usize, rng: &mut Generator) -> Result<Self::Example> {
                (**self).get(index, rng)
            }
        })+
    };
}

forward_to_content!(Arc<D>, Box<D>);

/// The data set that [`Dataset::map`] returns.
///
/// ```
/// use sconce::train::data::{Dataset, Generator, Map, dataset_fn};
///
/// let halves = dataset_fn(3, |i, _| Ok(i as f32)).map(|x, _| Ok(x / 2.));
/// assert_eq!(halves.get(1, &mut Generator::from_seed(0))?, 0.5);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    dataset: D,
    f: F,
}

impl<D, F, E> Dataset for Map<D, F>
where
    D: Dataset,
    F: Fn(D::Example, &mut Generator) -> Result<E> + Send + Sync,
    E: Send,
{
    type Example = E;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn get(&self, index: usize, rng: &mut Generator) -> Result<E> {
        (self.f)(self.dataset.get(index, rng)?, rng)
    }
}

/// Creates a data set of `len` examples from a function that returns the example at an index.
///
/// ```
/// use sconce::train::data::{Dataset, Generator, dataset_fn};
///
/// let names = dataset_fn(3, |index, _rng| Ok(format!("example {index}")));
/// assert_eq!(names.get(2, &mut Generator::from_seed(0))?, "example 2");
/// assert!(names.get(3, &mut Generator::from_seed(0)).is_err());
/// # Ok::<(), sconce::Error>(())
/// ```
pub fn dataset_fn<F, E>(len: usize, f: F) -> DatasetFn<F>
where
    F: Fn(usize, &mut Generator) -> Result<E> + Send + Sync,
    E: Send,
{
    DatasetFn { len, f }
}

/// The data set that [`dataset_fn`] returns.
///
/// ```
/// use sconce::train::data::{Dataset, dataset_fn};
///
/// assert_eq!(dataset_fn(3, |index, _rng| Ok(index)).len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct DatasetFn<F> {
    len: usize,
    f: F,
}

impl<F, E> Dataset for DatasetFn<F>
where
    F: Fn(usize, &mut Generator) -> Result<E> + Send + Sync,
    E: Send,
{
    type Example = E;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize, rng: &mut Generator) -> Result<E> {
        check_index(index, self.len)?;
        (self.f)(index, rng)
    }
}

/// Returns an error if `index` is not less than `len`.
pub(super) fn check_index(index: usize, len: usize) -> Result<()> {
    if index < len {
        return Ok(());
    }
    Err(Error::msg(format!("index {index} is out of range for {len} examples")))
}
