//! What the reader of a checkpoint returns.

use std::fmt;

use super::StateDict;

/// The content of a checkpoint: its tensors, and what the reader skipped.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub state: StateDict,
    /// The objects in the file that are not tensors, in the order of the file.
    pub skipped: Vec<Skipped>,
    /// Deviations from the format that do not affect the tensors.
    pub warnings: Vec<String>,
    /// Whether all names in a file of `torch.save` begin with [`DATA_PARALLEL_PREFIX`].
    pub is_data_parallel: bool,
}

/// The prefix that `torch.nn.DataParallel` adds to every name.
pub(super) const DATA_PARALLEL_PREFIX: &str = "module.";

impl Contents {
    /// Returns the tensors, without the prefix of a data-parallel module.
    pub fn into_state(self) -> StateDict {
        if !self.is_data_parallel {
            return self.state;
        }
        let stripped = self.state.into_iter().map(|(name, tensor)| {
            let rest = name.strip_prefix(DATA_PARALLEL_PREFIX).map(str::to_owned);
            (rest.unwrap_or(name), tensor)
        });
        stripped.collect()
    }
}

impl From<StateDict> for Contents {
    fn from(state: StateDict) -> Self {
        Self { state, ..Self::default() }
    }
}

/// An object in a checkpoint that is not a tensor, such as the arguments of a training script.
///
/// [`Display`](fmt::Display) formats it as `path: kind`, for example `args: argparse.Namespace`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The keys that lead to the object, separated by dots.
    pub path: String,
    /// The Python class of the object, with its module, or the kind of an object without a class.
    pub kind: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.kind)
    }
}
