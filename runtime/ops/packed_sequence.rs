//! Packed sequences: a batch of sequences of different lengths without the padding.

use std::sync::Arc;

use candle_core::Tensor;

use crate::kernels::internal::integers;
use crate::signal::{Outcome, ShapeFrom, Signal};
use crate::{Error, Result};

use super::packed_layout::{PackedLayout, PaddedLayout};

/// The number of steps of each sequence of a batch: a list of `usize`, or an integer tensor `[batch]`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((4, 2, 3), DType::F32, &Device::Cpu)?; // [steps, batch, features]
/// let packed = pack_padded_sequence(&x, [4, 1], false);
/// let same = pack_padded_sequence(&x, Tensor::new(&[4u32, 1], &Device::Cpu)?, false);
/// assert_eq!(packed.batch_sizes(), same.batch_sizes());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lengths(pub(super) Result<Vec<usize>>);

impl From<Vec<usize>> for Lengths {
    fn from(lengths: Vec<usize>) -> Self {
        Self(Ok(lengths))
    }
}

impl From<&[usize]> for Lengths {
    fn from(lengths: &[usize]) -> Self {
        lengths.to_vec().into()
    }
}

impl<const N: usize> From<[usize; N]> for Lengths {
    fn from(lengths: [usize; N]) -> Self {
        lengths.to_vec().into()
    }
}

impl From<&Vec<usize>> for Lengths {
    fn from(lengths: &Vec<usize>) -> Self {
        lengths.clone().into()
    }
}

impl From<&Tensor> for Lengths {
    fn from(lengths: &Tensor) -> Self {
        Self(read_lengths(lengths))
    }
}

impl From<Tensor> for Lengths {
    fn from(lengths: Tensor) -> Self {
        Self::from(&lengths)
    }
}

impl From<Signal> for Lengths {
    fn from(lengths: Signal) -> Self {
        Self(lengths.into_tensor().and_then(|lengths| read_lengths(&lengths)))
    }
}

impl From<&Signal> for Lengths {
    fn from(lengths: &Signal) -> Self {
        lengths.clone().into()
    }
}

fn read_lengths(lengths: &Tensor) -> Result<Vec<usize>> {
    if lengths.rank() != 1 {
        return Err(Error::msg(format!("expected lengths [batch], found {:?}", lengths.dims())));
    }
    let length = |length: i64| {
        usize::try_from(length)
            .map_err(|_| Error::msg(format!("expected lengths of at least 1, found {length}")))
    };
    integers("expected lengths [batch]", lengths)?.into_iter().map(length).collect()
}

/// A batch of sequences of different lengths without padding, as in PyTorch.
///
/// [`pack_padded_sequence`] creates it, the method `call_packed` of a recurrent layer processes it, and
/// [`pad_packed_sequence`] converts it to a padded batch. If an operation fails, the packed sequence holds the error,
/// like a failed signal.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[[1f32], [2.], [3.]], [[4.], [0.], [0.]]], &Device::Cpu)?; // [batch, steps, features]
/// let packed = pack_padded_sequence(&x, [3, 1], true);
/// assert_eq!(packed.batch_sizes(), [2, 1, 1]);
/// assert_eq!(packed.data().clone().into_tensor()?.to_vec2::<f32>()?, [[1.], [4.], [2.], [3.]]);
///
/// let doubled = packed.map(|data| data * 2.);
/// let (y, lengths) = pad_packed_sequence(&doubled, true, 0., None);
/// assert_eq!(y.into_tensor()?.to_vec3::<f32>()?, [[[2.], [4.], [6.]], [[8.], [0.], [0.]]]);
/// assert_eq!(lengths, [3, 1]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PackedSequence {
    data: Signal,
    layout: Arc<PackedLayout>,
}

impl PackedSequence {
    /// Returns the elements of all sequences, `[rows, …]`: those of the first step, then those of the second, and so
    /// on. Within a step, longer sequences come first.
    pub fn data(&self) -> &Signal {
        &self.data
    }

    /// Returns the number of sequences that have each step. Empty if an operation has failed.
    pub fn batch_sizes(&self) -> &[usize] {
        &self.layout.batch_sizes
    }

    /// Returns the length of each sequence of the batch.
    pub fn lengths(&self) -> &[usize] {
        &self.layout.lengths
    }

    /// Returns the indices of the sequences in the batch, in the order of decreasing length.
    pub fn sorted_indices(&self) -> &[usize] {
        &self.layout.sorted_indices
    }

    /// Returns the result of a function for all elements, such as a linear layer. The function must keep the number of
    /// rows.
    pub fn map(&self, function: impl FnOnce(Signal) -> Signal) -> Self {
        self.with_data(function(self.data.clone()))
    }

    /// Returns the places of the sequences in the rows.
    pub(crate) fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// Returns the same sequences with other elements, `[rows, …]`.
    pub(crate) fn with_data(&self, data: Signal) -> Self {
        let rows = self.layout.rows();
        match data.dims() {
            Ok([found, ..]) if *found == rows => Self { data, layout: self.layout.clone() },
            Ok(dims) => Self::failed(Error::msg(format!("expected packed data [{rows}, …], found {dims:?}"))),
            Err(error) => Self::failed(error),
        }
    }
}

impl Outcome for PackedSequence {
    fn failed(error: Error) -> Self {
        Self { data: Signal::fail(error), layout: Arc::default() }
    }
}

/// Packs a padded batch of sequences of different lengths.
///
/// - `x`: `[steps, batch, …]`, or `[batch, steps, …]` if `batch_first` is true
/// - `lengths`: the number of steps of each sequence, in any order, as with PyTorch's `enforce_sorted=False`
///
/// The result holds an error if the number of lengths is not the size of the batch, or if a length is 0 or more than
/// the number of steps.
///
/// A recurrent layer processes a padded batch directly with `lstm(x, None, lengths)`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let lstm = LSTM::config(3, 8).init(&Device::Cpu)?;
/// let x = Tensor::ones((5, 2, 3), DType::F32, &Device::Cpu)?; // [steps, batch, features]
/// let packed = pack_padded_sequence(&x, [2, 5], false);
/// let (outputs, (h, _)) = lstm.call_packed(packed, None, Mode::Eval);
/// let (y, lengths) = pad_packed_sequence(&outputs, false, 0., None);
/// assert_eq!((y.dims()?, h.dims()?, lengths), (&[5, 2, 8][..], &[1, 2, 8][..], vec![2, 5]));
/// // After its last step, the output of a sequence is 0.
/// assert_eq!(y.i((2.., 0)).into_tensor()?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.);
/// # Ok(())
/// # }
/// ```
pub fn pack_padded_sequence(
    x: impl Into<Signal>,
    lengths: impl Into<Lengths>,
    batch_first: bool,
) -> PackedSequence {
    let x = x.into();
    let dims = match x.dims() {
        Ok(dims) => dims,
        Err(error) => return PackedSequence::failed(error),
    };
    let (layout, padded) = match PackedLayout::of_padded(dims, lengths.into(), batch_first) {
        Ok(layouts) => layouts,
        Err(error) => return PackedSequence::failed(error.in_layer("pack_padded_sequence")),
    };
    let rows = |dims: &[usize]| Ok([&[layout.rows()], &dims[2..]].concat());
    let data = x.apply("pack_padded_sequence", ShapeFrom(rows), |x| layout.pack(&x, padded));
    PackedSequence { data, layout: Arc::new(layout) }
}

/// Converts packed sequences to a padded batch. Returns the batch, `[steps, batch, …]` or, if `batch_first` is true,
/// `[batch, steps, …]`, and the length of each sequence.
///
/// - `padding_value`: the value of the elements after the last step of a sequence
/// - `total_length`: the number of steps of the output. By default, the length of the longest sequence.
///
/// The output is a failed signal if `total_length` is less than the longest length, or if the packed sequence holds an
/// error.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2., 3.], [4., 0., 0.]], &Device::Cpu)?.unsqueeze(2)?;
/// let packed = pack_padded_sequence(&x, [2, 1], true);
/// let (y, _) = pad_packed_sequence(&packed, true, -1., Some(4));
/// assert_eq!(y.squeeze(2).into_tensor()?.to_vec2::<f32>()?, [[1., 2., -1., -1.], [4., -1., -1., -1.]]);
/// # Ok(())
/// # }
/// ```
pub fn pad_packed_sequence(
    packed: &PackedSequence,
    batch_first: bool,
    padding_value: f64,
    total_length: Option<usize>,
) -> (Signal, Vec<usize>) {
    let layout = &packed.layout;
    let longest = layout.batch_sizes.len();
    let steps = total_length.unwrap_or(longest);
    let data = packed.data.clone();
    if data.error().is_none() && steps < longest {
        let error = format!(
            "pad_packed_sequence: expected a total_length of at least {longest}, the length of the longest sequence, \
             found {steps}"
        );
        return (Signal::fail(Error::msg(error)), layout.lengths.clone());
    }
    let padded = PaddedLayout { batch: layout.lengths.len(), steps, batch_first };
    let dims = |dims: &[usize]| Ok([&padded.dims()[..], &dims[1..]].concat());
    let output =
        data.apply("pad_packed_sequence", ShapeFrom(dims), |data| layout.pad(&data, padded, padding_value));
    (output, layout.lengths.clone())
}
