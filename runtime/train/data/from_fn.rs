//! A source of batches from a function.

use crate::Result;
use crate::train::batch::Batch;

use super::{Batches, Epoch};

/// Creates a source of batches from a function that returns an iterator. The function is called once per epoch. It may
/// open a file or draw random examples, for instance.
///
/// ```
/// use sconce::candle::{DType, Device, Tensor};
/// use sconce::random;
/// use sconce::train::data::{Batches, from_fn};
///
/// let noise = from_fn(|| {
///     (0..10).map(|_| {
///         let x = random::normal((8, 2), 0., 1., DType::F32, &Device::Cpu)?;
///         Ok((x.clone(), x.sum(1)?))
///     })
/// })
/// .batches(10);
/// assert_eq!(noise.epoch()?.count(), 10);
/// # Ok::<(), sconce::Error>(())
/// ```
pub fn from_fn<F, I, B>(epoch: F) -> FromFn<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Result<B>>,
    B: Batch,
{
    FromFn { epoch, batches: None }
}

/// The source of batches that [`from_fn`] returns.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::from_fn;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
/// let data = from_fn(|| vec![Ok((x.clone(), x.clone()))]);
/// assert_eq!(data.len_hint(), None);
/// assert_eq!(data.batches(1).len_hint(), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FromFn<F> {
    epoch: F,
    batches: Option<usize>,
}

impl<F> FromFn<F> {
    /// Sets the number of batches per epoch, for progress bars and for schedules that depend on the number of steps.
    pub fn batches(mut self, batches: usize) -> Self {
        self.batches = Some(batches);
        self
    }
}

impl<F, I, B> Batches for FromFn<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Result<B>>,
    I::IntoIter: 'static,
    B: Batch,
{
    type Batch = B;

    fn epoch(&self) -> Result<Epoch<'_, B>> {
        Ok(Box::new((self.epoch)().into_iter()))
    }

    fn len_hint(&self) -> Option<usize> {
        self.batches
    }
}
