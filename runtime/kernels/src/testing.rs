//! Items for the tests, benches and examples of this workspace, under the feature `testing`: kernels with a fixed
//! instruction set or algorithm, and the programs of CUDA operations. Not part of this crate's stable interface.

pub use crate::composed_path::forced::on_composed_path;
pub use crate::conv::cpu::{Algorithm, ConvProblem, ElementFormat, WinogradTile};
pub use crate::conv::testing::{backward_with, conv2d_with, conv2d_with_algorithm, task_counts};
pub use crate::gemm::testing::multiply_with;
pub use crate::linear::testing::{gradients_with, linear_with};
pub use crate::pool::max::max_pool2d_with;
pub use crate::simd::{Isa, Microarchitecture, available, isa, microarchitecture};

/// Returns `len` pseudorandom numbers `offset + scale · u`, with `u` uniformly distributed in ±0.5. `u` is a hash of
/// `seed` and of the index, so that other programs can compute the same numbers. The function is in this crate, which
/// is always compiled with optimization, because tests compute millions of these numbers.
pub fn hashed_uniform(seed: u32, len: usize, offset: f64, scale: f64) -> Vec<f32> {
    (0..len as u32)
        .map(|i| {
            let mut h = i.wrapping_mul(0x9E37_79B1).wrapping_add(seed.wrapping_mul(0x85EB_CA77));
            h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
            h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
            let u = f64::from(h ^ (h >> 15)) / 2f64.powi(32) - 0.5;
            (offset + scale * u) as f32
        })
        .collect()
}

/// The programs of CUDA operations, which the emulator in `tests/cuda` runs on the CPU.
pub mod cuda {
    pub use crate::cuda::program::{Arg, Buffer, Launch, Program};
    pub use crate::cuda::target::{Target, poison};

    /// The forward pass of the convolution.
    pub mod conv_forward {
        pub use crate::conv::cuda::forward::*;
        pub use crate::conv::cuda::testing::*;
    }

    /// The backward pass of the convolution, and the transposed convolution.
    pub mod conv_backward {
        pub use crate::conv::cuda::backward::*;
    }

    /// Pooling.
    pub mod pool {
        pub use crate::pool::cuda::*;
    }

    /// Batch norm.
    pub mod norm {
        pub use crate::norm::cuda::*;
    }
}
