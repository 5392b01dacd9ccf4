//! Named sizes: `batch`, `4*batch` or `height-2`.
//!
//! Layers compute with numbers, so a network runs several times, with different numbers for each name ([`Plan`]). A
//! size of a result is then the polynomial of the names that has the sizes of all runs ([`Polynomial`]). Layers and
//! operations need no code for names, but a size is only known for the numbers of the runs: an operation that behaves
//! differently for others, for example beyond a threshold, is not noticed.

mod plan;
mod polynomial;
mod shape;
mod size;

pub(crate) use plan::Plan;
pub(crate) use polynomial::Polynomial;
pub(crate) use shape::NamedShape;
pub use shape::SymbolicSizes;
pub(crate) use size::Name;
pub use size::SymbolicSize;
