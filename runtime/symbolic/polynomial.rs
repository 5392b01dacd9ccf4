//! Polynomials of the names of a plan.

#[cfg(feature = "onnx")]
use crate::{Error, Result};

/// The largest number of names in one run.
pub(crate) const MAX_NAMES: usize = 4;

/// The number of products of different names.
const PRODUCTS: usize = 1 << MAX_NAMES;

/// A sum of products of different names, each with a factor. The factor at the index `i` is that of the product of the
/// names whose bits in `i` are set; that at 0 is the constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Polynomial([i64; PRODUCTS]);

impl Polynomial {
    /// Returns the product of `factor` and the name at this index.
    #[cfg(all(test, feature = "onnx"))]
    pub fn name(index: usize, factor: i64) -> Self {
        let mut factors = [0; PRODUCTS];
        factors[1 << index] = factor;
        Self(factors)
    }

    /// Returns the polynomial with these values at the corners of a cube of edge length 1. `lowest` has the numbers of
    /// the names at its lowest corner. Bit `i` of the index of a value says that the number of name `i` is larger by 1.
    pub fn from_corners(values: &[i64], lowest: &[i64]) -> Option<Self> {
        // The coefficients of products of (name − lowest).
        let mut shifted: Vec<i128> = values.iter().map(|value| i128::from(*value)).collect();
        for name in 0..lowest.len() {
            for corner in (0..shifted.len()).filter(|corner| corner >> name & 1 == 1) {
                shifted[corner] -= shifted[corner ^ 1 << name];
            }
        }
        for (name, lowest) in lowest.iter().enumerate() {
            for corner in (0..shifted.len()).filter(|corner| corner >> name & 1 == 1) {
                let moved = shifted[corner].checked_mul(i128::from(*lowest))?;
                let rest = &mut shifted[corner ^ 1 << name];
                *rest = rest.checked_sub(moved)?;
            }
        }
        let mut factors = [0; PRODUCTS];
        for (factor, value) in factors.iter_mut().zip(shifted) {
            *factor = i64::try_from(value).ok()?;
        }
        Some(Self(factors))
    }

    /// Returns the value of the polynomial for these values of the names, or `None` if it overflows.
    pub fn at(self, numbers: &[i64]) -> Option<i64> {
        self.terms().try_fold(0i64, |sum, (names, factor)| {
            let product =
                names.into_iter().try_fold(factor, |product, name| product.checked_mul(*numbers.get(name)?));
            sum.checked_add(product?)
        })
    }

    /// Returns the factors that are not zero, each with the names of its product. Longer products are first.
    pub fn terms(self) -> impl Iterator<Item = (Vec<usize>, i64)> {
        let mut products: Vec<usize> = (0..PRODUCTS).filter(|product| self.0[*product] != 0).collect();
        products.sort_by_key(|product| (std::cmp::Reverse(product.count_ones()), *product));
        let names = |product: usize| (0..MAX_NAMES).filter(|name| product >> name & 1 == 1).collect();
        products.into_iter().map(move |product| (names(product), self.0[product]))
    }
}

/// The methods that the export to ONNX needs.
#[cfg(feature = "onnx")]
impl Polynomial {
    pub fn constant(size: usize) -> Self {
        let mut factors = [0; PRODUCTS];
        factors[0] = i64::try_from(size).unwrap_or(i64::MAX);
        Self(factors)
    }

    /// Returns the value, or an error that an operation needs to know it.
    pub fn known(self) -> Result<usize> {
        self.number().ok_or_else(|| {
            Error::msg("expected a size without a name, because the operation needs its number")
        })
    }

    /// Returns the value if it does not depend on the names.
    pub fn number(self) -> Option<usize> {
        let is_constant = self.0[1..].iter().all(|factor| *factor == 0);
        usize::try_from(self.0[0]).ok().filter(|_| is_constant)
    }

    /// Returns the name and its factor if the polynomial is their product.
    pub fn as_multiple(self) -> Option<(usize, i64)> {
        let mut terms = self.terms();
        match (terms.next(), terms.next()) {
            (Some((names, factor)), None) if names.len() == 1 => Some((names[0], factor)),
            _ => None,
        }
    }

    /// Returns the sum with a number.
    pub fn plus(mut self, number: i64) -> Self {
        self.0[0] = self.0[0].saturating_add(number);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_determine_a_polynomial() {
        let lowest = [3, 7];
        let f = |a: i64, b: i64| 4 * a * b - 2 * a + b + 5;
        let corners = [f(3, 7), f(4, 7), f(3, 8), f(4, 8)];
        let polynomial = Polynomial::from_corners(&corners, &lowest).unwrap();
        let terms: Vec<_> = polynomial.terms().collect();
        assert_eq!(terms, [(vec![0, 1], 4), (vec![0], -2), (vec![1], 1), (vec![], 5)]);
        assert_eq!(polynomial.at(&[10, 20]), Some(f(10, 20)));
        assert_eq!(Polynomial::from_corners(&[6], &[]).unwrap().terms().collect::<Vec<_>>(), [(vec![], 6)]);
    }

    #[cfg(feature = "onnx")]
    #[test]
    fn constants_and_multiples_of_a_name_are_recognized() {
        assert_eq!(Polynomial::constant(6).number(), Some(6));
        assert_eq!(Polynomial::name(1, 3).number(), None);
        assert_eq!(Polynomial::name(1, 3).as_multiple(), Some((1, 3)));
        assert_eq!(Polynomial::name(1, 3).plus(1).as_multiple(), None);
    }
}
