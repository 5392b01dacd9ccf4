//! Sums of f64 that do not depend on the order of the terms.

use crate::Result;

use super::state::StateReader;

/// The exact sum of f64 numbers. Only [`value`](Self::value) rounds it.
///
/// The sum is kept as numbers whose bits do not overlap, with increasing magnitudes (Shewchuk, 1997). There are at most
/// about 40 of them, because each has 53 of the 2098 binary places between the largest and the smallest f64. A sum
/// beyond the range of f64 is infinite.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactSum {
    partials: Vec<f64>,
    /// The infinity that the sum reached, or 0.
    infinity: f64,
}

impl ExactSum {
    /// Adds a term. The term must not be NaN.
    pub fn add(&mut self, term: f64) {
        if term.is_infinite() {
            self.infinity = term;
            return;
        }
        let mut sum = term;
        let mut kept = 0;
        for i in 0..self.partials.len() {
            let (high, low) = two_sum(sum, self.partials[i]);
            if low != 0. {
                self.partials[kept] = low;
                kept += 1;
            }
            sum = high;
        }
        self.partials.truncate(kept);
        if sum.is_infinite() {
            self.infinity = sum;
            self.partials.clear();
        } else {
            self.partials.push(sum);
        }
    }

    /// Adds the product of two numbers, which is exact unless it is beyond the range of f64 or less than about 1e-290.
    pub fn add_product(&mut self, a: f64, b: f64) {
        let product = a * b;
        self.add(product);
        if product.is_finite() {
            self.add(a.mul_add(b, -product));
        }
    }

    /// Adds all terms of another sum.
    pub fn merge(&mut self, other: &Self) {
        other.partials.iter().for_each(|&partial| self.add(partial));
        if other.infinity != 0. {
            self.infinity = other.infinity;
        }
    }

    /// Returns the numbers from which [`read`](Self::read) restores the sum.
    pub fn state(&self) -> Vec<f64> {
        [&[self.infinity, self.partials.len() as f64], &self.partials[..]].concat()
    }

    /// Reads a sum.
    pub fn read(state: &mut StateReader<'_>) -> Result<Self> {
        let infinity = state.number()?;
        let length = state.length()?;
        let partials = state.take(length)?.to_vec();
        if partials.iter().any(|partial| !partial.is_finite()) || (infinity != 0. && infinity.is_finite()) {
            return Err(state.invalid());
        }
        Ok(Self { partials, infinity })
    }

    /// Returns the sum, rounded to the nearest f64.
    pub fn value(&self) -> f64 {
        if self.infinity != 0. {
            return self.infinity;
        }
        let mut lower = self.partials.iter().rev().copied();
        let mut sum = lower.next().unwrap_or(0.);
        for partial in lower.by_ref() {
            let (high, low) = two_sum(sum, partial);
            sum = high;
            if low != 0. {
                return round_half(sum, low, lower.next().unwrap_or(0.));
            }
        }
        sum
    }

    /// Returns `factor · Σx² − (Σx)²`, rounded once, or NaN if a sum or a product exceeds the range of f64. `self` is
    /// `Σx` and `squares` is `Σx²`.
    pub fn spread(&self, squares: &Self, factor: f64) -> f64 {
        if self.infinity != 0. || squares.infinity != 0. {
            return f64::NAN;
        }
        let mut spread = Self::default();
        for &square in &squares.partials {
            spread.add_product(factor, square);
        }
        for &a in &self.partials {
            for &b in &self.partials {
                spread.add_product(-a, b);
            }
        }
        if spread.infinity != 0. { f64::NAN } else { spread.value() }
    }
}

/// The exact mean of f64 numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactMean {
    pub sum: ExactSum,
    pub elements: u64,
}

impl ExactMean {
    /// Adds the number of one element. It must not be NaN.
    pub fn add(&mut self, number: f64) {
        self.sum.add(number);
        self.elements += 1;
    }

    /// Adds the mean of several elements.
    pub fn add_mean(&mut self, mean: f64, elements: u64) {
        self.sum.add_product(mean, elements as f64);
        self.elements += elements;
    }

    /// Returns the numbers from which [`read`](Self::read) restores the mean.
    pub fn state(&self) -> Vec<f64> {
        [vec![self.elements as f64], self.sum.state()].concat()
    }

    /// Reads a mean.
    pub fn read(state: &mut StateReader<'_>) -> Result<Self> {
        let elements = state.count()?;
        Ok(Self { sum: ExactSum::read(state)?, elements })
    }

    /// Adds all elements of another mean.
    pub fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.elements += other.elements;
    }

    /// Returns the mean, or NaN if there are no elements.
    pub fn value(&self) -> f64 {
        self.sum.value() / self.elements as f64
    }
}

/// Returns the rounded sum of two finite numbers and its rounding error.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let (larger, smaller) = if a.abs() < b.abs() { (b, a) } else { (a, b) };
    let sum = larger + smaller;
    (sum, smaller - (sum - larger))
}

/// Returns `sum + low + rest`, rounded once. `sum` must be the f64 nearest to `sum + low`, with ties to even, so it is
/// the result unless `low` is half a unit in the last place of `sum`. In that case, the sign of `rest` decides.
fn round_half(sum: f64, low: f64, rest: f64) -> f64 {
    let is_beyond_half = low < 0. && rest < 0. || low > 0. && rest > 0.;
    let rounded = sum + 2. * low;
    if is_beyond_half && rounded - sum == 2. * low { rounded } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|&term| sum.add(term));
        sum.value()
    }

    #[test]
    fn sums_are_rounded_once() {
        assert_eq!(sum(&[]), 0.);
        assert_eq!(sum(&[0.1; 10]), 1.);
        assert_eq!(sum(&[1e100, 1., -1e100, 1e-100, -1.]), 1e-100);
        let ulp = f64::EPSILON;
        // Half a unit of the last place is rounded to even, slightly more is rounded up.
        assert_eq!(sum(&[1., ulp / 2.]), 1.);
        assert_eq!(sum(&[1., ulp / 2., 1e-300]), 1. + ulp);
        assert_eq!(sum(&[1., -ulp / 4., -1e-300]), 1. - ulp / 2.);
        assert_eq!(sum(&[1., -ulp / 4.]), 1.);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -1.]), f64::INFINITY);
        assert_eq!(sum(&[1., f64::INFINITY, 2.]), f64::INFINITY);
    }

    #[test]
    fn the_spread_of_nearly_equal_numbers_is_exact() {
        let (mut total, mut squares) = (ExactSum::default(), ExactSum::default());
        for x in [1e8 + 1., 1e8 + 2., 1e8 + 3.] {
            total.add(x);
            squares.add_product(x, x);
        }
        assert_eq!(total.spread(&squares, 3.), 6.); // 3 times the sum of the squared deviations 1, 0, 1
    }
}
