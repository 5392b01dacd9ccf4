//! Values that tests iterate over: activations, numbers of threads, dtypes.

use candle_core::DType;
use sconce_kernels::activation::Activation;

/// Every activation that an epilogue supports.
pub const ACTIVATIONS: [Activation; Activation::EACH.len()] = Activation::EACH;

/// Returns the activations whose slope can be computed from their output.
pub fn activations_that_save_output() -> Vec<Activation> {
    ACTIVATIONS.into_iter().filter(|activation| activation.saves_output()).collect()
}

/// Numbers of threads. Results must be bit-identical for all of them.
pub const THREADS: [usize; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 33, 64];

/// The dtypes that the kernels support.
pub const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

/// The dtypes, each with its allowed relative error.
pub const DTYPE_ERRORS: [(DType, f64); 4] =
    [(DType::F32, 1e-5), (DType::F64, 1e-12), (DType::F16, 1e-2), (DType::BF16, 1e-2)];
