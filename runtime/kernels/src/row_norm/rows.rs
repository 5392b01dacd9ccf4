//! The division of a tensor into rows, and the assignment of parameters to the elements of a row.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use crate::channels::sums;
use crate::element::Element;

/// The sizes of a tensor `[rows, parameters_per_row, elements_per_parameter]`. The rows `i` and `i + period` have the
/// same parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowShape {
    pub rows: usize,
    pub parameters_per_row: usize,
    pub elements_per_parameter: usize,
    pub period: usize,
}

impl RowShape {
    /// Divides `x` into one row for each index of the leading dimensions, with a parameter for each element of a row.
    pub fn trailing(op: &str, x: &Tensor, shape: &[usize]) -> Result<Self> {
        let dims = x.dims();
        if shape.is_empty() || !dims.ends_with(shape) {
            bail!("{op}: expected an input that ends in the normalized shape {shape:?}, found {dims:?}");
        }
        let rows = dims[..dims.len() - shape.len()].iter().product();
        Ok(Self { rows, parameters_per_row: shape.iter().product(), elements_per_parameter: 1, period: 1 })
    }

    /// Divides `x`, `[batch, channels, ...]`, into one row for each group of channels of each sample, with a parameter
    /// for each channel.
    pub fn groups(op: &str, x: &Tensor, groups: usize) -> Result<Self> {
        let [samples, channels, plane @ ..] = x.dims() else {
            bail!("{op}: expected an input [batch, channels, ...] of rank 2 or more, found {:?}", x.dims());
        };
        let parameters_per_row = channels.checked_div(groups).unwrap_or(0);
        if parameters_per_row * groups != *channels {
            bail!("{op}: {channels} channels do not divide into {groups} groups (input {:?})", x.dims());
        }
        Ok(Self {
            rows: samples * groups,
            parameters_per_row,
            elements_per_parameter: plane.iter().product(),
            period: groups,
        })
    }

    /// Returns the length of a row.
    pub fn row_len(&self) -> usize {
        self.parameters_per_row * self.elements_per_parameter
    }

    /// Returns the number of parameters.
    pub fn parameters(&self) -> usize {
        self.period * self.parameters_per_row
    }

    /// Returns the range of the parameters of a row.
    pub fn parameters_of(&self, row: usize) -> Range<usize> {
        let start = row % self.period.max(1) * self.parameters_per_row;
        start..start + self.parameters_per_row
    }

    /// Returns the range of the elements of a row.
    pub fn range(&self, row: usize) -> Range<usize> {
        row * self.row_len()..(row + 1) * self.row_len()
    }

    /// Returns the mean and the biased variance of each row.
    pub fn moments<E: Element>(&self, x: &[E]) -> (Vec<f64>, Vec<f64>) {
        (0..self.rows).map(|row| moments(&x[self.range(row)])).unzip()
    }
}

/// Returns the mean and the biased variance of one row, computed in two passes. The difference between the mean square
/// and the squared mean would lose all precision for values far from zero.
pub(super) fn moments<E: Element>(row: &[E]) -> (f64, f64) {
    let count = row.len() as f64;
    let [sum] = sums(row, row, |x, _| [x]);
    let mean = sum / count;
    let [squared_deviations] = sums(row, row, |x, _| [(x - mean) * (x - mean)]);
    (mean, squared_deviations / count)
}

/// Returns the mean of the squares of one row.
pub(super) fn mean_square<E: Element>(row: &[E]) -> f64 {
    let [sum_of_squares] = sums(row, row, |x, _| [x * x]);
    sum_of_squares / row.len() as f64
}
