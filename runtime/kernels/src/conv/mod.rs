//! Convolution, fused with batch norm or a bias, a residual and an activation.
//!
//! [`conv2d`] convolves images, [`conv1d`] sequences and [`conv3d`] videos. A [`ConvGeometry`] holds stride, padding,
//! dilation and groups. An [`Epilogue`] holds the operations fused into the kernel. [`conv_transpose2d`] computes the
//! transposed convolution: the same computation as the input gradient of a convolution; [`conv_transpose3d`] that of
//! videos. [`backward`] computes gradients without candle's graph.

// `conv2d` checks its operands (`shape`). Then it runs the fused kernels of the CPU (`cpu`) or of a GPU (`cuda`),
// inside a candle operation if an operand tracks gradients (`op`). Sequences and videos are convolved as images
// (`image_form`), for which the frames of videos are copied (`frames`). In f32 on the CPU, a convolution whose kernel
// covers the input runs as a linear layer (`covering`). On other devices, `conv2d` falls back to candle's own
// operations (`composed`).

pub(crate) mod axes;
pub mod backward;
mod candle_convolution;
mod composed;
mod conv1d;
mod conv3d;
mod covering;
pub(crate) mod cpu;
pub(crate) mod cuda;
mod epilogue;
mod frames;
mod geometry;
pub(crate) mod image_form;
mod op;
pub(crate) mod shape;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;
mod transposed;

pub use conv1d::conv1d;
pub use conv3d::{conv_transpose3d, conv3d};
pub use cpu::PackedCache;
pub use epilogue::Epilogue;
pub use geometry::ConvGeometry;
pub(crate) use shape::ConvShape;
pub use transposed::{TransposeGeometry, conv_transpose2d};

use candle_core::{Result, Tensor};

use crate::composed_path::has_cpu_kernels;
use crate::cuda::runs_on;
use crate::simd;

/// Convolves `input` with `weight` and applies the epilogue in the same kernel.
///
/// - `input`: `[batch, in_channels, height, width]`
/// - `weight`: `[out_channels, in_channels / groups, kernel height, kernel width]`
/// - returns `[batch, out_channels, height, width]`, contiguous; the sizes are those of
///   [`ConvGeometry::output_size`]
///
/// The definition is that of PyTorch's `conv2d`. Supports f32, f64, f16 and bf16 (16-bit types are summed in f32).
/// Tensors may have any memory strides. Runs fused on the CPU and, with the feature `cuda`, on CUDA devices. Falls back
/// to candle's operations on other devices. The result is differentiable with respect to every tensor that tracks
/// gradients.
///
/// `packed` caches the packed weight between calls. [`PackedCache`] documents when a cache may be used; `None` is
/// always correct.
///
/// # Errors
/// Fails if the shapes, dtypes or devices do not match, if a setting of `geometry` is invalid, or if the output would
/// have no rows or columns.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::{Activation, ConvGeometry, Epilogue, PackedCache, conv2d};
///
/// # fn main() -> Result<()> {
/// let device = Device::Cpu;
/// let weight = Tensor::randn(0f32, 1., (16, 3, 3, 3), &device)?;
/// let epilogue = Epilogue::new()
///     .with_bias(&Tensor::zeros(16, DType::F32, &device)?)
///     .with_activation(Activation::Relu);
/// let geometry = ConvGeometry::new().with_stride(2).with_padding(1);
/// // Keep the cache with the weight. The weight must not change.
/// let packed = PackedCache::default();
///
/// let x = Tensor::randn(0f32, 1., (1, 3, 32, 32), &device)?;
/// let y = conv2d(&x, &weight, &geometry, &epilogue, Some(&packed))?;
/// assert_eq!(y.dims(), [1, 16, 16, 16]);
///
/// // The same result with candle's operations. The bias is 0.
/// let expected = x.conv2d(&weight, 1, 2, 1, 1)?.relu()?;
/// assert!((y - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
/// # Ok(())
/// # }
/// ```
pub fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
    packed: Option<&PackedCache>,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    let on_cuda = runs_on(input.device());
    if !on_cuda && !has_cpu_kernels(input) {
        composed::conv2d(input, weight, &shape, epilogue)
    } else if covering::supports(input, &shape, epilogue) {
        covering::conv2d(input, weight, &shape, epilogue)
    } else if [input, weight].into_iter().chain(epilogue.tensors()).any(Tensor::track_op) {
        op::conv2d(input, weight, &shape, epilogue)
    } else if on_cuda {
        cuda::conv2d(input, weight, &shape, epilogue)
    } else {
        let packed = packed.filter(|_| !weight.is_variable());
        let packing = packed.map(|cache| cpu::Packing::new(cache, weight.id()));
        cpu::conv2d(input, weight, &shape, epilogue, packing, simd::isa())
    }
}
