//! Settings per axis: one number for both axes, or a height and a width.

/// A setting `[height, width]`, converted from `3` or `(3, 5)`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// assert_eq!(Pair::from(3), Pair([3, 3]));
/// assert_eq!(Pair::from((3, 5)).to_string(), "(3, 5)");
/// assert_eq!(Conv2d::config(1, 8, (3, 5)).init(&Device::Cpu)?.weight().dims(), [8, 1, 3, 5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair(pub [usize; 2]);

impl From<usize> for Pair {
    fn from(both: usize) -> Self {
        Self([both; 2])
    }
}

impl From<(usize, usize)> for Pair {
    fn from((height, width): (usize, usize)) -> Self {
        Self([height, width])
    }
}

impl From<[usize; 2]> for Pair {
    fn from(pair: [usize; 2]) -> Self {
        Self(pair)
    }
}

/// Prints the values as a Python tuple: `(3, 5)`.
impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {})", self.0[0], self.0[1])
    }
}

/// The padding of a convolution's input: `1`, `(1, 2)`, `(1, 2, 3)`, `"valid"` (none) or `"same"`. With `"same"`, which
/// requires stride 1, the output has the size of the input; if the total padding of an axis is odd, the extra element
/// is on the right, at the bottom or after the last frame.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// assert_eq!(Padding::from((1, 2)), Padding::Each(Pair([1, 2])));
/// assert_eq!(Padding::<Pair>::from("same"), Padding::Same);
/// assert!(Conv2d::config(3, 8, 3).padding("full").init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding<Size = Pair> {
    /// The padding on both sides, for each axis.
    Each(Size),
    /// The padding that keeps the size of the input at stride 1.
    Same,
    /// An invalid string. Building the layer fails with an error.
    Unknown(&'static str),
}

impl<T: Into<Pair>> From<T> for Padding {
    fn from(each: T) -> Self {
        Self::Each(each.into())
    }
}

/// Converts the padding of a single axis.
impl From<usize> for Padding<usize> {
    fn from(each: usize) -> Self {
        Self::Each(each)
    }
}

impl From<&'static str> for Padding {
    fn from(name: &'static str) -> Self {
        Self::from_name(name, Pair([0; 2]))
    }
}

impl From<&'static str> for Padding<usize> {
    fn from(name: &'static str) -> Self {
        Self::from_name(name, 0)
    }
}

impl<Size> Padding<Size> {
    pub(super) fn from_name(name: &'static str, zero: Size) -> Self {
        match name {
            "same" => Self::Same,
            "valid" => Self::Each(zero),
            other => Self::Unknown(other),
        }
    }

    pub(crate) fn map<T>(self, f: impl FnOnce(Size) -> T) -> Padding<T> {
        match self {
            Self::Each(each) => Padding::Each(f(each)),
            Self::Same => Padding::Same,
            Self::Unknown(name) => Padding::Unknown(name),
        }
    }
}

/// The padding of each side in PyTorch's order, `[left, right, top, bottom]`. Converts from one number for all
/// sides, from `(left, right)`, or from all four numbers. Negative padding removes elements.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 3, 4, 4), DType::F32, &Device::Cpu)?;
/// let pad = ZeroPad2d::config(Sides([1, 1, -1, 0])).init(&Device::Cpu)?; // one row less at the top
/// assert_eq!(pad.forward(x)?.dims(), [1, 3, 3, 6]);
/// assert_eq!(Sides::from((2, 3)), Sides([2, 3, 0, 0]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides(pub [isize; 4]);

impl From<isize> for Sides {
    fn from(all: isize) -> Self {
        Self([all; 4])
    }
}

impl From<(isize, isize)> for Sides {
    fn from((left, right): (isize, isize)) -> Self {
        Self([left, right, 0, 0])
    }
}

impl From<[isize; 2]> for Sides {
    fn from([left, right]: [isize; 2]) -> Self {
        Self([left, right, 0, 0])
    }
}

impl From<(isize, isize, isize, isize)> for Sides {
    fn from((left, right, top, bottom): (isize, isize, isize, isize)) -> Self {
        Self([left, right, top, bottom])
    }
}

impl From<[isize; 4]> for Sides {
    fn from(sides: [isize; 4]) -> Self {
        Self(sides)
    }
}

/// Prints the values as a Python tuple: `(1, 1, 2, 2)`.
impl std::fmt::Display for Sides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [left, right, top, bottom] = self.0;
        write!(f, "({left}, {right}, {top}, {bottom})")
    }
}
