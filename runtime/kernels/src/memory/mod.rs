//! Memory: output allocation, scratch memory, the arena of activations, alignment and huge pages.
//!
//! | purpose | use |
//! |---|---|
//! | output of a convolution | [`Alignment::allocate`], [`allocate`] |
//! | output of another operation | [`vec_written_by`], [`zeros`] |
//! | temporary data of a task | [`Scratch`] |
//! | activation in the channel-blocked layout | [`Arena::lease`] |
//! | packed operand | [`AlignedVec`] |

mod aligned;
mod arena;
mod huge_pages;
mod output;
mod process;
mod scratch;
mod uninit;

pub(crate) use aligned::{AlignedVec, CACHE_LINE_FLOATS, CacheLine};
pub use arena::{ActivationMemory, Arena, Lease, activation_memory};
pub(crate) use output::{Alignment, allocate, tensor_at_end};
pub use process::{can_allocate, keep_memory};
pub(crate) use scratch::Scratch;
pub(crate) use uninit::{vec_written_by, write_zeros, zeros};
