//! The places of sequences of different lengths in a padded batch and in packed rows.

use candle_core::{Device, Tensor};

use crate::kernels::embedding as gather_rows;
use crate::kernels::internal::can_allocate;
use crate::{Error, Result};

use super::packed_sequence::Lengths;

/// The places of the sequences in the rows of a [`PackedSequence`](super::PackedSequence).
#[derive(Debug, Default)]
pub(crate) struct PackedLayout {
    /// The number of sequences that have each step.
    pub batch_sizes: Vec<usize>,
    /// The length of each sequence of the batch.
    pub lengths: Vec<usize>,
    /// For each place in the order of decreasing length, the index of the sequence in the batch.
    pub sorted_indices: Vec<usize>,
}

impl PackedLayout {
    /// Sorts the sequences by length. Sequences of equal length keep their order.
    fn new(lengths: Vec<usize>) -> Self {
        let mut sorted_indices: Vec<usize> = (0..lengths.len()).collect();
        sorted_indices.sort_by_key(|i| std::cmp::Reverse(lengths[*i]));
        let steps = sorted_indices.first().map_or(0, |longest| lengths[*longest]);
        let mut batch_sizes = vec![0; steps];
        lengths.iter().for_each(|length| batch_sizes[..*length].iter_mut().for_each(|size| *size += 1));
        Self { batch_sizes, lengths, sorted_indices }
    }

    /// Returns the place of each sequence of the batch in the order of decreasing length.
    fn unsorted_indices(&self) -> Vec<usize> {
        let mut places = vec![0; self.sorted_indices.len()];
        self.sorted_indices.iter().enumerate().for_each(|(place, index)| places[*index] = place);
        places
    }

    /// Returns the total number of rows.
    pub fn rows(&self) -> usize {
        self.batch_sizes.iter().sum()
    }

    /// Returns the layouts of the sequences of a padded batch, packed and padded.
    ///
    /// # Errors
    /// Fails if `x` has fewer than two dimensions, if the number of lengths is not the size of the batch, if a length
    /// is not between 1 and the number of steps, or if the layout does not fit in memory.
    pub fn of_padded(x: &[usize], lengths: Lengths, batch_first: bool) -> Result<(Self, PaddedLayout)> {
        let lengths = lengths.0?;
        let (steps, batch) = match *x {
            [batch, steps, ..] if batch_first => (steps, batch),
            [steps, batch, ..] if !batch_first => (steps, batch),
            _ => {
                let order = if batch_first { "batch, steps" } else { "steps, batch" };
                return Err(Error::msg(format!("expected an input [{order}, …], found {x:?}")));
            }
        };
        if lengths.len() != batch {
            return Err(Error::msg(format!(
                "expected one length for each of {batch} sequences, found {} lengths (input {x:?})",
                lengths.len()
            )));
        }
        if let Some(length) = lengths.iter().find(|length| !(1..=steps).contains(length)) {
            return Err(Error::msg(format!(
                "expected lengths between 1 and the {steps} steps of the input, found {length}"
            )));
        }
        // A tensor without elements, or a signal without numbers, may have any number of steps.
        let longest = lengths.iter().max().copied().unwrap_or(0);
        if !can_allocate::<usize>(&[longest]) {
            return Err(Error::msg(format!("not enough memory for sequences of {longest} steps")));
        }
        Ok((Self::new(lengths), PaddedLayout { batch, steps, batch_first }))
    }

    /// Returns the packed rows of a padded batch `x`.
    pub fn pack(&self, x: &Tensor, padded: PaddedLayout) -> candle_core::Result<Tensor> {
        let places = self.batch_sizes.iter().enumerate().flat_map(|(step, size)| {
            self.sorted_indices[..*size].iter().map(move |sequence| padded.row(step, *sequence))
        });
        let element = &x.dims()[2..];
        // A view can have more elements than its memory.
        padded.check_memory(element)?;
        let rows = row_indices(places, x.device())?;
        let matrix = x.reshape((padded.batch * padded.steps, element.iter().product::<usize>()))?;
        gather_rows(&rows, &matrix, None)?.reshape([&[self.rows()], element].concat())
    }

    /// Returns the padded batch of packed rows. `padding_value` fills the steps after the end of a sequence.
    pub fn pad(
        &self,
        data: &Tensor,
        padded: PaddedLayout,
        padding_value: f64,
    ) -> candle_core::Result<Tensor> {
        let (rows, element) = (self.rows(), &data.dims()[1..]);
        padded.check_memory(element)?;
        let width: usize = element.iter().product();
        let padding = Tensor::full(padding_value, (1, width), data.device())?.to_dtype(data.dtype())?;
        let matrix = Tensor::cat(&[data.reshape((rows, width))?, padding], 0)?;

        let mut sources = vec![rows; padded.batch * padded.steps];
        let mut start = 0;
        for (step, size) in self.batch_sizes.iter().enumerate() {
            for (place, sequence) in self.sorted_indices[..*size].iter().enumerate() {
                sources[padded.row(step, *sequence)] = start + place;
            }
            start += size;
        }
        let sources = row_indices(sources.into_iter(), data.device())?;
        gather_rows(&sources, &matrix, None)?.reshape([&padded.dims()[..], element].concat())
    }

    /// Returns `x` with the sequences along dimension 1 in the order of decreasing length.
    pub fn sort(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        select_sequences(x, &self.sorted_indices)
    }

    /// Reverses [`sort`](Self::sort).
    pub fn unsort(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        select_sequences(x, &self.unsorted_indices())
    }
}

/// The place of each step of each sequence in a padded batch.
#[derive(Clone, Copy)]
pub(crate) struct PaddedLayout {
    pub batch: usize,
    pub steps: usize,
    pub batch_first: bool,
}

impl PaddedLayout {
    /// Returns the index of a row of a padded batch.
    fn row(self, step: usize, sequence: usize) -> usize {
        if self.batch_first { sequence * self.steps + step } else { step * self.batch + sequence }
    }

    /// Fails if the elements of the batch or the indices of its rows, including padding, do not fit in memory.
    fn check_memory(self, element: &[usize]) -> candle_core::Result<()> {
        let dims = [&self.dims(), element].concat();
        // The padding is one element, even for an empty batch.
        if can_allocate::<f64>(&dims) && can_allocate::<f64>(element) && can_allocate::<i64>(&self.dims()) {
            return Ok(());
        }
        candle_core::bail!("not enough memory for a padded batch {dims:?}")
    }

    /// Returns the two first dimensions.
    pub fn dims(self) -> [usize; 2] {
        if self.batch_first { [self.batch, self.steps] } else { [self.steps, self.batch] }
    }
}

/// Returns these indices of dimension 1 of `x`.
fn select_sequences(x: &Tensor, indices: &[usize]) -> candle_core::Result<Tensor> {
    if indices.is_sorted() {
        return Ok(x.clone());
    }
    x.contiguous()?.index_select(&row_indices(indices.iter().copied(), x.device())?, 1)
}

fn row_indices(rows: impl Iterator<Item = usize>, device: &Device) -> candle_core::Result<Tensor> {
    let rows: Vec<i64> = rows.map(|row| row as i64).collect();
    let count = rows.len();
    Tensor::from_vec(rows, count, device)
}
