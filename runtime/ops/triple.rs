//! Settings per axis of videos: one number for all axes, or a depth, a height and a width.

use super::{Padding, Pair};

/// A setting `[depth, height, width]`, converted from `3` or `(3, 5, 7)`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// assert_eq!(Triple::from(3), Triple([3, 3, 3]));
/// assert_eq!(Triple::from((1, 3, 5)).to_string(), "(1, 3, 5)");
/// assert_eq!(Conv3d::config(1, 8, (1, 3, 5)).init(&Device::Cpu)?.weight().dims(), [8, 1, 1, 3, 5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triple(pub [usize; 3]);

impl Triple {
    /// Returns the settings of a sequence, with `unused` as the setting of the other axes.
    pub(crate) fn of_length(length: usize, unused: usize) -> Self {
        Self([unused, unused, length])
    }

    /// Returns the settings of an image, with `unused` as the setting of the depth.
    pub(crate) fn of_image(Pair([height, width]): Pair, unused: usize) -> Self {
        Self([unused, height, width])
    }
}

impl From<usize> for Triple {
    fn from(all: usize) -> Self {
        Self([all; 3])
    }
}

impl From<(usize, usize, usize)> for Triple {
    fn from((depth, height, width): (usize, usize, usize)) -> Self {
        Self([depth, height, width])
    }
}

impl From<[usize; 3]> for Triple {
    fn from(triple: [usize; 3]) -> Self {
        Self(triple)
    }
}

/// Prints the values as a Python tuple: `(1, 3, 5)`.
impl std::fmt::Display for Triple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [depth, height, width] = self.0;
        write!(f, "({depth}, {height}, {width})")
    }
}

impl<T: Into<Triple>> From<T> for Padding<Triple> {
    fn from(each: T) -> Self {
        Self::Each(each.into())
    }
}

impl From<&'static str> for Padding<Triple> {
    fn from(name: &'static str) -> Self {
        Self::from_name(name, Triple([0; 3]))
    }
}
