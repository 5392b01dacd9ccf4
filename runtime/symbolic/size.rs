//! A size with names.

use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

use super::Polynomial;

/// The size of a dimension: a number, a name, or a sum of products of them, such as `4*batch` or `height-2`.
///
/// Each name has an *example*, the number for which sizes are computed where a number is needed. A network is checked
/// for the numbers after the example. The default is 1.
///
/// ```
/// use sconce::SymbolicSize;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let height = SymbolicSize::named("height").example(7) * 32;
/// assert_eq!(height.to_string(), "32*height");
/// let image = Signal::symbolic(("batch", 3, height.clone(), 224), DType::F32);
/// assert_eq!(image.dims()?, [1, 3, 224, 224]);
///
/// let conv = Conv2d::config(3, 8, 3).stride(2).padding(1).init(&Device::Cpu)?;
/// let sizes = conv.output_sizes(image)?.remove(0);
/// let text: Vec<String> = sizes.iter().map(ToString::to_string).collect();
/// assert_eq!(text, ["batch", "8", "16*height", "112"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SymbolicSize {
    /// The products with their factors. A product without names is a number.
    terms: Vec<(Vec<Name>, i64)>,
}

/// A name with its example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub name: Arc<str>,
    pub example: usize,
}

impl SymbolicSize {
    /// Returns the size with this name.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { terms: vec![(vec![Name { name: name.into(), example: 1 }], 1)] }
    }

    /// Sets the example of all names in this size. A network accepts the sizes of the example and of the numbers after
    /// it: `SymbolicSize::named("height").example(224)`.
    pub fn example(mut self, example: usize) -> Self {
        self.terms.iter_mut().flat_map(|(names, _)| names).for_each(|name| name.example = example);
        self
    }

    /// Returns the number if the size has no names.
    pub fn number(&self) -> Option<usize> {
        match &self.terms[..] {
            [] => Some(0),
            [(names, number)] if names.is_empty() => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// Returns the size for the examples of its names, or `None` if it is negative or too large.
    pub fn example_size(&self) -> Option<usize> {
        self.at(&|name| i64::try_from(name.example).ok())
    }

    /// Returns the size for these values of its names.
    pub(crate) fn at(&self, number: &dyn Fn(&Name) -> Option<i64>) -> Option<usize> {
        let size = self.terms.iter().try_fold(0i64, |sum, (names, factor)| {
            let product = names.iter().try_fold(*factor, |product, name| product.checked_mul(number(name)?));
            sum.checked_add(product?)
        });
        usize::try_from(size?).ok()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.terms.iter().flat_map(|(names, _)| names)
    }

    /// Returns a polynomial of these names.
    pub(crate) fn new(polynomial: Polynomial, names: &[Name]) -> Self {
        let product = |indices: Vec<usize>| indices.into_iter().map(|index| names[index].clone()).collect();
        Self { terms: polynomial.terms().map(|(indices, factor)| (product(indices), factor)).collect() }
    }

    fn from_number(number: i64) -> Self {
        Self { terms: if number == 0 { Vec::new() } else { vec![(Vec::new(), number)] } }
    }

    fn plus(mut self, number: i64) -> Self {
        let Self { terms: constant } = Self::from_number(number);
        let old = self.terms.pop_if(|(names, _)| names.is_empty());
        self.terms.extend(match old {
            Some((_, old)) => Self::from_number(old.saturating_add(number)).terms,
            None => constant,
        });
        self
    }
}

fn to_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Mul<usize> for SymbolicSize {
    type Output = Self;

    fn mul(mut self, factor: usize) -> Self {
        self.terms.iter_mut().for_each(|(_, old)| *old = old.saturating_mul(to_i64(factor)));
        self.terms.retain(|(_, factor)| *factor != 0);
        self
    }
}

impl Add<usize> for SymbolicSize {
    type Output = Self;

    fn add(self, number: usize) -> Self {
        self.plus(to_i64(number))
    }
}

impl Sub<usize> for SymbolicSize {
    type Output = Self;

    fn sub(self, number: usize) -> Self {
        self.plus(-to_i64(number))
    }
}

impl From<usize> for SymbolicSize {
    fn from(size: usize) -> Self {
        Self::from_number(to_i64(size))
    }
}

impl From<i32> for SymbolicSize {
    fn from(size: i32) -> Self {
        Self::from_number(size.into())
    }
}

impl From<&str> for SymbolicSize {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl From<&SymbolicSize> for SymbolicSize {
    fn from(size: &SymbolicSize) -> Self {
        size.clone()
    }
}

/// Writes products with `*`: `4*batch+1`.
impl fmt::Display for SymbolicSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        for (i, (names, factor)) in self.terms.iter().enumerate() {
            let names: Vec<&str> = names.iter().map(|name| &*name.name).collect();
            let sign = if i > 0 && *factor > 0 { "+" } else { "" };
            match (&names[..], factor) {
                ([], number) => write!(f, "{sign}{number}")?,
                (names, 1) => write!(f, "{sign}{}", names.join("*"))?,
                (names, -1) => write!(f, "-{}", names.join("*"))?,
                (names, factor) => write!(f, "{sign}{factor}*{}", names.join("*"))?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SymbolicSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for SymbolicSize {
    /// A number, or a text such as `4*batch`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.number() {
            Some(number) => serializer.serialize_u64(number as u64),
            None => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_printed_as_sums_of_products() {
        let batch = || SymbolicSize::named("batch");
        assert_eq!((batch() * 4 + 1).to_string(), "4*batch+1");
        assert_eq!((batch() * 4 + 1 - 1).to_string(), "4*batch");
        assert_eq!((batch() - 2).to_string(), "batch-2");
        let zero = 0;
        assert_eq!((batch() * zero).to_string(), "0");
        assert_eq!(SymbolicSize::from(3).number(), Some(3));
        assert_eq!(SymbolicSize::from(-1).number(), None);
        assert_eq!((batch().example(5) * 4 + 1).example_size(), Some(21));
    }
}
