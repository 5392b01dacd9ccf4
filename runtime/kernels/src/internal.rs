//! Items that only the crate `sconce` uses. These items are not part of this crate's stable interface and may change in
//! any release, without a note in the changelog.

pub use crate::backward::{Observer, backward_observed};
pub use crate::conv::axes::Axes;
pub use crate::conv::cpu::Packing;
pub use crate::conv::image_form::ImageForm;
pub use crate::conv::shape::ConvShape;
pub use crate::element::{on_cpu_in_f64, widest_dtype, with_elements};
pub use crate::embedding::embedding_bag_shape;
pub use crate::empty::{empty_output, with_new_storage_if_empty};
pub use crate::error::without_backtrace;
pub use crate::function::{function, with_gradient};
pub use crate::integers::{check_integers, integers};
pub use crate::layout::Layout;
pub use crate::mapped::MappedFile;
pub use crate::memory::{
    ActivationMemory, Arena, Lease, activation_memory, can_allocate, release_memory_of_training,
};
pub use crate::norm::fold::is_finite;
pub use crate::norm::ranks::{SumOverRanks, has_statistics_of_ranks, with_statistics_of_ranks};
pub use crate::recurrent::equal_batch_sizes;
pub use crate::relay::{Reshaped, reshape};
pub use crate::rotary::check_rotary_embedding;
pub use crate::simd::{Isa, isa};

/// Kernels on activations in the channel-blocked memory layout.
pub mod blocked {
    pub use crate::blocked::*;
}

/// Conversion of random bytes to samples of a distribution.
pub mod distribution {
    pub use crate::distribution::*;
}

/// In-place optimizer steps.
pub mod descent {
    pub use crate::descent::*;
}
