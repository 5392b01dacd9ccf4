//! Memory: output allocation, scratch memory, the arena of activations, alignment, huge pages and freed memory.
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
mod can_allocate;
mod freed;
mod huge_pages;
mod output;
mod scratch;
mod uninit;

pub(crate) use aligned::{AlignedVec, CACHE_LINE_FLOATS, CacheLine};
pub use arena::{ActivationMemory, Arena, Lease, activation_memory};
pub use can_allocate::can_allocate;
pub(crate) use freed::keep_memory_in_training;
pub use freed::{keep_memory, release_memory, release_memory_of_training};
pub(crate) use output::{Alignment, allocate, tensor_at_end};
pub(crate) use scratch::Scratch;
pub(crate) use uninit::{vec_written_by, write_zeros, zeros};
