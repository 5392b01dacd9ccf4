//! The memory layouts that an operation supports for its result.

use crate::kernels::internal::Layout;

/// The layouts in which an operation can compute its result without reordering an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layouts {
    Only(Layout),
    Either,
}

impl Layouts {
    pub fn contains(self, layout: Layout) -> bool {
        self == Self::Either || self == Self::Only(layout)
    }

    /// Returns `requested` if the operation supports it, and the only supported layout otherwise.
    pub fn choose(self, requested: Layout) -> Layout {
        match self {
            Self::Only(layout) => layout,
            Self::Either => requested,
        }
    }
}
