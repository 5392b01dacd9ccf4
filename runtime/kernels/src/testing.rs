//! Items for the tests, benches and examples of this workspace, under the feature `testing`: kernels with a fixed
//! instruction set or algorithm, and the programs of CUDA operations. Not part of this crate's stable interface.

pub use crate::composed_path::forced::on_composed_path;
pub use crate::conv::cpu::{Algorithm, ConvProblem, ElementFormat, WinogradTile};
pub use crate::conv::testing::{backward_with, conv2d_with, conv2d_with_algorithm, task_counts};
pub use crate::linear::testing::{gradients_with, linear_with};
pub use crate::pool::max::max_pool2d_with;
pub use crate::simd::{Isa, Microarchitecture, available, isa, microarchitecture};

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
