//! Collation: examples become a batch.

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// An example that a [`DataLoader`](super::DataLoader) can collate into a batch.
///
/// Implemented for tensors and numbers, which are stacked along a new first dimension, and for pairs and triples, whose
/// elements are collated separately. Implement it for your own type of example to get batches of your own type:
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::{Collate, dataset_fn, stack_examples};
///
/// struct Sentence {
///     tokens: Vec<u32>,
/// }
///
/// struct Sentences {
///     tokens: Tensor, // [batch, longest sentence], padded with 0
///     lengths: Vec<usize>,
/// }
///
/// impl Collate for Sentence {
///     type Batch = Sentences;
///
///     fn collate(sentences: Vec<Self>, indices: &[usize]) -> Result<Sentences> {
///         let lengths: Vec<usize> = sentences.iter().map(|sentence| sentence.tokens.len()).collect();
///         let longest = lengths.iter().copied().max().unwrap_or(0);
///         let padded = sentences.into_iter().map(|mut sentence| {
///             sentence.tokens.resize(longest, 0);
///             Ok(Tensor::from_vec(sentence.tokens, longest, &Device::Cpu)?)
///         });
///         Ok(Sentences { tokens: stack_examples(&padded.collect::<Result<Vec<_>>>()?, indices)?, lengths })
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let sentences = dataset_fn(3, |i, _| Ok(Sentence { tokens: vec![7; i + 1] }));
/// let batch = DataLoader::new(sentences).batch_size(3).iter()?.next().expect("there is one batch")?;
/// assert_eq!(batch.tokens.to_vec2::<u32>()?, [[7, 0, 0], [7, 7, 0], [7, 7, 7]]);
/// assert_eq!(batch.lengths, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub trait Collate: Sized {
    /// The type of a batch.
    type Batch: Send;

    /// Returns the batch of `examples`, of which there is at least one. `indices` are the indices of the examples in
    /// the data set, for error messages.
    ///
    /// # Errors
    /// Fails if the examples do not fit together, for example if tensors have different shapes.
    fn collate(examples: Vec<Self>, indices: &[usize]) -> Result<Self::Batch>;
}

/// Stacks tensors along a new first dimension. `indices` are the indices of the examples, for error messages.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::stack_examples;
/// # fn main() -> Result<()> {
/// let ones = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(stack_examples(&[ones.clone(), ones.clone()], &[0, 1])?.dims(), [2, 2, 3]);
/// let error = stack_examples(&[ones.clone(), ones.t()?], &[4, 7]).unwrap_err();
/// assert!(error.to_string().contains("example 7 of shape [3, 2] with example 4 of shape [2, 3]"), "{error}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if there are no tensors or if their shapes or dtypes differ. The error names the first example that differs
/// from the first one, with both shapes.
pub fn stack_examples(tensors: &[Tensor], indices: &[usize]) -> Result<Tensor> {
    let first = tensors.first().ok_or_else(|| Error::msg("expected at least one tensor, found none"))?;
    for (position, tensor) in tensors.iter().enumerate() {
        let describe = |property: &str, found: String, expected: String| {
            let index = |position: usize| indices.get(position).copied().unwrap_or(position);
            Error::msg(format!(
                "cannot stack example {} of {property} {found} with example {} of {property} {expected}",
                index(position),
                index(0),
            ))
        };
        if tensor.dims() != first.dims() {
            return Err(describe("shape", format!("{:?}", tensor.dims()), format!("{:?}", first.dims())));
        }
        if tensor.dtype() != first.dtype() {
            return Err(describe("dtype", format!("{:?}", tensor.dtype()), format!("{:?}", first.dtype())));
        }
    }
    Ok(Tensor::stack(tensors, 0)?)
}

impl Collate for Tensor {
    type Batch = Tensor;

    fn collate(examples: Vec<Self>, indices: &[usize]) -> Result<Tensor> {
        stack_examples(&examples, indices)
    }
}

macro_rules! collate_numbers {
    ($($number:ty),*) => {$(
        impl Collate for $number {
            type Batch = Tensor;

            fn collate(examples: Vec<Self>, _indices: &[usize]) -> Result<Tensor> {
                let count = examples.len();
                Ok(Tensor::from_vec(examples, count, &Device::Cpu)?)
            }
        }
    )*};
}

collate_numbers!(u8, u32, i64, f32, f64);

impl<A: Collate, B: Collate> Collate for (A, B) {
    type Batch = (A::Batch, B::Batch);

    fn collate(examples: Vec<Self>, indices: &[usize]) -> Result<Self::Batch> {
        let (a, b): (Vec<A>, Vec<B>) = examples.into_iter().unzip();
        Ok((element(0, a, indices)?, element(1, b, indices)?))
    }
}

impl<A: Collate, B: Collate, C: Collate> Collate for (A, B, C) {
    type Batch = (A::Batch, B::Batch, C::Batch);

    fn collate(examples: Vec<Self>, indices: &[usize]) -> Result<Self::Batch> {
        let (a, (b, c)): (Vec<A>, (Vec<B>, Vec<C>)) =
            examples.into_iter().map(|(a, b, c)| (a, (b, c))).unzip();
        Ok((element(0, a, indices)?, element(1, b, indices)?, element(2, c, indices)?))
    }
}

/// Collates the elements at one `position` of all examples, such as all targets. An error begins with `position`.
fn element<E: Collate>(position: usize, elements: Vec<E>, indices: &[usize]) -> Result<E::Batch> {
    E::collate(elements, indices).map_err(|error| Error::msg(format!("element {position}: {error}")))
}
