//! Settings per axis: one number for both, or one for the height and one for the width.

/// `[height, width]`, from `3` or `(3, 5)`.
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

/// Prints as a Python tuple.
impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {})", self.0[0], self.0[1])
    }
}

/// How much padding surrounds a convolution's input: `1`, `(1, 2)`, `"valid"` (none) or `"same"` (as much
/// as keeps the size, at stride one; an odd rest goes to the right and the bottom).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding<Size = Pair> {
    Each(Size),
    Same,
    /// A word that PyTorch does not know either; building the layer reports it.
    Unknown(&'static str),
}

impl<T: Into<Pair>> From<T> for Padding {
    fn from(each: T) -> Self {
        Self::Each(each.into())
    }
}

/// Along one axis.
impl From<usize> for Padding<usize> {
    fn from(each: usize) -> Self {
        Self::Each(each)
    }
}

impl From<&'static str> for Padding {
    fn from(word: &'static str) -> Self {
        Self::from_word(word, Pair([0; 2]))
    }
}

impl From<&'static str> for Padding<usize> {
    fn from(word: &'static str) -> Self {
        Self::from_word(word, 0)
    }
}

impl<Size> Padding<Size> {
    fn from_word(word: &'static str, none: Size) -> Self {
        match word {
            "same" => Self::Same,
            "valid" => Self::Each(none),
            other => Self::Unknown(other),
        }
    }

    pub(crate) fn map<T>(self, f: impl FnOnce(Size) -> T) -> Padding<T> {
        match self {
            Self::Each(each) => Padding::Each(f(each)),
            Self::Same => Padding::Same,
            Self::Unknown(word) => Padding::Unknown(word),
        }
    }
}

/// Padding in PyTorch's order, `[left, right, top, bottom]`: from `1` for every side, from `(left, right)`,
/// or from all four. A negative number takes elements away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides(pub [isize; 4]);

impl From<isize> for Sides {
    fn from(every: isize) -> Self {
        Self([every; 4])
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

/// Prints as a Python tuple.
impl std::fmt::Display for Sides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [left, right, top, bottom] = self.0;
        write!(f, "({left}, {right}, {top}, {bottom})")
    }
}
