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

/// How many zeros surround a convolution's input: `1`, `(1, 2)`, `"valid"` (none) or `"same"` (as many
/// as keep the size, at stride one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    Zeros(Pair),
    Same,
    /// A word that PyTorch does not know either; building the layer reports it.
    Unknown(&'static str),
}

impl<T: Into<Pair>> From<T> for Padding {
    fn from(zeros: T) -> Self {
        Self::Zeros(zeros.into())
    }
}

impl From<&'static str> for Padding {
    fn from(word: &'static str) -> Self {
        match word {
            "same" => Self::Same,
            "valid" => Self::Zeros(Pair([0; 2])),
            other => Self::Unknown(other),
        }
    }
}
