//! The shape over which layer norm and RMS norm normalize.

use std::fmt;

use crate::{Error, Result};

/// The sizes of an input's last dimensions: `768`, `(4, 5)`, `[4, 5]` or a vector.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// assert_eq!(NormalizedShape::from(768), NormalizedShape(vec![768]));
/// let norm = LayerNorm::config((4, 5)).init(&Device::Cpu)?;
/// let error = norm.forward(Tensor::zeros((2, 5, 4), DType::F32, &Device::Cpu)?).unwrap_err();
/// assert!(error.to_string().contains("expected an input […, 4, 5], found [2, 5, 4]"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalizedShape(pub Vec<usize>);

impl NormalizedShape {
    /// Returns an error if the shape has no dimensions.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.is_empty() {
            return Err(Error::msg("expected a normalized_shape with at least one dimension, found none"));
        }
        Ok(())
    }

    /// Returns an error if `dims` does not end with this shape.
    pub(crate) fn check_input(&self, dims: &[usize]) -> Result<()> {
        if dims.ends_with(&self.0) {
            return Ok(());
        }
        let sizes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        Err(Error::msg(format!("expected an input […, {}], found {dims:?}", sizes.join(", "))))
    }
}

impl From<usize> for NormalizedShape {
    fn from(size: usize) -> Self {
        Self(vec![size])
    }
}

impl From<(usize, usize)> for NormalizedShape {
    fn from((a, b): (usize, usize)) -> Self {
        Self(vec![a, b])
    }
}

impl From<(usize, usize, usize)> for NormalizedShape {
    fn from((a, b, c): (usize, usize, usize)) -> Self {
        Self(vec![a, b, c])
    }
}

impl<const N: usize> From<[usize; N]> for NormalizedShape {
    fn from(sizes: [usize; N]) -> Self {
        Self(sizes.to_vec())
    }
}

impl From<&[usize]> for NormalizedShape {
    fn from(sizes: &[usize]) -> Self {
        Self(sizes.to_vec())
    }
}

impl From<Vec<usize>> for NormalizedShape {
    fn from(sizes: Vec<usize>) -> Self {
        Self(sizes)
    }
}

/// Prints the sizes as a Python tuple: `(768,)`, `(4, 5)`.
impl fmt::Display for NormalizedShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [size] => write!(f, "({size},)"),
            sizes => {
                let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
                write!(f, "({})", sizes.join(", "))
            }
        }
    }
}
