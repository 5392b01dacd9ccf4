//! Sums, means and maxima of embeddings.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Result, Shape, Tensor, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{
    Element, compute_dtype, elements, in_f32, not_a_float, widened, with_element, with_elements,
};
use crate::integers::{check_integers, integers};
use crate::memory::{can_allocate, zeros};
use crate::operation::{self, CpuOperand, Operation};
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Kernel, Simd, dispatch_loops};

use super::row_indices;

const NAME: &str = "embedding_bag";

/// The number of columns that are combined at a time.
const BLOCK: usize = 64;

/// How [`embedding_bag`] combines the embeddings of a bag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BagMode {
    /// The sum.
    Sum,
    /// The mean.
    #[default]
    Mean,
    /// The maximum of each feature.
    Max,
}

/// The bags of [`embedding_bag`], and how their embeddings are combined.
///
/// ```
/// use sconce_kernels::Bags;
/// use sconce_kernels::embedding::BagMode;
///
/// let bags = Bags { padding: Some(0), ..Bags::default() };
/// assert_eq!(bags.mode, BagMode::Mean);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Bags {
    /// How the embeddings of a bag are combined.
    pub mode: BagMode,
    /// The index in the ids at which each bag begins, `[bags]` of u8, u32 or i64. `None` if each row of the ids is a
    /// bag.
    pub offsets: Option<Tensor>,
    /// Whether the last offset is the number of ids instead of the beginning of a bag.
    pub include_last_offset: bool,
    /// Factors by which the embeddings are multiplied, in the shape of the ids. Only for sums.
    pub per_sample_weights: Option<Tensor>,
    /// The index of a row that is left out of the sum, the mean and the maximum, and receives no gradient.
    pub padding: Option<usize>,
}

/// Looks up rows of a table and combines the rows of each bag.
///
/// - `ids`: integers (u8, u32 or i64), `[bags, length]`, or `[ids]` with [`Bags::offsets`]
/// - `weight`: `[rows, width]`
/// - returns `[bags, width]`; an empty bag gives zeros
///
/// Supports weights of f32, f64, f16 and bf16. Differentiable in `weight` and in [`Bags::per_sample_weights`]. The
/// gradient of a maximum goes to the first embedding that has it.
///
/// # Errors
/// Fails if an id or [`Bags::padding`] is out of range, if the offsets do not begin at 0, decrease, or exceed the
/// number of ids, if `per_sample_weights` differs in shape or dtype or the mode is not a sum, if a shape or dtype is
/// not one of those above, or if the ids or the output do not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Bags, embedding_bag};
///
/// # fn main() -> Result<()> {
/// let weight = Tensor::new(&[[0f32, 1.], [10., 11.], [20., 21.]], &Device::Cpu)?;
/// let ids = Tensor::new(&[2u32, 0, 1], &Device::Cpu)?;
/// let bags = Bags { offsets: Some(Tensor::new(&[0u32, 2, 2], &Device::Cpu)?), ..Bags::default() };
/// let y = embedding_bag(&ids, &weight, &bags)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[10., 11.], [0., 0.], [10., 11.]]);
/// # Ok(())
/// # }
/// ```
pub fn embedding_bag(ids: &Tensor, weight: &Tensor, bags: &Bags) -> Result<Tensor> {
    let shape = embedding_bag_shape(ids, weight, bags)?;
    if !can_allocate::<f64>(&shape) {
        bail!("{NAME}: not enough memory for an output of {shape:?}");
    }
    let (rows, width) = weight.dims2()?;
    let rows_of_ids = row_indices(NAME, ids, rows)?;
    let mut reduction = BagReduction::new(rows_of_ids, &bags.bounds(ids, shape[0])?, width, bags);
    let samples = bags.per_sample_weights.as_ref().map(Tensor::flatten_all).transpose()?;
    // A frozen table of f16 or bf16 is not widened, because only a few of its rows are read.
    let is_frozen_half = !weight.track_op() && compute_dtype(weight.dtype()) != weight.dtype();
    let copies_rows = is_frozen_half && reduction.entries.len() < rows;
    let weight = if copies_rows { reduction.copy_rows(weight)? } else { weight.clone() };
    let samples = samples.map(|samples| widened(&samples)).transpose()?;
    in_f32(&weight, |weight| {
        if !has_cpu_kernels(weight) {
            return reduction.composed(weight, samples.as_ref());
        }
        let weight = weight.contiguous()?;
        match samples {
            Some(samples) => operation::apply([&weight, &samples.contiguous()?], reduction),
            None => operation::apply([&weight], reduction),
        }
    })
}

/// Returns the shape of the result of [`embedding_bag`]. Reads only the shapes and the dtypes of the tensors.
///
/// # Errors
/// Fails if [`embedding_bag`] fails for all tensors of these shapes and dtypes.
pub fn embedding_bag_shape(ids: &Tensor, weight: &Tensor, bags: &Bags) -> Result<[usize; 2]> {
    let &[rows, width] = weight.dims() else {
        bail!("{NAME}: expected a weight [rows, width], found {:?}", weight.dims());
    };
    if !weight.dtype().is_float() {
        return Err(not_a_float(NAME, weight.dtype()));
    }
    if let Some(padding) = bags.padding.filter(|padding| *padding >= rows) {
        bail!("{NAME}: expected a padding index below {rows}, the number of embeddings, found {padding}");
    }
    check_integers(&format!("{NAME}: expected ids"), ids)?;
    bags.check_per_sample_weights(ids, weight)?;
    Ok([bags.count(ids)?, width])
}

impl Bags {
    fn check_per_sample_weights(&self, ids: &Tensor, weight: &Tensor) -> Result<()> {
        let Some(samples) = &self.per_sample_weights else { return Ok(()) };
        if self.mode != BagMode::Sum {
            bail!("{NAME}: expected per_sample_weights only for sums, found the mode {:?}", self.mode);
        }
        if samples.dims() != ids.dims() || samples.dtype() != weight.dtype() {
            bail!(
                "{NAME}: expected per_sample_weights {:?} of {:?}, found {:?} of {:?}",
                ids.dims(),
                weight.dtype(),
                samples.dims(),
                samples.dtype()
            );
        }
        Ok(())
    }

    /// Returns the number of bags.
    fn count(&self, ids: &Tensor) -> Result<usize> {
        match (ids.dims(), &self.offsets) {
            (&[bags, _], None) => Ok(bags),
            (&[count], Some(offsets)) => self.count_offsets(offsets, count),
            (dims, offsets) => bail!(
                "{NAME}: expected ids [bags, length] without offsets or ids [ids] with offsets, found ids {dims:?} and \
                 {}",
                offsets
                    .as_ref()
                    .map_or("no offsets".into(), |offsets| format!("offsets {:?}", offsets.dims()))
            ),
        }
    }

    /// Returns the number of bags of `count` ids that begin at these offsets.
    fn count_offsets(&self, offsets: &Tensor, count: usize) -> Result<usize> {
        check_integers(&format!("{NAME}: expected offsets [bags]"), offsets)?;
        match (offsets.dims(), self.include_last_offset) {
            (&[0], true) => {
                bail!("{NAME}: expected the last offset to be {count}, the number of ids, found none")
            }
            (&[0], false) if count > 0 => bail!("{NAME}: expected the first offset to be 0, found none"),
            (&[bags], include_last_offset) => Ok(bags - usize::from(include_last_offset)),
            (dims, _) => bail!("{NAME}: expected offsets [bags], found {dims:?}"),
        }
    }

    /// Returns the index of the first id of each of `bags` bags, and the number of ids.
    fn bounds(&self, ids: &Tensor, bags: usize) -> Result<Vec<usize>> {
        let Some(offsets) = &self.offsets else {
            let length = ids.dim(1)?;
            if !can_allocate::<usize>(&[bags]) {
                bail!("{NAME}: not enough memory for {bags} bags");
            }
            // The ids fit in memory, or there are none.
            return Ok((0..=bags).map(|bag| bag * length).collect());
        };
        self.bounds_of(offsets, ids.elem_count())
    }

    fn bounds_of(&self, offsets: &Tensor, count: usize) -> Result<Vec<usize>> {
        let mut bounds = Vec::new();
        for offset in integers(&format!("{NAME}: expected offsets [bags]"), offsets)? {
            let least = bounds.last().copied().unwrap_or(0);
            match usize::try_from(offset) {
                Ok(offset) if (least..=count).contains(&offset) => bounds.push(offset),
                _ => bail!(
                    "{NAME}: expected offsets that do not decrease and are at most {count}, the number of ids, found \
                     {offset} after {least}"
                ),
            }
        }
        if let Some(first) = bounds.first().filter(|first| **first != 0) {
            bail!("{NAME}: expected the first offset to be 0, found {first}");
        }
        if !self.include_last_offset {
            bounds.push(count);
        }
        match bounds.last() {
            Some(last) if *last != count => {
                bail!("{NAME}: expected the last offset to be {count}, the number of ids, found {last}")
            }
            _ => Ok(bounds),
        }
    }
}

/// The combination of the rows of each bag.
struct BagReduction {
    /// The entries of all bags, without padding.
    entries: Vec<Entry>,
    /// The index of the first entry of each bag, and the number of entries.
    bounds: Vec<usize>,
    width: usize,
    mode: BagMode,
}

/// An entry of a bag.
#[derive(Clone, Copy)]
struct Entry {
    /// The row of the weight.
    row: usize,
    /// The index of the id.
    sample: usize,
}

impl Operation<1> for BagReduction {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(weight, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, weight.dtype(), E => self.output(self.combine::<E>(elements(weight, layout)?, None)))
    }

    fn backward(&self, [weight]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        with_element!(NAME, weight.dtype(), E => {
            let dw = with_elements::<E, _>(weight, |weight| {
                with_elements::<E, _>(grad, |grad| self.weight_gradient(weight, None, grad))
            })??;
            Tensor::from_vec(dw, weight.shape(), weight.device()).map(|dw| [Some(dw)])
        })
    }
}

impl Operation<2> for BagReduction {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [weight, samples]: [CpuOperand; 2]) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, weight.0.dtype(), E => {
            let samples = elements::<E>(samples.0, samples.1)?;
            self.output(self.combine::<E>(elements(weight.0, weight.1)?, Some(samples)))
        })
    }

    fn backward(
        &self,
        [weight, samples]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        with_element!(NAME, weight.dtype(), E => {
            let [dw, ds] = with_elements::<E, _>(weight, |weight| {
                with_elements::<E, _>(samples, |samples| {
                    with_elements::<E, _>(grad, |grad| {
                        let dw = self.weight_gradient(weight, Some(samples), grad);
                        [dw, self.sample_gradient(weight, samples.len(), grad)]
                    })
                })
            })???;
            let dw = Tensor::from_vec(dw, weight.shape(), weight.device())?;
            Ok([Some(dw), Some(Tensor::from_vec(ds, samples.shape(), samples.device())?)])
        })
    }
}

impl BagReduction {
    /// Removes the padding from the bags between these bounds.
    fn new(rows: Vec<usize>, bounds: &[usize], width: usize, bags: &Bags) -> Self {
        let mut entries = Vec::new();
        let mut starts = vec![0];
        for bag in bounds.windows(2) {
            let samples = bag[0]..bag[1];
            let all = samples.map(|sample| Entry { row: rows[sample], sample });
            entries.extend(all.filter(|entry| Some(entry.row) != bags.padding));
            starts.push(entries.len());
        }
        Self { entries, bounds: starts, width, mode: bags.mode }
    }

    fn bags(&self) -> usize {
        self.bounds.len() - 1
    }

    fn entries_of(&self, bag: usize) -> &[Entry] {
        &self.entries[self.bounds[bag]..self.bounds[bag + 1]]
    }

    /// Returns the factor of each embedding in a bag, apart from the weights of the samples.
    fn scale<E: Element>(&self, entries: &[Entry]) -> E {
        if self.mode == BagMode::Mean { E::from_f64(1. / entries.len().max(1) as f64) } else { E::ONE }
    }

    fn output<E: Element>(&self, y: Vec<E>) -> Result<(CpuStorage, Shape)> {
        Ok((E::to_cpu_storage_owned(y), Shape::from((self.bags(), self.width))))
    }

    /// Copies the rows of all entries to a table of their own, which the entries refer to from then on.
    fn copy_rows(&mut self, weight: &Tensor) -> Result<Tensor> {
        let rows = self.rows(weight)?;
        self.entries.iter_mut().enumerate().for_each(|(i, entry)| entry.row = i);
        Ok(rows)
    }

    /// Returns the row of each entry, `[entries, width]`.
    fn rows(&self, weight: &Tensor) -> Result<Tensor> {
        let index: Vec<u32> = self.entries.iter().map(|entry| entry.row as u32).collect();
        weight.index_select(&Tensor::from_vec(index, self.entries.len(), weight.device())?, 0)
    }

    /// Returns the combined embeddings of each bag.
    fn combine<E: Element>(&self, weight: &[E], samples: Option<&[E]>) -> Vec<E> {
        let width = self.width.max(1);
        let mut y = zeros::<E>(self.bags() * self.width);
        let entries_per_bag = self.entries.len().div_ceil(self.bags().max(1)).max(1);
        let bags_per_task = cost::MIN_ELEMENTS.div_ceil(width.saturating_mul(entries_per_bag));
        for_each_chunk(&mut y, bags_per_task * width, |task, y| {
            for (i, y) in y.chunks_exact_mut(width).enumerate() {
                let entries = self.entries_of(task * bags_per_task + i);
                dispatch_loops(Combine { reduction: self, entries, weight, samples, y });
            }
        });
        y
    }

    /// Returns the gradient of the weight. The gradients are added in the order of the ids.
    fn weight_gradient<E: Element>(&self, weight: &[E], samples: Option<&[E]>, grad: &[E]) -> Vec<E> {
        let mut sums = zeros::<E>(weight.len());
        for (bag, grad) in grad.chunks_exact(self.width.max(1)).enumerate() {
            let entries = self.entries_of(bag);
            if self.mode == BagMode::Max {
                let largest = self.largest(weight, entries);
                for (column, (entry, grad)) in largest.zip(grad).enumerate() {
                    if let Some(entry) = entry {
                        sums[entry.row * self.width + column] += *grad;
                    }
                }
                continue;
            }
            let scale = self.scale::<E>(entries);
            for entry in entries {
                let factor = scale * samples.map_or(E::ONE, |samples| samples[entry.sample]);
                let row = &mut sums[entry.row * self.width..][..self.width];
                row.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += *grad * factor);
            }
        }
        sums
    }

    /// Returns the gradient of the weights of the samples.
    fn sample_gradient<E: Element>(&self, weight: &[E], count: usize, grad: &[E]) -> Vec<E> {
        let mut sums = zeros::<E>(count);
        for (bag, grad) in grad.chunks_exact(self.width.max(1)).enumerate() {
            for entry in self.entries_of(bag) {
                let row = &weight[entry.row * self.width..][..self.width];
                sums[entry.sample] = row.iter().zip(grad).fold(E::ZERO, |sum, (x, grad)| sum + *x * *grad);
            }
        }
        sums
    }

    /// Returns the first entry with the largest element of each column, or `None` if there are no entries.
    fn largest<'a, E: Element>(
        &'a self,
        weight: &'a [E],
        entries: &'a [Entry],
    ) -> impl Iterator<Item = Option<&'a Entry>> {
        (0..self.width).map(move |column| {
            let element = |entry: &Entry| weight[entry.row * self.width + column];
            entries.iter().reduce(|best, entry| if element(entry) > element(best) { entry } else { best })
        })
    }

    /// The composed path, for devices without a kernel.
    fn composed(&self, weight: &Tensor, samples: Option<&Tensor>) -> Result<Tensor> {
        let device = weight.device();
        let zeros = Tensor::zeros((self.bags(), self.width), weight.dtype(), device)?;
        if self.entries.is_empty() {
            return Ok(zeros);
        }
        let index = |index: Vec<u32>| Tensor::from_vec(index, self.entries.len(), device);
        let rows = self.rows(weight)?;
        if self.mode == BagMode::Max {
            return self.composed_max(&rows, &zeros);
        }
        let mut factors = vec![0.; self.entries.len()];
        let mut bag_of = vec![0; self.entries.len()];
        for bag in 0..self.bags() {
            let range = self.bounds[bag]..self.bounds[bag + 1];
            factors[range.clone()].fill(self.scale::<f64>(self.entries_of(bag)));
            bag_of[range].fill(bag as u32);
        }
        let mut factors =
            Tensor::from_vec(factors, (self.entries.len(), 1), device)?.to_dtype(weight.dtype())?;
        if let Some(samples) = samples {
            let samples_of = index(self.entries.iter().map(|entry| entry.sample as u32).collect())?;
            factors = factors.mul(&samples.index_select(&samples_of, 0)?.unsqueeze(1)?)?;
        }
        zeros.index_add(&index(bag_of)?, &rows.broadcast_mul(&factors)?, 0)
    }

    /// Returns the largest elements of each bag, gathered from the rows of the entries.
    fn composed_max(&self, rows: &Tensor, zeros: &Tensor) -> Result<Tensor> {
        let values = rows.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let values = values.flatten_all()?.to_vec1::<f64>()?;
        let gathered = Self {
            entries: (0..self.entries.len()).map(|row| Entry { row, sample: row }).collect(),
            bounds: self.bounds.clone(),
            ..*self
        };
        let mut index = Vec::new();
        let mut is_filled = Vec::new();
        for bag in 0..gathered.bags() {
            let entries = gathered.entries_of(bag);
            index.extend(
                gathered.largest(&values, entries).map(|entry| entry.map_or(0, |entry| entry.row as u32)),
            );
            is_filled.extend(vec![u8::from(!entries.is_empty()); self.width]);
        }
        let index = Tensor::from_vec(index, zeros.shape(), rows.device())?;
        let is_filled = Tensor::from_vec(is_filled, zeros.shape(), rows.device())?;
        is_filled.where_cond(&rows.gather(&index, 0)?, zeros)
    }
}

/// Combines the embeddings of one bag. `y` is zero.
struct Combine<'a, E> {
    reduction: &'a BagReduction,
    entries: &'a [Entry],
    weight: &'a [E],
    samples: Option<&'a [E]>,
    y: &'a mut [E],
}

impl<E: Element> Kernel for Combine<'_, E> {
    type Output = ();

    /// Combines `BLOCK` columns of all rows at a time, so that their sums are in registers.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { reduction, entries, weight, samples, y } = self;
        let width = reduction.width;
        let mut first = 0;
        while first < width {
            let len = BLOCK.min(width - first);
            let mut block = [E::ZERO; BLOCK];
            // The loops over a whole block have a constant length.
            if len == BLOCK {
                combine_columns(
                    reduction.mode,
                    entries,
                    &weight[first..],
                    [width, BLOCK],
                    samples,
                    &mut block,
                );
            } else {
                combine_columns(reduction.mode, entries, &weight[first..], [width, len], samples, &mut block);
            }
            y[first..first + len].copy_from_slice(&block[..len]);
            first += len;
        }
        if reduction.mode == BagMode::Mean {
            let scale = reduction.scale::<E>(entries);
            y.iter_mut().for_each(|y| *y *= scale);
        }
    }
}

/// Adds up the first `len` elements of the rows of a bag, or computes their maxima. The rows are `width` elements
/// apart.
#[inline(always)]
fn combine_columns<E: Element>(
    mode: BagMode,
    entries: &[Entry],
    weight: &[E],
    [width, len]: [usize; 2],
    samples: Option<&[E]>,
    block: &mut [E; BLOCK],
) {
    for (i, entry) in entries.iter().enumerate() {
        let row = &weight[entry.row * width..][..len];
        match (mode, samples) {
            (BagMode::Max, _) if i == 0 => block[..len].copy_from_slice(row),
            (BagMode::Max, _) => {
                block.iter_mut().zip(row).for_each(|(y, x)| *y = if *x > *y { *x } else { *y });
            }
            (_, Some(samples)) => {
                let factor = samples[entry.sample];
                block.iter_mut().zip(row).for_each(|(y, x)| *y += *x * factor);
            }
            (_, None) => block.iter_mut().zip(row).for_each(|(y, x)| *y += *x),
        }
    }
}
