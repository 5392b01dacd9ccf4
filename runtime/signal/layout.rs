//! The memory layouts in which an activation can be computed.

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

    /// Returns `wanted` if the operation can compute it.
    pub fn choose(self, wanted: Layout) -> Layout {
        match self {
            Self::Only(layout) => layout,
            Self::Either => wanted,
        }
    }
}
