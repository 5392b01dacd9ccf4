//! A tensor seen as rows, and which parameters apply to which elements of a row.

use crate::channels::sums;
use crate::element::Element;
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// A tensor as `[rows, runs * span]`: a row is `runs` runs of `span` elements with a parameter each, and
/// every `period` rows the parameters begin anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub rows: usize,
    pub runs: usize,
    pub span: usize,
    pub period: usize,
}

impl Rows {
    /// A row for every index of the leading dimensions, with a parameter for each of its elements.
    pub fn trailing(op: &str, x: &Tensor, shape: &[usize]) -> Result<Self> {
        let dims = x.dims();
        if shape.is_empty() || !dims.ends_with(shape) {
            bail!("{op}: expected an input that ends in the normalised shape {shape:?}, got {dims:?}");
        }
        let rows = dims[..dims.len() - shape.len()].iter().product();
        Ok(Self { rows, runs: shape.iter().product(), span: 1, period: 1 })
    }

    /// A row for every group of channels of every sample of `[batch, channels, ...]`, with a parameter
    /// for each channel.
    pub fn groups(op: &str, x: &Tensor, groups: usize) -> Result<Self> {
        let [samples, channels, plane @ ..] = x.dims() else {
            bail!("{op}: expected an input [batch, channels, ...] of rank 2 or more, got {:?}", x.dims());
        };
        let runs = channels.checked_div(groups).unwrap_or(0);
        if runs * groups != *channels {
            bail!("{op}: {channels} channels do not divide into {groups} groups (input {:?})", x.dims());
        }
        Ok(Self { rows: samples * groups, runs, span: plane.iter().product(), period: groups })
    }

    /// The length of a row.
    pub fn elements(&self) -> usize {
        self.runs * self.span
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.period * self.runs
    }

    /// Which parameters are those of a row.
    pub fn parameters_of(&self, row: usize) -> Range<usize> {
        let from = row % self.period.max(1) * self.runs;
        from..from + self.runs
    }

    /// Where the elements of a row lie.
    pub fn range(&self, row: usize) -> Range<usize> {
        row * self.elements()..(row + 1) * self.elements()
    }

    /// The mean and the biased variance of each row.
    pub fn moments<E: Element>(&self, x: &[E]) -> (Vec<f64>, Vec<f64>) {
        (0..self.rows).map(|row| moments(&x[self.range(row)])).unzip()
    }
}

/// The mean and the biased variance of one row, in two passes over it: far from zero the difference of
/// the mean square and the squared mean would be rounding alone.
pub(super) fn moments<E: Element>(row: &[E]) -> (f64, f64) {
    let count = row.len() as f64;
    let [sum] = sums(row, row, |x, _| [x]);
    let mean = sum / count;
    let [squares] = sums(row, row, |x, _| [(x - mean) * (x - mean)]);
    (mean, squares / count)
}

/// The mean of the squares of one row.
pub(super) fn mean_square<E: Element>(row: &[E]) -> f64 {
    let [squares] = sums(row, row, |x, _| [x * x]);
    squares / row.len() as f64
}
