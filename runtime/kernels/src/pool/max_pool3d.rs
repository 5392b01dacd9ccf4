//! Max pooling of videos. The windows are separable: a task pools the frames of a video, which then are in the cache,
//! and after them the depth.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType};

use crate::element::{elements, in_f32, with_element};
use crate::memory::vec_written_by;
use crate::operation::{CpuOperand, Operation};
use crate::planes::write_planes;
use crate::relay;
use crate::separable::Stored;
use crate::simd::Real;

use super::max::MaxPool;
use super::max_forward::ForwardWindows;

const NAME: &str = "max_pool3d";

/// Returns the largest element of each window of `[.., depth, height, width]` on the CPU.
///
/// - `frames`: the windows of the planes `[height, width]`
/// - `depth`: the windows of the planes `[depth, height · width]`, whose heights and widths are outputs of `frames`
///
/// # Errors
/// Fails if `x` is not floating point.
pub(super) fn pool_videos(x: &Tensor, frames: MaxPool, depth: MaxPool) -> Result<Tensor> {
    in_f32(x, |x| relay::apply([&x.contiguous()?], MaxPool3d { frames, depth }))
}

struct MaxPool3d {
    frames: MaxPool,
    depth: MaxPool,
}

impl MaxPool3d {
    /// Returns the `[depth, height, width]` of the output.
    fn output(&self) -> [usize; 3] {
        let [height, width] = self.frames.output();
        [self.depth.rows.len(), height, width]
    }

    /// Returns the maximum of each window of several videos.
    fn maxima<R: Real + Stored<Real = R>>(&self, x: &[R]) -> Vec<R> {
        let input_len = self.depth.input[0] * self.frames.input.iter().product::<usize>();
        let output_len = self.output().iter().product();
        let frames_len = self.depth.input.iter().product();
        let [frames, depth] = [&self.frames, &self.depth].map(|pool| ForwardWindows::new(pool, pool.isa));
        let fill = |_, x: &[R], y: &mut [_]| {
            for (x, y) in x.chunks_exact(input_len).zip(y.chunks_exact_mut(output_len)) {
                // SAFETY: `write_maxima` writes every element.
                let maxima = unsafe { vec_written_by(frames_len, |maxima| frames.write_maxima(x, maxima)) };
                depth.write_maxima(&maxima, y);
            }
        };
        // SAFETY: `write_maxima` writes every element.
        unsafe { write_planes(x, input_len, output_len, fill) }
    }
}

impl Operation<1> for MaxPool3d {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let leading = &layout.dims()[..layout.dims().len() - 3];
        let shape = [leading, &self.output()].concat().into();
        with_element!(NAME, x.dtype(), E => {
            let y = self.maxima(elements::<E>(x, layout)?);
            Ok((E::to_cpu_storage_owned(y), shape))
        })
    }

    /// Pools the frames again. Their gradients follow from those of the depth.
    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [height, width] = self.frames.input;
        let images = x.detach().contiguous()?.reshape(((), height, width))?;
        let maxima = self.frames.tensor_of_maxima(&images)?;
        let flat = |tensor: &Tensor, [depth, pixels]: [usize; 2]| {
            tensor.detach().contiguous()?.reshape(((), depth, pixels))
        };
        let [input, output] = [self.depth.input, self.depth.output()];
        let of_depth = [&flat(&maxima, input)?, &flat(y, output)?, &flat(grad, output)?];
        let of_frames = self.depth.tensor_of_gradients(of_depth)?.reshape(maxima.shape())?;
        let dx = self.frames.tensor_of_gradients([&images, &maxima, &of_frames])?;
        Ok([Some(dx.reshape(x.shape())?)])
    }
}
