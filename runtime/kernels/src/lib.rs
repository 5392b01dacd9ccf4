//! Neural-network kernels on [candle](https://docs.rs/candle-core) tensors, for CPU and CUDA, with gradients.
//!
//! Every function takes and returns [`candle_core::Tensor`], so that a candle program can use any single kernel. A
//! convolution runs with its bias or batch norm, residual and activation as one kernel:
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor};
//! use sconce_kernels::{Activation, ConvGeometry, Epilogue, PackedCache, conv2d};
//!
//! # fn main() -> Result<()> {
//! let device = Device::Cpu;
//! let weight = Tensor::randn(0f32, 1., (16, 3, 3, 3), &device)?;
//! let bias = Tensor::zeros(16, DType::F32, &device)?;
//!
//! let geometry = ConvGeometry::new().with_stride(2).with_padding(1);
//! let epilogue = Epilogue::new().with_bias(&bias).with_activation(Activation::Relu);
//! let packed = PackedCache::default(); // keeps the packed weight between calls
//!
//! let x = Tensor::randn(0f32, 1., (1, 3, 32, 32), &device)?;
//! let y = conv2d(&x, &weight, &geometry, &epilogue, Some(&packed))?;
//! assert_eq!(y.dims(), [1, 16, 16, 16]);
//! # Ok(())
//! # }
//! ```
//!
//! | functions | what they compute |
//! |---|---|
//! | [`conv2d`], [`conv1d`], [`conv3d`] | convolutions with a fused [`Epilogue`] |
//! | [`conv_transpose2d`], [`conv_transpose3d`] | transposed convolutions |
//! | [`linear`](linear()) | matrix product with bias and [`Activation`] |
//! | [`matmul`](matmul()) | products of batches of matrices |
//! | [`max_pool2d`], [`avg_pool2d`], [`adaptive_max_pool2d`], [`adaptive_avg_pool2d`], `…1d` and `…3d` | pooling |
//! | [`batch_norm_train`], [`batch_norm_eval`] | batch norm |
//! | [`layer_norm`], [`rms_norm`], [`group_norm`], [`instance_norm`] | normalization within each sample |
//! | [`softmax`](softmax()), [`log_softmax`], [`masked_softmax`] | softmax over one dimension |
//! | [`activate`] | every [`Activation`] |
//! | [`prelu`], [`elu`], [`celu`], [`selu`], [`gelu_tanh`], [`mish`] | more activations |
//! | [`hardtanh`], [`hardsigmoid`], [`logsigmoid`], [`softplus`] | more activations |
//! | [`threshold`], [`softshrink`], [`hardshrink`], [`tanhshrink`], [`softsign`] | more activations |
//! | [`binary`], [`unary`] | elementwise arithmetic with broadcasting, elementwise functions |
//! | [`sum`], [`mean`], `…_keepdim` | sums and means over dimensions |
//! | [`resample2d`], [`resample1d`], [`pad`](pad()), [`pad3d`] | resampling and padding |
//! | [`fold`](fold()), [`unfold`](unfold()) | sliding windows as columns, and their sums |
//! | [`embedding`](embedding()), [`embedding_bag`], [`rotary_embedding`] | embedding of words, bags and positions |
//! | [`recurrent::run`], [`ctc_loss`] | recurrent layers and the CTC loss |
//!
//! # Types and devices
//!
//! Kernels support f32, f64, f16 and bf16. A kernel converts f16 and bf16 to f32, computes in
//! f32 and rounds each result once. Operands
//! may have any strides. The CPU kernels use AVX-512, AVX2, NEON or portable code, depending on the processor (the
//! environment variable `SCONCE_ISA` sets an upper limit). With the feature `cuda`, convolution, pooling and batch
//! norm have CUDA kernels. The CTC loss always runs on the CPU. In all other cases, functions on devices other than the
//! CPU fall back to candle's operations.
//!
//! # Gradients
//!
//! As with candle's own operations, a result tracks gradients if an operand does. Both candle's `Tensor::backward` and
//! [`backward`](backward()), which needs less memory traffic, run this crate's kernels.
//!
//! # Features
//!
//! - `cuda`: CUDA kernels (needs `nvcc` to build); `cudnn` also turns on candle's cuDNN.
//! - `metal`: tensors on Apple GPUs, with candle's operations; there are no Metal kernels.
//! - `testing`: the module `testing`, for the tests, benches and examples of this workspace; not part of the stable
//!   interface.
//!
//! All `unsafe` code of the published crates of sconce is in this crate.

pub mod activation;
pub mod arithmetic;
mod backward;
mod blocked;
mod channels;
mod composed_path;
pub mod conv;
pub mod ctc;
pub mod cuda;
mod descent;
mod distribution;
mod element;
mod elementwise;
pub mod embedding;
mod empty;
mod error;
mod exact;
mod float;
pub mod fold;
mod function;
mod gemm;
mod integers;
pub mod internal;
mod layout;
pub mod linear;
mod lock;
mod mapped;
pub mod matmul;
mod memory;
pub mod norm;
pub mod number;
mod operation;
pub mod pad;
mod parallel;
mod planes;
pub mod pool;
pub mod recurrent;
mod relay;
pub mod resample;
pub mod rotary;
mod row_norm;
mod separable;
mod simd;
mod slot;
pub mod softmax;
mod strided;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;

pub use activation::{
    Activation, apply as activate, celu, elu, gelu_tanh, hardshrink, hardsigmoid, hardtanh, logsigmoid, mish,
    prelu, selu, softplus, softshrink, softsign, tanhshrink, threshold,
};
pub use arithmetic::{Binary, Unary, binary, mean, mean_keepdim, sum, sum_keepdim, unary};
pub use backward::backward;
pub use conv::{
    ConvGeometry, Epilogue, PackedCache, TransposeGeometry, conv_transpose2d, conv_transpose3d, conv1d,
    conv2d, conv3d,
};
pub use ctc::{Ctc, ctc_loss};
pub use embedding::{Bags, embedding, embedding_bag};
pub use exact::{is_exact, set_exact};
pub use fold::{WindowGeometry, fold, unfold};
pub use linear::{LinearCache, linear};
pub use matmul::matmul;
pub use memory::{keep_memory, release_memory};
pub use norm::{batch_norm_eval, batch_norm_train, group_norm, instance_norm, layer_norm, rms_norm};
pub use pad::{PadMode, pad, pad3d};
pub use pool::{
    PoolGeometry, adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool2d, adaptive_max_pool3d, avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d,
    max_pool3d,
};
pub use resample::{Filter, Resampling, resample1d, resample2d};
pub use rotary::rotary_embedding;
pub use softmax::{log_softmax, masked_softmax, softmax};
