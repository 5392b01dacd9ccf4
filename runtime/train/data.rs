//! Where training takes its batches from.

use candle_core::Tensor;

use crate::{Error, Result, random};

/// Inputs `[batch, …]` and their targets `[batch, …]`.
pub type Batch = (Tensor, Tensor);

/// The batches of one epoch, in their order.
pub type Epoch<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// A source of batches that can be run through again and again.
///
/// It is implemented for [`TensorDataset`], for batches made beforehand (`Vec<Batch>`), for a pair of
/// tensors (a `TensorDataset` shuffled into batches of 64), and through [`from_fn`] for any iterator.
pub trait Batches {
    /// The batches of one epoch; each call may order them anew.
    fn epoch(&self) -> Result<Epoch<'_>>;

    /// The number of batches of an epoch where it is known, for progress bars.
    fn len_hint(&self) -> Option<usize> {
        None
    }
}

/// Inputs and targets in two tensors of equal first dimension, cut into batches.
///
/// ```
/// use sconce::candle::{Device, Tensor};
/// use sconce::train::data::{Batches, TensorDataset};
///
/// let inputs = Tensor::arange(0f32, 10., &Device::Cpu)?.reshape((10, 1))?;
/// let targets = Tensor::arange(0u32, 10, &Device::Cpu)?;
/// let train = TensorDataset::new(inputs, targets)?.batch_size(4).shuffle(true);
/// let sizes: Vec<usize> = train.epoch()?.map(|batch| Ok(batch?.0.dim(0)?)).collect::<sconce::Result<_>>()?;
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset {
    inputs: Tensor,
    targets: Tensor,
    batch_size: usize,
    shuffle: bool,
    drop_last: bool,
}

impl TensorDataset {
    /// Pairs `inputs` `[examples, …]` with `targets` `[examples, …]`, in batches of 64 in their order.
    ///
    /// # Errors
    /// The tensors differ in their number of examples, or one is a scalar.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self> {
        let fit = inputs.rank() > 0 && targets.rank() > 0 && inputs.dims()[0] == targets.dims()[0];
        if !fit {
            let (inputs, targets) = (inputs.dims(), targets.dims());
            let message =
                format!("expected as many targets as inputs, got inputs {inputs:?}, targets {targets:?}");
            return Err(Error::msg(message));
        }
        // Once here rather than in each batch.
        let (inputs, targets) = (inputs.detach().contiguous()?, targets.detach().contiguous()?);
        Ok(Self { inputs, targets, batch_size: 64, shuffle: false, drop_last: false })
    }

    /// The number of examples in a batch, by default 64.
    pub fn batch_size(mut self, examples: usize) -> Self {
        self.batch_size = examples;
        self
    }

    /// Whether each epoch has its own order, drawn after [`manual_seed`](crate::manual_seed); by default not.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Whether a last batch that is not full is left out, by default not.
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.inputs.dims()[0]
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of batches; none if their size is 0.
    fn batches(&self) -> Option<usize> {
        match self.drop_last {
            true => self.len().checked_div(self.batch_size),
            false => (self.batch_size > 0).then(|| self.len().div_ceil(self.batch_size)),
        }
    }

    /// The batches of one epoch, cut as they are asked for.
    fn into_epoch(self) -> Result<Epoch<'static>> {
        let batches = self.batches().ok_or_else(|| Error::msg("expected a batch size above 0, got 0"))?;
        let order = if self.shuffle { Some(self.random_order()?) } else { None };
        Ok(Box::new((0..batches).map(move |i| self.batch(i * self.batch_size, order.as_ref()))))
    }

    /// The indices of all examples in random order, `[examples]`.
    fn random_order(&self) -> Result<Tensor> {
        let examples = u32::try_from(self.len()).map_err(|_| Error::msg("too many examples to shuffle"))?;
        Ok(Tensor::from_vec(random::permutation(examples), self.len(), self.inputs.device())?)
    }

    /// The examples from `start` on, of `order` if there is one.
    fn batch(&self, start: usize, order: Option<&Tensor>) -> Result<Batch> {
        let len = self.batch_size.min(self.len() - start);
        match order {
            Some(order) => {
                let order = order.narrow(0, start, len)?;
                Ok((pick(&self.inputs, &order)?, pick(&self.targets, &order)?))
            }
            None => Ok((self.inputs.narrow(0, start, len)?, self.targets.narrow(0, start, len)?)),
        }
    }
}

/// The examples `order` of `tensor`.
fn pick(tensor: &Tensor, order: &Tensor) -> Result<Tensor> {
    Ok(tensor.index_select(&order.to_device(tensor.device())?, 0)?)
}

impl Batches for TensorDataset {
    fn epoch(&self) -> Result<Epoch<'_>> {
        self.clone().into_epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        self.batches()
    }
}

impl Batches for Batch {
    fn epoch(&self) -> Result<Epoch<'_>> {
        TensorDataset::new(self.0.clone(), self.1.clone())?.shuffle(true).into_epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        TensorDataset::new(self.0.clone(), self.1.clone()).ok()?.batches()
    }
}

impl Batches for Vec<Batch> {
    fn epoch(&self) -> Result<Epoch<'_>> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }

    fn len_hint(&self) -> Option<usize> {
        Some(self.len())
    }
}

impl<B: Batches + ?Sized> Batches for &B {
    fn epoch(&self) -> Result<Epoch<'_>> {
        (**self).epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        (**self).len_hint()
    }
}

impl<B: Batches + ?Sized> Batches for Box<B> {
    fn epoch(&self) -> Result<Epoch<'_>> {
        (**self).epoch()
    }

    fn len_hint(&self) -> Option<usize> {
        (**self).len_hint()
    }
}

/// Batches from a function that starts an epoch: one that opens a file, say, or draws examples.
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
pub fn from_fn<F, I>(epoch: F) -> FromFn<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Result<Batch>>,
{
    FromFn { epoch, batches: None }
}

/// What [`from_fn`] gives.
#[derive(Clone, Debug)]
pub struct FromFn<F> {
    epoch: F,
    batches: Option<usize>,
}

impl<F> FromFn<F> {
    /// Says how many batches an epoch has, for progress bars.
    pub fn batches(mut self, batches: usize) -> Self {
        self.batches = Some(batches);
        self
    }
}

impl<F, I> Batches for FromFn<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Result<Batch>>,
    I::IntoIter: 'static,
{
    fn epoch(&self) -> Result<Epoch<'_>> {
        Ok(Box::new((self.epoch)().into_iter()))
    }

    fn len_hint(&self) -> Option<usize> {
        self.batches
    }
}
